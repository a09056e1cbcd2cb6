"""The published tariff of a deployment: what most members pay, and what some pay of their own."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from common.arrays import Floats
from common.cadence import HALF_HOUR, Cadence
from common.config import Settings, Tariff
from common.errors import InputError
from common.files import write_whole
from fl_server.host.folder import Folder
from fl_server.host.published import AHEAD, Events, Published, newest_told
from fl_server.price_sources import open_prices
from fl_server.price_sources.options import Options
from fl_server.price_sources.table import read_table
from fl_server.prices import Prices


def write_tariff(
    path: Path, start: pd.Timestamp, retail: Floats, cadence: Cadence = HALF_HOUR
) -> None:
    """Write prices [currency/kWh] of the intervals from ``start`` on."""
    times = pd.date_range(start, periods=len(retail), freq=cadence.step)
    lines = [
        f"{time.isoformat()},{float(price)!r}\n" for time, price in zip(times, retail, strict=True)
    ]
    write_whole(path, "time,retail\n" + "".join(lines))


def read_tariff(
    path: Path, start: pd.Timestamp, count: int, cadence: Cadence = HALF_HOUR
) -> Floats:
    """Return prices (count,) of intervals from ``start`` on; nan where the file says nothing.

    Of any step: what is finer is averaged. Raises InputError for a file that is no tariff, has
    gaps, or begins after ``start``.
    """
    found = read_table(path)[0].on_grid(start, cadence.step, count)
    if np.isnan(found[0]):
        raise InputError(f"tariff {path}: no price for {start}, the first interval")
    return found


def check_members(settings: Settings) -> None:
    """Raise InputError where a member's own prices cannot be had from where the settings say."""
    for name, tariff in _own_tariffs(settings):
        try:
            open_prices(tariff)
        except InputError as error:
            raise InputError(f"homes.{name}: {error}") from None


def _own_tariffs(settings: Settings) -> Iterator[tuple[str, Tariff]]:
    """Members, or globs of them, that the settings give prices of another source."""
    for name in dict.fromkeys((*settings.homes, *settings.homes_last)):
        tariff = settings.home(name).tariff
        if not _elsewhere(tariff, settings.tariff):
            continue
        if tariff.source == "data":
            raise InputError(
                f"homes.{name}.tariff.source = data: in a deployment that is the common tariff's "
                "file; a member's own prices are flat, of a file or of a service"
            )
        yield name, tariff


def _elsewhere(own: Tariff, common: Tariff) -> bool:
    """Whether a member's prices come from another file or service than the common ones."""
    return own.source != "flat" and (own.source, own.source_options) != (
        common.source,
        common.source_options,
    )


class MemberPrices(Prices):
    """The members' prices: the ``common`` ones, but for what the operator has set for a member.

    ``homes: NAME: tariff`` in the coordinator's settings may give it a flat energy price, or those
    of a file or service, charges of its own, and another price for its exports. ``own``: opens the
    source of such a tariff.
    """

    def __init__(
        self, common: Published, settings: Settings, own: Callable[[Tariff], Published]
    ) -> None:
        none = np.zeros(0, np.int64)
        charged = [(0, settings.tariff.charges)]
        zone = settings.data.timezone or "UTC"
        energy, paid = common.energy[None].copy(), common.paid[None].copy()
        super().__init__(energy, paid, charged, none, none, zone)
        self._settings, self._open = settings, own
        # Each source with its rows of energy and export prices.
        self._sources = [(common, 0, 0)]
        self._flat: dict[tuple[str, float], int] = {}

    @property
    def common(self) -> Floats:
        """Energy prices of whoever has none of its own, from interval 0 on."""
        return self._sources[0][0].energy

    @property
    def common_paid(self) -> Floats:
        """Export prices of whoever has none of its own."""
        return self._sources[0][0].paid

    def renew(self) -> None:
        """Take over what the sources have published since."""
        changed = self._grow(len(self.common) - self.energy.shape[1])
        for source, row, paid in self._sources:
            for rows, at, now in (
                (self.energy, row, source.energy),
                (self.feed_in, paid, source.paid),
            ):
                if not np.array_equal(rows[at], now, equal_nan=True):
                    rows[at] = now
                    changed = True
        if changed:
            self.retail = self._all_in(slice(None))

    def _grow(self, count: int) -> bool:
        """Make room for ``count`` more intervals; what is flat goes on as it was."""
        if count <= 0:
            return False
        self.energy = np.pad(self.energy, ((0, 0), (0, count)), mode="edge")
        self.feed_in = np.pad(self.feed_in, ((0, 0), (0, count)), mode="edge")
        return True

    def seat(self, names: Sequence[str]) -> None:
        """Give those who have joined since their tariffs."""
        common = self._settings.tariff
        for name in names[len(self.import_of) :]:
            own = self._settings.home(name).tariff
            source, row, paid = self._sources[0]
            if _elsewhere(own, common):
                source, row, paid = self._rows_of(own)
            else:
                if own.source == "flat" and own != common:
                    row = self._flat_row("energy", own.retail)
                if own.feed_in != common.feed_in:
                    paid = self._flat_row("feed_in", own.feed_in)
            if (row, own.charges) not in self.charged:
                self.charged.append((row, own.charges))
                source.charges.append(own.charges)
                self.retail = self._all_in(slice(None))
            self.import_of = np.append(self.import_of, self.charged.index((row, own.charges)))
            self.export_of = np.append(self.export_of, paid)

    def _rows_of(self, own: Tariff) -> tuple[Published, int, int]:
        source = self._open(own)
        for known in self._sources:
            if known[0] is source:
                return known
        made = source, len(self.energy), len(self.feed_in)
        self.energy = np.vstack([self.energy, source.energy])
        self.feed_in = np.vstack([self.feed_in, source.paid])
        self._sources.append(made)
        return made

    def _flat_row(self, table: str, price: float) -> int:
        """The row of ``energy`` or ``feed_in`` that is ``price`` throughout."""
        if (table, price) not in self._flat:
            rows: Floats = getattr(self, table)
            self._flat[table, price] = len(rows)
            setattr(self, table, np.vstack([rows, np.full(rows.shape[1], price)]))
        return self._flat[table, price]


class PublishedTariff:
    """Prices of a run that began at ``start``: from the file of its folder or a service, and from
    those of single members."""

    def __init__(self, folder: Folder, settings: Settings, start: pd.Timestamp) -> None:
        """Raises InputError for a file that is no tariff, or a service that does not tell the
        price of the first interval, unless prices were told already."""
        self._folder, self._settings, self._start = folder, settings, start
        self._own: dict[str, Published] = {}
        ahead, self._count = settings.published, settings.intervals + settings.published
        if settings.endless:
            self._count = newest_told(folder.told) + AHEAD + ahead
        self._common = self._published(settings.tariff, folder.told)
        for name, tariff in _own_tariffs(settings):
            try:
                self._own_prices(tariff)
            except InputError as error:
                raise InputError(f"homes.{name}: {error}") from None
        self.prices = MemberPrices(self._common, settings, self._own_prices)

    def tell(self, t: int) -> Events:
        """Before interval ``t``: read what was published since and write down what is told now.

        Where there is no price for ``t`` that of the day before holds. Yields what is to be noted.
        """
        yield from self._common.tell(t)
        self._count = len(self._common.energy)  # for members whose prices are opened later
        for own in self._own.values():
            for event, about in own.tell(t):
                yield event, {"tariff": own.name, **about}
        self.prices.renew()

    def _own_prices(self, tariff: Tariff) -> Published:
        """Of the source of a member's own tariff, which may be that of others as well."""
        values = {**tariff.source_options, "feed_in": tariff.feed_in}
        place = Options(tariff.source, values).digest
        if place not in self._own:
            told = self._folder.told
            file = told.with_name(f"{told.stem}-{place}{told.suffix}")
            self._own[place] = self._published(tariff, file, begun=self._common.begun)
        return self._own[place]

    def _published(self, tariff: Tariff, told: Path, *, begun: bool = False) -> Published:
        file = self._folder.tariff
        if tariff.source == "file":
            options = Options(tariff.source, tariff.source_options)
            file = Path(options.text("path")).expanduser()
            options.all_read()
        return Published(
            tariff,
            file=file,
            told=told,
            cache=self._folder.root / "prices",
            start=self._start,
            cadence=self._settings.cadence,
            count=self._count,
            ahead=self._settings.published,
            begun=begun,
        )
