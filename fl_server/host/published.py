"""The prices of one source while a run goes on: a CSV file that is extended, or a service.

What households were told once holds, whatever the source says later: they have planned and settled
with it. So prices are written down before they are told, and read back when a coordinator starts.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from common.arrays import Floats, Ints
from common.cadence import Cadence
from common.config import Tariff
from common.energy.charges import Charges
from common.errors import InputError
from fl_server.host.asking import Asking
from fl_server.price_sources import SERVICES, open_prices
from fl_server.price_sources.table import read_table
from fl_server.prices import check_all_in

# So many intervals more at a time, in a run without end.
AHEAD = 1440
Events = Iterator[tuple[str, dict[str, str | int]]]


class Published:
    """Prices from interval 0 on, nan where not published yet, as ``tariff`` has them.

    ``energy``, ``paid`` (T + ahead,): import prices before charges, and export prices. ``charges``:
    of those who have these prices. ``ahead``: how many intervals before its own a price is told.
    """

    def __init__(
        self,
        tariff: Tariff,
        *,
        file: Path,
        told: Path,
        cache: Path,
        start: pd.Timestamp,
        cadence: Cadence,
        count: int,
        ahead: int,
        begun: bool = False,
    ) -> None:
        """``file``: what is read where the source is no service; ``told``: where prices are written
        down; ``begun``: whether the run goes on, so that its first prices are nobody's any more.
        Raises InputError for a file that is no tariff, or where the price of the first interval is
        not told, unless prices were told already."""
        self._tariff, self._file, self._told_file = tariff, file, told
        self._start, self._cadence, self._ahead = start, cadence, ahead
        self.charges: list[Charges] = []
        # Import and export prices told; of the latter only those that were published.
        self._told = np.full((2, count), np.nan)
        for interval, price, export in _lines(told):
            if interval < count:
                self._told[:, interval] = price, export
        self._exports = not np.isnan(self._told[1]).all()
        self.energy, self.paid = self._told.copy()
        if not self._exports:
            self.paid[:] = tariff.feed_in
        self._read: tuple[int, int] | None = None
        self._begun = False
        self._service: Asking | None = None
        if tariff.source in SERVICES:
            source = open_prices(tariff, cache)
            assert source is not None
            self._service = Asking(source)
        self.charges.append(tariff.charges)
        try:
            self._refresh(0, first_known=not begun)
            if begun and np.isnan(self.energy[0]):
                self._fill_past()
            if np.isnan(self.energy[0]):
                raise InputError(f"tariff {self.name}: no price for {start}, the first interval")
        except InputError:
            if np.isnan(self._told[0, 0]):
                raise
            self._read = None

    @property
    def begun(self) -> bool:
        """Whether prices have been told."""
        return not np.isnan(self._told[0, 0])

    @property
    def name(self) -> str:
        """Of the file or service."""
        return str(self._file) if self._service is None else self._service.source.name

    def tell(self, t: int) -> Events:
        """Before interval ``t``: read what was published since and write down what is told now.

        Where there is no price for ``t`` that of the day before holds. Yields what is to be noted.
        """
        if t + self._ahead > self._told.shape[1]:
            self._grow()
        try:
            changed = self._refresh(t)
        except InputError as error:
            yield "tariff refused", {"error": str(error)}
        else:
            if changed is not None:
                when = (self._start + changed * self._cadence.step).isoformat()
                yield "tariff differs from what was told: that holds", {"from": when}
        if not self._begun and t > 0 and np.isnan(self._told[0, t - 1]):
            yield "prices told before are lost: the tariff's hold", {"file": str(self._told_file)}
        day = self._cadence.per_day
        before = t - day if t >= day else max(t - 1, 0)
        if np.isnan(self.energy[t]):
            self.energy[t] = self.energy[before]
            yield "no price published: that of the day before holds", {"interval": t}
        if np.isnan(self.paid[t]):
            known = self.paid[before]
            self.paid[t] = self._tariff.feed_in if np.isnan(known) else known
        self._begun = True
        ahead = slice(t, t + self._ahead)
        new = t + np.flatnonzero(np.isnan(self._told[0, ahead]) & ~np.isnan(self.energy[ahead]))
        if len(new):
            self._write_down(new)

    def _grow(self) -> None:
        """Make room for prices of a run that goes on; those that a file has are read again."""
        more = np.full((2, AHEAD), np.nan)
        self._told = np.concatenate([self._told, more], axis=1)
        self.energy = np.append(self.energy, more[0])
        paid = np.nan if self._exports else self._tariff.feed_in
        self.paid = np.append(self.paid, np.full(AHEAD, paid))
        self._read = None

    def _refresh(self, t: int, *, first_known: bool = True) -> int | None:
        """Take over prices not told yet; returns the first interval told otherwise, if there is."""
        if self._service is not None:
            self._from_service(self._service, t)
            return None
        flat = self._tariff.source == "flat"
        try:
            about = None if flat else self._file.stat()
        except OSError as error:
            raise InputError(f"tariff {self._file}: {error.strerror}") from None
        stamp = (0, 0) if about is None else (about.st_mtime_ns, about.st_ino)
        if stamp == self._read:
            return None
        self._read = stamp
        count = self._told.shape[1]
        known, paid = np.full(count, self._tariff.retail), None
        if not flat:
            sides = [
                None if side is None else side.on_grid(self._start, self._cadence.step, count)
                for side in read_table(self._file)
            ]
            assert sides[0] is not None
            known, paid = sides[0], sides[1]
            if np.isnan(known[0]) and first_known and np.isnan(self.energy[0]):
                raise InputError(
                    f"tariff {self.name}: no price for {self._start}, the first interval"
                )
        # Where the file says nothing more, what was known before goes with it.
        self._take_over(known, paid, 0, forget=True)
        told = self._told[0]
        other = np.flatnonzero(~np.isnan(told) & ~np.isnan(known) & (known != told))
        return int(other[0]) if len(other) else None

    def _from_service(self, service: Asking, t: int) -> None:
        """Take over what a service has answered; ask it again where prices are missing."""
        step, count = self._cadence.step, self._told.shape[1]
        last = min(t + self._ahead, count)
        asked = service.answer(
            self._start + t * step,
            self._start + last * step,
            # Only for the price of the interval that begins it is worth to wait.
            wait=bool(np.isnan(self.energy[t])),
            needed=bool(np.isnan(self.energy[t:last]).any()),
        )
        if asked is None:
            return
        begin, imported, exported = asked
        at = round((begin - self._start) / step)
        known = imported.on_grid(begin, step, self._ahead)[: count - at]
        paid = None
        if exported is not None:
            paid = exported.on_grid(begin, step, self._ahead)[: count - at]
        self._take_over(known, paid, at, forget=False)

    def _take_over(self, known: Floats, paid: Floats | None, at: int, *, forget: bool) -> None:
        """Put prices published for intervals from ``at`` on in the place of those not told."""
        for charges in self.charges:
            check_all_in(charges, known, f"tariff {self.name}")
        here = slice(at, at + len(known))
        open_ = np.isnan(self._told[0, here])
        self._exports = self._exports or paid is not None
        for column, now in ((self.energy, known), (self.paid, paid)):
            if now is not None:
                new = open_ & (forget | ~np.isnan(now))
                column[here][new] = now[new]

    def _fill_past(self) -> None:
        """What was before the first price nobody pays: it is as that."""
        for column in (self.energy, self.paid):
            known = np.flatnonzero(~np.isnan(column))
            if len(known):
                column[: known[0]] = column[known[0]]

    def _write_down(self, intervals: Ints) -> None:
        prices, paid = self.energy[intervals], self.paid[intervals]
        table = zip(intervals.tolist(), prices.tolist(), paid.tolist(), strict=True)
        lines = [
            f"{interval},{price!r}" + (f",{export!r}\n" if self._exports else "\n")
            for interval, price, export in table
        ]
        with self._told_file.open("ab") as file:
            file.write("".join(lines).encode())
            file.flush()
            os.fsync(file.fileno())
        self._told[0, intervals] = prices
        if self._exports:
            self._told[1, intervals] = paid


def newest_told(path: Path) -> int:
    """The newest interval whose price is written down in ``path``, 0 where there is none."""
    return max((interval for interval, *_ in _lines(path)), default=0)


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
