"""The published tariff of a deployment: a CSV file that is extended while the run goes on, or a
service that publishes prices.

What households were told once holds, whatever the file says later: they have planned and settled
with it. So prices are written down before they are told, and read back when a coordinator starts.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from common.arrays import Floats, Ints
from common.cadence import HALF_HOUR, Cadence
from common.config import Settings
from common.errors import InputError
from common.files import write_whole
from fl_server.host.asking import Asking
from fl_server.host.folder import Folder
from fl_server.price_sources import SERVICES, open_prices
from fl_server.price_sources.table import read_table
from fl_server.prices import Prices, check_all_in

Events = Iterator[tuple[str, dict[str, str | int]]]


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
    """Raise InputError where a member's own prices are from a file or service: there is one."""
    known = ("flat", settings.tariff.source)
    for layer in (settings.homes, settings.homes_last):
        for name, block in layer.items():
            source = (block.get("tariff") or {}).get("source", "flat")
            if source not in known:
                raise InputError(
                    f"homes.{name}.tariff.source = {source}: in a deployment a member's own energy "
                    "price is flat; file and service are one for all"
                )


class MemberPrices(Prices):
    """The members' prices: the ``common`` ones, but for what the operator has set for a member.

    ``homes: NAME: tariff`` in the coordinator's settings may give it a flat energy price, charges
    of its own, and another price for its exports.
    """

    def __init__(self, common: Floats, paid: Floats, settings: Settings) -> None:
        none = np.zeros(0, np.int64)
        charged = [(0, settings.tariff.charges)]
        zone = settings.data.timezone or "UTC"
        super().__init__(common[None], paid[None], charged, none, none, zone)
        self._settings = settings

    @property
    def common(self) -> Floats:
        """Energy prices of whoever has none of its own, from interval 0 on."""
        return np.asarray(self.energy[0])

    @property
    def common_paid(self) -> Floats:
        """Export prices of whoever has none of its own."""
        return np.asarray(self.feed_in[0])

    def renew(self, when: slice) -> None:
        """Take over energy prices that have changed in these intervals."""
        self.retail[:, when] = self._all_in(when)

    def seat(self, names: Sequence[str]) -> None:
        """Give those who have joined since their tariffs."""
        for name in names[len(self.import_of) :]:
            own = self._settings.home(name).tariff
            row = 0
            if own.source == "flat" and own != self._settings.tariff:
                self.energy, row = _row(self.energy, own.retail, 1)
            if (row, own.charges) not in self.charged:
                self.charged.append((row, own.charges))
                self.retail = self._all_in(slice(None))
            paid = 0
            if own.feed_in != self._settings.tariff.feed_in:
                self.feed_in, paid = _row(self.feed_in, own.feed_in, 1)
            self.import_of = np.append(self.import_of, self.charged.index((row, own.charges)))
            self.export_of = np.append(self.export_of, paid)


def _row(rows: Floats, price: float, first: int) -> tuple[Floats, int]:
    """The rows with one, from ``first`` on, that is ``price`` throughout, and its number."""
    found = first + np.flatnonzero((rows[first:] == price).all(axis=1))
    if len(found):
        return rows, int(found[0])
    return np.vstack([rows, np.full(rows.shape[1], price)]), len(rows)


class PublishedTariff:
    """Prices of a run that began at ``start``, from the file of its folder or a service, and those
    told."""

    def __init__(self, folder: Folder, settings: Settings, start: pd.Timestamp) -> None:
        """Raises InputError for a file that is no tariff, or a service that does not tell the
        price of the first interval, unless prices were told already."""
        self._folder, self._start, self._tariff = folder, start, settings.tariff
        self._published, self._cadence = settings.published, settings.cadence
        check_members(settings)
        count = settings.intervals + settings.published
        # Import and export prices told; of the latter only those that were published.
        self._told = np.full((2, count), np.nan)
        for interval, price, paid in _lines(folder.told):
            if interval < count:
                self._told[:, interval] = price, paid
        self._exports = not np.isnan(self._told[1]).all()
        paid_ahead = self._told[1].copy()
        if not self._exports:
            paid_ahead[:] = settings.tariff.feed_in
        self.prices = MemberPrices(self._told[0].copy(), paid_ahead, settings)
        self._read: tuple[int, int] | None = None
        self._begun = False
        self._service: Asking | None = None
        if settings.tariff.source in SERVICES:
            source = open_prices(settings.tariff, folder.root / "prices")
            assert source is not None
            self._service = Asking(source)
        try:
            self._refresh(0)
            if np.isnan(self.prices.common[0]):
                raise InputError(f"tariff {self._name}: no price for {start}, the first interval")
        except InputError:
            if np.isnan(self._told[0, 0]):
                raise
            self._read = None

    def tell(self, t: int) -> Events:
        """Before interval ``t``: read what was published since and write down what is told now.

        Where there is no price for ``t`` that of the day before holds. Yields what is to be noted.
        """
        try:
            changed = self._refresh(t)
        except InputError as error:
            yield "tariff refused", {"error": str(error)}
        else:
            if changed is not None:
                when = (self._start + changed * self._cadence.step).isoformat()
                yield "tariff differs from what was told: that holds", {"from": when}
        retail, paid = self.prices.common, self.prices.common_paid
        if not self._begun and t > 0 and np.isnan(self._told[0, t - 1]):
            yield "prices told before are lost: the tariff's hold", {"file": str(self._folder.told)}
        day = self._cadence.per_day
        before = t - day if t >= day else max(t - 1, 0)
        if np.isnan(retail[t]):
            retail[t] = retail[before]
            self.prices.renew(slice(t, t + 1))
            yield "no price published: that of the day before holds", {"interval": t}
        if np.isnan(paid[t]):
            paid[t] = self._tariff.feed_in if np.isnan(paid[before]) else paid[before]
        self._begun = True
        ahead = slice(t, t + self._published)
        new = t + np.flatnonzero(np.isnan(self._told[0, ahead]) & ~np.isnan(retail[ahead]))
        if len(new):
            self._write_down(new, retail[new], paid[new])

    @property
    def _name(self) -> str:
        return str(self._file) if self._service is None else self._service.source.name

    @property
    def _file(self) -> Path:
        named = self._tariff.source_options.get("path")
        return self._folder.tariff if named is None else Path(str(named)).expanduser()

    def _refresh(self, t: int) -> int | None:
        """Take over prices not told yet; returns the first interval told otherwise, if there is."""
        if self._service is not None:
            self._from_service(self._service, t)
            return None
        flat, file = self._tariff.source == "flat", self._file
        try:
            about = None if flat else file.stat()
        except OSError as error:
            raise InputError(f"tariff {file}: {error.strerror}") from None
        stamp = (0, 0) if about is None else (about.st_mtime_ns, about.st_ino)
        if stamp == self._read:
            return None
        self._read = stamp
        count = self._told.shape[1]
        known, paid = np.full(count, self._tariff.retail), None
        if not flat:
            sides = [
                None if side is None else side.on_grid(self._start, self._cadence.step, count)
                for side in read_table(file)
            ]
            assert sides[0] is not None
            known, paid = sides[0], sides[1]
            if np.isnan(known[0]):
                raise InputError(f"tariff {file}: no price for {self._start}, the first interval")
        # Where the file says nothing more, what was known before goes with it.
        self._take_over(known, paid, 0, forget=True)
        told = self._told[0]
        other = np.flatnonzero(~np.isnan(told) & ~np.isnan(known) & (known != told))
        return int(other[0]) if len(other) else None

    def _from_service(self, service: Asking, t: int) -> None:
        """Take over what a service has answered; ask it again where prices are missing."""
        step, count = self._cadence.step, self._told.shape[1]
        last = min(t + self._published, count)
        asked = service.answer(
            self._start + t * step,
            self._start + last * step,
            # Only for the price of the interval that begins it is worth to wait.
            wait=bool(np.isnan(self.prices.common[t])),
            needed=bool(np.isnan(self.prices.common[t:last]).any()),
        )
        if asked is None:
            return
        begin, imported, exported = asked
        at = round((begin - self._start) / step)
        known = imported.on_grid(begin, step, self._published)[: count - at]
        paid = None
        if exported is not None:
            paid = exported.on_grid(begin, step, self._published)[: count - at]
        self._take_over(known, paid, at, forget=False)

    def _take_over(self, known: Floats, paid: Floats | None, at: int, *, forget: bool) -> None:
        """Put prices published for intervals from ``at`` on in the place of those not told."""
        for row, charges in self.prices.charged:
            if row == 0:
                check_all_in(charges, known, f"tariff {self._name}")
        here = slice(at, at + len(known))
        open_ = np.isnan(self._told[0, here])
        self._exports = self._exports or paid is not None
        for column, now in ((self.prices.common, known), (self.prices.common_paid, paid)):
            if now is not None:
                new = open_ & (forget | ~np.isnan(now))
                column[here][new] = now[new]
        self.prices.renew(here)

    def _write_down(self, intervals: Ints, prices: Floats, paid: Floats) -> None:
        table = zip(intervals.tolist(), prices.tolist(), paid.tolist(), strict=True)
        lines = [
            f"{interval},{price!r}" + (f",{export!r}\n" if self._exports else "\n")
            for interval, price, export in table
        ]
        with self._folder.told.open("ab") as file:
            file.write("".join(lines).encode())
            file.flush()
            os.fsync(file.fileno())
        self._told[0, intervals] = prices
        if self._exports:
            self._told[1, intervals] = paid


def _lines(path: Path) -> Iterator[tuple[int, float, float]]:
    """(interval, import price, export price or nan) of the prices told.

    A last line that is not whole was never told.
    """
    if not path.exists():
        return
    text = path.read_bytes()
    whole = text[: text.rfind(b"\n") + 1]
    if len(whole) < len(text):
        # Or the next line would make it whole, and a price of it.
        os.truncate(path, len(whole))
    for line in whole.decode("ascii", errors="replace").splitlines():
        interval, _, prices = line.partition(",")
        price, _, paid = prices.partition(",")
        try:
            told = int(interval), float(price), float(paid or "nan")
        except ValueError:
            continue
        if told[0] >= 0 and np.isfinite(told[1]):
            yield told
