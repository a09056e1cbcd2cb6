"""Meters keep the intervals that a run asks for, and the past in the best way there is."""

import numpy as np
import pytest

from common.cadence import Cadence
from fl_client.home.arrivals import Arrivals
from fl_client.home.asked import ask, asked
from fl_client.home.daemon import Meters
from fl_client.home.inbox import Item
from fl_client.home.store import OWN, Reading, Store
from tests.fl_client.home.listening import write
from tests.fl_client.home.meter import BEGIN

HOURS = 6
ASKED_AT = 3 * 3600


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.time = float(BEGIN)

    def now(self) -> float:
        return self.time

    def wall(self, seconds: float) -> float:
        return seconds


def register(at: np.ndarray) -> np.ndarray:
    """What the meter shows: a power that changes every five minutes."""
    power = np.random.default_rng(1).uniform(0.1, 3.0, HOURS * 12 + 1)
    counted = np.concatenate([[0.0], np.cumsum(power / 12)])
    return np.interp(at - BEGIN, 300.0 * np.arange(len(counted)), counted)


@pytest.mark.parametrize("minutes", [1, 5, 10, 15, 60])
def test_intervals_are_kept_as_a_run_asks_for_them(tmp_path, minutes: int) -> None:
    """A register read every minute, by meters that hear after three hours how long intervals are:
    from the oldest reading on each has the energy that the register counted in it, hours are the
    sums of their halves, and half hours are kept besides."""
    write(tmp_path, {"role": "import", "path": "x.csv", "json": "kwh", "kind": "register"})
    clock, cadence = Clock(), Cadence(minutes)
    meters = Meters(tmp_path, "maple", {}, clock=clock)
    name = meters.channels[0].name
    try:
        for t in range(BEGIN, BEGIN + HOURS * 3600 + 1, 60):
            clock.time = float(t)
            if t == BEGIN + ASKED_AT:
                ask(tmp_path, cadence)
            value = float(register(np.array([t]))[0])
            meters._write([Item(reading=Reading(name, t, t, value, OWN))])
    finally:
        meters.close()
    home = Arrivals(tmp_path)
    for one in {cadence, Cadence(30)}:
        count = HOURS * 60 // one.minutes
        edges = BEGIN + one.seconds * np.arange(count + 1)
        got = home.rows(BEGIN, count, one)
        assert got.load == pytest.approx(np.diff(register(edges)), abs=1e-6)
        assert not got.doubtful.any()


def test_the_past_of_half_hours_is_spread(tmp_path) -> None:
    """Where only half hours were kept, quarter hours are even parts of them, and doubtful; a half
    hour that is not known has none."""
    write(tmp_path, {"role": "import", "path": "x.csv", "json": "kwh", "kind": "register"})
    store = Store(tmp_path / "meters.sqlite", write=True)
    known = [(BEGIN, 1.0, "measured"), (BEGIN + 3600, 3.0, "measured")]
    store.put_intervals("import", 30, known, BEGIN + 7200.0, "corrected")
    store.close()
    rows = Arrivals(tmp_path).rows(BEGIN, 7, Cadence(15))
    assert rows.load.tolist()[:2] == [0.5, 0.5]
    assert np.isnan(rows.load[[2, 3, 6]]).all()
    assert rows.load.tolist()[4:6] == [1.5, 1.5]
    assert rows.doubtful.tolist() == [1, 1, 0, 0, 1, 1, 0]


def test_what_cannot_be_read_is_half_hours(tmp_path) -> None:
    """A file that is damaged, or says what is no interval, is as if nobody had asked."""
    assert asked(tmp_path) == Cadence(30)
    ask(tmp_path, Cadence(5))
    assert asked(tmp_path) == Cadence(5)
    for text in ("", "7", "soon"):
        (tmp_path / "state" / "interval_minutes").write_text(text)
        assert asked(tmp_path) == Cadence(30)
