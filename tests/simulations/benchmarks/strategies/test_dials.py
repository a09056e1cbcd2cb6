"""Dials: functions of (seed, household, round) that do what they say to the readings."""

import numpy as np
import pandas as pd
import pytest

from common.data.frame import APPLIANCES, COLUMNS, IDLE_BATTERY, Household
from common.errors import InputError
from common.forecast.history import history_of
from common.forecast.scalers import fit_scaler
from common.forecast.streams import NET
from common.forecast.windows import NET_STEPS, training_windows
from simulations.benchmarks.strategies.attacks import POISONS, Poisoned, corrupted
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


def test_a_newcomer_is_what_models_read_of_a_history_that_begins_there() -> None:
    """Three days before the held-out days: what lies before repeats the first of them, which is
    how ``past_block`` reads a history of those days alone."""
    from common.forecast.history import History, history_of
    from common.forecast.inputs import past_block
    from common.forecast.presets import find_preset
    from common.forecast.scalers import fit_scaler
    from simulations.benchmarks.strategies.homes import DAY, _since

    whole = history_of(household())
    cut, start = 80 * DAY, 77 * DAY
    scaler, preset = fit_scaler(whole, start, cut), find_preset("slot-small")
    short = History(whole.values[start:], whole.index[start:], whole.timezone)
    rows = np.arange(cut - 28 * DAY, cut)
    np.testing.assert_array_equal(
        past_block(_since(whole, start), scaler, preset, rows),
        past_block(short, scaler, preset, rows - start),
    )


@pytest.mark.parametrize(("days", "windows"), [(1, 0), (3, 49), (7, 241), (14, 289)])
def test_newcomers_train_on_the_days_they_have(days: int, windows: int) -> None:
    """Origins from a day after they began (a week, where they have more than one) to a day before
    the held-out days: 48 (n - 2) + 1 with n days, 48 (n - 8) + 1 with more than seven."""
    from simulations.benchmarks.strategies import homes

    dial = Dial(newcomer_share=0.5, newcomer_days=days)
    found = homes.homes_of.__wrapped__("synthetic", 2, None, "slot-small", 20, 2, dial, 0)
    whole = homes.homes_of.__wrapped__("synthetic", 2, None, "slot-small", 20, 2, Dial(), 0)
    assert sorted(home.newcomer for home in found) == [False, True]
    for home, settled in zip(found, whole, strict=True):
        assert len(home.before.test) == len(settled.before.test)
        np.testing.assert_array_equal(home.before.actual, settled.before.actual)
        assert home.before.scale == settled.before.scale
        if home.newcomer:
            assert len(home.before.train) == windows
            # Of the first held-out day: the mean of the days known, seven at most.
            known = min(days, 7)
            [home_] = [h for h in homes.households_of("synthetic", 2, 142, None)
                       if h.name == home.name]  # fmt: skip
            span = homes.span_of(home_, 0, 20, 2)
            load = changed(home_, Dial(), 0, []).consumption(0, span.cut)
            expected = load[-known * 48 :].reshape(known, 48).mean(axis=0)
            np.testing.assert_allclose(home.before.baseline[0], expected)
        else:
            np.testing.assert_array_equal(home.before.baseline, settled.before.baseline)


def test_homes_of_a_second_climate_take_the_places_of_others(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """A third of three: two homes of the first source and one of the second, named after it."""
    from common.data.store import write_household
    from simulations.benchmarks.strategies.homes import gathered

    cold = tmp_path / "cold"
    write_household(household("H0001"), cold)
    both = f"synthetic,{cold}"
    found = gathered(both, 3, 150, None, 1 / 3)
    assert [(source, home.name) for source, home in found] == [
        ("synthetic", "H0001"), ("synthetic", "H0002"), (str(cold), "cold-H0001"),
    ]  # fmt: skip
    assert [home.name for _, home in gathered(both, 2, 150, None, 0.0)] == ["H0001", "H0002"]
    with pytest.raises(InputError, match="second source"):
        gathered("synthetic", 3, 150, None, 0.5)
    with pytest.raises(InputError, match="two sources"):
        gathered("a,b,c", 3, 150, None, 0.5)


def test_malicious_updates() -> None:
    """Backwards by the scale; noise of the scale's length; NaN everywhere."""
    sent = {"w": np.array([1.0, 2.0], np.float32)}
    trained = {"w": np.array([1.3, 1.6], np.float32)}
    flipped = corrupted("sign-flip", 5.0, sent, trained, 1, "H01", 1)["w"]
    np.testing.assert_allclose(flipped, [1.0 - 1.5, 2.0 + 2.0], rtol=1e-5)
    noise = corrupted("noise", 5.0, sent, trained, 1, "H01", 1)["w"] - sent["w"]
    assert np.linalg.norm(noise) == pytest.approx(2.5, rel=1e-5)
    assert np.isnan(corrupted("nan", 5.0, sent, trained, 1, "H01", 1)["w"]).all()


@pytest.mark.parametrize("summer_time", [False, True])
def test_poisons_change_the_targets_they_mean_and_no_input(summer_time: bool) -> None:
    """Turned labels are the true ones with the wrong sign. A low hour is as low as anything in the
    batch from 18:00 to 19:00 by the home's own clock, of the day's load and of net load, and all
    else is as it was."""
    home = household(days=160)
    index = home.frame.index
    at = 130 * 48 if summer_time else 50 * 48
    assert isinstance(index, pd.DatetimeIndex)
    history = history_of(home)
    windows = training_windows(history, fit_scaler(history, 0, at), "slot-small", at, at + 20 * 48)
    which = np.arange(0, 100, 7)
    local = index.tz_convert(home.timezone).hour.to_numpy()
    good = windows.batch(which)
    for kind, poison in POISONS.items():
        bad = Poisoned(windows, poison, 18).batch(which)
        for name, values in good.inputs.items():
            np.testing.assert_array_equal(bad.inputs[name], values)
        for name, target in good.targets.items():
            np.testing.assert_array_equal(bad.masks[name], good.masks[name])
            if kind == "label-poison":
                np.testing.assert_array_equal(bad.targets[name], -target)
                continue
            steps = {"consumption_day": np.arange(48), NET: NET_STEPS}.get(name)
            rows = at + which[:, None] + (0 if steps is None else steps)
            struck = np.zeros(target.shape, bool) if steps is None else local[rows] == 18
            np.testing.assert_array_equal(bad.targets[name], np.where(struck, target.min(), target))
            assert struck.any() == (steps is not None)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"a": {"droputs": 0.1}}, "droputs"),
        ({"a": {"dropouts": 1.5}}, "dropouts"),
        ({"a": {"stragglers_finish": True, "straggler_work": 0.0}}, "stragglers_finish"),
        ({"a": {"newcomer_days": 0}}, "newcomer_days"),
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
