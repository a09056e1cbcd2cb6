"""``fedwatt server run`` stands by its run: it tries again, knows when to give up, and says why."""

import json
import math
import socket
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
import yaml

from common.cadence import Cadence
from common.errors import InputError
from fl_server.host import supervisor
from fl_server.host.folder import Deployment, Folder
from fl_server.host.members import admit
from fl_server.host.setup import init_server
from fl_server.host.supervisor import run_server

Attempt = Callable[[Folder], None]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A coordinator's folder with one household, that gives up after three failures."""
    flat = ["tariff.source=flat", "fl.enabled=false", "run.days=1"]
    made = Folder(tmp_path / "server")
    init_server(
        made.root,
        ["127.0.0.1"],
        None,
        flat,
        None,
        1,
        Deployment(failures_before_giving_up=3, page_port=1),
    )
    admit(made.members, "maple-7", 7000, "key")
    return made


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[Attempt]:
    """What becomes of each submission to the SuperLink, in turn; the last for all that follow."""
    left: list[Attempt] = []

    def flwr(folder: Folder, *_: str) -> dict[str, object]:
        (left.pop(0) if len(left) > 1 else left[0])(folder)
        return {"run-id": 1}

    monkeypatch.setattr(supervisor, "flwr", flwr)
    monkeypatch.setattr(supervisor.time, "sleep", lambda _: None)
    return left


def finishes(folder: Folder) -> None:
    folder.outcome.write_text('{"state": "finished"}')


def fails(folder: Folder) -> None:
    folder.outcome.write_text('{"state": "failed", "input": false, "error": "OSError: disk full"}')


def refuses(folder: Folder) -> None:
    folder.outcome.write_text('{"state": "failed", "input": true, "error": "InputError: tariff"}')


def is_not_there(_: Folder) -> None:
    raise ConnectionError("no SuperLink on port 8000")


def books_and_fails(folder: Folder) -> None:
    status = json.loads(folder.status.read_text()) if folder.status.exists() else {"interval": 0}
    folder.status.write_text(json.dumps({"interval": status["interval"] + 1}))
    fails(folder)


def run(folder: Folder, *, page: bool = False) -> None:
    run_server(folder.root, None, None, page)


@pytest.mark.parametrize("before", [refuses, fails, lambda f: f.outcome.write_bytes(b"")])
def test_what_stopped_it_yesterday_does_not_stop_it_today(
    folder: Folder, attempts: list[Attempt], before: Attempt
) -> None:
    """A mistake may have been mended: an old outcome, or an emptied one, keeps no run down."""
    folder.run.mkdir()
    before(folder)
    attempts.append(finishes)
    run(folder)
    assert json.loads(folder.outcome.read_text()) == {"state": "finished"}


def test_a_finished_run_is_not_run_again(folder: Folder, attempts: list[Attempt]) -> None:
    """It returns at once."""
    folder.run.mkdir()
    finishes(folder)
    attempts.append(is_not_there)
    run(folder)


def test_a_mistake_of_its_keeper_is_told_at_once(folder: Folder, attempts: list[Attempt]) -> None:
    """What only the keeper can mend is not tried again."""
    attempts.append(refuses)
    with pytest.raises(InputError, match=r"^tariff$"):
        run(folder)


@pytest.mark.parametrize(("attempt", "why"), [(fails, "disk full"), (is_not_there, "not reached")])
def test_it_gives_up_after_the_failures_that_were_set(
    folder: Folder, attempts: list[Attempt], attempt: Attempt, why: str
) -> None:
    """``failures_before_giving_up`` attempts without an interval booked, then an error that says
    what happened last; its keeper, or systemd, starts it anew."""
    tried = []
    attempts.append(lambda f: (tried.append(1), attempt(f))[1])  # type: ignore[func-returns-value]
    with pytest.raises(RuntimeError, match=f"gave up after 3 failures in a row: .*{why}"):
        run(folder)
    assert len(tried) == 3


def test_failures_between_progress_do_not_add_up(folder: Folder, attempts: list[Attempt]) -> None:
    """Each interval that is booked starts the count again: twelve failures, and it finishes."""
    attempts += [fails, is_not_there, books_and_fails] * 4 + [finishes]
    run(folder)
    assert json.loads(folder.status.read_text()) == {"interval": 4}


def test_a_taken_port_costs_the_page_and_not_the_run(
    folder: Folder, attempts: list[Attempt], capfd: pytest.CaptureFixture[str]
) -> None:
    """Somebody else listens where the page would be: the run goes on, and the log says so."""
    attempts.append(finishes)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = yaml.safe_load(folder.server_file.read_text())
        port = taken.getsockname()[1]
        folder.server_file.write_text(yaml.safe_dump(server | {"page_port": port}))
        run(folder, page=True)
    assert "no page: the run goes on without" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["server.yaml", "config.yaml", "members.json", "run/live.json"])
@pytest.mark.parametrize("content", [b"", b"\0" * 20, b"\xff\xfe{", b"[1, 2"])
def test_damaged_files_are_one_line_each(
    folder: Folder, attempts: list[Attempt], name: str, content: bytes
) -> None:
    """Emptied, zeroed, of another alphabet or torn: the line names the file; mended, it runs."""
    attempts += [fails, finishes]
    folder.run.mkdir(exist_ok=True)
    supervisor._begin(folder, "digest", None, None, Cadence())
    path = folder.root / name
    kept = path.read_bytes()
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        run(folder)
    assert name.rpartition("/")[2] in str(caught.value)
    assert "\n" not in str(caught.value)
    path.write_bytes(kept)
    run(folder)


@pytest.mark.parametrize(
    ("begun", "speed", "said"),
    [(60.0, math.inf, "--speed max: this run was begun with 60"),
     (math.inf, 60.0, "--speed 60: this run was begun with max"),
     (60.0, 60.0, None), (60.0, None, None), (math.inf, math.inf, None), (math.inf, None, None)],
)  # fmt: skip
def test_a_run_keeps_the_clock_it_was_begun_with(
    folder: Folder, attempts: list[Attempt], begun: float, speed: float | None, said: str | None
) -> None:
    """Continued with another speed or first interval it says so and changes nothing; with the same
    or none it goes on."""
    attempts += [fails, finishes]
    start = datetime(2024, 3, 1, 10)
    supervisor._begin(folder, "digest", begun, start, Cadence())
    before = folder.live.read_bytes()
    if said is None:
        run_server(folder.root, speed, start, False)
        run_server(folder.root, speed, None, False)
    else:
        with pytest.raises(InputError, match=said):
            run_server(folder.root, speed, None, False)
    with pytest.raises(InputError, match="--start 2024-03-02T10:00: this run was begun with 2024"):
        run_server(folder.root, None, datetime(2024, 3, 2, 10), False)
    assert folder.live.read_bytes() == before
