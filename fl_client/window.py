"""The part of a run that a household keeps in memory, and its numbering.

Of a run that ends it is all of it, from the household's admission on. Of one without end it is the
last weeks and the next days: when they are over the household is read from its files again, from a
later interval on. So neither memory nor time grow with a run. Within a window intervals are counted
from its first.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from common.arrays import Floats, Ints
from common.cadence import ENDLESS, Cadence
from common.messages import IntervalReply, IntervalRequest, Join
from fl_client.state import State

LOOK_BACK_DAYS = 60
"""No trader, model or correction reads further back in what the run itself has told."""
AHEAD_DAYS = 7


@dataclass(frozen=True)
class Window:
    """``base``: the interval of the run that is 0 here. ``join``: the run as if that were its
    first, and the window's last its last. ``start``: of the whole run, as it was told. ``begins``:
    the first interval here in which the household is in."""

    base: int
    begins: int
    join: Join
    start: str
    endless: bool

    @classmethod
    def of(cls, join: Join, cadence: Cadence, since: int, reach: int) -> "Window":
        """The window of a household that has been in from interval ``since`` on and goes on with
        ``join.first``; it holds interval ``reach`` as well."""
        endless, day = join.intervals >= ENDLESS, cadence.per_day
        base = min(since, join.first)
        if endless:
            base = max(base, join.first - LOOK_BACK_DAYS * day)
        # Days keep their place, whatever the window: models and traders count them.
        base = base // day * day
        end = join.intervals
        if endless:
            end = max(join.first, reach + 1) + AHEAD_DAYS * day
        begin = pd.Timestamp(join.start) + base * cadence.step
        own = join
        if base or endless:
            own = replace(
                join,
                start=begin.isoformat(),
                intervals=end - base,
                first=join.first - base,
                ends=join.ends and not endless,
            )
        return cls(base, max(min(since, join.first) - base, 0), own, join.start, endless)

    def holds(self, t: int) -> bool:
        """Whether interval ``t`` of the run may be decided in this window."""
        return not self.endless or t - self.base < self.join.intervals

    def shown(self, request: IntervalRequest) -> IntervalRequest:
        """A request in the window's numbers; what was before the window is left out of it."""
        base = self.base
        if not base:
            return request
        skip = max(base - request.signals_from, 0)
        kept = request.fills[:, 0] >= base
        month = request.month and (request.month[0] - base, request.month[1] - base)
        return replace(
            request,
            t=request.t - base,
            fills=_moved(request.fills[kept], -base),
            undelivered=request.undelivered[kept[: len(request.undelivered)]],
            signals_from=max(request.signals_from - base, 0),
            signals=request.signals[skip:],
            past_retail=request.past_retail[skip:],
            past_feed_in=request.past_feed_in[skip:],
            allowances=_moved(request.allowances[request.allowances[:, 0] >= base], -base),
            month=month,
        )

    def told(self, reply: IntervalReply) -> IntervalReply:
        """A reply in the run's numbers."""
        if not self.base:
            return reply
        return replace(reply, t=reply.t + self.base, readings=_moved(reply.readings, self.base))


class WindowState(State):
    """A household's state, its intervals in the numbers of a window that begins with ``base``."""

    def __init__(self, directory: Path, *, durable: bool, base: int) -> None:
        super().__init__(directory, durable=durable)
        self._base = base

    def begin(self, about: Mapping[str, str], first: int) -> None:
        """See ``State``."""
        super().begin(about, first + self._base)

    def put(
        self,
        rows: Iterable[Sequence[object]],
        forecasts: Iterable[tuple[int, str, Floats]] = (),
        plan: tuple[int, Floats, Floats, Floats | None] | None = None,
        keep_plans_from: int = 0,
        orders: Ints | None = None,
        heard: tuple[int, float] | None = None,
    ) -> None:
        """See ``State``."""
        base = self._base
        super().put(
            [(row_number(t) + base, *rest) for t, *rest in rows],
            [(t + base, stream, values) for t, stream, values in forecasts],
            None if plan is None else (plan[0] + base, *plan[1:]),
            keep_plans_from + base,
            orders,
            None if heard is None else (heard[0] + base, heard[1]),
        )

    def orders(self, t: int) -> Ints | None:
        """See ``State``."""
        return super().orders(t + self._base)

    def announced(self, t: int) -> tuple[int, ...] | None:
        """See ``State``."""
        return super().announced(t + self._base)

    def allowed(self, t: int) -> tuple[int, ...] | None:
        """See ``State``."""
        return super().allowed(t + self._base)

    def tell(self, readings: Ints, reply: int) -> None:
        """See ``State``."""
        super().tell(_moved(readings, self._base), reply + self._base)

    def told(self, first: int) -> dict[int, tuple[int, int, int]]:
        """See ``State``."""
        base = self._base
        return {
            t - base: (imported, exported, reply - base)
            for t, (imported, exported, reply) in super().told(first + base).items()
        }

    def plan(self, t: int) -> tuple[Floats, Floats, Floats | None] | None:
        """See ``State``."""
        return super().plan(t + self._base)

    def put_model(self, round_: int, t: int, digest: str) -> None:
        """See ``State``."""
        super().put_model(round_, t + self._base, digest)

    def put_month_ahead(self, t: int, consumption: Floats, price: Floats) -> None:
        """See ``State``."""
        super().put_month_ahead(t + self._base, consumption, price)

    def newest(self) -> int:
        """See ``State``."""
        return super().newest() - self._base

    def rows(self, first: int = 0) -> list[tuple[object, ...]]:
        """See ``State``."""
        return [
            (row_number(t) - self._base, *rest) for t, *rest in super().rows(first + self._base)
        ]

    def forecasts(self, first: int = 0) -> list[tuple[int, str, Floats]]:
        """See ``State``."""
        base = self._base
        return [(t - base, stream, v) for t, stream, v in super().forecasts(first + base)]


def row_number(t: object) -> int:
    """The interval of a row as the file has it."""
    assert isinstance(t, int)
    return t


def _moved(rows: Ints, by: int) -> Ints:
    """Rows whose first column is an interval."""
    moved = rows.copy()
    moved[:, 0] += by
    return moved
