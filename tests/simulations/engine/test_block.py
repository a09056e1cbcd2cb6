"""A block of households answers what each of them answers alone, and survives its own end."""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest
from flwr.app import Message

from common.config import Settings, load
from fl_client.app import app as client_app
from fl_client.session import HERE
from fl_server.app import app as server_app
from simulations.engine.block import Block
from simulations.engine.journal import Journal
from simulations.engine.loop import FIRST_NODE, LoopGrid, RunConfig, server_context, stamp
from simulations.engine.parcel import Model, pack, unpack
from tests.support.reading import intervals, ledger_rows, model

RUN_ID = 7
HOUSEHOLDS = 5


def settings(trader: str, *override: str) -> Settings:
    """Homes of every kind: with and without panels, and a round that samples some of them."""
    return load(
        None,
        [
            "data.source=synthetic",
            "run.history_days=9",
            f"run.households={HOUSEHOLDS}",
            "run.days=0.5",
            "run.engine=batched",
            "run.checkpoint_hours=5",
            "fl.every_hours=4",
            "fl.local_steps=1",
            "fl.fraction_train=0.5",
            "fl.fraction_evaluate=0.7",
            "model.preset=edge",
            f"trader.kind={trader}",
            *override,
        ],
    )


class BlockGrid(LoopGrid):
    """Every push becomes parcels for two blocks in this process.

    ``ends(n)`` says whether block 0 ends after its n-th parcel: before or after it has answered.
    """

    def __init__(self, run_config: RunConfig, ends: Callable[[int], str | None]) -> None:
        super().__init__(client_app, HOUSEHOLDS, run_config, RUN_ID)
        self._bounds = [(0, 2), (2, HOUSEHOLDS)]
        self._run_config = run_config
        self._blocks = [self._block(b) for b in range(2)]
        self._ends, self._parcels = ends, 0
        self._replies: dict[str, Message] = {}

    def _block(self, b: int) -> Block:
        return Block(RUN_ID, self._run_config, *self._bounds[b], HOUSEHOLDS)

    def _ask(self, b: int, messages: Sequence[Message]) -> list[Message]:
        body, records = pack(messages)
        models = [Model.of(record) for record in records]
        if b == 0:
            self._parcels += 1
            when = self._ends(self._parcels)
            if when is not None:
                if when == "after":
                    self._blocks[0].answer(body, *models)
                forget(self._run_config, *self._bounds[0])
                self._blocks[0] = self._block(0)
        back, replied = self._blocks[b].answer(body, *models)
        return unpack(back, [m.record() for m in replied])

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Answer at once."""
        asked = [stamp(message) for message in messages]
        for b, (first, last) in enumerate(self._bounds):
            nodes = range(FIRST_NODE + first, FIRST_NODE + last)
            mine = [m for m in asked if m.metadata.dst_node_id in nodes]
            alone = bool(mine) and mine[0].metadata.message_type == "train"
            for parcel in [[m] for m in mine] if alone else [mine] if mine else []:
                for reply in self._ask(b, parcel):
                    self._replies[reply.metadata.reply_to_message_id] = reply
        return [m.metadata.message_id for m in asked]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies."""
        return [self._replies.pop(i) for i in list(message_ids) if i in self._replies]


def forget(run_config: RunConfig, first: int, last: int) -> None:
    """Lose what this process knows of some households, as its end would."""
    households = Path(str(run_config["out"])) / "households"
    HERE.forget([households / f"H{i + 1:04d}" for i in range(first, last)])


def run(directory: Path, chosen: Settings, ends: Callable[[int], str | None] | None) -> Path:
    """Run both apps: block by block, or household by household where ``ends`` is None."""
    run_config: RunConfig = {
        "config": "",
        "set": "",
        "out": str(directory),
        "settings": json.dumps(json.loads(chosen.model_dump_json())),
        "simulation": True,
    }
    context = server_context(RUN_ID, run_config)
    if ends is None:
        server_app(LoopGrid(client_app, HOUSEHOLDS, run_config, RUN_ID), context)
    else:
        server_app(BlockGrid(run_config, ends), context)
    return directory


def same(one: Path, other: Path) -> None:
    """Ledger, model, reports of households and their own files agree."""
    assert ledger_rows(one) == ledger_rows(other)
    assert model(one) == model(other)
    assert (one / "reports.json").read_text() == (other / "reports.json").read_text()
    for i in range(HOUSEHOLDS):
        assert intervals(one, f"H{i + 1:04d}") == intervals(other, f"H{i + 1:04d}")


@pytest.mark.parametrize(
    ("trader", "cap"), [("bid-curve", "null"), ("rule", "null"), ("bid-curve", "2")]
)
def test_together_as_alone(trader: str, cap: str, tmp_path: Path) -> None:
    """Blocks of two and three against every household alone: the same bytes."""
    chosen = settings(trader, f"market.import_cap_kw={cap}")
    alone = run(tmp_path / "alone", chosen, None)
    same(run(tmp_path / "together", chosen, lambda n: None), alone)


def test_a_block_that_ends_goes_on(tmp_path: Path) -> None:
    """A block that loses its memory at every third parcel, before or after answering it, notices
    nothing: not in market rounds, nor between training and the new model."""
    chosen = settings("rule")
    alone = run(tmp_path / "alone", chosen, None)

    def ends(n: int) -> str | None:
        return None if n % 3 else ("before" if n % 2 else "after")

    same(run(tmp_path / "ends", chosen, ends), alone)


def test_a_torn_journal_entry_is_cut_away(tmp_path: Path) -> None:
    """Whatever number of bytes the last write left, the entries before it are there, and new ones
    follow them."""
    whole = tmp_path / "whole"
    journal = Journal(whole)
    journal.append(b"first")
    journal.append(b"second")
    journal.close()
    data = whole.read_bytes()
    for length in range(len(data) - len(b"second") - 8, len(data)):
        torn = tmp_path / f"torn{length}"
        torn.write_bytes(data[:length])
        journal = Journal(torn)
        assert journal.read() == [b"first"]
        journal.append(b"third")
        assert journal.read() == [b"first", b"third"]
        journal.close()
