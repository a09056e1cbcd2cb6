"""Readings as they come: nothing known before it was received, and the order decides nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_client.home.deriving import derive
from fl_client.home.intervals import CORRECTED, MEASURED, SPREAD, intervals
from fl_client.home.mapping import Channel
from fl_client.home.registers import from_register
from fl_client.home.store import HELD, OWN, Reading, Store
from tests.fl_client.home.meter import BEGIN, home, stamps

METER = Channel("import", "mqtt", "", "meter")
HOURS = 3


def _opened(folder):
    for old in folder.glob("meters.sqlite*"):
        old.unlink()
    return Store(folder / "meters.sqlite", write=True)


def _feed(store, batches):
    """Receive batches of (time, register), one a minute; derive after each."""
    for number, batch in enumerate(batches):
        now = BEGIN + HOURS * 3600 + 60.0 * number
        new = store.put([Reading(METER.name, t, now, v, OWN) for t, v in batch])
        derive(store, [METER], 30, new, now)


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), cadence=st.sampled_from([10.0, 60.0, 300.0]))
def test_the_order_of_arrival_decides_nothing(tmp_path_factory, seed, cadence):
    """However readings are withheld, delayed, repeated and reordered: in the end every interval
    has the energy that it has when all come in order."""
    draw = np.random.default_rng(seed)
    truth, time = home(draw, HOURS), stamps(draw, HOURS, cadence, 0.0)
    said = list(zip(time.tolist(), truth.register(time, 0.001).tolist(), strict=True))
    whole = from_register(time, truth.register(time, 0.001))
    straight = intervals([whole], 1800, BEGIN, BEGIN + HOURS * 3600)
    late = draw.random(len(said)) < draw.choice([0.02, 0.3])
    order = np.argsort(np.arange(len(said)) + late * draw.random(len(said)) * 400, kind="stable")
    order = np.concatenate([order, draw.choice(order, 20)])
    cuts = np.sort(draw.choice(len(order), 12, replace=False))
    store = _opened(tmp_path_factory.mktemp("home"))
    _feed(store, [[said[i] for i in part] for part in np.split(order, cuts)])
    found = store.intervals("import", 30, BEGIN, BEGIN + HOURS * 3600)
    assert [one.start for one in found] == [one.start for one in straight]
    assert [one.kwh for one in found] == pytest.approx([one.kwh for one in straight], abs=1e-6)


def test_every_interval_is_told_however_fine_stamps_are(tmp_path):
    """Stamps between the milliseconds that are kept: each reading comes alone, and every interval
    is there as soon as the meter has spoken after its end."""
    store = _opened(tmp_path)
    times = BEGIN + 37.0 * np.arange(200) + np.random.default_rng(5).random(200) / 1000
    for number, time in enumerate(times.tolist()):
        new = store.put([Reading(METER.name, time, time, 0.001 * number, OWN)])
        derive(store, [METER], 30, new, time)
        found = [one.start for one in store.intervals("import", 30, BEGIN, BEGIN + 9000)]
        assert found == list(range(BEGIN + 1800, int(time) - 1799, 1800))


def test_nothing_is_known_before_it_was_received(tmp_path):
    """A reading that comes late changes what is known from its arrival on, and not before: first
    the silence is spread, then corrected; both stay on record."""
    draw = np.random.default_rng(3)
    truth, time = home(draw, HOURS), stamps(draw, HOURS, 10.0, 0.0)
    said = list(zip(time.tolist(), truth.register(time, 0.001).tolist(), strict=True))
    silent = [one for one in said if BEGIN + 1500 < one[0] < BEGIN + 4000]
    store = _opened(tmp_path)
    _feed(store, [[one for one in said if one not in silent], silent])
    first, then = BEGIN + HOURS * 3600, BEGIN + HOURS * 3600 + 60
    before = store.intervals("import", 30, BEGIN, first, known_at=first)
    after = store.intervals("import", 30, BEGIN, first, known_at=then)
    assert store.intervals("import", 30, BEGIN, first, known_at=first - 1) == []
    assert [one.kind for one in before[:4]] == [SPREAD, SPREAD, SPREAD, MEASURED]
    assert [one.kind for one in after[:4]] == [CORRECTED, CORRECTED, CORRECTED, MEASURED]
    for one in after[:3]:
        assert one.kwh == pytest.approx(truth.between(one.start, one.start + 1800), abs=0.03)
    assert [one.received > first for one in after[:4]] == [True, True, True, False]
    assert len(store.series(METER.name, BEGIN, known_at=first).measured) == len(said) - len(silent)


def test_a_value_is_kept_once_and_a_correction_beside_it(tmp_path):
    """The same value again is nothing new; another one for the same time is a newer fact; what
    was only repeated never stands against what a meter said."""
    store = _opened(tmp_path)
    assert store.put([Reading("m", 100.0, 101.0, 1.5, OWN)]) == {"m": 100.0}
    assert store.put([Reading("m", 100.0, 102.0, 1.5, OWN)]) == {}
    assert store.put([Reading("m", 100.0, 103.0, 1.6, OWN)]) == {"m": 100.0}
    assert store.put([Reading("m", 100.0, 104.0, 1.0, HELD)]) == {}
    assert store.put([Reading("m", 100.0, 105.0, 1.5, OWN)]) == {"m": 100.0}
    assert store.series("m", 0.0).value.tolist() == [1.5]
    assert store.series("m", 0.0, known_at=103.5).value.tolist() == [1.6]
    assert store.newest("m") == Reading("m", 100.0, 105.0, 1.5, OWN)


def test_what_is_written_is_there_for_others_at_once(tmp_path):
    """Another process reads while one writes; a writer that dies in a commit leaves the old."""
    store = _opened(tmp_path)
    other = Store(tmp_path / "meters.sqlite")
    store.put([Reading("m", 100.0, 101.0, 1.5, OWN)], [("m", "17")])
    assert other.newest("m").value == 1.5
    assert other.cursor("m") == "17"

    def breaks():
        yield Reading("m", 200.0, 201.0, 2.5, OWN)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.put(breaks(), [("m", "18")])
    assert store.newest("m").value == 1.5
    assert store.cursor("m") == "17"
    store.forget("m", 150.0, newest=False)
    assert other.newest("m").value == 1.5
    store.forget("m", 150.0)
    assert other.newest("m") is None
