"""The coordinator's log does not fill its disk."""

import json
from pathlib import Path

import pytest

from fl_server.host import journal


def test_the_log_is_turned_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much is written, it takes the room of so many files; each line is whole, and the
    kept ones are the newest without a gap."""
    monkeypatch.setattr(journal, "_FILE_BYTES", 2000)
    monkeypatch.setattr(journal, "_FILES", 2)
    monkeypatch.setattr(journal, "_file", None)
    path = tmp_path / "log" / "run.jsonl"
    journal.journal_to(path)
    try:
        for number in range(500):
            journal.journal("settled", interval=number)
    finally:
        assert journal._file is not None
        journal._file.close()
    files = [*(path.with_name(f"{path.name}.{n}") for n in (2, 1)), path]
    assert set(path.parent.iterdir()) == set(files)
    assert sum(file.stat().st_size for file in files) <= 3 * 2000
    lines = [line for file in files for line in file.read_text().splitlines()]
    kept = [json.loads(line)["interval"] for line in lines]
    assert kept == list(range(500 - len(kept), 500))
    assert len(kept) > 20
