"""``client.yaml`` and ``clock.yaml``: whatever is written there is read, or refused in one line."""

import math
from dataclasses import asdict
from pathlib import Path

import pytest

from common.errors import InputError
from fl_client.home import clock
from fl_client.home.clock import read_clock
from fl_client.host import client_file
from fl_client.host.client_file import ClientFile, read_client
from tests.support.yaml_values import changed, read_or_refused


def test_any_value_of_any_key_is_read_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one line that begins with the file; each field is of its kind then."""
    path = tmp_path / "client.yaml"
    path.touch()
    for content in changed(asdict(ClientFile("maple", "meters", "127.0.0.1:9092"))):
        monkeypatch.setattr(client_file, "read_yaml", lambda _, content=content: content)
        found = read_or_refused(lambda: read_client(tmp_path), path)
        for key, value in {} if found is None else vars(found).items():
            kind = ClientFile.__annotations__[key]
            assert type(value) is kind or (kind is float and type(value) is int)
            assert kind is str or math.isfinite(value)


def test_any_value_of_the_clock_is_read_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it shows is a finite time."""
    path = tmp_path / "clock.yaml"
    path.touch()
    for content in changed({"at": 1.8e9, "anchor": 1.8e9, "speed": 60}):
        monkeypatch.setattr(clock, "read_yaml", lambda _, content=content: content)
        found = read_or_refused(lambda: read_clock(tmp_path), path)
        assert found is None or math.isfinite(found.now())


@pytest.mark.parametrize("text", ["", "[]", "1", "{1: 2}", "{name: a}", "{names: a}"])
def test_a_file_that_is_no_client_s(tmp_path: Path, text: str) -> None:
    """One line that names it."""
    (tmp_path / "client.yaml").write_text(text)
    with pytest.raises(InputError, match=r"client\.yaml: ") as error:
        read_client(tmp_path)
    assert "\n" not in str(error.value)
