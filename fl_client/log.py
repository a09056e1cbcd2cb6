"""What households have decided and settled, interval by interval: in memory, and in their files."""

from collections.abc import Sequence

import numpy as np

from common.arrays import Floats, Ints
from common.errors import InputError
from fl_client.readings import Member
from fl_client.state import QUANTITIES
from fl_client.window import Window, WindowState, row_number


class Log:
    """The diary of H households of one run.

    ``values``: by name of ``state.QUANTITIES``, (H, T), nan where nothing has happened yet.
    ``plan``, ``shadow_plan``, ``unaided_plan`` (H, G): the trader's plans of interval ``decided``,
    with a market, without one, and without a shared model either; the last in deployments alone.
    ``orders`` one (M, 3) a household, the orders of that interval, where they are known.
    ``heard_s`` (H,): when the newest reading known by now was received [s since 1970]; nan where
    readings do not arrive.
    ``midnight``: per household, the forecasts (48,) of consumption and price issued at
    midnights, by half hours. ``decided``, ``settled``: the newest interval that is; -1 before the
    first.
    """

    def __init__(
        self,
        members: Sequence[Member],
        names: Sequence[str],
        window: Window,
        times: Sequence[str],
        *,
        plan_width: int,
        keep_plans: int,
    ) -> None:
        count, join = len(members), window.join
        self.values = {name: np.full((count, join.intervals), np.nan) for name in QUANTITIES}
        self.plan = np.zeros((count, plan_width))
        self.shadow_plan = np.zeros_like(self.plan)
        self.unaided_plan = np.zeros_like(self.plan)
        self.orders: list[Ints] = []
        self.heard_s = np.full(count, np.nan)
        self.midnight: list[dict[int, tuple[Floats, Floats]]] = [{} for _ in members]
        self.settled = join.first - 2 if join.first > 0 else -1
        self.decided = join.first - 1
        self._written, self._saved = self.settled, self.decided
        self._window, self._names, self._times = window, names, times
        self._keep_plans = keep_plans
        self.durable = members[0].durable
        self.states = [
            WindowState(member.directory, durable=self.durable, base=window.base)
            for member in members
        ]
        # Rows before are of a household that was not in yet.
        self.begins = join.first
        self._restore()

    def __getitem__(self, quantity: str) -> Floats:
        """One quantity, (H, T)."""
        return self.values[quantity]

    def _restore(self) -> None:
        """Read back what the run had done before ``join.first``. Raises InputError."""
        window, first = self._window, self._window.join.first
        # An interval that was decided is settled again: its fills come with the next request.
        self.settled = first - 1
        for h, state in enumerate(self.states):
            name = self._names[h]
            state.begin({"run": window.join.run, "household": name, "start": window.start}, first)
            rows = state.rows()
            begins = row_number(rows[0][0]) if rows else first
            if len(rows) != first - begins or begins > window.begins:
                raise InputError(
                    f"household {name} has {len(rows)} intervals of the run, "
                    f"cannot resume at interval {first + window.base}"
                )
            self._read_back(h, rows)
            self.settled = min(self.settled, _settled(rows, begins - 1))
            self.begins = min(self.begins, begins)
        self._written = self.settled

    def sensors(self, first: int, last: int, parts: int) -> Floats:
        """The battery's sensors of ``first`` to ``last``, (H, 4): state of charge, health, charge
        [kWh] in each of as many ``parts``, cycles."""
        span = slice(first, last + 1)
        charge = (self["charge"][:, span] - self["discharge"][:, span]).sum(axis=1) / parts
        now = [self[name][:, last] for name in ("soc", "soh", "cycles")]
        return np.stack([now[0], now[1], charge, now[2]], 1)

    def prices(self, first: int) -> tuple[Floats, Floats, Floats]:
        """Prices from ``first`` on: retail and feed-in (H, N) of what is decided, signals (M, 2) of
        what is settled, of which all households were told the same.
        """
        done = slice(first, self.settled + 1)
        signals = np.stack([self["local_buy"][0, done], self["local_sell"][0, done]], axis=1)
        decided = slice(first, self.decided + 1)
        return self["retail"][:, decided], self["feed_in"][:, decided], signals

    def orders_given(self) -> list[Ints] | None:
        """The orders of ``decided``, one (M, 3) a household; None where they are not kept."""
        if self.orders:
            return self.orders
        stored = [state.orders(self.decided) for state in self.states]
        kept = [orders for orders in stored if orders is not None]
        return kept if len(kept) == len(self.states) else None

    # ---- files --------------------------------------------------------------------------------

    @property
    def saved(self) -> bool:
        """Whether the files tell all that the households know."""
        return self._saved == self.decided and self._written == self.settled

    def flush(self) -> None:
        """Write what has happened since the last time to the households' own files."""
        span = range(self._written + 1, self.decided + 1)
        columns = [self[name] for name in QUANTITIES]
        for h, state in enumerate(self.states):
            values = np.stack([column[h, span.start : span.stop] for column in columns], 1)
            rows = [
                (t, self._times[t], int(t <= self.settled), *row)
                for t, row in zip(span, values.tolist(), strict=True)
            ]
            forecasts = [
                (t, stream, ahead)
                for t, pair in self.midnight[h].items()
                if t in span
                for stream, ahead in zip(("consumption_day", "price_day"), pair, strict=True)
            ]
            unaided = self.unaided_plan[h] if self.durable else None
            plan = (self.decided, self.plan[h], self.shadow_plan[h], unaided)
            orders = self.orders[h] if self.orders else None
            heard = (self.decided, float(self.heard_s[h])) if np.isfinite(self.heard_s[h]) else None
            state.put(rows, forecasts, plan, self.decided - self._keep_plans, orders, heard)
        self._written, self._saved = self.settled, self.decided

    def refresh(self) -> int | None:
        """Catch up with what another process has done for the same households, from their files.

        Returns the first interval that is newly settled, None where nothing is new. For engines
        that move a household between processes.
        """
        newest = self.states[0].newest()
        if newest <= self.decided:
            return None
        first = self.settled + 1
        settled = newest - 1
        for h, state in enumerate(self.states):
            rows = state.rows(first)
            self._read_back(h, rows)
            settled = min(settled, _settled(rows, self.settled))
        self.decided, self.settled = newest, settled
        self._written, self._saved = self.settled, self.decided
        self.orders = []
        return first

    def close(self) -> None:
        """Close the files."""
        for state in self.states:
            state.close()

    def _read_back(self, h: int, rows: Sequence[Sequence[object]]) -> None:
        """Take over these interval rows, the midnight forecasts and the newest plan."""
        for row in rows:
            t = row[0]
            assert isinstance(t, int)
            for name, value in zip(QUANTITIES, row[3:], strict=True):
                self[name][h, t] = value if isinstance(value, float) else np.nan
        streams = {(t, stream): values for t, stream, values in self.states[h].forecasts()}
        for (t, stream), values in streams.items():
            if stream == "consumption_day":
                self.midnight[h][t] = (values, streams[t, "price_day"])
        if rows:
            newest = rows[-1][0]
            assert isinstance(newest, int)
            plan = self.states[h].plan(newest)
            if plan is None:
                raise InputError(f"household {self._names[h]}: plan of interval {newest} is lost")
            self.plan[h], self.shadow_plan[h] = plan[:2]
            # What a release before has not kept begins as the shadow is.
            self.unaided_plan[h] = plan[1] if plan[2] is None else plan[2]


def _settled(rows: Sequence[Sequence[object]], before: int) -> int:
    """The newest interval up to which all are settled; ``before`` the rows begin all are."""
    newest = before
    for row in rows:
        if not row[2]:
            break
        assert isinstance(row[0], int)
        newest = row[0]
    return newest
