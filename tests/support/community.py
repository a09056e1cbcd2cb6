"""A deployed community without the network: server folder, household folders, a grid between them.

The ServerApp's live side and the ClientApp are the real ones; a household may be switched off, and
the coordinator may die at any of its commits.
"""

from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from flwr.app import Context, Error, Message, RecordDict
from flwr.common.constant import ErrorCode

from common.config import load
from fl_client.app import app as client_app
from fl_client.session import HERE
from fl_server.host.folder import Deployment, Folder, Live
from fl_server.host.live import run_live
from fl_server.host.members import admit
from fl_server.host.setup import init_server
from fl_server.ledger import Ledger
from simulations.engine.loop import LoopGrid, answer, server_context

NODE = 5000


def forget() -> None:
    """Make the next message find a fresh process, as in a deployment."""
    HERE.forget()


class Killed(BaseException):
    """The process is gone: nothing catches this."""


class Homes(LoopGrid):
    """Households on their own hosts: each call finds a fresh process, with its own files only."""

    def __init__(self, contexts: dict[int, Context], spoil: Callable[[Message], bool]) -> None:
        super().__init__(client_app, 0, {}, 1)
        self._contexts = contexts
        self.away: set[int] = set()
        self.spoil = spoil
        self.sent: list[Message] = []

    def get_node_ids(self) -> Iterable[int]:
        return [node for node in self._contexts if node not in self.away]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        # As Flower's HTTP grid does: a generator would be empty the second time.
        assert list(messages) == list(messages)
        return super().push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        for message_id in [i for i in message_ids if i in self._waiting]:
            message = self._waiting.pop(message_id)
            node = message.metadata.dst_node_id
            self.sent.append(message)
            if node in self.away or self.spoil(message):
                reply = Message(Error(code=ErrorCode.NODE_UNAVAILABLE), reply_to=message)
                reply.metadata.__dict__["_src_node_id"] = node
                yield reply
                continue
            forget()
            yield answer(self._app, message, self._contexts[node])


def community(root: Path, homes: Path, names: list[str], *override: str, hour: int = 10) -> Folder:
    """Make a server folder for these homes, with everybody admitted and the run begun.

    The run begins at ``hour`` of the first day: at night nobody has anything to sell.
    """
    settings = [f"run.households={len(names)}", "run.seed=5", *override]
    init_server(
        root, ["127.0.0.1"], None, settings, str(homes), len(names),
        Deployment(),
    )  # fmt: skip
    folder = Folder(root)
    deployment = yaml.safe_load(folder.server_file.read_text())
    folder.server_file.write_text(yaml.safe_dump(deployment | {"closing_deadline_s": 5.0}))
    for number, name in enumerate(names):
        admit(folder.members, name, NODE + number, f"key {name}")
    start = folder.deployment().start
    assert start is not None
    Live("run-1", (start + timedelta(hours=hour)).isoformat(), 0.0, None).write(folder.live)
    return folder


def contexts(root: Path, homes: Path, names: list[str], folder: Folder) -> dict[int, Context]:
    """What each household's own SuperNode tells its ClientApp."""
    plain = folder.settings(len(names)).model_dump_json(exclude={"ledger", "data"})
    return {
        NODE + number: Context(
            run_id=1,
            node_id=NODE + number,
            node_config={
                "household": name,
                "state": str(root / name / "state"),
                "data": str(homes / f"{name}.parquet"),
            },
            state=RecordDict(),
            run_config={"settings": plain, "live": True},
        )
        for number, name in enumerate(names)
    }


def run(folder: Folder, grid: Homes) -> None:
    """Run the coordinator of a folder until it is finished, or dies."""
    server_context(1, {})
    run_live(grid, folder.root)


def run_though_it_dies(
    folder: Folder, grid: Homes, when: Callable[..., bool], patches: pytest.MonkeyPatch
) -> None:
    """Run the coordinator; at the first transaction for which ``when`` of its arguments is true it
    is killed before the commit, and the next time after it."""
    record = Ledger.record
    deaths: list[int] = []

    def dies(self: Ledger, interval: int, *rest: object) -> bool:
        if len(deaths) == 2 or not when(interval, *rest):
            return record(self, interval, *rest)  # type: ignore[arg-type]
        deaths.append(interval)
        if len(deaths) == 2:
            record(self, interval, *rest)  # type: ignore[arg-type]
        raise Killed

    with patches.context() as patch:
        patch.setattr(Ledger, "record", dies)
        for _ in range(2):
            with pytest.raises(Killed):
                run(folder, grid)
    run(folder, grid)
    assert len(deaths) == 2


def simulated(homes: Path, out: Path, folder: Folder, households: int) -> Path:
    """The same settings and data as a simulation; returns the run directory."""
    from simulations.simulate import simulate

    text = folder.settings(households).model_dump(mode="json")
    text["data"]["source"] = str(homes)
    text["run"]["engine"] = "loop"
    out.mkdir()
    simulate(load(None, (), **text), out)
    return out
