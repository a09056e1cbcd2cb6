"""What a trader knows and what it answers: the seam between a household and its trader.

Array-first: the household axis H leads everywhere and one household is H = 1. A trader gives a
household the same bits whether it decides for it alone or among others.
"""

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from common.arrays import Codes, Floats, Ints, Mask
from common.energy.battery import BatterySpec
from common.energy.connection import ConnectionSpec
from common.energy.tariff import EndValue

HOLD, BUY, SELL = 0, 1, -1
GREEN, RED = 0, 1

# Why a household trades nothing although its trader might: Decision.reason.
HOLD_REASONS = (
    "",
    "forecast is not finite",
    "forecast is stale",
    "retail price is missing",
    "history is too short",
    "battery state is not finite",
    "plan is infeasible",
)
FINE, BAD_FORECAST, STALE_FORECAST, NO_PRICE, NO_HISTORY, BAD_BATTERY, INFEASIBLE = range(7)


@dataclass(frozen=True)
class TraderForecast:
    """The model's forecast that starts at the interval of the decision.

    load: consumption (H, 48) kWh per interval; price: retail (H, 48); quantiles of consumption
    (H, Q, 48) at ``levels`` (Q,), or None; age: intervals since the newest reading it has seen
    (a forecast older than a day is stale); pv: production (H, 48), or None.
    """

    load: Floats
    price: Floats | None = None
    quantiles: Floats | None = None
    levels: tuple[float, ...] = ()
    age: int = 0
    pv: Floats | None = None


class MarketTerms(Protocol):
    """The part of ``common.market_rules.MarketRules`` that shapes an order."""

    @property
    def loss(self) -> float:
        """Share of the sent energy lost on the way."""
        ...

    @property
    def min_margin(self) -> float:
        """A trade needs bid * (1 - loss) >= ask * (1 + min_margin)."""
        ...

    @property
    def max_steps(self) -> int:
        """Most steps of one household's curve."""
        ...


@dataclass(frozen=True)
class Situation:
    """What H households know when they decide for interval ``t``.

    Nothing measured at ``t`` or later is in it; tariffs are published ahead.

    t: interval of the run. slot: local half hour of the day of t, 0..47 (with ``hours`` 0.25:
    quarter hour, 0..95). weekday: 0 = Monday.
    past_load, past_pv: (H, P) kWh per interval; the last column is the newest known interval,
    t - 1 - lag. Rows before the data begins are nan. A trader reads at most its ``history``.
    retail: (N,) published retail prices of t .. t+N-1, per kWh. feed_in: per kWh.
    soc: (H,) state of charge at the start of t. battery, connection: limits, scalar or (H,).
    rules: market rules. market: False in the shadow run without a market (no orders).
    past_local: (L, 2) public marginal [buy, sell] price of intervals t-L .. t-1 per kWh
    delivered; nan where there was none.
    forecast: the model's, or None. remaining: intervals left including t until the stored
    energy is valued by ``end``; None while no end is in sight.
    past_clear_sky (P,), clear_sky (N,): clear-sky irradiance on the same rows as past_pv and
    retail, in any unit; None: unknown.
    grid_share_kwh: (H,) planned import per interval under a community cap, imports beyond an
    allowance costing scarcity_price per kWh; None without a cap.
    """

    t: int
    slot: int
    weekday: int
    past_load: Floats
    past_pv: Floats
    retail: Floats
    feed_in: float
    soc: Floats
    battery: BatterySpec
    connection: ConnectionSpec
    rules: MarketTerms
    lag: int = 0
    hours: float = 0.5
    market: bool = True
    past_local: Floats | None = None
    forecast: TraderForecast | None = None
    remaining: int | None = None
    end: EndValue | None = None
    past_clear_sky: Floats | None = None
    clear_sky: Floats | None = None
    grid_share_kwh: Floats | None = None
    scarcity_price: float = 0.0

    @property
    def households(self) -> int:
        """H."""
        return int(self.soc.shape[0])

    @property
    def steps_per_day(self) -> int:
        """Intervals in a day."""
        return round(24 / self.hours)


@dataclass(frozen=True)
class Decision:
    """Orders for interval t and what dispatch needs when the fills are known.

    side (H, K): BUY, SELL or 0 for an unused step; quantity_kwh (H, K): bought kWh delivered or
    sold kWh sent; price (H, K): per kWh of that quantity. score (H,): 0-100; need (H,): GREEN or
    RED; action (H,): HOLD, BUY or SELL; reason (H,): index into HOLD_REASONS, 0 when all is well.
    plan (H, G): opaque; the household keeps it between ``decide`` and ``dispatch``.
    """

    side: Codes
    quantity_kwh: Floats
    price: Floats
    score: Floats
    need: Codes
    action: Codes
    reason: Codes
    plan: Floats


@dataclass(frozen=True)
class Actual:
    """What H households meet while an interval runs, their fills being firm; (H,) but for prices.

    soc: state of charge at its start. net_load: actual load - pv [kWh]. bought, sold: fills [kWh].
    retail, feed_in: the grid's prices per kWh. battery, connection: limits, scalar or (H,).
    hours: length of the interval. allowance: under a community cap, the kWh from the grid, beside
    the fills, beyond which each costs ``scarcity_price``; None without a cap.
    """

    soc: Floats
    net_load: Floats
    bought: Floats
    sold: Floats
    retail: float
    feed_in: float
    battery: BatterySpec
    connection: ConnectionSpec
    hours: float = 0.5
    allowance: Floats | None = None
    scarcity_price: float = 0.0

    def among(self, which: Ints | Mask) -> "Actual":
        """The same for some of the households, without an allowance."""
        return replace(
            self,
            soc=self.soc[which],
            net_load=self.net_load[which],
            bought=self.bought[which],
            sold=self.sold[which],
            allowance=None,
            scarcity_price=0.0,
        )


class Trader(Protocol):
    """A way to trade; stateless: all it remembers is in the situation and the plan."""

    @property
    def history(self) -> int:
        """Half-hour intervals of past readings that ``decide`` reads at most."""
        ...

    @property
    def uses_forecast(self) -> bool:
        """Whether ``decide`` reads ``Situation.forecast``; if not, none is computed for it."""
        ...

    @property
    def plan_width(self) -> int:
        """G, columns of ``Decision.plan``."""
        ...

    @property
    def uses_sun(self) -> bool:
        """Whether ``decide`` reads ``Situation.clear_sky``; if not, none is computed for it."""
        ...

    def decide(self, situation: Situation) -> Decision:
        """Orders and plan for interval t."""
        ...

    def dispatch(self, plan: Floats, actual: Actual) -> Floats:
        """Battery action (H,) [kWh at the terminals, charging positive] during the interval.

        ``plan`` (H, G) is that of ``decide``. The answer is within battery and connection limits.
        """
        ...


def no_orders(households: int, steps: int = 1) -> tuple[Codes, Floats, Floats]:
    """Side, quantity and price arrays without an order."""
    shape = (households, steps)
    return np.zeros(shape, np.int8), np.zeros(shape), np.zeros(shape)
