"""A community on some days, and its life under one trader: the product's pieces, no messages.

The loop is the one of a run: decide blind to t, clear, dispatch on what really happens, settle.
Costs contain the value of the energy left, as everywhere.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pandas as pd

from common.arrays import Floats, Ints
from common.cadence import HALF_HOUR
from common.data.frame import Household
from common.energy import battery as bat
from common.energy import connection as con
from common.energy.ageing import age
from common.energy.battery import BatterySpec
from common.energy.connection import ConnectionSpec
from common.energy.pv import clear_sky
from common.energy.tariff import EndValue, grid_cost
from common.errors import InputError
from common.market_rules import MICRO, MILLI_WH_PER_KWH, MarketRules, Orders, admit
from fl_client.trader import Actual, Decision, Situation, Trader, TraderForecast
from fl_client.trader.scene import Scene
from fl_server.market import Grid, OrderBook, clear
from fl_server.market.allowances import clear_under_cap
from simulations.references import Case

# (row that is decided, lag) -> forecasts that start at that row, or None.
Foresight = Callable[[int, int], TraderForecast | None]


@dataclass(frozen=True)
class Community:
    """H households over R history rows and T days' rows; array columns are rows.

    start: UTC time at which the days begin; load, pv (H, R+T) kWh; retail (R+T,); slot, weekday,
    lag (R+T,): local slot of the day, weekday, and by how many intervals the newest reading lags
    when the row is decided;
    clear_sky (R+T,): clear-sky irradiance, or None.
    """

    names: tuple[str, ...]
    start: pd.Timestamp
    timezone: str
    load: Floats
    pv: Floats
    retail: Floats
    first: int
    slot: Ints
    weekday: Ints
    lag: Ints
    feed_in: float = 0.05
    battery: BatterySpec = field(default_factory=BatterySpec)
    connection: ConnectionSpec = field(default_factory=ConnectionSpec)
    rules: MarketRules = field(default_factory=MarketRules)
    published: int = 96
    hours: float = 0.5
    clear_sky: Floats | None = None

    @property
    def intervals(self) -> int:
        """T."""
        return int(self.load.shape[1]) - self.first

    @property
    def days(self) -> Ints:
        """(T,) numbers that tell local days apart."""
        slot = self.slot[self.first :]
        return np.cumsum(np.diff(slot, prepend=slot[0]) < 0)

    @property
    def case(self) -> Case:
        """The same days for the references."""
        days = slice(self.first, None)
        return Case(
            self.load[:, days],
            self.pv[:, days],
            self.retail[days],
            self.feed_in,
            self.battery,
            self.connection,
            self.rules.loss,
            self.hours,
            days=self.days,
        )

    @property
    def end(self) -> EndValue:
        """Value of the energy left."""
        return self.case.end_value

    @cached_property
    def scene(self) -> Scene:
        """What traders may see."""
        days = slice(self.first, None)
        return Scene(
            load=self.load,
            pv=self.pv,
            origin=self.first,
            slot=self.slot[days],
            weekday=self.weekday[days],
            days=self.days,
            lag=self.lag[days],
            clear_sky=self.clear_sky,
            battery=self.battery,
            connection=self.connection,
            rules=self.rules,
            ends=True,
            hours=self.hours,
        )


def gather(
    households: Sequence[Household],
    start: pd.Timestamp,
    days: float,
    history_days: int,
    **settings: object,
) -> Community:
    """Cut the community out of its households' frames; ``start`` is the UTC time of interval 0.

    Households of one community here share the time zone and the meters' resolution.
    """
    one = households[0]
    if any((h.timezone, h.resolution_minutes) != (one.timezone, one.resolution_minutes)
           for h in households):  # fmt: skip
        raise InputError("households of a benchmark share one time zone and meter resolution")
    intervals = max(1, round(days * HALF_HOUR.per_day))
    first = one.row(start)
    begin = max(first - history_days * HALF_HOUR.per_day, 0)
    if first < 0 or first + intervals > len(one.frame):
        raise InputError(f"household {one.name} has no readings for {days:g} days from {start}")
    rows = slice(begin, first + intervals)
    local = pd.DatetimeIndex(one.frame.index[rows]).tz_convert(one.timezone)
    lag = np.array([row - one.known(row) for row in range(rows.start, rows.stop)])
    return Community(
        tuple(h.name for h in households),
        start,
        one.timezone,
        np.stack([h.consumption[rows] for h in households]),
        np.stack([h.frame["pv"].to_numpy(np.float64)[rows] for h in households]),
        one.frame["price"].to_numpy(np.float64)[rows],
        first - begin,
        (local.hour * 2 + local.minute // 30).to_numpy().astype(np.int64),
        local.day_of_week.to_numpy().astype(np.int64),
        lag.astype(np.int64),
        clear_sky=clear_sky(pd.DatetimeIndex(one.frame.index[rows]), one.timezone),
        **settings,  # type: ignore[arg-type]
    )


@dataclass(frozen=True)
class Cap:
    """A cap on the community's import: kw at the transformer, what imports beyond an allowance
    cost where it is passed, and by how much allowances together stay below it.
    """

    kw: float
    scarcity_price: float = 1.0
    reserve: float = 0.1

    def allowed(self, hours: float) -> float:
        """KWh per interval that is shared out as allowances."""
        return self.kw * hours * (1 - self.reserve)

    def share(self, households: int, hours: float) -> float:
        """KWh per interval up to which each household plans to charge from the grid."""
        return self.allowed(hours) / households


def halved(community: Community) -> Community:
    """The same days in intervals half as long: energies in equal halves, known no earlier."""
    c = community
    later = np.tile([0, 1], len(c.retail))
    return replace(
        c,
        load=np.repeat(c.load, 2, axis=1) / 2.0,
        pv=np.repeat(c.pv, 2, axis=1) / 2.0,
        retail=np.repeat(c.retail, 2),
        first=2 * c.first,
        slot=2 * np.repeat(c.slot, 2) + later,
        weekday=np.repeat(c.weekday, 2),
        lag=2 * np.repeat(c.lag, 2) + later,
        published=2 * c.published,
        hours=c.hours / 2,
        clear_sky=None if c.clear_sky is None else np.repeat(c.clear_sky, 2),
    )


def situation_at(
    community: Community,
    trader: Trader,
    t: int,
    soc: Floats,
    signals: Floats | None,
    foresight: Foresight | None = None,
    cap: "Cap | None" = None,
) -> Situation:
    """What the households know when they decide for ``t``; ``signals`` None: without a market."""
    c, row = community, community.first + t
    return c.scene.situation(
        t,
        trader,
        slice(None),
        soc,
        c.retail[row : row + min(c.published, c.intervals - t)],
        c.feed_in,
        end=c.end,
        past_tariff=(c.retail[None, c.first : row], np.full((1, t), c.feed_in)),
        market=signals is not None,
        signals=signals,
        forecast=foresight(row, int(c.lag[row])) if foresight and trader.uses_forecast else None,
        share_kwh=None if cap is None else cap.share(len(c.names), c.hours),
        scarcity_price=0.0 if cap is None else cap.scarcity_price,
    )


@dataclass(frozen=True)
class Life:
    """What became of the community: (H,) or (H, T) arrays, kWh and currency.

    cost (H,) bills and energy left; flow of every interval; score and gain: what the trader said
    of the interval before it.
    """

    cost: Floats
    grid_import: Floats
    grid_export: Floats
    bought: Floats
    sold: Floats
    unserved: Floats
    soc: Floats
    cycles: Floats
    score: Floats
    paid: Floats
    price: Floats
    reason: Ints
    load: Floats

    @property
    def total(self) -> float:
        """Cost of the community."""
        return float(self.cost.sum())

    def peak_kw(self, hours: float = 0.5) -> float:
        """Highest import of the community from the grid [kW]."""
        return float(self.grid_import.sum(axis=0).max() / hours)

    @property
    def self_sufficiency(self) -> float:
        """Share of the load not drawn from the grid."""
        return float(1.0 - self.grid_import.sum() / max(self.load.sum(), 1e-9))


def live(
    community: Community,
    trader: Trader,
    foresight: Foresight | None = None,
    *,
    market: bool = True,
    cap: Cap | None = None,
    watch: Callable[[int, Decision, Floats], None] | None = None,
) -> Life:
    """Live the days once. ``market`` False: the shadow run. ``watch`` sees each decision."""
    c = community
    count, intervals, first = len(c.names), c.intervals, c.first
    end, spec = c.end, c.battery
    capacity = np.asarray(spec.capacity_kwh, dtype=np.float64)
    soc = np.array(np.broadcast_to(np.asarray(spec.soc_initial, dtype=np.float64), count))
    soh, cycles = np.ones(count), np.zeros(count)
    names = ("grid_import", "grid_export", "bought", "sold", "unserved", "soc", "score", "paid")
    log = {name: np.zeros((count, intervals)) for name in names}
    reason = np.zeros((count, intervals), np.int64)
    price = np.full(intervals, np.nan)
    signals = np.full((intervals, 2), np.nan)
    nothing = np.zeros(count)
    for t in range(intervals):
        row = first + t
        situation = situation_at(
            c, trader, t, soc, signals if market else None, foresight, cap if market else None
        )
        decision = trader.decide(situation)
        bought, sold, money, allowance = nothing, nothing, nothing, None
        if market:
            bought, sold, money, price[t], signals[t], allowance = _clear(c, decision, t, cap)
        if watch is not None:
            watch(t, decision, signals[t])
        retail = float(c.retail[row])
        load, pv = c.load[:, row], c.pv[:, row]
        actual = Actual(
            soc, load - pv, bought, sold, retail, c.feed_in, spec, c.connection, c.hours,
            allowance, 0.0 if cap is None else cap.scarcity_price,
        )  # fmt: skip
        moved = bat.step(spec, soc, trader.dispatch(decision.plan, actual), c.hours)
        flow = con.flows(
            load, pv, moved.charge_kwh, moved.discharge_kwh, bought, sold, c.connection, c.hours
        )
        soh, cycles = age(spec, soh, cycles, soc, moved)
        soc = moved.soc
        log["grid_import"][:, t], log["grid_export"][:, t] = flow.grid_import, flow.grid_export
        log["bought"][:, t], log["sold"][:, t], log["unserved"][:, t] = bought, sold, flow.unserved
        log["soc"][:, t], log["score"][:, t], reason[:, t] = soc, decision.score, decision.reason
        log["paid"][:, t] = money + grid_cost(flow.grid_import, flow.grid_export, retail, c.feed_in)
        if allowance is not None and cap is not None:
            beyond = np.maximum(flow.grid_import - allowance, 0.0)
            above = max(float(flow.grid_import.sum()) - cap.kw * c.hours, 0.0)
            part = min(above / max(float(beyond.sum()), 1e-12), 1.0)
            charged = part * beyond * max(cap.scarcity_price - retail, 0.0)
            log["paid"][:, t] += charged - charged.mean()
    cost = log["paid"].sum(axis=1) - end.value(soc * capacity)
    return Life(cost=cost, cycles=cycles, price=price, reason=reason, load=c.load[:, first:], **log)


def _clear(
    c: Community, decision: Decision, t: int, cap: Cap | None
) -> tuple[Floats, Floats, Floats, float, tuple[float, float], Floats | None]:
    """Fills (H,) [kWh], money paid (H,), price (nan without trade), public signal, and allowances
    (H,) under a cap.
    """
    count = len(c.names)
    import_kwh, export_kwh = c.connection.limits(c.hours)
    admitted = admit(
        Orders.of_curves(decision.side, decision.quantity_kwh, decision.price, t),
        c.rules,
        interval=t,
        households=count,
        import_kwh=import_kwh,
        export_kwh=export_kwh,
    )
    grid = Grid(
        retail=round(float(c.retail[c.first + t]) * MICRO), feed_in=round(c.feed_in * MICRO)
    )
    book = OrderBook.of(admitted)
    allowance = None
    if cap is None:
        clearing = clear("uniform", book, c.rules, grid, seed=t)
        buy, sell = clearing.signal(grid, c.rules.keep_ppm)
    else:
        capped = clear_under_cap(
            "uniform", book, c.rules, grid, t,
            cap_milliwh=round(cap.allowed(c.hours) * MILLI_WH_PER_KWH),
            ceiling=round(cap.scarcity_price * MICRO), answered=np.ones(count, bool),
        )  # fmt: skip
        clearing, (buy, sell) = capped.clearing, capped.signal
        allowance = capped.milliwh / MILLI_WH_PER_KWH
    fills = clearing.fills(count)
    price = np.nan if clearing.price is None else clearing.price / MICRO
    money = (fills.paid - fills.received) / MICRO
    signal = (buy / MICRO, sell / MICRO)
    return (
        fills.bought / MILLI_WH_PER_KWH,
        fills.sold / MILLI_WH_PER_KWH,
        money,
        price,
        signal,
        allowance,
    )
