"""The clock of a run, and how long its rounds may take, on a time that the test tells."""

import math

import pytest

from common.cadence import HALF_HOUR, Cadence
from fl_server.host.clock import Clock, next_boundary
from fl_server.host.folder import Deployment
from fl_server.host.live import Patience


class Time:
    """A time that passes only while somebody sleeps."""

    def __init__(self, now: float) -> None:
        self.now = now
        self.naps: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += seconds


@pytest.mark.parametrize("minutes", [1, 15, 30, 60])
@pytest.mark.parametrize("speed", [1.0, 60.0, 3600.0])
def test_an_interval_begins_where_the_one_before_ends(speed: float, minutes: int) -> None:
    """At each speed s, interval t of m minutes begins t x 60 m / s seconds after the anchor, and is
    current from that moment to the next one's."""
    time = Time(1000.0)
    clock = Clock(1000.0, speed, time, cadence=Cadence(minutes))
    length = 60 * minutes / speed
    for t in (0, 1, 7, 48):
        assert clock.begins(t) == 1000.0 + t * length
        time.now = clock.begins(t) + 1e-6
        assert clock.current(0) == t
        assert clock.left(t + 1) == pytest.approx(length, abs=1e-5)
        assert clock.lag(t) == pytest.approx(0.0, abs=1e-5)
        time.now = clock.begins(t + 1) - 1e-6
        assert clock.current(0) == t
    assert clock.lag(100) == 0.0


def test_without_a_speed_every_interval_is_the_current_one() -> None:
    """No time is waited for and none is late."""
    time = Time(5.0)
    clock = Clock(0.0, None, time, time.sleep)
    assert clock.current(17) == 17
    assert clock.left(17) == math.inf
    assert clock.lag(17) is None
    clock.wait(17)
    assert not time.naps


def test_waiting_ends_when_the_interval_begins() -> None:
    """In naps of a second at most, and not one longer than needed."""
    time = Time(0.0)
    clock = Clock(0.0, 1.0, time, time.sleep)
    clock.wait(1)
    assert time.now == HALF_HOUR.seconds
    assert max(time.naps) <= 1.0


@pytest.mark.parametrize("step", [3600.0, -3600.0])
def test_a_clock_that_is_set_moves_the_end_of_the_wait(step: float) -> None:
    """Set forward by an hour, it ends the wait at the next nap; set back, it prolongs it."""
    time = Time(HALF_HOUR.seconds)

    def jumps(seconds: float) -> None:
        time.sleep(seconds)
        if len(time.naps) == 10:
            time.now += step

    Clock(0.0, 1.0, time, jumps).wait(2)
    assert time.now == (HALF_HOUR.seconds + 10 + step if step > 0 else 2 * HALF_HOUR.seconds)
    assert len(time.naps) == (10 if step > 0 else HALF_HOUR.seconds + 3600)


def test_a_round_ends_before_the_next_market_begins() -> None:
    """At speed 60 an interval has 30 s and a tenth of it is kept free: a round begun with it may
    take 27 s, one begun 20 s later 7 s, and one begun at its very end none."""
    time = Time(0.0)
    patience = Patience(Clock(0.0, 60.0, time), Deployment(market_deadline_s=120), 600.0)
    patience.t = 4
    for begun, room in ((120.0, 27.0), (140.0, 7.0), (149.9, 0.0)):
        time.now = begun
        assert patience.room() == pytest.approx(room)
        assert patience.market() == pytest.approx(room)
    # Before the next interval begins, a round may take until then.
    patience.t = 5
    time.now = 121.0
    assert patience.room() == pytest.approx(26.0)


def test_a_market_round_waits_for_its_deadline_and_no_longer() -> None:
    """In real time the deadline of the deployment is what ends a market round."""
    time = Time(0.0)
    deployment = Deployment(market_deadline_s=120)
    patience = Patience(Clock(0.0, 1.0, time), deployment, 600.0)
    assert patience.room() == pytest.approx(1620.0)
    assert patience.market() == 120.0
    assert Patience(Clock(0.0, None, time), deployment, 600.0).room() == 600.0


@pytest.mark.parametrize(
    ("now", "minutes", "begin"),
    [
        (0.0, 30, 1800.0),
        (1739.0, 30, 1800.0),
        (1741.0, 30, 3600.0),
        (1739.0, 5, 1800.0),
        (1741.0, 5, 3600.0),
        (1739.0, 60, 3600.0),
    ],
)
def test_a_run_begins_on_a_half_hour(now: float, minutes: int, begin: float) -> None:
    """The first half hour that leaves a lead of 60 s; 59 s before one it is the next. Shorter
    intervals begin there too, since models count half hours; hours begin with the hour."""
    assert next_boundary(60.0, now, Cadence(minutes)) == begin
