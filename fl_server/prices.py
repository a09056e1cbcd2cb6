"""The members' tariffs: what the grid asks and pays, per interval and household."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from common.arrays import Floats, Ints
from common.config import Settings
from common.data.span import Source
from common.errors import InputError
from common.market_rules import MICRO, PPM

_DAY = 48


class Prices:
    """Import and export prices of either sign, currency per kWh.

    ``retail`` (G, T + published) and ``feed_in`` (F, T + published): the different ones from
    interval 0 on, nan where not published yet. ``import_of``, ``export_of`` (H,): which of them
    each household has, in order of the roster.
    """

    def __init__(self, retail: Floats, feed_in: Floats, import_of: Ints, export_of: Ints) -> None:
        self.retail, self.feed_in = retail, feed_in
        self.import_of, self.export_of = import_of, export_of

    def seat(self, names: Sequence[str]) -> None:
        """Give each household its tariff; in a simulation all have theirs from the start."""

    def tariff(self, h: int) -> tuple[int, int]:
        """Rows of ``retail`` and ``feed_in`` that household ``h`` has."""
        return int(self.import_of[h]), int(self.export_of[h])

    def imported(self, t: int) -> Floats:
        """Import price of each household (H,) in interval t."""
        return np.asarray(self.retail[self.import_of, t])

    def exported(self, t: int) -> Floats:
        """Export price of each household (H,) in interval t."""
        return np.asarray(self.feed_in[self.export_of, t])

    def terms(self, t: int, loss: float, fee: float) -> tuple[float, float, float, float]:
        """What all members hear of interval t, per kWh.

        The lowest and the highest price an order may name (without a cap): from the lowest export
        price, less the local fee, to the highest import price. Then what a shortfall costs at least
        and what unused energy earns at most, see ``fl_server.settlement``.
        """
        imported, exported = self.imported(t), self.exported(t)
        dearest = float(max(imported.max(), exported.max()))
        lowest = float(min(imported.min(), exported.min()))
        return (
            float(exported.min()) - fee,
            float(imported.max()),
            max(dearest, dearest * (1.0 - loss)),
            min(lowest, lowest / (1.0 - loss)),
        )


def micro(prices: Floats) -> Ints:
    """Prices per kWh as the ledger counts them, to the nearest micro."""
    return np.array([round(price * MICRO) for price in prices.tolist()], np.int64)


def bounds_micro(lowest: float, highest: float) -> tuple[int, int]:
    """Bounds of an order's price in whole micro: nothing within them is refused by rounding."""
    grain = MICRO / PPM * 1e-6
    return int(np.floor(lowest * MICRO + grain)), int(np.ceil(highest * MICRO - grain))


def published_prices(settings: Settings, source: Source, start: pd.Timestamp) -> Prices:
    """The members' tariffs in a simulation: each home's prices are those of its data, or flat.

    Where the data has no export prices, ``tariff.feed_in`` is paid. Raises InputError.
    """
    names = sorted(source.names())
    homes = [settings.home(name, source.block(name)) for name in names]
    count = settings.intervals + settings.published
    shared: tuple[Floats, Floats | None] | None = None
    rows: tuple[dict[bytes, tuple[int, Floats]], ...] = ({}, {})
    of = np.empty((2, len(names)), np.int64)
    for h, (name, home) in enumerate(zip(names, homes, strict=True)):
        tariff = home.tariff
        if tariff.source == "flat":
            retail, paid = np.full(count, tariff.retail), None
        else:
            if shared is None or not source.one_tariff:
                shared = _of_data(source, name, start, settings.intervals, count)
            retail, paid = shared
        feed_in = np.full(count, tariff.feed_in) if paid is None else paid
        for side, column in enumerate((retail, feed_in)):
            known = rows[side]
            of[side, h] = known.setdefault(column.tobytes(), (len(known), column))[0]
    tables = [np.stack([column for _, column in side.values()]) for side in rows]
    return Prices(tables[0], tables[1], of[0], of[1])


def _of_data(
    source: Source, name: str, start: pd.Timestamp, intervals: int, count: int
) -> tuple[Floats, Floats | None]:
    """Import and export prices (``count``,) of a home's data from ``start`` on."""
    home = source.load(name)
    row = home.row(start)
    columns = [home.frame["price"].to_numpy(np.float64), home.export_price]
    found: list[Floats | None] = []
    for column in columns:
        if column is None:
            found.append(None)
            continue
        prices = column[: row + count]
        if len(prices) < row + intervals:
            raise InputError(f"household {home.name}: prices end before the run does")
        # Beyond the data the same half hour of the day before is what one would expect.
        while len(prices) < row + count:
            prices = np.append(prices, prices[max(len(prices) - _DAY, 0)])
        found.append(prices[row:])
    retail = found[0]
    assert retail is not None
    return retail, found[1]
