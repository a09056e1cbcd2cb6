"""What a meter that counts has counted, however it falls."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.data.registers import looks_like_a_register, steps_of
from common.errors import InputError

FIVE_MINUTES = 300


def total(values, allow_resets=False, step=FIVE_MINUTES):
    time = np.arange(len(values)) * step
    steps = steps_of(time, np.array(values, dtype=float), None, allow_resets)
    return float(steps.kwh.sum()), steps


@pytest.mark.parametrize(
    ("values", "kwh", "false_readings"),
    [
        ([10.0, 10.1, 10.06, 10.2, 10.3], 0.3, 1),  # a rounding dip
        ([0.30, 0.31, 0.27, 0.33, 0.4], 0.1, 1),  # a dip of more than a tenth, but 0.04 kWh
        ([8350.0, 8350.1, 0.0, 8350.2, 8350.3], 0.3, 1),  # a restart reports zero once
        ([8350.0, 8350.1, 0.0, 0.0, 0.1, 8350.3], 0.3, 3),  # and for a quarter of an hour
        ([50.0, 50.1, 505.0, 50.2, 50.3, 50.4], 0.4, 1),  # a leap and back
        ([50.0, 50.1, 50.9, 50.2, 50.3, 50.4], 0.4, 1),  # a small leap
        ([5.0, 4.9, 5.0, 5.2], 0.2, 1),
    ],
)
@pytest.mark.parametrize("allow_resets", [False, True])
def test_false_readings_add_nothing(values, kwh, false_readings, allow_resets):
    """A value that comes back is left out, with and without leave to take resets; the sum is that
    of the register's last and first value."""
    counted, steps = total(values, allow_resets)
    assert counted == pytest.approx(kwh)
    assert (steps.false_readings, steps.resets) == (false_readings, 0)


@given(st.lists(st.floats(0, 0.4), min_size=40, max_size=80), st.data())
def test_dips_and_leaps_never_change_the_sum(gains, data):
    """Whatever a register counts, single dips and leaps anywhere inside leave first to last."""
    register = 20 + np.cumsum(gains)
    spoilt = register.copy()
    places = data.draw(st.lists(st.integers(1, (len(gains) - 8) // 6), unique=True, max_size=4))
    for place in places:
        at = 6 * place + 2
        spoilt[at] = data.draw(st.sampled_from([0.0, spoilt[at] - 1.0, spoilt[at] * 40]))
    counted, _ = total(spoilt)
    assert counted == pytest.approx(register[-1] - register[0], abs=1e-9)


def test_a_reset_needs_the_users_word_and_then_counts_from_zero():
    """22.8 kWh at midnight, then 0, 0.2: with leave the day's 0.2 count, without it is refused."""
    values = [22.5, 22.8, 0.0, 0.2, 0.5]
    with pytest.raises(InputError, match=r"falls from 22.8 to 0: a reset\? '--allow-resets'"):
        total(values)
    counted, steps = total(values, allow_resets=True)
    assert counted == pytest.approx(0.3 + 0.5)
    assert steps.resets == 1


def test_a_register_set_back_counts_on_from_there():
    """From 500 to 460, for good: what it counted around that moment is unknown, the rest is known.
    Counting from zero would add 460 kWh."""
    values = [499.0, 500.0, 460.0, 461.0, 462.0]
    with pytest.raises(InputError, match=r"does not come back"):
        total(values)
    counted, steps = total(values, allow_resets=True)
    assert counted == pytest.approx(1.0 + 2.0)
    assert [(b, e) for b, e in zip(steps.begin, steps.end, strict=True)] == [(0, 1), (2, 3), (3, 4)]


@pytest.mark.parametrize("allow_resets", [False, True])
def test_a_power_is_no_register(allow_resets):
    """Values that fall at every other step are told to be a power, whatever the user allows."""
    watt = np.random.default_rng(0).uniform(20, 90, 100)
    with pytest.raises(
        InputError, match=r"at \d+ of its 99 steps: no register. A power\? '--unit W"
    ):
        total(watt, allow_resets)


def test_what_is_a_register_and_what_is_energy():
    """Counting up for days, also with a restart every midnight, is a register; a home's use, sun
    over two days and a ramp of one day are none."""
    rng = np.random.default_rng(0)
    time = np.arange(4 * 48) * 1800
    use = rng.uniform(0.05, 0.9, len(time))
    daily = np.concatenate([np.cumsum(day) for day in use.reshape(4, 48)])
    sun = np.clip(np.sin((np.arange(len(time)) % 48 - 12) / 24 * np.pi), 0, None)
    assert looks_like_a_register(time, 8350 + np.cumsum(use))
    assert looks_like_a_register(time, np.cumsum(use))
    assert looks_like_a_register(time, daily)
    assert not looks_like_a_register(time, use)
    assert not looks_like_a_register(time, sun)
    assert not looks_like_a_register(time[:48], np.linspace(0.1, 0.9, 48))
