"""One place says how long an interval is, and settings that count time say in which unit."""

import pytest

from common.cadence import MINUTES, Cadence
from common.config import load
from common.errors import InputError
from fl_client.trader import make_trader


@pytest.mark.parametrize("minutes", MINUTES)
def test_lengths_agree(minutes: int) -> None:
    """Seconds, hours, days and counts of one length are all the same length."""
    one = Cadence(minutes)
    assert one.seconds == 60 * minutes == one.step.total_seconds()
    assert one.per_day * one.minutes == 1440
    assert one.of_hours(24) == one.per_day
    assert one.of_hours(one.hours) == 1
    assert one.whole(one.hours)
    assert one.whole(1.0)
    assert not one.whole(one.hours * 1.5)
    assert not one.whole(0.0)


def test_other_lengths_are_refused() -> None:
    """A length that does not divide the hour would not meet its boundaries."""
    with pytest.raises(InputError, match="7 minutes: 5, 10, 15, 30, 60"):
        Cadence(7)


@pytest.mark.parametrize(
    ("pair", "now"),
    [
        ("fl.every_intervals=6", "fl.every_hours, in hours"),
        ("run.checkpoint_every=48", "run.checkpoint_hours, in hours"),
        ("tariff.published_intervals=96", "tariff.published_hours, in hours"),
    ],
)
def test_old_names_are_refused_with_the_new_one(pair: str, now: str) -> None:
    """Settings that counted half hours are not read as something else: the message says how."""
    with pytest.raises(InputError, match=f"unknown key .*: it is {now} now"):
        load(None, [pair])


def test_old_trader_options_are_refused_with_the_new_one() -> None:
    """The same for what a trader counted in half hours."""
    with pytest.raises(InputError, match=r"horizon: .* no such option; it is horizon_hours"):
        make_trader("bid-curve", {"horizon": 48})


def test_hours_that_are_no_whole_intervals_are_refused() -> None:
    """What happens every so many hours happens at the beginning of an interval."""
    with pytest.raises(InputError, match=r"fl.every_hours = 0.75 is no whole number of intervals"):
        load(None, ["fl.every_hours=0.75"])


def test_unlike_hours_are_unlike_runs() -> None:
    """However settings that count hours enter a run's name, other hours give another one."""
    digests = {load(None, [f"fl.every_hours={hours}"]).digest() for hours in (0.5, 1.0, 1.5, 3.0)}
    assert len(digests) == 4
