"""What the model reads to correct a home's own days: of each of the next 48 steps, 90 numbers.

Own past days (``own_days``) are strong a few hours ahead, and a network that starts from raw
readings loses to them there. So it starts from them: it sees the scenarios that the trader would
plan with, the other set of past days, and what happened lately, all in units of the home's own
mean load, and gives corrections of the scenarios' quantiles.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from common.arrays import Floats, Floats32, Ints
from common.compiled import compiled
from common.forecast.history import History
from common.forecast.own_days import (
    alike_days,
    follow_sun,
    persist,
    recent_days,
)
from common.forecast.streams import SLOTS

SCENARIOS = 14
LEVELS = tuple((i + 0.5) / SCENARIOS for i in range(SCENARIOS))
"""Of the quantiles of net load: each scenario, in rank order, stands for one."""
INPUTS = 90
LEAST_HISTORY = SLOTS + 2

_DAYS = 28
_WINDOW, _ALIKE_INTERVALS, _ALIKE_FADE = 56, 12, 0.95
_REACH = (_WINDOW + 2) * SLOTS + _ALIKE_INTERVALS
_CLOCK = 51  # of the inputs: sine and cosine of the step's time of day
_LEAST_LOAD, _LEAST_PV, _TRACE = 0.02, 0.05, 0.05  # kWh per half hour


@dataclass(frozen=True)
class NetRows:
    """Half hours of one home, or of several one after the other; (R,) each.

    load, pv [kWh], clear: clear-sky irradiance [W/m2], 0 where unknown. sin, cos: of the slot of
    the day; weekend: 1 on Saturdays and Sundays. lag: by how many rows the newest reading lags
    when this row is decided.
    """

    load: Floats
    pv: Floats
    clear: Floats
    sin: Floats
    cos: Floats
    weekend: Floats
    lag: Ints

    def __len__(self) -> int:
        return len(self.load)


@dataclass(frozen=True)
class NetInputs:
    """Of B origins and K steps each: inputs (B, K, 90), own (B, K, 14) and unit (B,) [kWh].

    own: the home's own scenarios of net load, sorted, in units; other: the other set of past days,
    likewise. A home that knows less than ``LEAST_HISTORY`` rows has nan.
    """

    inputs: Floats32
    own: Floats
    other: Floats
    unit: Floats


def net_inputs(rows: NetRows, origins: Ints, lags: Ints, first: Ints, steps: Ints) -> NetInputs:
    """What is known when ``origins`` (B,) are decided, of the steps (B, K) from each on.

    lags (B,): the newest known row is origin - 1 - lag. first (B,): rows before it do not exist
    for the home.
    """
    count, width = steps.shape
    made = NetInputs(
        np.empty((count, width, INPUTS), np.float32),
        np.empty((count, width, SCENARIOS)),
        np.empty((count, width, SCENARIOS)),
        np.empty(count),
    )
    _fill(
        rows.load, rows.pv, rows.clear, rows.sin, rows.cos, rows.weekend, origins, lags, first,
        steps, made.inputs, made.own, made.other, made.unit,
    )  # fmt: skip
    return made


@compiled
def _fill(
    all_load: Floats,
    all_pv: Floats,
    all_clear: Floats,
    sin: Floats,
    cos: Floats,
    weekend: Floats,
    origins: Ints,
    lags: Ints,
    first: Ints,
    steps: Ints,
    inputs: Floats32,
    own: Floats,
    other: Floats,
    unit: Floats,
) -> None:
    day = 48
    mean_load, mean_pv = np.empty(day), np.empty(day)
    recent_load, recent_pv = np.empty(day), np.empty(day)
    for b in range(origins.shape[0]):
        origin, lag = origins[b], lags[b]
        known = origin - lag
        low = max(first[b], known - _REACH)
        x = inputs[b]
        if known - low < LEAST_HISTORY:
            x[:], own[b], other[b], unit[b] = np.nan, np.nan, np.nan, np.nan
            continue
        load = np.ascontiguousarray(all_load[low:known]).reshape(1, known - low)
        pv = np.ascontiguousarray(all_pv[low:known]).reshape(1, known - low)
        clear = all_clear[origin : min(origin + day, all_clear.shape[0])]
        # Own scenarios as the trader makes them.
        ahead_load = recent_days(load, lag, day, SCENARIOS, day)
        ahead_pv = recent_days(pv, lag, day, SCENARIOS, day)
        follow_sun(ahead_pv, all_clear[low:known], clear, lag, day)
        net = persist(
            ahead_load, ahead_pv, load, pv, lag, day, 6, 0.7, 0.6, 0.75, 0.9, 0.92, _TRACE
        )[0]
        alike = alike_days(load - pv, lag, day, SCENARIOS, _WINDOW, _ALIKE_INTERVALS, _ALIKE_FADE)[
            0
        ]
        # Mean days of the last four weeks by slot, counted back from the newest known row.
        width = known - low
        total, days = 0.0, min(_DAYS, width // day)
        for s in range(day):
            mean_load[s], mean_pv[s] = 0.0, 0.0
            for d in range(days):
                mean_load[s] += load[0, width - 1 - s - d * day] / days
                mean_pv[s] += pv[0, width - 1 - s - d * day] / days
            total += mean_load[s]
            recent_load[s], recent_pv[s] = load[0, width - 1 - s], pv[0, width - 1 - s]
        by_load = max(total / day, _LEAST_LOAD)
        by_pv = max(mean_pv.max(), _LEAST_PV)
        unit[b] = by_load
        # ---- the same for all steps
        c = 0
        for i in range(6):
            for j in (2 * i, 2 * i + 1):
                x[0, c + i] = 0.0 if j == 2 * i else x[0, c + i]
                x[0, c + i] += (recent_load[j] - mean_load[j]) / 2 / by_load
            x[0, c + 6 + i] = (
                recent_pv[2 * i] - mean_pv[2 * i] + recent_pv[2 * i + 1] - mean_pv[2 * i + 1]
            ) / (2 * by_pv)
            x[0, c + 12 + i] = (recent_pv[2 * i] + recent_pv[2 * i + 1]) / (2 * by_pv)
            x[0, c + 18 + i] = (recent_load[2 * i] + recent_load[2 * i + 1]) / (2 * by_load)
        c = 24
        for hours, span in ((0, 24), (1, 48)):
            moved = 0.0
            for s in range(span):
                moved += recent_load[s] - mean_load[s]
            x[0, c + hours] = moved / span / by_load
        for hours, span in ((2, 8), (3, 48)):
            moved, usual = 0.0, 0.1 * by_pv
            for s in range(span):
                moved += recent_pv[s] - mean_pv[s]
                usual += mean_pv[s]
            x[0, c + hours] = min(max(moved / usual, -2.0), 2.0)
        x[0, 28], x[0, 29], x[0, 30] = sin[origin], cos[origin], lag
        x[0, 31] = min(width / day, 28.0) / 28.0
        x[0, 32] = np.log(by_pv / by_load)
        for k in range(1, steps.shape[1]):
            x[k, :33] = x[0, :33]
        for k in range(steps.shape[1]):
            j = steps[b, k]
            row = origin + j
            ago = day if row - day < known else 2 * day
            # ---- the same slot on earlier days
            c, count = 33, 0
            week, month, square, sunny, sunny_month, sunny_square = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
            weekly, weeks = 0.0, 0
            soon = all_clear[min(row, all_clear.shape[0] - 1)]
            newest_load, newest_pv = 0.0, 0.0
            for d in range(_DAYS):
                column = row - ago - d * day
                if column < low:
                    break
                then = all_clear[column]
                ratio = min(max(soon / then, 0.5), 2.0) if then > 0.0 else 1.0
                used, made = all_load[column] / by_load, all_pv[column] * ratio / by_pv
                if d < 7:
                    x[k, c + d] = used
                    week += used
                    sunny += made
                if d < 3:
                    x[k, c + 7 + d] = made
                if d % 7 == 6:
                    weekly += used
                    weeks += 1
                month += used
                square += used * used
                sunny_month += made
                sunny_square += made * made
                count += 1
                newest_load, newest_pv = month / count, sunny_month / count
            few = min(count, 7)
            for d in range(few, 7):
                x[k, c + d] = newest_load
            for d in range(min(count, 3), 3):
                x[k, c + 7 + d] = newest_pv
            count, few = max(count, 1), max(few, 1)
            c = 43
            x[k, c] = week / few
            x[k, c + 1] = month / count
            x[k, c + 2] = np.sqrt(max(square / count - (month / count) ** 2, 0.0))
            x[k, c + 3] = weekly / weeks if weeks > 0 else month / count
            x[k, c + 4] = sunny / few
            x[k, c + 5] = sunny_month / count
            x[k, c + 6] = np.sqrt(max(sunny_square / count - (sunny_month / count) ** 2, 0.0))
            # What a home without PV cannot use must not tell it of panels to come.
            x[k, c + 7] = soon / 1000.0 if mean_pv.max() > 0.0 else 0.0
            # ---- when
            s, o = sin[min(row, sin.shape[0] - 1)], cos[min(row, sin.shape[0] - 1)]
            c = _CLOCK
            x[k, c], x[k, c + 1], x[k, c + 2], x[k, c + 3] = s, o, 2 * s * o, o * o - s * s
            x[k, c + 4] = weekend[min(row, sin.shape[0] - 1)]
            x[k, c + 5], x[k, c + 6], x[k, c + 7] = j / day, np.exp(-j / 2), np.exp(-j / 8)
            x[k, c + 8] = 1.0 if j == 0 else 0.0
            # ---- own scenarios, and the other set
            middle, sun = 0.0, 0.0
            for w in range(SCENARIOS):
                persisted, like = net[w, j], net[w, j]
                column = row - ago - alike[w] * day
                if alike[w] >= 0 and column >= low:
                    like = all_load[column] - all_pv[column]
                own[b, k, w] = (like if j == 0 else persisted) / by_load
                other[b, k, w] = (persisted if j == 0 else like) / by_load
                middle += persisted / by_load / SCENARIOS
                sun += ahead_pv[0, w, j] / by_pv / SCENARIOS
            own[b, k].sort()
            other[b, k].sort()
            c = 60
            x[k, c : c + SCENARIOS] = own[b, k]
            x[k, c + SCENARIOS : c + 2 * SCENARIOS] = other[b, k]
            x[k, 88], x[k, 89] = middle, sun


def slots_of(inputs: NDArray[np.generic]) -> Ints:
    """Which half hour of the local day (...,) each step of ``inputs`` (..., 90) is."""
    return slot_of(inputs[..., _CLOCK], inputs[..., _CLOCK + 1])


def slot_of(sin: NDArray[np.generic], cos: NDArray[np.generic]) -> Ints:
    """Half hour of the local day of sine and cosine of the time of day."""
    turn = np.arctan2(sin, cos) / (2 * np.pi)
    return np.asarray(np.rint(turn * SLOTS).astype(np.int64) % SLOTS)


def joined_rows(homes: Sequence[NetRows]) -> NetRows:
    """The rows of several homes, one home after the other."""
    if len(homes) == 1:
        return homes[0]
    return NetRows(
        *(np.concatenate([getattr(one, f.name) for one in homes]) for f in fields(NetRows))
    )


def net_rows(history: History, stop: int, measured: tuple[Floats, Floats] | None = None) -> NetRows:
    """The first ``stop`` rows of one home.

    measured: load and PV (T,) on the rows of the history, in place of its own: what is written
    there later is then seen.
    """
    calendar = history.calendar[:stop].astype(np.float64)
    # Sine and cosine of 2 pi weekday / 7, Monday being 0.
    weekday = np.rint(np.arctan2(calendar[:, 2], calendar[:, 3]) / (2 * np.pi) * 7) % 7
    if measured is None:
        measured = history.consumption(0, stop), np.ascontiguousarray(history.pv(0, stop))
    assert history.lags is not None
    return NetRows(
        np.asarray(measured[0][:stop]),
        np.asarray(measured[1][:stop]),
        history.clear_sky[:stop],
        np.ascontiguousarray(calendar[:, 0]),
        np.ascontiguousarray(calendar[:, 1]),
        (weekday >= 5).astype(np.float64),
        history.lags[:stop],
    )
