"""Running totals of a run, for whoever looks: a page must not add up a year at every visit.

Each is counted once, from what the ledger and the run's files have had since the last time.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd

from common.cadence import HALF_HOUR
from common.market_rules import MICRO
from fl_server.ledger import Ledger
from fl_server.run_files import INTERVALS, ROUNDS

_MARKET = ("delivered_kwh", "orders", "refused")
_MODEL = ("replies", "dropped", "bytes_up", "bytes_down")
SUMS = ("intervals", *_MARKET, "missing", "rounds", *_MODEL)
"""What is counted: intervals and rounds, and of each the sum of these keys of their lines."""


class Tally:
    """Sums over the intervals and rounds of the run in ``directory``, and its bills.

    ``start``: time of interval 0; an interval is a ``step`` long.
    """

    def __init__(
        self,
        ledger: Ledger,
        directory: Path,
        start: pd.Timestamp,
        step: pd.Timedelta = HALF_HOUR.step,
    ) -> None:
        self._ledger, self._start, self._step = ledger, start, step
        self._files = {name: _Tail(directory / name) for name in (INTERVALS, ROUNDS)}
        self._sums = dict.fromkeys(SUMS, 0.0)
        self._owed: dict[str, int] = {}
        self._seq = -1
        self._midnight = 0

    def catch_up(self) -> None:
        """Count what was booked and written since."""
        for line in self._files[INTERVALS].lines():
            self._add("intervals", _MARKET, line)
            missing = line.get("missing")
            self._sums["missing"] += len(missing) if isinstance(missing, list) else 0
            newest = self._start + int(str(line["interval"])) * self._step
            self._midnight = max(int((newest.floor("D") - self._start) // self._step), 0)
        for line in self._files[ROUNDS].lines():
            self._add("rounds", _MODEL, line)
        self._seq, owed = self._ledger.owed_after(self._seq)
        for name, micro in owed.items():
            self._owed[name] = self._owed.get(name, 0) + micro

    def _add(self, count: str, keys: tuple[str, ...], line: Mapping[str, object]) -> None:
        self._sums[count] += 1
        for key in keys:
            self._sums[key] += float(str(line.get(key) or 0))

    def totals(self) -> dict[str, float]:
        """Sums over all intervals and rounds."""
        return dict(self._sums)

    def bills(self) -> dict[str, tuple[float, float]]:
        """What each household owes (+) or has earned [currency], today (UTC) and in all."""
        today = self._ledger.owed_since(self._midnight)
        return {
            name: (today.get(name, 0) / MICRO, micro / MICRO) for name, micro in self._owed.items()
        }


class _Tail:
    """The lines of a file that were added since the last look."""

    def __init__(self, path: Path) -> None:
        self._path, self._read = path, 0

    def lines(self) -> Iterator[Mapping[str, object]]:
        with self._path.open("rb") as file:
            file.seek(self._read)
            for raw in file:
                if not raw.endswith(b"\n"):
                    return
                self._read += len(raw)
                yield json.loads(raw)
