"""The published tariff of a deployment: a CSV file that is extended while the run goes on.

What households were told once holds, whatever the file says later: they have planned and settled
with it. So prices are written down before they are told, and read back when a coordinator starts.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from common.arrays import Floats
from common.config import Settings
from common.data.frame import INTERVAL
from common.data.prices import check_prices
from common.errors import InputError
from common.files import write_whole
from fl_server.host.folder import Folder
from fl_server.prices import Prices, check_all_in

_DAY = 48
Events = Iterator[tuple[str, dict[str, str | int]]]


def write_tariff(path: Path, start: pd.Timestamp, retail: Floats) -> None:
    """Write prices [currency/kWh] of the half hours from ``start`` on."""
    times = pd.date_range(start, periods=len(retail), freq=INTERVAL)
    lines = [
        f"{time.isoformat()},{float(price)!r}\n" for time, price in zip(times, retail, strict=True)
    ]
    write_whole(path, "time,retail\n" + "".join(lines))


def read_tariff(path: Path, start: pd.Timestamp, count: int) -> Floats:
    """Return prices (count,) from ``start`` on; nan where the file says nothing yet.

    Half-hourly, or hourly: then both half hours of an hour have its price. Raises InputError for a
    file that is no tariff, has gaps or another step, or begins after ``start``.
    """
    wanted = pd.date_range(start, periods=count, freq=INTERVAL)
    known = check_tariff(path).reindex(wanted).to_numpy(np.float64, copy=True)
    if np.isnan(known[0]):
        raise InputError(f"tariff {path}: no price for {start}, the first interval")
    return known


def check_tariff(path: Path) -> pd.Series:
    """The prices of a tariff's file by half hour (UTC). Raises InputError for what is none."""
    try:
        frame = pd.read_csv(path, dtype=str, encoding="utf-8-sig")
        times = pd.to_datetime(frame["time"], utc=True)
        prices = np.array([float(text) for text in frame["retail"]])
    except OSError as error:
        raise InputError(f"tariff {path}: {error.strerror}") from None
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(f"tariff {path}: {' '.join(str(error).split())}") from None
    if not len(times) or times.isna().any():
        raise InputError(f"tariff {path}: a row without a time, or no rows")
    check_prices(prices, lambda row: f"tariff {path}: {times.iloc[row]}: retail")
    found = pd.Series(prices, index=pd.DatetimeIndex(times)).sort_index()
    return _half_hours(path, found)


def _half_hours(path: Path, prices: pd.Series) -> pd.Series:
    """The same prices per half hour. A step that is not everywhere the same hides a mistake."""
    times = pd.DatetimeIndex(prices.index)
    if times.has_duplicates:
        raise InputError(f"tariff {path}: {times[times.duplicated()][0]} stands there twice")
    odd = times[times != times.floor(INTERVAL)]
    if len(odd):
        raise InputError(f"tariff {path}: {odd[0]} is no full or half hour (average to half hours)")
    steps = times[1:] - times[:-1]
    step = steps.min() if len(steps) else INTERVAL
    if step not in (INTERVAL, 2 * INTERVAL):
        raise InputError(f"tariff {path}: a price every {step}; expected every half hour or hour")
    if (steps != step).any():
        gap = times[:-1][steps != step][0]
        raise InputError(f"tariff {path}: no price {step} after {gap}, though there are later ones")
    if step == INTERVAL:
        return prices
    spread = pd.date_range(times[0], periods=2 * len(times), freq=INTERVAL)
    return pd.Series(np.repeat(prices.to_numpy(), 2), index=spread)


class MemberPrices(Prices):
    """The members' prices: the ``common`` ones, but for what the operator has set for a member.

    ``homes: NAME: tariff`` in the coordinator's settings may give it a flat energy price, charges
    of its own, and another price for its exports.
    """

    def __init__(self, common: Floats, settings: Settings) -> None:
        none = np.zeros(0, np.int64)
        paid = np.full((1, len(common)), settings.tariff.feed_in)
        charged = [(0, settings.tariff.charges)]
        zone = settings.data.timezone or "UTC"
        super().__init__(common[None], paid, charged, none, none, zone)
        self._settings = settings

    @property
    def common(self) -> Floats:
        """Energy prices of whoever has none of its own, from interval 0 on."""
        return np.asarray(self.energy[0])

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
            self.feed_in, paid = _row(self.feed_in, own.feed_in, 0)
            self.import_of = np.append(self.import_of, self.charged.index((row, own.charges)))
            self.export_of = np.append(self.export_of, paid)


def _row(rows: Floats, price: float, first: int) -> tuple[Floats, int]:
    """The rows with one, from ``first`` on, that is ``price`` throughout, and its number."""
    found = first + np.flatnonzero((rows[first:] == price).all(axis=1))
    if len(found):
        return rows, int(found[0])
    return np.vstack([rows, np.full(rows.shape[1], price)]), len(rows)


class PublishedTariff:
    """Prices of a run that began at ``start``, from the file of its folder, and those told."""

    def __init__(self, folder: Folder, settings: Settings, start: pd.Timestamp) -> None:
        """Raises InputError for a file that is no tariff, unless prices were told already."""
        self._folder, self._start, self._tariff = folder, start, settings.tariff
        self._published = settings.published
        self._told = np.full(settings.intervals + settings.published, np.nan)
        for interval, price in _lines(folder.told):
            if interval < len(self._told):
                self._told[interval] = price
        self.prices = MemberPrices(self._told.copy(), settings)
        self._read: tuple[int, int] | None = None
        self._begun = False
        try:
            self._refresh()
        except InputError:
            if np.isnan(self._told[0]):
                raise
            self._read = None

    def tell(self, t: int) -> Events:
        """Before interval ``t``: read what was published since and write down what is told now.

        Where there is no price for ``t`` that of the day before holds. Yields what is to be noted.
        """
        try:
            changed = self._refresh()
        except InputError as error:
            yield "tariff refused", {"error": str(error)}
        else:
            if changed is not None:
                when = (self._start + changed * INTERVAL).isoformat()
                yield "tariff differs from what was told: that holds", {"from": when}
        retail = self.prices.common
        if not self._begun and t > 0 and np.isnan(self._told[t - 1]):
            yield "prices told before are lost: the tariff's hold", {"file": str(self._folder.told)}
        if np.isnan(retail[t]):
            retail[t] = retail[t - _DAY] if t >= _DAY else retail[max(t - 1, 0)]
            self.prices.renew(slice(t, t + 1))
            yield "no price published: that of the day before holds", {"interval": t}
        self._begun = True
        ahead = slice(t, t + self._published)
        new = t + np.flatnonzero(np.isnan(self._told[ahead]) & ~np.isnan(retail[ahead]))
        if len(new):
            self._write_down(new, retail[new])

    def _refresh(self) -> int | None:
        """Take over prices not told yet; returns the first interval told otherwise, if there is."""
        retail, file = self.prices.common, self._folder.tariff
        flat = self._tariff.source == "flat"
        try:
            about = None if flat else file.stat()
        except OSError as error:
            raise InputError(f"tariff {file}: {error.strerror}") from None
        stamp = (0, 0) if about is None else (about.st_mtime_ns, about.st_ino)
        if stamp == self._read:
            return None
        self._read = stamp
        if flat:
            known = np.full(len(retail), self._tariff.retail)
        else:
            known = read_tariff(file, self._start, len(retail))
        for row, charges in self.prices.charged:
            if row == 0:
                check_all_in(charges, known, f"tariff {file}")
        told = ~np.isnan(self._told)
        # Where the file says nothing more, what was known before goes with it.
        retail[~told] = known[~told]
        self.prices.renew(slice(None))
        other = np.flatnonzero(told & ~np.isnan(known) & (known != self._told))
        return int(other[0]) if len(other) else None

    def _write_down(self, intervals: np.ndarray, prices: Floats) -> None:
        lines = [
            f"{interval},{price!r}\n"
            for interval, price in zip(intervals.tolist(), prices.tolist(), strict=True)
        ]
        with self._folder.told.open("ab") as file:
            file.write("".join(lines).encode())
            file.flush()
            os.fsync(file.fileno())
        self._told[intervals] = prices


def _lines(path: Path) -> Iterator[tuple[int, float]]:
    """(interval, price) of the prices told. A last line that is not whole was never told."""
    if not path.exists():
        return
    text = path.read_bytes()
    whole = text[: text.rfind(b"\n") + 1]
    if len(whole) < len(text):
        # Or the next line would make it whole, and a price of it.
        os.truncate(path, len(whole))
    for line in whole.decode("ascii", errors="replace").splitlines():
        interval, _, price = line.partition(",")
        try:
            pair = int(interval), float(price)
        except ValueError:
            continue
        if pair[0] >= 0 and np.isfinite(pair[1]):
            yield pair
