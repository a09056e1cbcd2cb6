"""The scale benchmark's own arithmetic, and what it says to bad input."""

import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from common.errors import InputError
from fl_client.trader import KINDS, make_trader
from simulations.benchmarks.scale.command import app
from simulations.benchmarks.scale.output import show
from simulations.benchmarks.scale.parts import PARTS, Parts, count_plans
from simulations.benchmarks.scale.run import Measured, as_json, growth


def _row(households: int, ms: float) -> Measured:
    return Measured("batched", households, 48, {}, (ms, ms), None, None, None, 0.0, 0.0, 0.0)


@given(st.floats(0.2, 2.5), st.floats(1e-3, 1e3))
def test_growth_finds_the_exponent_of_a_power_law(exponent: float, scale: float) -> None:
    """Round times of exactly c * N^k give k, whatever c; sizes below the least do not count."""
    rows = [_row(n, scale * n**exponent) for n in (100, 1000, 10_000)]
    assert growth([_row(10, 1e9), *rows], 100) == pytest.approx(exponent, abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_every_trader_can_be_counted(kind: str) -> None:
    """Deciding and dispatching of each trader count, each for itself, also where its class is
    frozen."""
    parts = Parts()
    trader = count_plans(make_trader(kind, {}), parts)
    with pytest.raises(TypeError):  # it is called without a situation: counted all the same
        trader.decide()  # type: ignore[call-arg]
    decided = parts.seconds["plan"]
    assert decided > 0
    with pytest.raises(TypeError):
        trader.dispatch()  # type: ignore[call-arg]
    assert parts.seconds["dispatch"] > 0
    assert parts.seconds["plan"] == decided


def test_decisions_are_told_by_household_and_interval(capsys: pytest.CaptureFixture[str]) -> None:
    """Over all processes 96 s of planning, 48 s of correcting and none of forecasting, by 100
    households in 48 intervals: 20 and 10 ms each."""
    cpu = dict.fromkeys((*PARTS, "engine", "start-up"), 7.0)
    cpu |= {"plan": 96.0, "correction": 48.0, "forecast": 0.0}
    row = replace(_row(100, 5.0), cpu=cpu)
    assert row.decision_ms == {"plan": 20.0, "correction": 10.0, "forecast": 0.0}
    assert as_json([row])[0]["decision_ms"] == row.decision_ms
    show([row])
    said = capsys.readouterr().out.split("decisions")[1]
    assert [word for word in said.split() if word.replace(".", "").isdigit()] == [
        "100", "20.000", "10.000", "0.000",
    ]  # fmt: skip


def test_growth_needs_two_sizes() -> None:
    """One size says nothing of growth."""
    assert growth([_row(10, 1.0), _row(100, 2.0), _row(100, 3.0)], 100) is None


def _spin(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_a_part_counts_its_own_time_only() -> None:
    """Of 60 ms in a plan, 40 are spent in a forecast it asks for: 20 and 40, and no more in all."""
    parts = Parts()
    forecast = parts.counted("forecast", lambda: _spin(0.04))

    def plan() -> None:
        _spin(0.01)
        forecast()
        _spin(0.01)

    begin = time.thread_time()
    parts.counted("plan", plan)()
    spent = time.thread_time() - begin
    assert parts.seconds["forecast"] >= 0.04
    assert parts.seconds["plan"] >= 0.02
    assert parts.seconds["forecast"] + parts.seconds["plan"] <= spent
    assert sum(parts.seconds.values()) == parts.seconds["forecast"] + parts.seconds["plan"]


def test_a_part_that_raises_is_left() -> None:
    """An error inside a part ends its account as a return does."""
    parts = Parts()

    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        parts.counted("plan", fail)()
    counted = parts.seconds["plan"]
    _spin(0.01)
    parts.counted("files", lambda: None)()
    assert parts.seconds["plan"] == counted


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--households", "10,none"], "--households"),
        (["--households", "0"], "--households"),
        (["--engines", "steam"], "--engines"),
    ],
)
def test_bad_input_is_named(words: list[str], said: str, tmp_path: Path) -> None:
    """One line that names the option, and no folder left behind."""
    out = tmp_path / "out"
    result = CliRunner().invoke(app, [*words, "--out", str(out)])
    assert isinstance(result.exception, InputError)
    assert said in str(result.exception)
    assert not out.exists()
