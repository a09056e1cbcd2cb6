"""``fedwatt simulate`` on the command line: a user's mistake is one line and status 2."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from common.data.store import household_files
from simulations.cli import main
from simulations.processes import text_of, wait_for
from tests.support.signals import as_at_a_terminal


def fedwatt(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str
) -> tuple[int, str, str]:
    """Run the command in this process; returns (status, standard output, standard error)."""
    monkeypatch.setattr("sys.argv", ["fedwatt", *words])
    with pytest.raises(SystemExit) as stop:
        main()
    printed = capsys.readouterr()
    code = stop.value.code
    return (0 if code is None else int(code)), printed.out, printed.err


def mistake(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], named: str, *words: str
) -> None:
    """Check that the command ends with status 2 and names what is wrong, without a traceback."""
    status, _, error = fedwatt(monkeypatch, capsys, *words)
    assert status == 2, error
    assert named in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--set", "market.los=0.1"], "market.los"),
        (["--set", "battery.capacity_kwh=-1"], "battery.capacity_kwh"),
        (["--set", "run.days=many"], "run.days"),
        (["--households", "0"], "run.households"),
        (["--households", "many"], "many"),
        (["--households", "99"], "99"),
        (["--days", "-1"], "run.days"),
        (["--start", "yesterday"], "yesterday"),
        (["--start", "1999-01-01"], "1999"),
        (["--data", "no/such/folder"], "no/such/folder"),
        (["--data", "gopher://x"], "gopher"),
        (["--config", "no-such.yaml"], "no-such.yaml"),
        (["--engine", "steam"], "run.engine"),
        (["--set", "trader.kind=wizard"], "wizard"),
        (["--set", "fl.strategy=wizard"], "wizard"),
        (["--set", "market.mechanism=wizard"], "wizard"),
        (["--set", "model.preset=wizard"], "wizard"),
        (["--set", "model.init=no-such.safetensors"], "no-such.safetensors"),
        (["--resume", "no-such-run"], "no-such-run"),
        (["--resume", "x", "--seed", "1"], "--resume"),
        (["--bogus"], "--bogus"),
    ],
)
def test_a_mistake_is_one_line(
    words: list[str],
    named: str,
    homes: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Status 2, the culprit named, nothing written."""
    monkeypatch.chdir(tmp_path)
    base = ["simulate", "--out", "out"] if "--resume" not in words else ["simulate"]
    if "--data" not in words and "--resume" not in words:
        base += ["--data", str(homes)]
    base += ["--set", "run.history_days=9"] if "--resume" not in words else []
    if "--households" not in words and "--resume" not in words:
        base += ["--households", "2"]
    if "--days" not in words and "--resume" not in words:
        base += ["--days", "1"]
    mistake(monkeypatch, capsys, named, *base, *words)
    assert not list(tmp_path.rglob("*.sqlite"))


@pytest.mark.parametrize("fault", ["gap", "nan", "duplicate"])
def test_a_faulty_file_is_named(
    fault: str,
    homes: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A household file with a gap, a NaN or a duplicate is refused by name before anything runs."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = tmp_path / "homes"
    folder.mkdir()
    for file in household_files(homes):
        table = pq.read_table(file)
        if file.stem == "H0002":
            frame = table.to_pandas()
            match fault:
                case "gap":
                    frame = frame.drop(index=frame.index[100])
                case "nan":
                    frame.loc[frame.index[100], "misc"] = np.nan
                case "duplicate":
                    frame = pd.concat([frame.iloc[:101], frame.iloc[100:]])
            again = pa.Table.from_pandas(frame)
            table = again.replace_schema_metadata(table.schema.metadata | again.schema.metadata)
        pq.write_table(table, folder / file.name)
    words = ["--set", "run.history_days=9", "--households", "3", "--days", "1"]
    mistake(
        monkeypatch,
        capsys,
        "H0002",
        "simulate",
        "--data",
        str(folder),
        "--out",
        str(tmp_path / "out"),
        *words,
    )


def test_a_folder_that_holds_a_run_is_left_alone(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], homes: Path
) -> None:
    """A second run into the same folder would mix two runs' books."""
    before = (finished / "config.yaml").read_bytes()
    mistake(
        monkeypatch,
        capsys,
        "already holds a run",
        "simulate",
        "--data",
        str(homes),
        "--households",
        "2",
        "--days",
        "1",
        "--set",
        "run.history_days=9",
        "--out",
        str(finished),
    )
    assert (finished / "config.yaml").read_bytes() == before


def test_a_folder_that_holds_anything_gets_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], homes: Path
) -> None:
    """The data folder, or any file that is no run's, is left as it was; the line names one."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    for folder in (homes, other):
        before = sorted(folder.iterdir())
        words = ["simulate", "--data", str(homes), "--households", "2", "--days", "1"]
        mistake(
            monkeypatch, capsys, f"--out {folder}: already holds {before[0].name}", *words,
            "--set", "run.history_days=9", "--out", str(folder),
        )  # fmt: skip
        assert sorted(folder.iterdir()) == before


def test_help_is_quick_and_names_every_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The root's help lists what there is."""
    status, out, _ = fedwatt(monkeypatch, capsys, "--help")
    assert status == 0
    for name in ("simulate", "train", "benchmark", "market", "data", "server", "client", "report"):
        assert name in out


def test_an_interrupted_run_says_how_it_goes_on(tmp_path: Path) -> None:
    """Ctrl-C ends a run with status 130 and a line with the command that goes on with it."""
    out = tmp_path / "run"
    words = ["--data", "synthetic", "--households", "2", "--days", "9", "--engine", "loop"]
    words += ["--set", "fl.enabled=false", "--set", "run.references=none"]
    program = "from simulations.cli import main; main()"
    command = [sys.executable, "-c", program, "simulate", *words, "--out", str(out)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=as_at_a_terminal,
    )  # fmt: skip
    try:
        wait_for(lambda: len(text_of(out / "intervals.jsonl").splitlines()) > 2, "the run", 240)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, said
    assert said.endswith(f"fedwatt: interrupted; `fedwatt simulate --resume {out}` goes on\n")
