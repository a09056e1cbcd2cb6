"""The members' tariffs: what the grid asks and pays, per interval and household."""

from collections.abc import Sequence
from dataclasses import astuple

import numpy as np
import pandas as pd

from common.arrays import Floats, Ints
from common.config import Settings, Tariff
from common.data.prices import check_prices
from common.data.span import Source
from common.energy.charges import Charges, LocalFee
from common.errors import InputError
from common.market_rules import MICRO, PPM, to_micro
from fl_server.price_lists import PriceList
from fl_server.price_sources import open_prices
from fl_server.price_sources.options import Options


class Prices:
    """Import and export prices of either sign, currency per kWh.

    ``energy`` (E, T + published): the different energy prices from interval 0 on, nan where not
    published yet. ``charged``: of each different import price its row of ``energy`` and what comes
    on top; ``retail`` (G, T + published) are these prices, all-in. ``feed_in`` (F, T + published):
    the different export prices. ``import_of``, ``export_of`` (H,): which of them each household
    has, in order of the roster. Days begin in time zone ``zone``.
    """

    def __init__(
        self,
        energy: Floats,
        feed_in: Floats,
        charged: list[tuple[int, Charges]],
        import_of: Ints,
        export_of: Ints,
        zone: str = "UTC",
    ) -> None:
        self.energy, self.feed_in, self.charged = energy, feed_in, charged
        self.import_of, self.export_of, self.zone = import_of, export_of, zone
        self.retail = self._all_in(slice(None))

    def _all_in(self, when: slice) -> Floats:
        return np.stack([charges.all_in(self.energy[row, when]) for row, charges in self.charged])

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

    def lists(self, t: int, local: LocalFee) -> tuple[list[PriceList], Ints]:
        """The different price lists of interval t, and which of them each household has (H,)."""
        pairs: dict[tuple[int, int], int] = {}
        of = [
            pairs.setdefault(pair, len(pairs))
            for pair in zip(self.import_of.tolist(), self.export_of.tolist(), strict=True)
        ]
        made = []
        for row, paid in pairs:
            energy, charges = self.charged[row]
            parts = [
                to_micro(price)
                for price in (
                    float(self.energy[energy, t]),
                    charges.markup,
                    charges.network_fee,
                    charges.levies,
                )
            ]
            vat = to_micro(float(self.retail[row, t])) - sum(parts)
            export = to_micro(float(self.feed_in[paid, t]))
            one = (*parts, vat, export, *astuple(local), *charges.standing_micro)
            made.append(PriceList._make(one))
        return made, np.array(of, np.int64)

    def standing(self) -> Ints:
        """What each household pays for a day (H,), VAT included [micro]."""
        daily = np.array([sum(charges.standing_micro) for _, charges in self.charged], np.int64)
        return np.asarray(daily[self.import_of])

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
    """The members' tariffs in a simulation: each home's energy prices are those of its data, or
    flat; its charges come on top.

    Where the data has no export prices, ``tariff.feed_in`` is paid. Raises InputError.
    """
    names = sorted(source.names())
    homes = [settings.home(name, source.block(name)) for name in names]
    count = settings.intervals + settings.published
    shared: tuple[Floats, Floats | None] | None = None
    asked: dict[str, tuple[Floats, Floats | None]] = {}
    energies, exports = _Rows(), _Rows()
    charged: dict[tuple[int, Charges], int] = {}
    of = np.empty((2, len(names)), np.int64)
    for h, (name, home) in enumerate(zip(names, homes, strict=True)):
        tariff = home.tariff
        if tariff.source == "flat":
            energy, paid = np.full(count, tariff.retail), None
        elif tariff.source != "data":
            place = Options(tariff.source, tariff.source_options).digest
            if place not in asked:
                asked[place] = prices_of_source(settings, tariff, start)
            energy, paid = asked[place]
        else:
            if shared is None or not source.one_tariff:
                shared = _of_data(source, name, start, settings, count)
            energy, paid = shared
        one = energies.number(energy), tariff.charges
        of[0, h] = charged.setdefault(one, len(charged))
        of[1, h] = exports.number(np.full(count, tariff.feed_in) if paid is None else paid)
        check_all_in(tariff.charges, energy, f"household {name}")
    zone = source.load(names[0]).timezone
    return Prices(energies.table, exports.table, list(charged), of[0], of[1], zone)


def check_all_in(charges: Charges, energy: Floats, place: str) -> None:
    """Raise InputError unless the import prices of known energy prices (T,) are possible ones."""
    known = np.flatnonzero(~np.isnan(energy))
    check_prices(
        charges.all_in(energy[known]), lambda i: f"{place}: interval {known[i]}: price with charges"
    )


class _Rows:
    """Rows that are each other's equal are kept once."""

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[int, Floats]] = {}

    def number(self, row: Floats) -> int:
        """The number of a row among the different ones."""
        return self._known.setdefault(row.tobytes(), (len(self._known), row))[0]

    @property
    def table(self) -> Floats:
        return np.stack([row for _, row in self._known.values()])


def prices_of_source(
    settings: Settings, tariff: Tariff, start: pd.Timestamp
) -> tuple[Floats, Floats | None]:
    """Import and export prices (T + published,) of the run from a file or service.

    Raises InputError where a price of the run is missing.
    """
    source = open_prices(tariff)
    assert source is not None
    step, intervals = settings.cadence.step, settings.intervals
    count = intervals + settings.published
    end = start + count * step
    found: list[Floats | None] = []
    for pieces in (source.imported(start, end), source.exported(start, end)):
        if pieces is None:
            found.append(None)
            continue
        prices = pieces.on_grid(start, step, count)
        missing = np.flatnonzero(np.isnan(prices[:intervals]))
        if len(missing):
            when = start + int(missing[0]) * step
            raise InputError(f"tariff {source.name}: no price for {when.isoformat()}")
        day = settings.cadence.per_day
        for t in np.flatnonzero(np.isnan(prices)).tolist():
            # Beyond what is published the price of the day before is what one would expect.
            prices[t] = prices[max(t - day, 0)]
        found.append(prices)
    assert found[0] is not None
    return found[0], found[1]


def _of_data(
    source: Source, name: str, start: pd.Timestamp, settings: Settings, count: int
) -> tuple[Floats, Floats | None]:
    """Import and export prices (``count``,) of a home's data from ``start`` on."""
    home = source.load(name).at(settings.cadence, start)
    row = home.row(start)
    columns = [home.frame["price"].to_numpy(np.float64), home.export_price]
    found: list[Floats | None] = []
    for column in columns:
        if column is None:
            found.append(None)
            continue
        prices = column[: row + count]
        if len(prices) < row + settings.intervals:
            raise InputError(f"household {home.name}: prices end before the run does")
        # Beyond the data the same time of the day before is what one would expect.
        while len(prices) < row + count:
            prices = np.append(prices, prices[max(len(prices) - settings.cadence.per_day, 0)])
        found.append(prices[row:])
    retail = found[0]
    assert retail is not None
    return retail, found[1]
