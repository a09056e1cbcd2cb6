"""A CSV file of prices of any step: columns ``time`` and ``retail``, maybe ``feed_in``."""

from pathlib import Path

import numpy as np
import pandas as pd

from common.arrays import Mask
from common.errors import InputError
from fl_server.price_sources.options import Options
from fl_server.price_sources.pieces import Pieces, PriceSource, seconds

_LONGEST_S = 86_400
_WANTED = "wanted are rows such as 2025-06-01T00:30:00Z,0.31 (UTC, per kWh) under time,retail"


class Table:
    """The prices of a file. Options: ``path``."""

    def __init__(self, path: Path) -> None:
        """Raises InputError for a file that is no tariff, or has gaps or changing steps."""
        self.name = str(path)
        self._retail, self._feed_in = read_table(path)

    def imported(self, first: pd.Timestamp, last: pd.Timestamp) -> Pieces:
        """Prices at ``retail``."""
        return self._retail.between(int(first.timestamp()), int(last.timestamp()))

    def exported(self, first: pd.Timestamp, last: pd.Timestamp) -> Pieces | None:
        """Prices at ``feed_in``, where the file has them."""
        if self._feed_in is None:
            return None
        return self._feed_in.between(int(first.timestamp()), int(last.timestamp()))


def read_table(path: Path) -> tuple[Pieces, Pieces | None]:
    """Import and export prices of a file. Times without a zone are UTC. Raises InputError."""
    place = f"tariff {path}"
    try:
        frame = pd.read_csv(path, dtype=str, encoding="utf-8-sig", keep_default_na=False)
    except OSError as error:
        raise InputError(f"{place}: {error.strerror}") from None
    except ValueError as error:
        what = " ".join(str(error).split())
        raise InputError(f"{place}: no table: {what}: {_WANTED}") from None
    frame.columns = frame.columns.str.strip().str.lower()
    for name in ("time", "retail"):
        if name not in frame:
            found = ", ".join(map(repr, frame.columns))[:80]
            raise InputError(
                f"{place}: row 1: no column {name!r} in the header (it has {found}): {_WANTED}"
            )
    if not len(frame):
        raise InputError(f"{place}: no rows after the header: {_WANTED}")
    times = pd.to_datetime(frame["time"], utc=True, format="ISO8601", errors="coerce")
    _complete(frame["time"], times.isna().to_numpy(), place)
    columns = []
    for name in ("retail", "feed_in"):
        if name in frame:
            prices = pd.to_numeric(frame[name], errors="coerce").to_numpy(np.float64)
            _complete(frame[name], np.isnan(prices), place)
            columns.append(prices)
    starts = seconds(pd.DatetimeIndex(times))
    step = _step(sorted(starts), place)
    made = [
        Pieces.of(
            [(s, s + step, float(p)) for s, p in zip(starts, column, strict=True)],
            f"{place}: {name}",
        )
        for column, name in zip(columns, ("retail", "feed_in"), strict=False)
    ]
    return made[0], made[1] if len(made) > 1 else None


def _complete(cells: "pd.Series[str]", wrong: Mask, place: str) -> None:
    """Raise InputError that names the first of the cells that are no time or number."""
    if wrong.any():
        row = int(np.argmax(wrong))
        cell = f"row {row + 2}: {cells.name} = {str(cells.iloc[row])[:60]!r}"
        raise InputError(f"{place}: {cell}: {_WANTED}")


def _step(starts: list[int], place: str) -> int:
    """Seconds between prices. A step that is not everywhere the same hides a mistake."""
    steps = np.diff(np.array(starts, np.int64))
    step = int(steps.min()) if len(steps) else 1800

    def iso(second: int) -> str:
        return str(pd.Timestamp(second, unit="s", tz="UTC"))

    if step == 0:
        raise InputError(f"{place}: {iso(starts[int(np.argmin(steps))])} stands there twice")
    if step % 60 or step > _LONGEST_S:
        every = pd.Timedelta(seconds=step)
        raise InputError(f"{place}: a price every {every}; expected whole minutes, at most a day")
    if (steps != step).any():
        at = int(np.flatnonzero(steps != step)[0])
        raise InputError(
            f"{place}: no price {pd.Timedelta(seconds=step)} after {iso(starts[at])}, though there "
            "are later ones"
        )
    return step


def open_source(options: Options) -> PriceSource:
    """A file by its options."""
    return Table(Path(options.text("path")).expanduser())
