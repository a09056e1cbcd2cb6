"""A source whose complete days are kept on disk: they are asked for once, and there without it."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from common.errors import InputError
from common.files import write_json
from fl_server.price_sources.pieces import Pieces, PriceSource

_DAY_S = 86_400
_MOST_DAYS = 28
"""Asked for at once."""

Ask = Callable[[pd.Timestamp, pd.Timestamp], Pieces | None]


class Kept:
    """Days (UTC) of ``source`` that have all their prices stand in ``folder``, one file a day."""

    def __init__(self, source: PriceSource, folder: Path) -> None:
        self._source, self._folder = source, folder
        self.name = source.name

    def imported(self, first: pd.Timestamp, last: pd.Timestamp) -> Pieces:
        """As the source's. Raises InputError if it fails for a day that is not kept."""
        found = self._days(self._source.imported, "import", first, last)
        assert found is not None
        return found

    def exported(self, first: pd.Timestamp, last: pd.Timestamp) -> Pieces | None:
        """As the source's."""
        return self._days(self._source.exported, "export", first, last)

    def _days(self, ask: Ask, side: str, first: pd.Timestamp, last: pd.Timestamp) -> Pieces | None:
        low, high = int(first.timestamp()), int(last.timestamp())
        days = list(range(low // _DAY_S, -(-high // _DAY_S)))
        kept = {day: found for day in days if (found := self._read(side, day)) is not None}
        missing = [day for day in days if day not in kept]
        while missing:
            run = [missing[0]]
            while len(run) < min(len(missing), _MOST_DAYS) and missing[len(run)] == run[-1] + 1:
                run.append(missing[len(run)])
            missing = missing[len(run) :]
            told = ask(_moment(run[0]), _moment(run[-1] + 1))
            if told is None:
                return None
            for day in run:
                kept[day] = told.between(day * _DAY_S, (day + 1) * _DAY_S)
                if kept[day].covers(day * _DAY_S, (day + 1) * _DAY_S):
                    self._write(side, day, kept[day])
        return Pieces.joined([kept[day] for day in days]).between(low, high)

    def _file(self, side: str, day: int) -> Path:
        return self._folder / f"{_moment(day):%Y-%m-%d}-{side}.json"

    def _read(self, side: str, day: int) -> Pieces | None:
        """A day that is kept; a damaged file is as good as none."""
        file = self._file(side, day)
        try:
            rows = json.loads(file.read_text())["prices"]
            made = Pieces.of([(int(s), int(e), float(p)) for s, e, p in rows], str(file))
        except (OSError, ValueError, KeyError, TypeError, InputError):
            return None
        return made if made.covers(day * _DAY_S, (day + 1) * _DAY_S) else None

    def _write(self, side: str, day: int, pieces: Pieces) -> None:
        rows = zip(pieces.start.tolist(), pieces.end.tolist(), pieces.price.tolist(), strict=True)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_json(
                self._file(side, day), {"prices": [list(row) for row in rows]}, durable=False
            )
        except OSError:
            return  # a cache that cannot be written is none


def _moment(day: int) -> pd.Timestamp:
    return pd.Timestamp(day * _DAY_S, unit="s", tz="UTC")
