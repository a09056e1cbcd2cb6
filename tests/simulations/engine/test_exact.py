"""A run is gone on with exactly as it was, or not at all; one process at a time works on it."""

import hashlib
import json
import pickle
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from common.config import Settings
from common.errors import InputError, RunError
from fl_server.coordinator import Coordinator
from simulations.resume import check_resumable
from simulations.simulate import new_directory, owned, simulate, stored_settings
from tests.support.reading import ledger_rows, model
from tests.support.runs import small

OPTIONS = ("trader.kind=hold", "run.checkpoint_hours=4", "fl.every_hours=3", "run.days=0.5")
CHECKPOINT = 8


class _Over(Exception):
    """The process is over."""


@pytest.fixture(scope="module")
def settings(homes: Path) -> Settings:
    """Settings of a run with checkpoints and model rounds."""
    return small(homes, *OPTIONS)


@pytest.fixture(scope="module")
def stopped(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that ended three intervals after its checkpoint."""
    out = tmp_path_factory.mktemp("stopped") / "run"
    out.mkdir()
    whole = Coordinator.interval

    def until(self: Coordinator, t: int) -> None:
        if t == CHECKPOINT + 3:
            raise _Over
        whole(self, t)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Coordinator, "interval", until)
        with pytest.raises(_Over):
            simulate(settings, out)
    return out


@pytest.fixture
def copy(stopped: Path, tmp_path: Path) -> Path:
    """The stopped run, to be harmed."""
    return shutil.copytree(stopped, tmp_path / "run")


def _content(file: Path) -> bytes:
    if file.suffix != ".sqlite":
        return file.read_bytes()
    # Reading a file, SQLite may fold its log into it.
    with sqlite3.connect(file) as db:
        return "\n".join(db.iterdump()).encode()


def _tree(directory: Path) -> dict[str, str]:
    return {
        str(file.relative_to(directory)): hashlib.sha256(_content(file)).hexdigest()
        for file in sorted(directory.rglob("*"))
        if file.is_file() and not file.name.endswith(("-wal", "-shm"))
    }


def _sql(file: Path, *statements: str) -> None:
    with sqlite3.connect(file) as db:
        for statement in statements:
            db.execute(statement)


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def _first_line(file: Path, **changed: object) -> None:
    first, _, rest = file.read_text().partition("\n")
    file.write_text(json.dumps(json.loads(first) | changed) + "\n" + rest)


HARM: dict[str, Callable[[Path], object]] = {
    "another seed": lambda d: (d / "config.yaml").write_text(
        (d / "config.yaml").read_text().replace("seed: 0", "seed: 6")
    ),
    "no ledger": lambda d: (d / "ledger.sqlite").unlink(),
    "a figure of the ledger": lambda d: _sql(
        d / "ledger.sqlite",
        "UPDATE ledger_postings SET energy_in_milliwh = energy_in_milliwh + 1 WHERE seq = 3",
    ),
    "rows of the ledger": lambda d: _sql(
        d / "ledger.sqlite", "DELETE FROM ledger_postings WHERE interval > 3"
    ),
    "all rows, and the head": lambda d: _sql(
        d / "ledger.sqlite",
        "DELETE FROM ledger_postings",
        "UPDATE ledger_runs SET head_seq = -1",
    ),
    "no lines": lambda d: (d / "intervals.jsonl").unlink(),
    "half the lines": lambda d: _cut(d / "intervals.jsonl"),
    "a line": lambda d: _first_line(d / "intervals.jsonl", retail=9.0),
    "no rounds": lambda d: (d / "rounds.jsonl").unlink(),
    "a round": lambda d: _first_line(d / "rounds.jsonl", train_loss=9.0),
    "a household's file": lambda d: (d / "households/H0002/household.sqlite").unlink(),
    "a household's past": lambda d: _sql(
        d / "households/H0002/household.sqlite", "DELETE FROM intervals WHERE t = 4"
    ),
    "no model": lambda d: (d / f"model/interval-{CHECKPOINT}.safetensors").unlink(),
    "half a model": lambda d: _cut(d / f"model/interval-{CHECKPOINT}.safetensors"),
    "half a memory": lambda d: _cut(d / f"model/strategy-{CHECKPOINT}.safetensors"),
    "an empty checkpoint": lambda d: (d / "checkpoint.json").write_bytes(b""),
    "half a checkpoint": lambda d: _cut(d / "checkpoint.json"),
}


@pytest.mark.parametrize("harm", HARM)
def test_a_run_that_was_changed_is_refused_before_anything_is(copy: Path, harm: str) -> None:
    """One line names what is wrong, and not a byte of the folder has changed."""
    HARM[harm](copy)
    before = _tree(copy)
    with pytest.raises(InputError) as found:
        check_resumable(stored_settings(copy), copy)
    assert "\n" not in str(found.value)
    assert _tree(copy) == before


def test_a_run_left_alone_goes_on_to_the_same_bytes(
    copy: Path, settings: Settings, run: Callable[[Settings], Path]
) -> None:
    """What was written after the checkpoint is played again."""
    check_resumable(stored_settings(copy), copy)
    simulate(stored_settings(copy), copy)
    alone = run(settings)
    # Reports are not written by simulate alone for a ledger to be read by.
    assert ledger_rows(copy) == ledger_rows(alone)
    assert model(copy) == model(alone)


def test_a_pickle_in_a_run_folder_is_never_read(copy: Path) -> None:
    """A run folder from others runs nothing: the older form of its state is refused."""
    ran = copy / "ran"

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (eval, (f"open({str(ran)!r}, 'w').close()",))

    (copy / f"model/strategy-{CHECKPOINT}.pickle").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(InputError, match="older"):
        check_resumable(stored_settings(copy), copy)
    assert not ran.exists()


def test_run_folders_hold_no_pickle(stopped: Path) -> None:
    """Nothing in the folder of a run begins as a pickle does."""
    for file in stopped.rglob("*"):
        if file.is_file():
            assert not file.read_bytes().startswith(b"\x80"), file


def test_one_process_at_a_time(tmp_path: Path) -> None:
    """A second one is refused while the first lives, and not when it has died."""
    program = (
        "import sys, time; from pathlib import Path; from simulations.simulate import owned\n"
        "with owned(Path(sys.argv[1])):\n    print('mine', flush=True); time.sleep(60)"
    )
    first = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert first.stdout is not None
    assert first.stdout.readline() == "mine\n"
    with pytest.raises(InputError, match="another process"), owned(tmp_path):
        pass
    first.kill()
    first.wait()
    with owned(tmp_path):
        pass


def test_a_folder_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    """A file in the way of the folder, or of one above it, is one line before any work."""
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "run", Path("/proc/nowhere")):
        with pytest.raises(InputError, match=r"--out .*"):
            new_directory(out)


def test_a_household_that_fails_ends_a_simulation(
    homes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its figures would be missing in a run that says it went well; nothing is booked."""
    from fl_client.household import Group

    advance = Group.advance

    def fails(self: Group, requests: list) -> object:  # type: ignore[type-arg]
        if requests[0].t == 2:
            raise OSError(28, "No space left on device")
        return advance(self, requests)

    monkeypatch.setattr(Group, "advance", fails)
    out = tmp_path / "run"
    out.mkdir()
    with pytest.raises(RunError, match=r"household H000[1-3], interval 2: .*No space left"):
        simulate(small(homes, *OPTIONS, "fl.enabled=false"), out)
    assert (out / "intervals.jsonl").read_text().count("\n") == 1
