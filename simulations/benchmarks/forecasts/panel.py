"""The homes of a benchmark on one clock, and the spans that training and scoring may see."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from common.arrays import Floats
from common.data.frame import Household
from common.errors import InputError
from common.forecast.history import History, history_of
from common.forecast.streams import SLOTS

Rows = NDArray[np.int64]

SCORED_SHARE = 0.2
LEAST_DAYS = 70
LOOKBACK_DAYS = 28


@dataclass(frozen=True)
class Panel:
    """Homes over the span they share.

    ``load`` (H, T) kWh with nan where the meter was silent (those rows are in no score), ``filled``
    (H, T) without gaps, ``price`` (H, T), ``temperature`` (H, T); ``midnights`` are the rows at
    which a local day begins.
    """

    names: tuple[str, ...]
    histories: tuple[History, ...]
    load: Floats
    filled: Floats
    price: Floats
    temperature: Floats
    midnights: Rows

    def subset(self, which: Sequence[int]) -> "Panel":
        """Keep these homes."""
        pick = list(which)
        return Panel(
            tuple(self.names[i] for i in pick),
            tuple(self.histories[i] for i in pick),
            self.load[pick],
            self.filled[pick],
            self.price[pick],
            self.temperature[pick],
            self.midnights,
        )


@dataclass(frozen=True)
class Span:
    """Training may use rows before ``start``; forecasts are scored on rows ``start`` to ``stop``.

    No training target lies at or after ``start``: origins of the last 1440 steps before it train
    only the horizons that end before it.
    """

    start: int
    stop: int


def make_panel(homes: Sequence[Household]) -> Panel:
    """Cut the homes to the span they share. Raises InputError when it is under 70 days."""
    first = max(home.frame.index[0] for home in homes)
    last = min(home.frame.index[-1] for home in homes)
    rows = int((last - first) / pd.Timedelta(minutes=30)) + 1 if last >= first else 0
    if rows < LEAST_DAYS * SLOTS:
        raise InputError(
            f"the homes share {max(rows, 0) / SLOTS:.0f} days; the benchmark needs {LEAST_DAYS}"
        )
    histories, silent = [], []
    for home in homes:
        low = home.row(first)
        history = history_of(home)
        histories.append(
            History(
                history.values[low : low + rows],
                history.index[low : low + rows],
                home.timezone,
                home.lags(low + rows)[low:],
            )
        )
        silent.append(home.filled_rows[low : low + rows])
    filled = np.stack([history.consumption(0, rows) for history in histories])
    local = histories[0].index.tz_convert(homes[0].timezone)
    midnights = np.flatnonzero((local.hour == 0) & (local.minute == 0))
    return Panel(
        tuple(home.name for home in homes),
        tuple(histories),
        np.where(np.stack(silent), np.nan, filled),
        filled,
        np.stack([history.price(0, rows) for history in histories]),
        np.stack([history.temperature(0, rows) for history in histories]),
        midnights,
    )


def make_span(panel: Panel, scored: Literal["test", "validation"]) -> Span:
    """``test``: the last 20 % of the days. ``validation``: the last 20 % of the days before."""
    days = panel.midnights
    cut = len(days) - round(len(days) * SCORED_SHARE)
    if scored == "test":
        return Span(int(days[cut]), panel.load.shape[1])
    earlier = cut - round(cut * SCORED_SHARE)
    return Span(int(days[earlier]), int(days[cut]))


def midnight_origins(panel: Panel, span: Span, horizon: int) -> Rows:
    """Local midnights within the span whose whole horizon lies within it."""
    days = panel.midnights
    return days[(days >= span.start) & (days + horizon <= span.stop)]


def all_origins(span: Span, horizon: int, stride: int) -> Rows:
    """Every ``stride``-th half hour of the span: 7 and other odd numbers meet all of the day."""
    return np.arange(span.start, span.stop - horizon + 1, stride)


def window(values: Floats, origins: Rows, horizon: int) -> Floats:
    """(H, T) values at the steps after each origin: (H, n, horizon)."""
    return values[:, origins[:, None] + np.arange(horizon)]
