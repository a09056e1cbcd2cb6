"""YAML: values, each key once; whatever else is in a file is one line that names it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.config import load
from common.errors import InputError
from common.yaml_text import parse_yaml, read_yaml

BAD = {
    "key twice": "run: {seed: 1}\nrun: {seed: 2}\n",
    "key twice, deep": "run:\n  seed: 1\n  seed: 2\n",
    "tag": 'run: {days: !!python/object/apply:os.system ["true"]}',
    "cycle": "a: &a [*a]",
    "deep": "[" * 3000,
    "deep and whole": "[" * 60 + "]" * 60,
    "torn": "run: {seed: ",
    "no date": "when: 2020-99-99",
    "no number": "n: 0b_",
    "no letter": r'a: ["\ud800"]',
    "no text": r'a: {"\0": 1}',
    "digits": "a: " + "9" * 300,
    "more digits": "a: " + "9" * 5000,
    "other digits": "a: 0x" + "f" * 5000,
    "large": "a: " + "x" * 1_000_001,
}


@pytest.mark.parametrize("kind", BAD)
def test_what_no_person_writes_is_refused(kind: str) -> None:
    """One error, of one line, that begins with where it was."""
    with pytest.raises(InputError, match=r"^here: ") as found:
        parse_yaml(BAD[kind], "here")
    assert "\n" not in str(found.value)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    """No other exception, whatever a file holds."""
    file = tmp_path_factory.getbasetemp() / "any.yaml"
    file.write_bytes(data)
    try:
        read_yaml(file)
    except InputError as error:
        said = str(error)
        assert said.startswith(str(file))
        assert "\n" not in said


def test_plain_values_are_as_pyyaml_reads_them() -> None:
    """Merges and aliases included: they repeat values, not keys."""
    text = "a: &a {x: 1, y: [1.5, true, null, 'z']}\nb: {<<: *a, x: 2}\nc: *a\n"
    assert parse_yaml(text, "here") == {
        "a": {"x": 1, "y": [1.5, True, None, "z"]},
        "b": {"x": 2, "y": [1.5, True, None, "z"]},
        "c": {"x": 1, "y": [1.5, True, None, "z"]},
    }


def test_a_file_that_is_its_own_base_is_refused(tmp_path: Path) -> None:
    """Directly, or by way of another."""
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    one.write_text(f"base: {two}\n")
    two.write_text(f"base: {one}\n")
    for file in (one, two):
        with pytest.raises(InputError, match="its own base"):
            load(str(file))
