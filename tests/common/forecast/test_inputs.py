"""Features, scalers and windows: order, units, and nothing from the future."""

from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler

from common.data.frame import COLUMNS
from common.errors import InputError
from common.forecast.features import FEATURES, feature_matrix
from common.forecast.history import History
from common.forecast.inputs import wall_clock_rows
from common.forecast.presets import PRESETS
from common.forecast.scalers import fit_scaler, mean_and_scale, scaler_from_arrays
from common.forecast.slot_inputs import slot_inputs
from common.forecast.streams import HORIZONS, KINDS, NET, QUANTILE_LEVELS, STREAMS
from common.forecast.windows import Batch, Windows, pool, training_windows
from tests.support.homes import home


def test_feature_order_and_price_lags() -> None:
    """The 24 features stand in order; price_t-k of row i is the price of row i - k."""
    assert len(FEATURES) == 24
    assert FEATURES[9:13] == ("battery_soc", "battery_soh", "battery_charge", "battery_cycles")
    history = home(3)
    features = feature_matrix(history, 60, 90)
    price = history.values[:, COLUMNS.index("price")]
    for lag in range(5):
        np.testing.assert_array_equal(features[:, 19 + lag], price[60 - lag : 90 - lag])
    np.testing.assert_array_equal(features[:, 0], history.values[60:90, 0])


def test_calendar_follows_the_household_clock() -> None:
    """On 28 March 2021 London moves to summer time: 12:00 UTC is 13:00 there, hour_sin negative."""
    history = home(40)
    row = int(np.flatnonzero(history.index == "2021-03-29 12:00:00+00:00")[0])
    angle = 13 / 24 * 2 * np.pi
    np.testing.assert_allclose(history.calendar[row, :2], [np.sin(angle), np.cos(angle)], atol=1e-6)
    np.testing.assert_allclose(history.calendar[row, 2:], [0.0, 1.0], atol=1e-6)  # a Monday


def test_scaler_is_sklearns_on_the_training_span_only() -> None:
    """Changing rows outside the span changes nothing; the numbers are StandardScaler's."""
    history = home(10)
    scaler = fit_scaler(history, 0, 240)
    expected = StandardScaler().fit(feature_matrix(history, 0, 240))
    np.testing.assert_array_equal(scaler.feature_mean, expected.mean_)
    np.testing.assert_array_equal(scaler.feature_scale, expected.scale_)
    history.values[240:] = 1e6
    again = fit_scaler(history, 0, 240)
    for name, array in scaler.arrays().items():
        np.testing.assert_array_equal(array, again.arrays()[name])
    restored = scaler_from_arrays(scaler.arrays())
    np.testing.assert_array_equal(restored.target_scale, scaler.target_scale)


@pytest.mark.parametrize("order", ["C", "F"])
def test_mean_and_scale_are_sklearns_to_the_bit(order: Literal["C", "F"]) -> None:
    """Of large and small numbers, far from zero, constant, nearly constant, and partly missing."""
    rng = np.random.default_rng(0)
    for count in (1, 2, 100, 2688):
        size, shift = 10.0 ** rng.uniform(-6, 6, 24), 10.0 ** rng.uniform(-6, 9, 24)
        rows = np.asarray(rng.normal(size=(count, 24)) * size + shift, order=order)
        rows[:, 0], rows[:, 1] = 0.1, 0.0
        rows[:, 2] = 1e9 + rng.integers(0, 2, count) * 1e-6
        for part in (0.0, 0.1):
            rows[1:][rng.random((count - 1, 24)) < part] = np.nan
            fitted = StandardScaler().fit(rows)
            mean, scale = mean_and_scale(rows)
            np.testing.assert_array_equal(mean, fitted.mean_)
            np.testing.assert_array_equal(scale, fitted.scale_)


def test_bad_scaler_arrays_are_named() -> None:
    """A missing, misshapen or not finite array raises InputError with its name."""
    arrays = fit_scaler(home(2), 0, 96).arrays()
    for name in arrays:
        for bad in (None, arrays[name][:1], arrays[name] * np.nan):
            broken = {k: v for k, v in arrays.items() if k != name or bad is not None}
            if bad is not None:
                broken[name] = bad
            with pytest.raises(InputError, match=name):
                scaler_from_arrays(broken)


def _expected_targets(history: History, origin: int, stream: str, end: int) -> np.ndarray:
    kind, name = STREAMS[stream]
    stop = min(end, origin + HORIZONS[name])
    return history.consumption(origin, stop) if kind == KINDS[0] else history.price(origin, stop)


def slot_part(batch: Batch) -> dict[str, np.ndarray]:
    """Inputs but those of net load, which hold windows first (``test_net``)."""
    return {name: a for name, a in batch.inputs.items() if not name.startswith("net_")}


@pytest.mark.parametrize("preset", sorted(PRESETS))
@settings(max_examples=8, deadline=None)
@given(known=st.integers(60, 480), first=st.integers(0, 200), seed=st.integers(0, 3))
def test_windows_hold_what_they_should(preset: str, known: int, first: int, seed: int) -> None:
    """Targets are the rows from the origin on, in the household's units, masked from ``known``."""
    history = home(10, seed)
    first = min(first, known)
    scaler = fit_scaler(history, 0, known)
    windows = training_windows(history, scaler, preset, first, known)
    if not len(windows):
        assert known - 48 < max(first, 48)
        return
    offset = scaler.target_mean if PRESETS[preset].family == "window" else np.zeros(2)
    last = len(windows) - 1
    batch = windows.batch(np.array([0, last]))
    for which, origin in ((1, known - 48), (0, known - 48 - last)):
        for stream in STREAMS:
            kind, values = KINDS.index(STREAMS[stream][0]), batch.targets[stream]
            actual = values[which] * scaler.target_scale[kind] + offset[kind]
            expected = _expected_targets(history, origin, stream, known)
            mask = batch.masks[stream][which]
            assert mask[: len(expected)].all()
            assert not mask[len(expected) :].any()
            np.testing.assert_allclose(actual[mask], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_windows_read_nothing_from_known_on(preset: str) -> None:
    """Noise in rows from ``known`` on changes no input, target or mask by a bit."""
    history = home(40)
    known = 35 * 48 + 7
    scaler = fit_scaler(history, 0, known)
    which = np.arange(0, 900, 97)
    before = training_windows(history, scaler, preset, 0, known).batch(which, 3)
    history.values[known:] = np.random.default_rng(1).normal(size=history.values[known:].shape)
    after = training_windows(history, scaler, preset, 0, known).batch(which, 3)
    for group in ("inputs", "targets", "masks"):
        for name, array in getattr(before, group).items():
            np.testing.assert_array_equal(array, getattr(after, group)[name])


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_inputs_end_at_the_origin(preset: str) -> None:
    """Noise in rows from one origin on changes no input of that window by a bit."""
    history = home(40)
    scaler = fit_scaler(history, 0, 1900)
    windows = training_windows(history, scaler, preset, 1400, 1800)
    which = np.array([100])  # origin 1500
    before = windows.batch(which).inputs
    history.values[1500:] += 1.0
    after = training_windows(history, scaler, preset, 1400, 1800).batch(which).inputs
    for name, array in before.items():
        np.testing.assert_array_equal(array, after[name])


def test_a_mirrored_window_reads_the_days_after_its_targets() -> None:
    """Load = row number tells which rows are read: the 28 days after the day of targets at the same
    wall clock, the nearest last, none of its targets and none beyond the span; where the span ends
    too early the window is as it was. Only the day's streams are trained."""
    history = home(70)  # from 1 March; the clock changes on 28 March
    known = 66 * 48 + 5
    history.values[:, :9] = 0.0
    history.values[:, 8] = np.arange(len(history))
    scaler = fit_scaler(history, 0, known)
    windows = training_windows(history, scaler, "slot", 0, known)
    plain = windows.batch(np.arange(len(windows)))
    every = np.ones(len(windows), bool)
    mirrored = windows.batch(np.arange(len(windows)), None, every)
    hour = history.index.tz_convert(history.timezone)
    clock = np.asarray(hour.hour * 2 + hour.minute // 30)
    room = 0
    for i in range(0, len(windows), 5):  # of all slots of the day
        origin = known - 48 - (len(windows) - 1 - i)
        if origin + 30 * 48 > known:
            for name, array in slot_part(plain).items():
                if not name.endswith("_steps"):
                    np.testing.assert_array_equal(array[..., i], mirrored.inputs[name][..., i])
            for group in ("targets", "masks"):
                for name, array in getattr(plain, group).items():
                    np.testing.assert_array_equal(array[i], getattr(mirrored, group)[name][i])
            continue
        room += 1
        read = windows.days(np.array([i]), np.array([True]))[0, 0]  # the nearest day first
        rows = np.rint(read[::-1] * scaler.target_scale[0]).astype(int)
        assert rows.min() >= origin + 48
        assert rows.max() < known
        assert (np.diff(rows[:, 24]) < 0).all()
        assert rows[-1, 24] <= origin + 48 + 24 + 2
        # Beside a change of the clock the slots of a day are two rows off, or two days share some.
        wanted = (clock[origin] + np.arange(48)) % 48
        agree = clock[rows] == wanted
        assert agree.mean() > (0.9 if clock[origin] == clock[origin + 48] else 0.0)
        for stream in STREAMS:
            assert mirrored.masks[stream][i].all() == stream.endswith("_day")
            assert mirrored.masks[stream][i].any() == stream.endswith("_day")
    assert room > 200


def test_days_keep_to_the_wall_clock() -> None:
    """Windows read the rows that ``wall_clock_rows`` names, beside a change of the clock as well,
    where the rows of a window are not one run."""
    history = home(45)  # from 1 March; the clock changes on 28 March
    known = len(history)
    history.values[:, :9] = 0.0
    history.values[:, 8] = np.arange(known)
    scaler = fit_scaler(history, 0, known)
    windows = training_windows(history, scaler, "slot", 0, known)
    which = np.arange(0, len(windows), 5)
    origins = known - 48 - (len(windows) - 1 - which)
    expected = wall_clock_rows(history.clock_shift, origins, 28 * 48)
    # Before the history began its first day stands in, slot by slot.
    expected = np.where(expected < 0, expected % 48, expected).reshape(-1, 28, 48)[:, ::-1]
    read = windows.days(which)[0] * scaler.target_scale[0]
    np.testing.assert_array_equal(np.rint(read), expected)


def _token(days: np.ndarray, slot: int) -> list[float]:
    """One window's 32 numbers of a slot, by their definition; days (28, 48) in levels."""
    own = days[:, slot]
    cut = np.clip(own, -8, 8)
    return [*cut, *np.clip([own[:7].mean(), own.mean()], -8, 8), cut[:7].std(), cut.std()]


def test_slot_inputs_by_definition() -> None:
    """Every input of a window, worked out slot by slot, step by step, from its 28 days."""
    rng = np.random.default_rng(0)
    read = rng.gamma(0.2, 1.0, (3, 2, 28, 48)).astype(np.float32)
    load, price, warm = read
    load[0, 3, 5] = 40.0  # a spike beyond what levels are clipped to
    steps = {"day": np.arange(48), "week": np.array([1, 47, 50, 335]), "month": np.array([777])}
    ahead = rng.normal(size=(6, 53, 2)).astype(np.float32)
    made = slot_inputs(read, ahead, steps)
    every = np.concatenate(list(steps.values()))
    for b in range(2):
        levels = {"long": load[b].mean(), "price": np.abs(price[b]).mean()}
        days = {"long": load[b] / levels["long"], "price": price[b] / levels["price"]}
        assert made["load_level"][b] == pytest.approx(levels["long"], rel=1e-5)
        assert made["price_level"][b] == pytest.approx(levels["price"], rel=1e-5)
        loads = days["long"]
        cut = np.clip(loads, -8, 8)
        daily = warm[b].mean(1)
        warmer = [daily[0] - daily[:7].mean(), daily[:7].mean() - daily.mean()]
        for token in range(24):
            expected = [
                *_token(loads, 2 * token),
                *_token(loads, 2 * token + 1),
                *ahead[:4, 2 * token, b],
                cut[0].mean(),
                cut[:7].mean(),
                cut[0, 47],
            ]
            np.testing.assert_allclose(made["day_tokens"][:, token, b], expected, atol=2e-5)
            for half in range(2):
                slot, at = 2 * token + half, (slice(None), half, token, b)
                own = loads[:, slot]
                np.testing.assert_allclose(
                    made["day_candidates"][at], [*own, own[:7].mean(), own.mean()], atol=2e-5
                )
                np.testing.assert_allclose(
                    made["day_quantiles"][at], np.quantile(own, QUANTILE_LEVELS), atol=2e-5
                )
                np.testing.assert_allclose(
                    made["day_season"][at],
                    3 * own.mean() * np.array([*ahead[4:, slot, b], *warmer]),
                    atol=2e-5,
                )
        for kind, first in (("long", 48), ("price", 0)):
            for i, step in enumerate(every[first:]):
                slot, weekday = step % 48, step // 48 % 7
                own = days[kind][:, slot]
                usual = own[:7].mean() if kind == "long" else np.median(own[:7])
                candidates = [*own[:7], *own[[6 - weekday, 13 - weekday, 20 - weekday]]]
                candidates += [own[27 - weekday], usual, own.mean()]
                np.testing.assert_allclose(
                    made[f"{kind}_candidates"][:, i, b], candidates, atol=2e-5
                )
                tokens = [*np.clip(candidates, -8, 8), np.clip(own, -8, 8).std()]
                tokens += [*ahead[:4, first + i, b], step / 1440]
                np.testing.assert_allclose(made[f"{kind}_tokens"][:, i, b], tokens, atol=2e-5)
                np.testing.assert_allclose(
                    made[f"{kind}_season"][:, i, b],
                    3 * own.mean() * ahead[4:, first + i, b],
                    atol=2e-5,
                )


@pytest.mark.parametrize("horizons", [("day",), ("day", "week"), ("week", "month")])
def test_fewer_horizons_are_a_part_of_all(horizons: tuple[str, ...]) -> None:
    """A batch of some horizons holds, to the bit, what a batch of all holds of them."""
    history = home(40)
    windows = training_windows(history, fit_scaler(history, 0, 1900), "slot", 0, 1900)
    which = np.arange(0, len(windows), 100)
    every, some = windows.batch(which), windows.batch(which, horizons=horizons)
    streams = {f"{kind}_{name}" for kind in KINDS for name in horizons}
    assert set(some.targets) == streams | ({NET} if "day" in horizons else set())
    for stream, target in some.targets.items():
        np.testing.assert_array_equal(target, every.targets[stream])
        np.testing.assert_array_equal(some.masks[stream], every.masks[stream])
    of = np.repeat(list(HORIZONS), list(HORIZONS.values()))
    at = np.flatnonzero(np.isin(of, horizons))
    for part in ("tokens", "candidates", "season"):
        whole = every.inputs[f"price_{part}"]
        np.testing.assert_array_equal(some.inputs[f"price_{part}"], whole[:, at])


def test_split_keeps_an_embargo() -> None:
    """Load = row number tells which rows are targets: training's all lie before validation's."""
    history = home(30)
    rows = len(history)
    history.values[:, :9] = 0.0
    history.values[:, 8] = np.arange(rows)
    scaler = fit_scaler(history, 0, rows)
    train, validation = training_windows(history, scaler, "edge", 0, rows).split(0.25)
    cut = rows - round((rows - 48) * 0.25)

    def target_rows(part: Windows) -> set[int]:
        batch = part.batch(np.arange(len(part)))
        load = batch.targets["consumption_month"] * scaler.target_scale[0] + scaler.target_mean[0]
        return set(np.rint(load[batch.masks["consumption_month"]]).astype(int).tolist())

    assert target_rows(train) == set(range(48, cut))
    assert target_rows(validation) == set(range(cut, rows))


def test_an_epoch_visits_every_window_once() -> None:
    """No partial last batch is dropped: the batch sizes add up to the number of windows."""
    history = home(5)
    windows = training_windows(history, fit_scaler(history, 0, 240), "edge", 0, 240)
    batches: list[Batch] = list(windows.epoch(32, np.random.default_rng(0)))
    assert len(windows) % 32
    assert sum(len(batch) for batch in batches) == len(windows)
    firsts = np.concatenate([batch.targets["consumption_day"][:, 0] for batch in batches])
    ordered = np.concatenate(
        [batch.targets["consumption_day"][:, 0] for batch in windows.epoch(7, None)]
    )
    np.testing.assert_array_equal(np.sort(firsts), np.sort(ordered))


@pytest.mark.parametrize("preset", ["edge", "slot"])
def test_pooled_windows_are_the_households_own(preset: str) -> None:
    """Window i of a pool equals the window of the household it came from."""
    parts = []
    for seed, days in ((1, 12), (2, 9), (3, 1)):
        history = home(days, seed)
        rows = len(history)
        scaler = fit_scaler(history, 0, rows)
        parts.append(training_windows(history, scaler, preset, 0, rows))
    pooled = pool(parts)
    assert len(pooled) == sum(len(part) for part in parts)
    which = np.arange(0, len(pooled), 31)
    got = pooled.batch(which)
    own = [(part, i) for part in parts for i in range(len(part))]
    for k, i in enumerate(which):
        part, j = own[i]
        alone = part.batch(np.array([j]))
        for name, array in slot_part(alone).items():
            if preset == "edge":
                np.testing.assert_array_equal(array[0], got.inputs[name][k])
            elif not name.endswith("_steps"):  # the slot family holds windows last
                np.testing.assert_allclose(
                    array[..., 0], got.inputs[name][..., k], rtol=1e-5, atol=1e-6
                )
        for group in ("targets", "masks"):
            for name, array in getattr(alone, group).items():
                np.testing.assert_array_equal(array[0], getattr(got, group)[name][k])


@pytest.mark.parametrize(("first", "known"), [(-1, 48), (10, 5), (0, 10_000)])
def test_impossible_spans_are_refused(first: int, known: int) -> None:
    """A span outside the history raises InputError that gives its rows."""
    history = home(2)
    scaler = fit_scaler(history, 0, 96)
    with pytest.raises(InputError, match=str(known)):
        training_windows(history, scaler, "edge", first, known)
