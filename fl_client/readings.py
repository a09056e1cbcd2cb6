"""What households have measured, placed on the rows of a run; large blocks keep it out of memory.

Row 0 is ``origin`` rows before interval 0. Nothing here says what may be read when.
"""

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from common.arrays import Floats, Ints
from common.cadence import HALF_HOUR
from common.config import Home
from common.data.frame import APPLIANCES, COLUMNS, Household
from common.data.regrid import regrid
from common.data.resample import fill_gaps
from common.errors import InputError
from common.forecast.history import History
from fl_client.tokens import Tokens

if TYPE_CHECKING:
    from fl_client.control.steering import Steered
    from fl_client.home.arrivals import Arrivals, Rows

# From this many households on, readings live in files that the kernel may drop from memory.
MAPPED_FROM = 64


@dataclass(frozen=True)
class Member:
    """One household: how to read its data, and the folder where it keeps its state."""

    load: Callable[[], Household]
    directory: Path
    durable: bool = False  # whether its state must survive a power cut
    arrivals: "Arrivals | None" = None  # where its meters' readings arrive while the run goes on
    home: Home | None = None  # what belongs to it; None: what the run's settings say
    steered: "Steered | None" = None  # its battery, where the plan drives it or would


@dataclass(frozen=True)
class About:
    """What a household says of its data when it joins."""

    name: str
    filled_values: int
    real: bool
    source: str


@dataclass(frozen=True)
class Calendar:
    """Households whose clock and meters tick alike: slot, weekday and lag of every interval.

    ``index``: which households, in order. ``lag``: how many of the newest intervals are not known
    yet. ``days``: numbers that tell local days apart.
    """

    index: Ints
    timezone: str
    slot: Ints
    weekday: Ints
    days: Ints
    lag: Ints

    def among(self, which: Ints) -> "Calendar":
        """The same for those of ``which`` that are in it."""
        return replace(self, index=np.intersect1d(self.index, which))


class RunReadings:
    """What H households have measured on the R rows of ``index``: ``load``, ``pv`` (H, R) [kWh].

    Rows are intervals of the run, whose half hours are ``tokens``. Rows from before a household's
    data begins are nan. Raises InputError where its data begin after row ``origin`` or end before
    the last. ``histories`` hold all columns by half hours; the run writes its battery's sensors
    there. They are made when first asked for.
    """

    def __init__(
        self,
        members: Iterable[Member],
        index: pd.DatetimeIndex,
        origin: int,
        tokens: Tokens,
        *,
        begins: int | None = None,
        endless: bool = False,
    ) -> None:
        self._begins = origin if begins is None else begins
        # The first row beyond what is stored of a home, where a run without end replays files.
        self.ends = len(index)
        self._members, self._endless = list(members), endless
        self._index, self._origin, self._tokens = index, origin, tokens
        self._cadence = tokens.cadence
        shape = (len(self._members), len(index))
        self.load, self.pv = self._allocate(shape), self._allocate(shape)
        self.load[:], self.pv[:] = np.nan, np.nan
        self._load, self._pv = self.load, self.pv  # by half hours
        self.about: list[About] = []
        self.calendars: list[Calendar] = []
        self._histories: list[History] | None = None
        kinds: dict[tuple[str, int, int], list[int]] = {}
        first_of: dict[tuple[str, int, int], Household] = {}
        # How many rows are known by now, and what the meters at the connection counted in them.
        self.known = np.full(len(self._members), len(index))
        self._metered: dict[int, Rows] = {}
        for h, member in enumerate(self._members):
            data = member.load().at(self._cadence, index[0])
            if member.arrivals is not None:
                begin = self._arrived(h, member.arrivals)
                if begin > self._begins:
                    raise InputError(
                        f"household {data.name}: its meters have told nothing from before "
                        f"{index[self._begins]} on, when the run begins for it; see fedwatt "
                        "client meters"
                    )
                self._add(kinds, first_of, h, data)
                continue
            begin, rows = _rows(data, index, self._begins, endless=endless)
            end = begin + rows.stop - rows.start
            self.load[h, begin:end] = data.consumption[rows]
            self.pv[h, begin:end] = data.frame["pv"].to_numpy(np.float64)[rows]
            self.ends = min(self.ends, end)
            self._add(kinds, first_of, h, data)
        for kind, which in kinds.items():
            self.calendars.append(self._calendar(first_of[kind], np.array(which)))

    def _add(
        self,
        kinds: dict[tuple[str, int, int], list[int]],
        first_of: dict[tuple[str, int, int], Household],
        h: int,
        data: Household,
    ) -> None:
        self.about.append(About(data.name, data.filled_values, data.real, data.source))
        kind = (data.timezone, data.resolution_minutes, data.phase_minutes)
        kinds.setdefault(kind, []).append(h)
        first_of.setdefault(kind, data)

    # ---- readings that arrive -----------------------------------------------------------------

    def arrive(self, first: int, t: int) -> None:
        """Take over what meters have told by now, and say which rows decisions may read.

        ``first`` .. ``t``: the intervals that are decided next. What lies before a known row and
        is not known itself, and what has been silent for a day, is filled as the past is.
        """
        for h, member in enumerate(self._members):
            if member.arrivals is None:
                continue
            self._arrived(h, member.arrivals)
            floor = self._origin + t - self._cadence.per_day
            if self.known[h] < floor:
                self._fill(h, int(floor))
            calendar = next(one for one in self.calendars if h in one.index)
            ahead = self._origin + np.arange(first, t + 1) - self.known[h]
            calendar.lag[first : t + 1] = np.maximum(ahead, 0)

    def _arrived(self, h: int, arrivals: "Arrivals") -> int:
        """Place what is known by now; returns the first row that is."""
        start = int(self._index[0].timestamp())
        rows = arrivals.rows(start, len(self._index), self._cadence)
        self._metered[h] = rows
        self.load[h], self.pv[h] = rows.load, rows.pv
        there = np.flatnonzero(np.isfinite(rows.load))
        if not len(there):
            self.known[h] = 0
            return len(self._index)
        self._fill(h, rows.known)
        return int(there[0])

    def _fill(self, h: int, count: int) -> None:
        """Fill the gaps of the first ``count`` rows of a home from their past."""
        first = int(np.flatnonzero(np.isfinite(self.load[h]))[0])
        for values in (self.load[h], self.pv[h]):
            there = np.isfinite(values[first:count])
            values[first:count] = fill_gaps(
                np.nan_to_num(values[first:count]), there, self._cadence.per_day
            )
        self.known[h] = count

    def received_s(self, h: int) -> float:
        """When the newest reading of ``h`` known by now was received [s since 1970]; nan where its
        readings do not arrive."""
        return self._metered[h].received_s if h in self._metered else np.nan

    def told_soc(self, h: int) -> float:
        """State of charge that the battery of ``h`` told last; nan where it has not."""
        arrivals = self._members[h].arrivals
        return np.nan if arrivals is None else arrivals.soc()

    def battery(self, h: int, t: int) -> tuple[float, float, float]:
        """(Charge, discharge [kWh], state of charge at its end) of interval ``t``, as measured."""
        rows, arrivals, row = self._metered[h], self._members[h].arrivals, self._origin + t
        assert arrivals is not None
        end = (self._index[row] + (self._index[1] - self._index[0])).timestamp()
        return float(rows.charge[row]), float(rows.discharge[row]), arrivals.soc(end)

    def by_itself(self, h: int) -> Floats:
        """(R,) what the battery of ``h`` has taken off the load [kWh] by its own will, 0 where
        nobody knows."""
        rows = self._metered[h]
        return np.nan_to_num(rows.discharge - rows.charge)

    def metered(self, h: int, intervals: Ints) -> Ints | None:
        """(K, 3) rows (interval, import, export) [mWh] as the meters of ``h`` counted them.

        Those of ``intervals`` that they have told. None where its readings do not arrive.
        """
        rows = self._metered.get(h)
        if rows is None:
            return None
        at = self._origin + intervals
        told = intervals[rows.imported[at] >= 0]
        at = self._origin + told
        return np.stack([told, rows.imported[at], rows.exported[at]], axis=1)

    # ---- what models learn from ---------------------------------------------------------------

    @property
    def histories(self) -> list[History]:
        """One history a household, over the half hours it has data for."""
        if self._histories is None:
            index, origin = self._half_hours
            values = self._allocate((len(self._members), len(index), len(COLUMNS)))
            if self._cadence != HALF_HOUR:
                self._load, self._pv = (self._allocate(values.shape[:2]) for _ in range(2))
            self._histories = []
            for h, member in enumerate(self._members):
                data = member.load().at(HALF_HOUR, index[0])
                if member.arrivals is not None:
                    self._histories.append(self._history(h, values[h], data))
                    continue
                begin, rows = _rows(data, index, origin, endless=self._endless)
                end = begin + rows.stop - rows.start
                values[h, begin:end] = data.frame[list(COLUMNS)].to_numpy(np.float64)[rows]
                # What a run without end has beyond the file is not there, and never read.
                values[h, end:] = np.nan
                lags = data.lags(rows.start + len(index) - begin)[rows.start :]
                if self._cadence != HALF_HOUR:
                    self._load[h, begin:end] = data.consumption[rows]
                    self._pv[h, begin:end] = data.frame["pv"].to_numpy(np.float64)[rows]
                self._histories.append(
                    History(values[h, begin:], index[begin:], data.timezone, lags)
                )
        return self._histories

    @property
    def _half_hours(self) -> tuple[pd.DatetimeIndex, int]:
        """The half hours of the rows, and which of them is the first of the run."""
        origin = self._origin // self._cadence.per_day * HALF_HOUR.per_day
        count = origin + self._tokens.count
        return pd.date_range(self._index[0], periods=count, freq=HALF_HOUR.step), origin

    def measured(self, h: int) -> tuple[Floats, Floats]:
        """Load and PV [kWh] of household ``h``, row by row of its history."""
        rows = slice(-len(self.histories[h]), None)
        return self._load[h, rows], self._pv[h, rows]

    def _history(self, h: int, values: Floats, data: Household) -> History:
        """The history of a home whose readings arrive, filled in as they do."""
        index, _ = self._half_hours
        values[:] = data.frame[list(COLUMNS)].to_numpy(np.float64)[-1]
        values[:, [COLUMNS.index(name) for name in APPLIANCES]] = 0.0
        self._sum(h)
        begin = int(np.flatnonzero(np.isfinite(self._load[h]))[0])
        misc, pv = COLUMNS.index("misc"), COLUMNS.index("pv")
        values[:, misc], values[:, pv] = self._load[h], self._pv[h]
        return History(values[begin:], index[begin:], data.timezone)

    def _sum(self, h: int) -> None:
        """Sum up, or spread, what home ``h`` has told by now, to half hours."""
        if self._cadence == HALF_HOUR:
            return
        for told, into in ((self.load[h], self._load[h]), (self.pv[h], self._pv[h])):
            made = regrid(told, self._cadence.minutes, HALF_HOUR.minutes, 0, "energy")
            into[:] = np.nan
            into[: len(made)] = made[: len(into)]

    def grow(self) -> None:
        """Write into the histories what has arrived since they were made."""
        assert self._histories is not None
        for h, history in enumerate(self._histories):
            if self._members[h].arrivals is not None:
                self._sum(h)
                load, pv = self.measured(h)
                history.values[:, COLUMNS.index("misc")] = load
                history.values[:, COLUMNS.index("pv")] = pv

    @property
    def has_histories(self) -> bool:
        """Whether anybody has asked for the histories yet."""
        return self._histories is not None

    def _allocate(self, shape: tuple[int, ...]) -> Floats:
        if len(self._members) < MAPPED_FROM:
            return np.empty(shape)
        with tempfile.TemporaryFile(dir=self._members[0].directory.parent) as file:
            return np.memmap(file, np.float64, "w+", shape=shape)

    def _calendar(self, one: Household, which: Ints) -> Calendar:
        run = self._index[self._origin :]
        local = run.tz_convert(one.timezone)
        row = one.row(run[0])
        known = np.array([one.known(row + t) - row for t in range(len(run))])
        return Calendar(
            which,
            one.timezone,
            ((local.hour * 60 + local.minute) // self._cadence.minutes).to_numpy(),
            local.day_of_week.to_numpy(),
            np.asarray(local.tz_localize(None).normalize().asi8, dtype=np.int64),
            np.arange(len(run)) - known,
        )


def _rows(
    data: Household, index: pd.DatetimeIndex, origin: int, *, endless: bool
) -> tuple[int, slice]:
    """(First row of the run that the data has, the data's own rows from there on).

    In a run without end the data may end before the window does.
    """
    first = data.row(index[0])
    last = first + len(index)
    if endless:
        last = max(min(last, len(data.frame)), first + origin + 1)
    if first + origin < 0 or last > len(data.frame):
        raise InputError(
            f"household {data.name} has readings from {data.frame.index[0]} to "
            f"{data.frame.index[-1]}; the run needs {index[origin]} to {index[-1]}"
        )
    # Less history than asked for: the rows before the data begins do not exist.
    begin = max(first, 0)
    return begin - first, slice(begin, last)
