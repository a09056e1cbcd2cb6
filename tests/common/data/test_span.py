"""Where a run begins in the data, and what is said where it does not fit."""

import re
from datetime import date, timedelta

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from common.data.frame import INTERVAL, local_midnight
from common.data.span import Span
from common.errors import InputError

ZONES = ("UTC", "Europe/London", "America/New_York", "Asia/Kathmandu", "Australia/Adelaide")
_FIRST = pd.Timestamp("2025-03-01", tz="UTC")

Homes = list[tuple[str, str, pd.Timestamp, int]]


@st.composite
def _homes(draw: st.DrawFn) -> Homes:
    """One to three homes whose readings begin and end at any half hour."""
    return [
        (
            f"H{number}",
            draw(st.sampled_from(ZONES)),
            _FIRST + draw(st.integers(0, 300)) * INTERVAL,
            draw(st.integers(100, 60 * 48)),
        )
        for number in range(draw(st.integers(1, 3)))
    ]


@given(homes=_homes(), days=st.sampled_from([0.25, 1.0, 3.0]), history=st.integers(1, 70))
def test_a_history_that_is_too_long_is_refused_with_the_longest_that_fits(
    homes: Homes, days: float, history: int
) -> None:
    """A run that does not fit names a history that does, and one day more does not; where no
    history is named, not even one day fits."""
    refusal = _refusal(Span(None, days, history, None), homes)
    if refusal is None:
        return
    found = re.search(r"--set run\.history_days=(\d+)$", refusal)
    longest = 0 if found is None else int(found[1])
    assert found is not None or "fewer --days" in refusal
    assert longest < history
    assert not longest or _refusal(Span(None, days, longest, None), homes) is None
    assert _refusal(Span(None, days, longest + 1, None), homes) is not None


@given(homes=_homes(), days=st.sampled_from([0.25, 1.0, 3.0]), shift=st.integers(-40, 100))
def test_a_start_outside_the_data_is_refused_with_those_that_fit(
    homes: Homes, days: float, shift: int
) -> None:
    """Between the two days that the message names every start fits, and none outside of them."""
    day = date(2025, 3, 1) + timedelta(days=shift)
    refusal = _refusal(Span(day, days, 56, None), homes)
    if refusal is None:
        return
    found = re.search(r"--start from (\S+) to (\S+)$", refusal)
    assert found is not None or "fewer --days" in refusal
    if found is None:
        return
    first, last = (date.fromisoformat(found[n]) for n in (1, 2))
    for fits in (first, last):
        begin = Span(fits, days, 56, None).start(homes)
        assert begin == local_midnight(fits.isoformat(), homes[0][1])
    one = timedelta(days=1)
    for outside in (first - one, last + one):
        assert _refusal(Span(outside, days, 56, None), homes) is not None


def _refusal(span: Span, homes: Homes) -> str | None:
    try:
        span.start(homes)
    except InputError as error:
        return str(error)
    return None
