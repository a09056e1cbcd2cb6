"""Whether a battery obeys: seen at its terminals and at the meter, never in its answers."""

import numpy as np
import pytest

from fl_client.control.proof import FOLLOWS, IGNORES, WAITING, WEAKER, Delay, Proof, Tally

DELAY = Delay(3.0, 1.0)


def _verdicts(told, does):
    """A command every ten seconds, a reading a second before each; what is said, in order."""
    proof = Proof(DELAY)
    proof.begin(0.0)
    found = []
    for place, kw in enumerate(told):
        proof.sent(10.0 * place, kw)
        found.append(proof.see(10.0 * place + 9, does(place)))
    return found


def test_a_battery_that_follows_is_never_accused():
    """Whatever steps of up to 3 kW it is told every ten seconds, with a deadtime and a ramp."""
    told = np.random.default_rng(1).uniform(-1.5, 1.5, 500).tolist()
    found = _verdicts(told, lambda place: told[place] * 1.02)
    assert set(found[1:]) == {FOLLOWS}


def test_a_command_on_its_way_is_waited_for():
    """Three seconds after the command nothing shows yet; that is no disobedience."""
    proof = Proof(DELAY)
    proof.begin(0.0)
    proof.sent(0.0, 2.0)
    assert proof.see(20.0, 2.0) == FOLLOWS
    for at in range(21, 400, 6):
        proof.sent(float(at), -2.0 if at % 12 < 6 else 2.0)
        assert proof.see(at + 2.5, 2.0 if at % 12 < 6 else -2.0) in (WAITING, FOLLOWS)


@pytest.mark.parametrize(
    ("does", "verdict"),
    [
        (lambda place: -0.4, IGNORES),  # stands where it was
        (lambda place: -2.0 + 0.5 * (-1) ** place, IGNORES),  # does as it likes
        (lambda place: 1.0, WEAKER),  # derated
        (lambda place: 0.0, IGNORES),  # does nothing at all
    ],
)
def test_disobedience_is_found_in_three_readings(does, verdict):
    """Told 2 to 3 kW; what it does instead makes the verdict."""
    told = [2.0 + 0.1 * (place % 10) for place in range(8)]
    found = _verdicts(told, does)
    assert verdict in found[:5]
    assert {*found} <= {WAITING, verdict}


def _tally(told, does):
    """Whether the tally fails at any time; commands every ten seconds."""
    tally, energy = Tally(DELAY), [0.0]
    tally.begin(0.0)
    for place, kw in enumerate(told):
        tally.sent(10.0 * place, kw)
        before = told[max(place - 1, 0)]
        energy.append(energy[-1] + (0.3 * does(before) + 0.7 * does(kw)) / 360)
        times = [10.0 * k for k in range(len(energy))]
        counted = lambda a, b: np.interp(b, times, energy) - np.interp(a, times, energy)  # noqa
        if tally.fails(times[-1], counted):
            return True
    return False


def test_energy_that_is_only_claimed_is_missed():
    """What is commanded is counted within a tenth, or the tally fails: for an honest battery never,
    for one that rests, or turns the sign round, before a quarter of a kWh is missing."""
    for seed in range(5):
        told = np.repeat(np.random.default_rng(seed).uniform(-3, 3, 30), 6).tolist()
        assert not _tally(told, lambda kw: kw)
        assert not _tally(told, lambda kw: 0.97 * kw)
    steady = [2.5] * 60
    assert _tally(steady, lambda kw: 0.0)
    assert _tally(steady, lambda kw: -kw)
    assert not _tally([0.0] * 60, lambda kw: kw)
