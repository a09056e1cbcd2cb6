"""Compensation in a run without end: month by month, as at the end of one that has an end.

When all readings of a month are there, or were estimated, each member is asked what it would have
paid without the market in it. When all have said so, or have been waited for as long as for a
reading, what the losers lost is taken from the gainers, and booked with the month's last interval.
"""

from collections.abc import Collection, Mapping

import numpy as np

from common.arrays import Floats, Ints
from common.messages import MONTH_TOLD
from fl_server.checkpoint import Checkpoint
from fl_server.ledger import Ledger
from fl_server.market.compensation import compensate, most_carried, told_gains
from fl_server.months import Calendar
from fl_server.prices import Prices
from fl_server.settlement import Settlement


class MonthCompensation:
    """Asks for the months that are over and works out what moves.

    ``wait``: intervals for which a member that does not answer is waited for.
    """

    def __init__(
        self, state: Checkpoint, ledger: Ledger, calendar: Calendar, prices: Prices, wait: int
    ) -> None:
        self._state, self._ledger, self._calendar = state, ledger, calendar
        self._prices, self._wait = prices, wait
        if state.compensated < 0:
            # Months before this one were closed without.
            state.compensated = max(calendar.end(calendar.month(state.t) - 1), 0)

    def asked(self, t: int, *, closing: bool = False) -> tuple[int, int] | None:
        """The month that members are asked for in round ``t``: its first interval and the one after
        its last; None where none is over. At the ``closing`` of a run all that is left."""
        state = self._state
        if closing:
            return (state.compensated, t) if t > state.compensated else None
        end = self._calendar.end(self._calendar.month(state.compensated))
        # The interval before the one to run is settled with that.
        if min([t - 1, *state.open]) < end:
            return None
        if state.month_asked < 0:
            state.month_asked = t
        return state.compensated, end

    def _hear(self, reports: Mapping[int, Mapping[str, float]]) -> None:
        """Remember what members have said; one that said nothing takes no part."""
        for h, report in reports.items():
            said = {name: report[name] for name in MONTH_TOLD if name in report}
            self._state.month_told.setdefault(h, said)

    def settle(
        self,
        t: int,
        reports: Mapping[int, Mapping[str, float]],
        settled: Settlement | None,
        members: Collection[int],
        carried_kwh: tuple[Floats, Floats],
        *,
        closing: bool = False,
    ) -> tuple[int, Ints] | None:
        """What moves (H,) [micro, positive where received], and the interval it is booked with.

        None while there is no month to compensate for, or ``members`` are waited for. ``reports``:
        what members said in this round. ``settled``: of interval ``t`` - 1, booked with it.
        ``carried_kwh``: what connections carry in and out.
        """
        state, month = self._state, self.asked(t, closing=closing)
        if month is None:
            return None
        self._hear(reports)
        first, end = month
        waited = closing or t - state.month_asked >= self._wait
        if not waited and not set(members) <= state.month_told.keys():
            return None
        count = len(state.heard)
        told = [self._counted(h, month, state.month_told.get(h, {})) for h in range(count)]
        prices, span = self._prices, slice(first, end)
        dearest = np.concatenate((prices.retail[:, span], prices.feed_in[:, span]))
        limit = most_carried(dearest, 0.0, *(float(np.max(most)) for most in carried_kwh))
        owed = self._ledger.owed(t - 1, settled, first, end)
        state.compensated, state.month_asked, state.month_told = end, -1, {}
        return end - 1, compensate(told_gains(told, owed[:count], limit, MONTH_TOLD[1:]))

    def _counted(
        self, h: int, month: tuple[int, int], told: Mapping[str, float]
    ) -> Mapping[str, float]:
        """What a household told, if it counts the intervals in which it was in, to the last."""
        first, end = month
        spans = [[0, -1]] if self._state.spans is None else self._state.spans[h]
        within = [(max(begin, first), last) for begin, last in spans if last < 0 or last > first]
        whole = len(within) == 1 and (within[0][1] < 0 or within[0][1] >= end)
        return told if whole and told.get(MONTH_TOLD[0]) == within[0][0] else {}
