"""Registers by a source that tells changes only and stamps them when they arrive."""

import numpy as np
import pytest

from fl_client.home.deriving import derive
from fl_client.home.intervals import MEASURED, SPREAD, intervals
from fl_client.home.mapping import Channel
from fl_client.home.registers import from_register
from fl_client.home.store import ARRIVAL, HELD, Reading, Store
from tests.support.house import ENERGIES, House, changes, every_fault, untold

BEGIN, HOURS = 1_790_726_400, 48  # midnight
HALF_HOURS = 2 * HOURS - 2
CADENCE_S, STEP_KWH = 30, 0.001


@pytest.fixture(scope="module")
def house():
    return House(5, BEGIN, HOURS)


@pytest.mark.parametrize("seed", range(24))
def test_whatever_happens_no_more_is_counted_than_was_used(house, seed):
    """Every fault at a random time, two or three at once: every half hour is known, in all no more
    than the truth, and no less but what flowed while a register changed its level. What is marked
    measured is off by no more than a home can use in secret between two readings at each end."""
    faults = every_fault(seed, 3600, (HOURS - 7) * 3600)
    messages = house.messages(every=CADENCE_S, resolution=STEP_KWH, faults=faults)
    for role in ENERGIES:
        pieces = from_register(*changes(messages, role))
        found = intervals([pieces], 1800, BEGIN + 1800, BEGIN + HOURS * 3600 - 1800)
        assert [one.start for one in found] == [BEGIN + 1800 * (1 + k) for k in range(HALF_HOURS)]
        errors = [one.kwh - house.between(role, one.start, one.start + 1800) for one in found]
        more = pieces.kwh.sum() - house.between(role, pieces.begin[0], pieces.end[-1])
        lost = untold(house, role, messages, BEGIN, faults, arrivals=True)
        assert -lost - 0.02 <= more <= 0.02, role
        sure = [abs(e) for e, one in zip(errors, found, strict=True) if one.kind == MEASURED]
        assert max(sure) <= 0.15, role


def test_a_jump_after_hours_of_standing_still_is_not_consumption():
    """The register of a house that lives on its own battery stands for six hours, repeated every
    minute, and jumps by 100 kWh: more than the connection could carry since it was told last."""
    time = BEGIN + 60.0 * np.arange(420)
    kwh = np.where(np.arange(420) < 380, 1000.0, 1100.0)
    held = ~np.isin(np.arange(420), (0, 380))
    pieces = from_register(time, kwh, held)
    assert pieces.kwh.sum() == 0.0
    assert any("jump of 100.000 kWh refused" in words for _, words in pieces.doubts)


def test_a_silence_behind_repeated_values_is_still_counted():
    """The meter was silent for an hour while its last value was repeated: what it used then, 3 kW,
    is counted and marked."""
    time = BEGIN + 30.0 * np.arange(360)
    spoken = 0.025 * np.arange(360)
    silent = (np.arange(360) > 120) & (np.arange(360) < 240)
    kwh = np.where(silent, spoken[120], spoken)
    pieces = from_register(time, kwh, silent)
    assert pieces.kwh.sum() == pytest.approx(spoken[-1])
    found = intervals([pieces], 1800, BEGIN, BEGIN + 360 * 30)
    assert [one.kwh for one in found] == pytest.approx([1.5] * 5, abs=0.03)
    assert [one.kind == MEASURED for one in found] == [True, True, False, False, True]


def test_of_a_burst_the_newest_value_counts_though_it_came_first():
    """Messages that were held back arrive at once, the older one last: their energy belongs to the
    silence before."""
    time = BEGIN + np.array([0, 30, 60, 3660, 3660.3, 3690, 3720])
    kwh = np.array([1.0, 1.01, 1.02, 2.5, 1.03, 2.51, 2.52])
    pieces = from_register(time, kwh)
    assert pieces.kwh.sum() == pytest.approx(1.52)
    at = int(np.searchsorted(pieces.end, BEGIN + 3600))
    assert pieces.kwh[at] == pytest.approx(1.48)
    assert pieces.begin[at] == BEGIN + 60


def test_what_turns_out_less_sure_is_marked_so_though_its_energy_stays(tmp_path):
    """A meter is silent, its value repeated, and is set back meanwhile. The half hour looked
    measured as long as nothing else was told; afterwards it is not, whatever its energy."""
    channel = Channel("import", "homeassistant", "", "sensor.import")
    store = Store(tmp_path / "meters.sqlite", write=True)
    kinds = []
    for at, value, quality in [
        *((BEGIN + t, 5.0 + t / 3600, ARRIVAL) for t in range(0, 2100, 60)),
        *((BEGIN + t, 5.0 + 2040 / 3600, HELD) for t in range(2110, 5400, 60)),
        *((BEGIN + t, (t - 5000) / 3600, ARRIVAL) for t in range(5410, 7200, 60)),
    ]:
        one = Reading(channel.name, float(at), float(at), value, quality)
        derive(store, [channel], 30, store.put([one]), float(at))
        found = store.intervals("import", 30, BEGIN + 1800, BEGIN + 3600)
        kinds += [found[0].kind] if found and found[0].kind not in kinds[-1:] else []
    assert kinds == [MEASURED, SPREAD]


@pytest.mark.parametrize(("seed", "role"), [(43, "charge"), (13, "export"), (12, "discharge")])
def test_what_is_told_as_readings_come_is_what_all_of_them_tell(tmp_path, seed, role):
    """Every fault within five hours, and half hours told anew with each reading: none of the energy
    is counted twice or not at all because what came later makes something else of what was told."""
    begin, hours = BEGIN + 6 * 3600, 12
    house = House(5, begin, hours)
    messages = house.messages(CADENCE_S, STEP_KWH, every_fault(seed, 3600, (hours - 7) * 3600))
    time, kwh, held = changes(messages, role)
    channel = Channel(role, "homeassistant", "", f"sensor.{role}")
    store = Store(tmp_path / "meters.sqlite", write=True)
    for at, value, repeated in zip(time.tolist(), kwh.tolist(), held.tolist(), strict=True):
        one = Reading(channel.name, at, at, value, HELD if repeated else ARRIVAL)
        derive(store, [channel], 30, store.put([one]), at)
    span = begin + 1800, begin + hours * 3600 - 1800
    told = store.intervals(role, 30, *span)
    at_once = intervals([from_register(time, kwh, held)], 1800, *span)
    assert [one.start for one in told] == [one.start for one in at_once]
    assert sum(one.kwh for one in told) == pytest.approx(sum(one.kwh for one in at_once), abs=0.02)
