"""How far back half hours look for what new readings mean."""

import numpy as np
import pytest

from fl_client.home.deriving import derive
from fl_client.home.intervals import intervals
from fl_client.home.mapping import Channel
from fl_client.home.registers import from_register
from fl_client.home.store import HELD, OWN, Reading, Store

BEGIN, HOUR = 1_790_726_400, 3600  # midnight
ONE, OTHER = (Channel("import", "mqtt", "", name) for name in ("sensor.one", "sensor.other"))


def told(folder, spoken, together, minutes=30):
    """(Half hours told as readings come, so many at once, and by all of them together): start and
    energy. ``spoken``: by channel (time since ``BEGIN`` [s], kWh, only repeated) in order."""
    store = Store(folder / "meters.sqlite", write=True)
    rows = sorted(
        (
            Reading(channel.name, BEGIN + t, BEGIN + t, kwh, HELD if held else OWN)
            for channel, said in spoken.items()
            for t, kwh, held in said
        ),
        key=lambda one: one.received,
    )
    for at in range(0, len(rows), together):
        some = rows[at : at + together]
        derive(store, list(spoken), minutes, store.put(some), some[-1].received)
    end = int(rows[-1].received) + 1
    pieces = [
        from_register(BEGIN + t, kwh, held.astype(bool))
        for t, kwh, held in (np.array(said, dtype=float).T for said in spoken.values())
    ]
    step = store.intervals("import", minutes, BEGIN, end)
    return [
        {one.start: one.kwh for one in found}
        for found in (step, intervals(pieces, 60 * minutes, BEGIN, end))
    ]


@pytest.mark.parametrize("minutes", [15, 30])
def test_a_meter_that_speaks_every_second(tmp_path, minutes):
    """Thousands of readings an hour: each interval is told when it is over."""
    said = [(float(t), t * 0.5 / HOUR, False) for t in range(3 * HOUR + 60)]
    step, once = told(tmp_path, {ONE: said}, together=60, minutes=minutes)
    assert step == pytest.approx(once)
    assert len(step) == 3 * 60 // minutes


@pytest.mark.parametrize("silent_h", [0.5, 7, 14])
def test_one_of_two_meters_is_silent_for_long(tmp_path, silent_h):
    """A second panel's inverter sleeps, or a tariff rests: what both counted meanwhile is told when
    the silent one speaks again, however long that took."""
    times = np.arange(0, 24 * HOUR, 120.0)
    asleep = (times > 3 * HOUR) & (times < (3 + silent_h) * HOUR)
    said = [(t, t * 0.4 / HOUR, False) for t in times.tolist()]
    rests = [(t, t * 0.2 / HOUR, False) for t in times[~asleep].tolist()]
    step, once = told(tmp_path, {ONE: said, OTHER: rests}, together=4)
    assert step == pytest.approx(once)
    assert len(step) == 47
    assert sum(step.values()) == pytest.approx(0.6 * 23.5)


@pytest.mark.parametrize(
    ("still_h", "flows_kw"), [(27.3, 0.0), (27.3, 0.8), (74.6, 1.0), (74.6, 0.0)]
)
def test_a_register_that_is_repeated_for_days_and_moves_again(tmp_path, still_h, flows_kw):
    """It stood still because nothing flowed, or was frozen while energy flowed: the half hour in
    which it wakes is told, and what flowed lies in the silence."""
    begin, end = 2 * HOUR, (2 + still_h) * HOUR
    said = [(t, 1000 + t * 0.5 / HOUR, False) for t in np.arange(0.0, begin, 60.0).tolist()]
    last = said[-1][1]
    said += [(t, last, True) for t in np.arange(begin, end, 60.0).tolist()]
    later = last + flows_kw * still_h
    wakes = np.arange(end, end + 2 * HOUR, 60.0).tolist()
    said += [(t, later + (t - end) * 0.5 / HOUR, False) for t in wakes]
    step, once = told(tmp_path, {ONE: said}, together=30)
    assert step == pytest.approx(once)
    assert len(step) == int((said[-1][0]) // 1800)
    assert sum(step.values()) == pytest.approx(flows_kw * still_h + 2.0, abs=0.3)
