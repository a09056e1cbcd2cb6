"""What a trader knows and what it answers: the seam between a household and its trader.

Array-first: the household axis H leads everywhere and one household is H = 1. A trader gives a
household the same bits whether it decides for it alone or among others.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

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

    load: consumption (H, N) kWh per interval; price: retail (H, N); quantiles of consumption
    (H, Q, N) at ``levels`` (Q,), or None; age: intervals since the newest reading it has seen
    (a forecast older than a day is stale); pv: production (H, N), or None.
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
        """A trade needs (bid - local_fee) * (1 - loss) >= ask + min_margin * |ask|."""
        ...

    @property
    def local_fee(self) -> float:
        """What of a price per delivered kWh no seller gets."""
        ...

    @property
    def max_steps(self) -> int:
        """Most steps of one household's curve."""
        ...


class PublishedTerms(NamedTuple):
    """Prices of one interval that all members hear, currency per kWh.

    lowest, highest: what an order may name. shortfall: what energy sold and not sent costs at
    least; unused: what energy bought and not used earns at most.
    """

    lowest: float
    highest: float
    shortfall: float
    unused: float


@dataclass(frozen=True)
class Situation:
    """What H households know when they decide for interval ``t``.

    Nothing measured at ``t`` or later is in it; tariffs are published ahead.

    t: interval of the run. slot: which interval of its local day t is, 0..47 (with ``hours`` 0.25:
    0..95). weekday: 0 = Monday.
    past_load, past_pv: (H, P) kWh per interval; the last column is the newest known interval,
    t - 1 - lag. Rows before the data begins are nan. A trader reads at most its ``history``.
    retail: published import prices of t .. t+N-1 per kWh, (N,) for all or (H, N). feed_in: export
    prices of the same intervals, one for all or as retail. Both of either sign.
    soc: (H,) state of charge at the start of t. battery, connection: limits, scalar or (H,).
    rules: market rules. market: False in the shadow run without a market (no orders).
    past_local: (L, 2) public marginal [buy, sell] price of intervals t-L .. t-1 per kWh
    delivered; nan where there was none.
    forecast: the model's, or None. net: (H, Q, K) quantiles (q + 0.5) / Q of the net load [kWh]
    of the K steps from t on, own days as the model corrects them; nan for a household that keeps
    to its own days; or None. remaining: intervals left including t until the stored
    energy is valued by ``end``; None while no end is in sight.
    past_clear_sky (P,), clear_sky (N,): clear-sky irradiance on the same rows as past_pv and
    retail, in any unit; None: unknown.
    grid_share_kwh: (H,) planned import per interval under a community cap, imports beyond an
    allowance costing scarcity_price per kWh; None without a cap.
    terms: what the market has published of interval t; None: every member has this tariff.
    past_tariff: import and export prices (H, L) of the intervals of past_local; None: unknown.
    """

    t: int
    slot: int
    weekday: int
    past_load: Floats
    past_pv: Floats
    retail: Floats
    feed_in: float | Floats
    soc: Floats
    battery: BatterySpec
    connection: ConnectionSpec
    rules: MarketTerms
    lag: int = 0
    hours: float = 0.5
    market: bool = True
    past_local: Floats | None = None
    forecast: TraderForecast | None = None
    net: Floats | None = None
    remaining: int | None = None
    end: EndValue | None = None
    past_clear_sky: Floats | None = None
    clear_sky: Floats | None = None
    grid_share_kwh: Floats | None = None
    scarcity_price: float = 0.0
    terms: PublishedTerms | None = None
    past_tariff: tuple[Floats, Floats] | None = None

    @property
    def households(self) -> int:
        """H."""
        return int(self.soc.shape[0])

    @property
    def steps_per_day(self) -> int:
        """Intervals in a day."""
        return round(24 / self.hours)

    def tariff(self, steps: int) -> tuple[Floats, Floats]:
        """Import and export prices (H, N) of at most ``steps`` intervals, up to the first gap."""
        retail = np.atleast_2d(np.asarray(self.retail, dtype=np.float64))[:, :steps]
        known = np.isfinite(retail).all(axis=0)
        retail = retail[:, : int(np.argmin(known)) if not known.all() else None]
        count = retail.shape[1]
        feed_in = np.atleast_2d(np.asarray(self.feed_in, dtype=np.float64))
        shape = (self.households, count)
        return np.broadcast_to(retail, shape), np.broadcast_to(feed_in[:, :count], shape)


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
    retail, feed_in: the grid's prices per kWh, one for all or (H,); shortfall, unused: what energy
    sold and not sent costs, and bought and not used earns, None: as retail and feed_in. battery,
    connection: limits, scalar or (H,). hours: length of the interval. allowance: under a community
    cap, the kWh from the grid, beside the fills, beyond which each costs ``scarcity_price``; None
    without a cap.
    """

    soc: Floats
    net_load: Floats
    bought: Floats
    sold: Floats
    retail: float | Floats
    feed_in: float | Floats
    battery: BatterySpec
    connection: ConnectionSpec
    hours: float = 0.5
    allowance: Floats | None = None
    scarcity_price: float = 0.0
    shortfall: float | Floats | None = None
    unused: float | Floats | None = None

    def among(self, which: Ints | Mask) -> "Actual":
        """The same for some of the households, without an allowance."""
        count = len(self.soc)
        return replace(
            self,
            soc=self.soc[which],
            net_load=self.net_load[which],
            bought=self.bought[which],
            sold=self.sold[which],
            retail=np.broadcast_to(self.retail, count)[which],
            feed_in=np.broadcast_to(self.feed_in, count)[which],
            shortfall=_among(self.shortfall, which, count),
            unused=_among(self.unused, which, count),
            battery=self.battery.among(which),
            connection=self.connection.among(which),
            allowance=None,
            scarcity_price=0.0,
        )


def _among(price: float | Floats | None, which: Ints | Mask, count: int) -> float | Floats | None:
    return None if price is None else np.broadcast_to(price, count)[which]


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
    def corrects(self) -> bool:
        """Whether ``decide`` reads ``Situation.net``; if not, none is computed for it."""
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
