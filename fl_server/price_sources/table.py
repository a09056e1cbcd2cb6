"""A CSV file of prices of any step: columns ``time`` and ``retail``, maybe ``feed_in``."""

from pathlib import Path

import numpy as np
import pandas as pd

from common.errors import InputError
from fl_server.price_sources.options import Options
from fl_server.price_sources.pieces import Pieces, PriceSource, seconds

_LONGEST_S = 86_400


class Table:
    """The prices of a file. Options: ``path``."""

    name = "file"

    def __init__(self, path: Path) -> None:
        """Raises InputError for a file that is no tariff, or has gaps or changing steps."""
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
        frame = pd.read_csv(path, dtype=str, encoding="utf-8-sig")
        times = pd.to_datetime(frame["time"], utc=True)
        columns = [
            np.array([float(text) for text in frame[name]])
            for name in ("retail", "feed_in")
            if name == "retail" or name in frame
        ]
    except OSError as error:
        raise InputError(f"{place}: {error.strerror}") from None
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(f"{place}: {' '.join(str(error).split())}") from None
    if not len(times) or times.isna().any():
        raise InputError(f"{place}: a row without a time, or no rows")
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
