"""Dials: functions of (seed, household, round) that do what they say to the readings."""

import numpy as np
import pandas as pd
import pytest

from common.data.frame import APPLIANCES, COLUMNS, IDLE_BATTERY, Household
from common.errors import InputError
from simulations.benchmarks.strategies.attacks import Poisoned, corrupted
from simulations.benchmarks.strategies.dials import Dial, read_dials
from simulations.benchmarks.strategies.homes import changed, span_of
from simulations.benchmarks.strategies.presets import PARTS

NAMES = [f"H{i:02d}" for i in range(10)]


def household(name: str = "H03", days: int = 120) -> Household:
    rng = np.random.default_rng(3)
    index = pd.date_range("2021-01-01", periods=days * 48, freq="30min", tz="UTC", name="timestamp")
    frame = pd.DataFrame(0.0, index=index, columns=list(COLUMNS))
    frame["misc"] = rng.gamma(2.0, 0.1, len(index))
    frame["solar_irradiance"] = 800.0 * np.clip(np.sin(np.arange(len(index)) / 48 * 6.283), 0, 1)
    for key, value in IDLE_BATTERY.items():
        frame[key] = value
    return Household(
        name=name,
        frame=frame,
        timezone="Europe/London",
        resolution_minutes=30,
        source="test",
        real=False,
        filled_values=0,
    )


def loads(dial: Dial, seed: int = 1, name: str = "H03") -> np.ndarray:
    values = changed(household(name), dial, seed, NAMES).values
    return values[:, : len(APPLIANCES)]


def test_draws_depend_on_seed_household_and_round_alone() -> None:
    """Asked twice, in any order, the same; another seed, another draw somewhere."""
    dial = Dial(dropouts=0.5, stragglers=0.5, volume_skew=1.0, attack="nan", attackers=0.3)
    first = {(n, r): dial.drops(1, n, r) for n in NAMES for r in range(20)}
    again = {(n, r): dial.drops(1, n, r) for r in reversed(range(20)) for n in reversed(NAMES)}
    assert first == again
    assert first != {(n, r): dial.drops(2, n, r) for n in NAMES for r in range(20)}
    assert 0.3 < np.mean(list(first.values())) < 0.7
    assert dial.malicious(1, NAMES) == dial.malicious(1, NAMES)
    assert len(dial.malicious(1, NAMES)) == 3
    shares = [dial.kept_share(1, n) for n in NAMES]
    assert all(0.0 < share <= 1.0 for share in shares)
    assert len(set(shares)) == len(NAMES)


def test_the_clean_dial_changes_nothing() -> None:
    """Not a bit of the readings."""
    np.testing.assert_array_equal(
        loads(Dial()), household().frame[list(APPLIANCES)].to_numpy(dtype=float)
    )
    assert Dial(attackers=0.5).malicious(1, NAMES) == set()


def test_a_car_charges_in_the_evening_only() -> None:
    """Whole half hours of 3.5 kWh between 18:00 and 02:00 of winter time, nowhere else."""
    extra = loads(Dial(ev_share=1.0)) - loads(Dial())
    charger = extra[:, APPLIANCES.index("ev_charging")]
    assert set(np.unique(charger)) == {0.0, 3.5}
    hours = household().frame.index.tz_convert("Europe/London").hour[charger > 0]
    assert set(hours) <= {18, 19, 20, 21, 22, 23, 0, 1}
    assert np.abs(np.delete(extra, APPLIANCES.index("ev_charging"), axis=1)).max() == 0.0


def test_panels_behind_the_meter_leave_the_rest_of_the_load() -> None:
    """max(load - 4 kW x 0.8 x irradiance / 1000 / 2, 0), whatever appliance it is of."""
    before, after = loads(Dial()).sum(axis=1), loads(Dial(pv_share=1.0)).sum(axis=1)
    output = 1.6 * household().frame["solar_irradiance"].to_numpy() / 1000
    np.testing.assert_allclose(after, np.maximum(before - output, 0.0), atol=1e-12)


def test_the_held_out_days_begin_at_local_midnight_after_the_training_days() -> None:
    """For any seed; and seeds differ."""
    home = household(days=200)
    spans = [span_of(home, seed, 56, 14) for seed in range(20)]
    index = home.frame.index.tz_convert(home.timezone)
    for span in spans:
        assert (index[span.cut].hour, index[span.cut].minute) == (0, 0)
        assert span.cut - span.first == 56 * 48
        assert span.first >= 28 * 48
        assert span.end <= len(index)
    assert len({span.cut for span in spans}) > 5
    with pytest.raises(InputError, match="H03"):
        span_of(household(days=60), 0, 56, 14)


def test_malicious_updates() -> None:
    """Backwards by the scale; noise of the scale's length; NaN everywhere."""
    sent = {"w": np.array([1.0, 2.0], np.float32)}
    trained = {"w": np.array([1.3, 1.6], np.float32)}
    flipped = corrupted("sign-flip", 5.0, sent, trained, 1, "H01", 1)["w"]
    np.testing.assert_allclose(flipped, [1.0 - 1.5, 2.0 + 2.0], rtol=1e-5)
    noise = corrupted("noise", 5.0, sent, trained, 1, "H01", 1)["w"] - sent["w"]
    assert np.linalg.norm(noise) == pytest.approx(2.5, rel=1e-5)
    assert np.isnan(corrupted("nan", 5.0, sent, trained, 1, "H01", 1)["w"]).all()


def test_poisoned_labels_are_the_true_ones_with_the_wrong_sign() -> None:
    """Same inputs, same masks."""
    from common.forecast.history import history_of
    from common.forecast.scalers import fit_scaler
    from common.forecast.windows import training_windows

    history = history_of(household())
    scaler = fit_scaler(history, 0, 80 * 48)
    windows = training_windows(history, scaler, "slot-small", 40 * 48, 80 * 48)
    which = np.arange(3)
    good, bad = windows.batch(which), Poisoned(windows).batch(which)
    for name, target in good.targets.items():
        np.testing.assert_array_equal(bad.targets[name], -target)
        np.testing.assert_array_equal(bad.masks[name], good.masks[name])


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"a": {"droputs": 0.1}}, "droputs"),
        ({"a": {"dropouts": 1.5}}, "dropouts"),
        ({"a": {"attack": "evil"}}, "attack"),
        ({"a": {"compression": "int4"}}, "int4"),
        ({"a b": {}}, "a b"),
        ({}, "expected names"),
    ],
)
def test_mistakes_in_a_dials_file_are_named(values: dict[str, object], named: str) -> None:
    """The dial and the key."""
    with pytest.raises(InputError, match=named):
        read_dials(values)


def test_the_shipped_grids_are_sound() -> None:
    """Every dial reads, every strategy can be built for 11 homes."""
    from simulations.benchmarks.strategies.setup import check, split_entries

    for named, dials in PARTS.values():
        read_dials(dials)
        for entry in split_entries(named):
            check(entry, 11)
