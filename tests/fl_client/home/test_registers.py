"""From registers to intervals: nothing is lost, nothing is made up, whatever a meter does."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fl_client.home.intervals import MEASURED, SPREAD, intervals
from fl_client.home.registers import from_intervals, from_power, from_register, nothing
from tests.fl_client.home.meter import BEGIN, home, stamps

HOURS = 6
SEEDS = st.integers(0, 2**32 - 1)
LENGTHS = st.sampled_from([60, 300, 600, 900, 1800, 3600])
END = BEGIN + HOURS * 3600


@given(
    seed=SEEDS,
    length=LENGTHS,
    cadence=st.sampled_from([2.0, 10.0, 60.0, 300.0, 900.0]),
    resolution=st.sampled_from([0.001, 0.01, 0.1]),
    jitter=st.sampled_from([0.0, 0.3]),
)
def test_without_faults_the_energy_is_the_truth(seed, length, cadence, resolution, jitter):
    """Every interval that is covered is given; each is off by no more than what flowed between
    the two readings around each boundary and one step of the register; errors do not add up."""
    draw = np.random.default_rng(seed)
    truth, time = home(draw, HOURS), stamps(draw, HOURS, cadence, jitter)
    pieces = from_register(time, truth.register(time, resolution))
    assert pieces.doubts == ()
    found = intervals([pieces], length, BEGIN, END)
    inside = [b for b in range(BEGIN, END, length) if time[0] <= b and b + length <= time[-1]]
    assert [one.start for one in found] == inside
    for one in found:
        error = abs(one.kwh - truth.between(one.start, one.start + length))
        near = sum(_between_readings(truth, time, b) for b in (one.start, one.start + length))
        assert error <= near + 2 * resolution + 1e-9
        assert one.kind == MEASURED or jitter > 0 or cadence > length
    if found:
        begin, end = found[0].start, found[-1].start + length
        near = sum(_between_readings(truth, time, b) for b in (begin, end))
        total = sum(one.kwh for one in found)
        assert abs(total - truth.between(begin, end)) <= near + 2 * resolution + 1e-9


def _between_readings(truth, time, boundary):
    at = int(np.searchsorted(time, boundary))
    if at == 0 or time[at] == boundary:
        return 0.0
    return float(truth.between(time[at - 1], time[at]))


@st.composite
def faults(draw):
    """(kind, which reading) of one to four faults, far enough apart to be told from each other."""
    places = draw(st.lists(st.integers(1, 40), min_size=1, max_size=4, unique=True))
    kinds = st.sampled_from(["glitch", "glitch of two", "reset", "jump", "dip", "silence"])
    return [(draw(kinds), 50 * place) for place in sorted(places)]


@given(seed=SEEDS, faults=faults(), jump=st.floats(3.0, 500.0))
def test_what_a_meter_says_wrongly_is_never_billed(seed, faults, jump):
    """Glitches, resets, jumps, dips and silences at random: the sum never exceeds what the home
    used, and falls short by no more than one message's worth for each change of level."""
    draw = np.random.default_rng(seed)
    truth, time = home(draw, HOURS), stamps(draw, HOURS, 10.0, 0.0)
    shown, silent, lost = truth.register(time, 0.001, 0.0) + 1234.5, [], 0.0
    for kind, at in faults:
        if kind in ("reset", "jump", "dip"):
            lost += truth.between(time[at - 1], time[at])
        if kind == "reset":
            shown[at:] = np.floor((truth.at(time[at:]) - truth.at(time[at])) * 1000) / 1000
        elif kind == "jump":
            shown[at:] += jump
        elif kind == "dip":
            shown[at:] -= 0.9 * shown[at]
        elif kind == "silence":
            silent += range(at, at + 40)
        else:
            shown[at : at + 1 + (kind == "glitch of two")] = 0.0
    kept = np.setdiff1d(np.arange(len(time)), silent)
    pieces = from_register(time[kept], shown[kept])
    found = intervals([pieces], 1800, BEGIN, END)
    assert [one.start for one in found] == list(range(BEGIN, END - 1800, 1800))
    total, true = sum(one.kwh for one in found), truth.between(BEGIN, found[-1].start + 1800)
    edge = _between_readings(truth, time[kept], found[-1].start + 1800)
    assert total <= true + edge + 0.002 * (1 + len(faults))
    assert total >= true - lost - edge - 0.002 * (1 + len(faults))
    changed = [
        time[at]
        for kind, at in faults
        if kind == "jump" or (kind in ("reset", "dip") and shown[at] < shown[at - 1] - 1e-6)
    ]
    for one in found:
        if any(one.start < at < one.start + 1800 for at in changed):
            assert one.kind == SPREAD
    for at in changed:
        assert any(abs(when - at) < 500 for when, _ in pieces.doubts)


@pytest.mark.parametrize(("after", "believed"), [(1, 0), (2, 0), (3, 3)])
def test_a_new_level_is_believed_at_its_third_reading(after, believed):
    """Until then nobody can tell a reset from a glitch, and the meter is known up to before it."""
    time = BEGIN + 10.0 * np.arange(20 + after)
    kwh = np.concatenate([100 + 0.001 * np.arange(20), 0.002 + 0.001 * np.arange(after)])
    pieces = from_register(time, kwh)
    assert pieces.known_until == time[19 + believed]
    assert len(pieces.doubts) == (believed > 0)


def test_a_silence_is_spread_and_its_sum_is_right():
    """A register says what flowed while it was silent, though not when: the intervals it touches
    are marked, the others are not, and together they hold the energy to one step."""
    draw = np.random.default_rng(1)
    truth, time = home(draw, 6), stamps(draw, 6, 10.0, 0.0)
    kept = (time < BEGIN + 5000) | (time > BEGIN + 8000)
    found = intervals(
        [from_register(time[kept], truth.register(time[kept], 0.001))], 1800, BEGIN, END
    )
    assert [one.kind == SPREAD for one in found[:6]] == [False, False, True, True, True, False]
    total = sum(one.kwh for one in found[2:5])
    assert total == pytest.approx(truth.between(BEGIN + 3600, BEGIN + 9000), abs=0.01)


def test_a_burst_after_a_silence_belongs_to_the_silence():
    """Stamps of arrival put a quarter of an hour's readings into one second: their energy is
    spread over the quarter, not booked into that second."""
    quiet = BEGIN + 10.0 * np.arange(200)
    burst = quiet[-1] + 1200 + 0.01 * np.arange(120)
    after = burst[-1] + 10.0 * np.arange(1, 100)
    step = 0.005
    kwh = step * np.arange(len(quiet) + len(burst) + len(after))
    found = intervals(
        [from_register(np.concatenate([quiet, burst, after]), kwh)], 600, BEGIN, BEGIN + 4200
    )
    assert [one.kind for one in found[3:6]] == [SPREAD] * 3
    assert [one.kwh for one in found] == pytest.approx([60 * step] * 6, abs=2 * step)


def test_repeated_values_give_way_when_more_came_than_a_home_uses():
    """A source that tells changes only repeats the last value while nothing comes. A register that
    then moves by one step was at rest; one that moves by a quarter of an hour's use was silent."""
    time = BEGIN + 60.0 * np.arange(120)
    at_rest = np.where(np.arange(120) < 90, 5.0, 5.001 + 0.001 * (np.arange(120) - 90))
    held = (np.arange(120) > 30) & (np.arange(120) < 90)
    found = intervals([from_register(time, at_rest, held)], 1800, BEGIN, BEGIN + 7200)
    assert [one.kind for one in found] == [MEASURED] * 3
    assert [one.kwh for one in found] == pytest.approx([0, 0, 0], abs=0.002)
    silent = np.where(np.arange(120) < 90, 5.0, 6.5)
    found = intervals([from_register(time, silent, held)], 1800, BEGIN, BEGIN + 7200)
    assert [one.kind for one in found] == [MEASURED, SPREAD, SPREAD]
    assert sum(one.kwh for one in found) == pytest.approx(1.5)


@given(seed=SEEDS, length=LENGTHS, source=st.sampled_from([300, 900, 3600]))
def test_a_meter_of_intervals_is_summed_or_spread(seed, length, source):
    """Rows that lie within the interval add up and are measured; a coarser row is divided evenly,
    marked, and known when it is over."""
    assume(length % source == 0 or source % length == 0)
    draw = np.random.default_rng(seed)
    truth = home(draw, HOURS)
    begin = np.arange(BEGIN, END, source, dtype=float)
    found = intervals(
        [from_intervals(begin, begin + source, truth.between(begin, begin + source))],
        length, BEGIN, END,
    )  # fmt: skip
    assert len(found) == HOURS * 3600 // length
    for one in found:
        row = (one.start - BEGIN) // source * source + BEGIN
        if length >= source:
            assert one.kwh == pytest.approx(truth.between(one.start, one.start + length))
            assert one.kind == MEASURED
        else:
            assert one.kwh == pytest.approx(truth.between(row, row + source) * length / source)
            assert one.kind == SPREAD or one.kwh == 0


def test_a_missing_row_is_no_energy():
    """Intervals that touch a stretch in which nobody measured are not given at all."""
    begin = BEGIN + 900.0 * np.array([0, 1, 2, 3, 5, 6, 7])
    found = intervals([from_intervals(begin, begin + 900, np.ones(7))], 1800, BEGIN, END)
    assert [(one.start - BEGIN, one.kwh) for one in found] == [(0, 2), (1800, 2), (5400, 2)]


def test_power_is_integrated_and_its_silences_are_left_out():
    """Constant power gives its energy; over a silence nothing is said."""
    time = BEGIN + 10.0 * np.arange(1000)
    kept = (time < BEGIN + 4000) | (time > BEGIN + 4200)
    found = intervals([from_power(time[kept], np.full(kept.sum(), 1.5))], 1800, BEGIN, END)
    assert [one.start - BEGIN for one in found] == [0, 1800, 5400, 7200]
    assert [one.kwh for one in found] == pytest.approx([0.75] * 4)


def test_registers_of_one_role_add_up():
    """Two tariffs: the interval is their sum, and spread where one of them was silent."""
    time = BEGIN + 10.0 * np.arange(720)
    day, night = 0.002 * np.arange(720), 0.001 * np.arange(720)
    kept = (time < BEGIN + 1700) | (time > BEGIN + 2000)
    both = [from_register(time, day), from_register(time[kept], night[kept])]
    found = intervals(both, 1800, BEGIN, END)
    assert [one.kwh for one in found] == pytest.approx([0.54] * 3)
    assert [one.kind for one in found] == [SPREAD, SPREAD, MEASURED]
    assert intervals([both[0], nothing()], 1800, BEGIN, END) == []
