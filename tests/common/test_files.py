"""Folders that commands are told to write to."""

from pathlib import Path

import pytest

from common.errors import InputError
from common.files import open_folder


def test_a_folder_that_cannot_be_written_to_is_found_out_at_once(tmp_path: Path) -> None:
    """Below a file or in a file system that takes none, a file in its place, or one that must be
    empty and is not: one line that names it. What can be made is there afterwards, and empty."""
    file = tmp_path / "file"
    file.write_text("")
    for wrong in (file, file / "below", Path("/dev/null/x"), Path("/proc/x")):
        with pytest.raises(InputError, match=f"^--out {wrong}: "):
            open_folder(wrong)
    for empty in (False, True):
        made = open_folder(tmp_path / "deep" / "er", empty=empty)
        assert list(made.iterdir()) == []
    open_folder(tmp_path)
    for full in (tmp_path, file):
        with pytest.raises(InputError, match="already holds something"):
            open_folder(full, empty=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["deep", "file"]


@pytest.mark.parametrize(
    "command",
    [
        ["benchmark", "market"],
        ["benchmark", "forecasts", "--data", "synthetic"],
        ["benchmark", "traders"],
        ["benchmark", "scale"],
        ["benchmark", "deployment"],
        ["benchmark", "strategies", "--data", "synthetic"],
        ["train", "--data", "synthetic"],
        ["simulate", "--data", "synthetic"],
    ],
)
def test_long_work_looks_at_its_folder_first(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every command that would work for minutes ends with status 2 before it begins."""
    from simulations.cli import main

    monkeypatch.setattr("sys.argv", ["fedwatt", *command, "--out", "/dev/null/x"])
    with pytest.raises(SystemExit) as caught:
        main()
    said = capsys.readouterr()
    assert caught.value.code == 2
    assert said.err.splitlines()[-1] == "fedwatt: --out /dev/null/x: Not a directory"
    assert said.out == ""
