"""``fedwatt client override``: what it takes, and what it says to what is none."""

import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from common.errors import InputError
from fl_client.control.record import Record
from fl_client.host.commands import app
from fl_client.host.override import LEAST_HOURS, MOST_HOURS, hours_of
from tests.support.commands import refused


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A household whose battery is looked at."""
    power = {"readback": {"power": {"topic": "b", "json": "p"}}}
    (tmp_path / "control.yaml").write_text(yaml.safe_dump(power))
    return tmp_path


def held(home: Path) -> bool:
    """Whether people have taken the battery over."""
    record = Record(home)
    found = record.override(time.time())
    record.close()
    return found is not None


@given(st.one_of(st.text(), st.floats().map(repr), st.decimals().map(str)))
def test_hours_are_a_length_or_refused(text: str) -> None:
    """Whatever is written: a number between a minute and a year, or a line that names the option,
    the cause and what to write."""
    said = ""
    try:
        assert LEAST_HOURS <= hours_of(text, "--hours") <= MOST_HOURS
    except InputError as error:
        said = str(error)
    assert said == "" or said.startswith("--hours: ")
    assert ("expected hours, as 3 or 1.5" in said) == (said != "")
    assert "\n" not in said


@given(st.floats(LEAST_HOURS, MOST_HOURS).map(lambda hours: f"{hours:.6f}").filter(
    lambda text: float(text) >= LEAST_HOURS))  # fmt: skip
def test_hours_as_people_write_them(text: str) -> None:
    """Every decimal number in the bounds is itself."""
    assert hours_of(text, "hours") == float(text)


@pytest.mark.parametrize(
    "hours", ["0", "nan", "inf", "-1", "1e8", "1e300", "1e-300", "x", "", "\u0663"]
)
def test_what_is_no_length_holds_nothing(home: Path, hours: str) -> None:
    """One line and nothing is held; typer's own refusals would not name the next step."""
    assert refused(app, "override", str(home), f"--hours={hours}").startswith("--hours: ")
    assert not held(home)


def test_words_that_are_none(home: Path) -> None:
    """Bytes of a command line that are not UTF-8."""
    line = refused(app, "override", str(home), "--why", "\udcff\udcfe")
    assert line.startswith("--why: ")
    assert line.isascii()
    assert not held(home)


def test_an_end_has_no_hours(home: Path) -> None:
    """Refused, and the override that holds still holds; by itself it ends it."""
    assert CliRunner().invoke(app, ["override", str(home), "--hours", "1.5"]).exit_code == 0
    for more in (["--hours", "3"], ["--why", "guests"]):
        assert refused(app, "override", str(home), "--end", *more).startswith("--end: ")
        assert held(home)
    assert CliRunner().invoke(app, ["override", str(home), "--end"]).exit_code == 0
    assert not held(home)
