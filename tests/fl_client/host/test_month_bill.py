"""What a month should cost: a flat price and a known load, whatever the length of interval."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fl_client.host.books import Books, opened_file
from fl_client.host.month_bill import LOOK_BACK_DAYS, MonthBill, month_bill
from fl_client.state import QUANTITIES, State

FEED_IN = 0.08


@contextmanager
def kept(
    folder: Path,
    start: datetime,
    minutes: int,
    settled: int,
    *,
    load: float,
    pv: float,
    price: float,
) -> Iterator[Books]:
    """The records of a home that has settled so many intervals since ``start``: ``load``, ``pv``
    [kWh] in each, all of it over the grid at ``price``; one more is decided."""
    state, step = State(folder, durable=False), timedelta(minutes=minutes)
    state.begin({"run": "r", "household": "h", "start": start.isoformat()}, 0)
    drawn, fed = max(load - pv, 0.0), max(pv - load, 0.0)
    known = {
        "load": load, "pv": pv, "grid_import": drawn, "grid_export": fed, "retail": price,
        "feed_in": FEED_IN, "cost": drawn * price - fed * FEED_IN,
    }  # fmt: skip
    state.put(
        (t, (start + t * step).isoformat(), int(t < settled), *map(known.get, QUANTITIES))
        for t in range(settled + 1)
    )
    state.close()
    with opened_file(folder / "household.sqlite", UTC) as books:
        assert books is not None
        yield books


def billed(
    books: Books, t: int, half_hours: list[float], price: float, **tariff: float
) -> MonthBill:
    ahead = books.spread(t, half_hours, [price] * len(half_hours))
    lived = books.intervals(max(books.newest() - LOOK_BACK_DAYS * books.per_day, 0))
    bill = month_bill(books, lived, ahead, tariff)
    assert bill is not None
    return bill


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    minutes=st.sampled_from([15, 30, 60]),
    month=st.integers(1, 12),
    day=st.integers(1, 26),
    days=st.integers(1, 9),
    use_kw=st.floats(0.0, 5.0),
    sun_kw=st.floats(0.0, 5.0),
    price=st.floats(0.01, 1.0),
)
def test_flat_price_and_known_load(
    tmp_path_factory: pytest.TempPathFactory, minutes: int, month: int, day: int, days: int,
    use_kw: float, sun_kw: float, price: float,
) -> None:  # fmt: skip
    """Every hour of a month costs the same: booked and rest are their hours times the net power
    times the price, or the feed-in price where the sun gives more; the month is all its hours from
    the run's beginning on, also those beyond the thirty days that a model sees."""
    start, hours = datetime(2026, month, day, tzinfo=UTC), minutes / 60
    settled = days * 24 * 60 // minutes
    per_hour = (use_kw - sun_kw) * (price if use_kw > sun_kw else FEED_IN)
    with kept(
        tmp_path_factory.mktemp("home"), start, minutes, settled,
        load=use_kw * hours, pv=sun_kw * hours, price=price,
    ) as books:  # fmt: skip
        bill = billed(books, settled, [use_kw / 2] * 1440, price)
    now = start + timedelta(days=days)
    assert bill.begins == now
    first = now.replace(day=1)
    after = (first + timedelta(days=32)).replace(day=1)
    booked_h = (now - max(first, start)) / timedelta(hours=1)
    rest_h = (after - now) / timedelta(hours=1)
    assert bill.booked.total == pytest.approx(booked_h * per_hour, rel=1e-6, abs=1e-6)
    assert bill.rest.total == pytest.approx(rest_h * per_hour, rel=1e-6, abs=1e-6)
    assert bill.total == bill.booked.total + bill.rest.total


def test_what_is_beyond_the_forecast_is_its_last_week_again(tmp_path: Path) -> None:
    """A forecast of 30 days from 1 January on, 1 kWh in each half hour of 24 January and none else:
    31 January is 24 January again, so the month has two such days. A standing charge is paid for
    each local midnight of the rest."""
    start, half_hours = datetime(2025, 12, 31, tzinfo=UTC), [0.0] * 1440
    half_hours[23 * 48 : 24 * 48] = [1.0] * 48
    with kept(tmp_path, start, 30, 48, load=0.0, pv=0.0, price=0.25) as books:
        bill = billed(books, 48, half_hours, 0.25, standing_charge=0.5)
    assert bill.rest.total == pytest.approx(2 * 48 * 0.25 + 31 * 0.5)
    assert bill.booked.intervals == 0


def test_nothing_is_expected_of_less_than_a_day_or_without_a_model(tmp_path: Path) -> None:
    """47 half hours tell nothing of the sun at some time of day."""
    start = datetime(2026, 3, 1, tzinfo=UTC)
    with kept(tmp_path, start, 30, 47, load=1.0, pv=0.0, price=0.3) as books:
        lived = books.intervals(0)
        assert month_bill(books, lived, books.spread(47, [1.0] * 1440, [0.3] * 1440), {}) is None
        assert books.month_ahead() is None
        assert month_bill(books, lived, books.month_ahead(), {}) is None


def test_the_newest_month_is_kept(tmp_path: Path) -> None:
    """A later model's replaces the one before, and is read back as it was written."""
    start = datetime(2026, 3, 1, tzinfo=UTC)
    with kept(tmp_path, start, 60, 24, load=1.0, pv=0.0, price=0.3):
        pass
    state = State(tmp_path, durable=True)
    for t in (3, 5):
        state.put_month_ahead(t, np.arange(1440.0), np.full(1440, float(t)))
    state.close()
    with opened_file(tmp_path / "household.sqlite", UTC) as books:
        assert books is not None
        found = books.month_ahead()
    assert found is not None
    assert (found.t, len(found.consumption)) == (5, 720)
    assert found.consumption[:3] == [1.0, 5.0, 9.0]
    assert found.price == [5.0] * 720
