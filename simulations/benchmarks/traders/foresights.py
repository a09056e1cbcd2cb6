"""What a trader can be told of the future in place of the model's forecast: plain ones, the truth.

Each makes, of a group of households, what answers when its traders ask their model. The plain ones
read only rows that are known; the truth is the bound that no trader can pass.
"""

from collections.abc import Callable

import numpy as np

from common.arrays import Floats, Ints
from common.cadence import HALF_HOUR
from fl_client.deciding import AskModel, DayAhead
from fl_client.household import Group

DAY = HALF_HOUR.per_day


def same_slots(days: int) -> Callable[[Group], AskModel]:
    """Mean of the same slots of the last ``days`` known days, load and PV (1: the last day)."""

    def rows_of(now: int, known: int) -> Ints:
        ahead = now + np.arange(DAY)
        # The last slots of a lagging meter's day are not known yet: a day earlier for them.
        newest = ahead - DAY * np.where(ahead - DAY >= known, 2, 1)
        rows = newest[None, :] - DAY * np.arange(days)[:, None]
        clamped: Ints = np.maximum(rows, rows % DAY)
        return clamped

    return _of_rows(rows_of)


def truth(group: Group) -> AskModel:
    """What will happen, the current interval included."""
    return _of_rows(lambda now, known: (now + np.arange(DAY))[None])(group)


def _of_rows(rows_of: Callable[[int, int], Ints]) -> Callable[[Group], AskModel]:
    """Means over the rows (N, 48) that ``rows_of`` names for the row of the present half hour and
    the first row that is not known.

    Prices are those published for the coming half hours, the last of them going on.
    """

    def foresee(group: Group) -> AskModel:
        def ask(households: Ints, unknown: int, lag: int) -> DayAhead:
            load, pv, price = [], [], []
            for h in households.tolist():
                history, measured = group.histories[h], group.measured(h)
                last = len(history) - 1
                known = len(history) - unknown
                rows = np.minimum(rows_of(known + lag, known), last)
                load.append(_mean(measured[0], rows))
                pv.append(_mean(measured[1], rows))
                coming = history.price(known + lag, min(known + lag + DAY, last + 1))
                price.append(np.pad(coming, (0, DAY - len(coming)), mode="edge"))
            return DayAhead(
                households, np.stack(load), np.stack(price), None, (), production=np.stack(pv)
            )

        return ask

    return foresee


def _mean(values: Floats, rows: Ints) -> Floats:
    return np.asarray(values[rows].sum(axis=0) / len(rows))
