"""A house's meters under every fault, from messages to intervals, without a clock."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fl_client.home.deriving import derive
from fl_client.home.intervals import MEASURED
from fl_client.home.mapping import Channel
from fl_client.home.store import OWN, Reading, Store
from tests.support.house import ENERGIES, FAULTS, House

BEGIN = 1_795_694_400
HOURS = 6
CHANNELS = [Channel(role, "mqtt", "", "house", f"{role}_kwh") for role in ENERGIES]


def _live(folder, house, messages, every=900):
    """Hear the messages as they come, writing every quarter of an hour, or ``every`` seconds."""
    for old in folder.glob("meters.sqlite*"):
        old.unlink()
    store = Store(folder / "meters.sqlite", write=True)
    due = np.array([one.due for one in messages])
    for now in range(BEGIN + every, BEGIN + HOURS * 3600 + 901, every):
        said = [messages[i] for i in np.flatnonzero((due > now - every) & (due <= now))]
        readings = [
            Reading(channel.name, min(one.stamp, one.due), one.due, one.registers[place], OWN)
            for one in said
            for place, channel in enumerate(CHANNELS)
        ]
        derive(store, CHANNELS, 30, store.put(readings), now)
    return store


@given(seed=st.integers(0, 1000))
@settings(max_examples=3)
def test_without_faults_every_interval_is_measured(tmp_path_factory, seed):
    """At 10 s and 1 Wh the energy is right to 2 Wh and what flowed within 10 s around each
    boundary, in every interval; over the whole span to 2 Wh."""
    house = House(seed, BEGIN, HOURS)
    store = _live(tmp_path_factory.mktemp("home"), house, house.messages())
    for role in ENERGIES:
        found = store.intervals(role, 30, BEGIN, BEGIN + HOURS * 3600)
        starts = [one.start for one in found]
        assert starts == list(range(BEGIN + 1800, BEGIN + HOURS * 3600, 1800))
        for one in found:
            assert one.kind == MEASURED
            assert abs(one.kwh - house.between(role, one.start, one.start + 1800)) <= 0.002 + 1e-9
        total = house.between(role, BEGIN + 1800, BEGIN + HOURS * 3600)
        assert abs(sum(one.kwh for one in found) - total) <= 0.002 + 1e-9


@st.composite
def trouble(draw):
    """Up to five faults, one after the other, at any time."""
    at, found = 2400, []
    for _ in range(draw(st.integers(1, 5))):
        length = draw(st.sampled_from([10, 60, 600, 2400, 4000]))
        found.append((draw(st.sampled_from(FAULTS)), at, length))
        at += length + draw(st.integers(60, 2000)) * 10 // 10 * 2
        if at > HOURS * 3600 - 3000:
            break
    return found


@pytest.mark.parametrize("kind", ["register_reset", "register_jump", "register_glitch"])
@pytest.mark.parametrize("before_s", [0, 10, 20, 30, 40])
def test_what_is_believed_late_is_told_of_the_half_hour_it_was_in(tmp_path, kind, before_s):
    """A register changes level in the last seconds of a half hour, and what it says is believed in
    the next one: both are told."""
    house = House(3, BEGIN, HOURS)
    messages = house.messages(faults=[(kind, 9000 - before_s, 10)])
    messages = [one for one in messages if BEGIN + 6600 <= one.due < BEGIN + 11_000]
    for every in (60, 900):
        store = _live(tmp_path, house, messages, every)
        for role in ENERGIES:
            found = store.intervals(role, 30, BEGIN, BEGIN + HOURS * 3600)
            assert [one.start for one in found] == [BEGIN + 7200, BEGIN + 9000]


@given(seed=st.integers(0, 1000), faults=trouble())
@example(seed=0, faults=[("meter_offline", 2580, 4000), ("register_reset", 8982, 10)])
@settings(max_examples=8)
def test_under_every_fault_nothing_is_billed_that_was_not_used(tmp_path_factory, seed, faults):
    """Every interval is known in the end; the sum of each role is what flowed, short of one
    message's worth for a change of level, and never above it; what is measured is right, but for
    clocks that were wrong."""
    house = House(seed, BEGIN, HOURS)
    messages = house.messages(faults=faults)
    store = _live(tmp_path_factory.mktemp("home"), house, messages)
    levels = [f for f in faults if f[0] in ("register_reset", "register_jump")]
    skewed = any(kind == "skew" for kind, _, _ in faults)
    for role in ENERGIES:
        found = store.intervals(role, 30, BEGIN, BEGIN + HOURS * 3600)
        last = found[-1].start + 1800
        assert [one.start for one in found] == list(range(BEGIN + 1800, last, 1800))
        assert last >= BEGIN + HOURS * 3600 - 1800 - math.ceil(faults[-1][2] / 1800) * 1800
        slack = 0.002 * (2 + len(levels)) + (0.4 if skewed else 0.0)
        true = house.between(role, BEGIN + 1800, last)
        total = sum(one.kwh for one in found)
        lost = sum(_lost(house, role, messages, at) for _, at, _ in levels)
        assert total <= true + slack
        assert total >= true - slack - lost
        for one in found:
            if one.kind == MEASURED and not skewed:
                right = house.between(role, one.start, one.start + 1800)
                assert abs(one.kwh - right) <= 0.004 + 1e-9


def _lost(house, role, messages, at):
    """What flowed between the two messages around a change of level."""
    stamps = np.unique([one.stamp for one in messages])
    place = int(np.searchsorted(stamps, BEGIN + at))
    if place >= len(stamps):
        return 0.0
    return house.between(role, stamps[max(place - 1, 0)], stamps[place])
