"""Traders without a plan: hold, greedy, and the rules of the original specification.

The rules compare one scalar forecast of the price (the mean of the next day) with the price of
now. ``rule-literal`` buys when the forecast is below the price and sells when it is above, as
the specification says; ``rule`` has the sign that earns money: it buys before the price rises.
Both act only above a score of 75.
"""

from dataclasses import dataclass

import numpy as np

from common.arrays import Codes, Floats
from common.cadence import HALF_HOUR
from common.energy import battery as bat
from common.energy.connection import room
from fl_client.trader.base import (
    BAD_BATTERY,
    BAD_FORECAST,
    BUY,
    FINE,
    GREEN,
    HOLD,
    NO_HISTORY,
    NO_PRICE,
    RED,
    SELL,
    Actual,
    Decision,
    Situation,
    no_orders,
)

# Weights of the score: how far the price will move, room in the battery, and the market.
MOVE, ROOM, MARKET = 50.0, 25.0, 25.0
# A price move of this share of today's price earns the full MOVE points.
FULL_MOVE = 0.2
# ... but prices nearer to zero than this are no measure.
LEAST_PRICE = 0.001


def permitted(wish: Floats, actual: Actual) -> Floats:
    """The action nearest to ``wish`` that battery and connection permit [kWh, (H,)].

    Where both cannot be met the battery goes as far as it can towards the connection's range.
    """
    low, high = room(actual.net_load, actual.bought, actual.sold, actual.connection, actual.hours)
    down, up = bat.ac_limits(actual.battery, actual.soc, actual.hours)
    return np.clip(np.clip(wish, low, high), -down, up)


class _Planless:
    """A trader whose plan is its action: one column."""

    history = 0
    plan_width = 1
    uses_forecast = False
    corrects = False
    uses_sun = False

    def dispatch(self, plan: Floats, actual: Actual) -> Floats:
        """Do what the action of the plan says; see ``Trader.dispatch``."""
        serve = -(actual.net_load - actual.bought + actual.sold)
        fill = np.full_like(actual.soc, np.inf)
        action = plan[:, 0]
        wish = np.where(action == BUY, fill, np.where(action == RESTS, 0.0, serve))
        if actual.allowance is not None:
            # Without a plan there is no telling what stored energy is worth: charge less, no more.
            wish = np.minimum(wish, np.maximum(actual.allowance + serve, 0.0))
        return permitted(wish, actual)


# In a plan: the battery rests. HOLD, BUY and SELL stand for themselves.
RESTS = 2


class Hold(_Planless):
    """Trade nothing, leave the battery alone."""

    def decide(self, situation: Situation) -> Decision:
        """No orders."""
        return _idle(situation, RESTS)


class Greedy(_Planless):
    """Trade nothing; the battery takes the house's own surplus and serves its own deficit."""

    def decide(self, situation: Situation) -> Decision:
        """No orders."""
        return _idle(situation, HOLD)


def _idle(situation: Situation, action: int) -> Decision:
    count = situation.households
    down, _ = bat.ac_limits(situation.battery, situation.soc, situation.hours)
    return Decision(
        *no_orders(count),
        score=np.zeros(count),
        need=np.where(down > 0, GREEN, RED).astype(np.int8),
        action=np.full(count, HOLD, np.int8),
        reason=np.full(count, FINE, np.int8),
        plan=np.full((count, 1), float(action)),
    )


@dataclass(frozen=True)
class Rule(_Planless):
    """Buy before the price rises and sell before it falls; ``literal`` turns the sign round.

    threshold: act only above this score. A household that acts offers two steps: what its own
    house is expected to need or to spare, priced at the grid's price, and what the battery can
    take or give, priced half way between retail and feed-in. One that buys also fills the
    battery from the grid; one that sells or holds serves its own house.
    """

    literal: bool = False
    threshold: float = 75.0
    history: int = 2 * HALF_HOUR.per_day
    uses_forecast: bool = True
    corrects: bool = False

    def decide(self, situation: Situation) -> Decision:
        """Orders by the rule; see ``Trader.decide``."""
        count = situation.households
        retail, feed_in = situation.tariff(situation.steps_per_day)
        known = retail.shape[1] > 0
        price_now = retail[:, 0] if known else np.full(count, np.nan)
        expected = _price_ahead(situation)
        net = _net_load_now(situation)
        reason = np.full(count, FINE, np.int8)
        reason[~np.isfinite(net)] = NO_HISTORY
        reason[~np.isfinite(expected)] = BAD_FORECAST
        reason[~np.isfinite(situation.soc)] = BAD_BATTERY
        if not known:
            reason[:] = NO_PRICE
        sound = reason == FINE
        rises = np.where(sound, expected - price_now, 0.0) * (-1.0 if self.literal else 1.0)
        wants = np.where(rises > 0, BUY, np.where(rises < 0, SELL, HOLD)).astype(np.int8)
        soc = np.where(sound, situation.soc, situation.battery.soc_min)
        paid = feed_in[:, 0] if known else price_now
        score = _score(situation, price_now, paid, soc, rises, wants)
        acts = sound & (score > self.threshold) & (wants != HOLD)
        action = np.where(acts, wants, HOLD).astype(np.int8)
        down, up = bat.ac_limits(situation.battery, soc, situation.hours)
        net = np.where(sound, net, 0.0)
        return Decision(
            *self._orders(situation, action, net, down, up, price_now, paid),
            score=score,
            need=np.where(net > down, RED, GREEN).astype(np.int8),
            action=action,
            reason=reason,
            plan=np.where(sound, action, RESTS).astype(np.float64)[:, None],
        )

    def _orders(
        self,
        situation: Situation,
        action: Codes,
        net: Floats,
        down: Floats,
        up: Floats,
        retail: Floats,
        feed_in: Floats,
    ) -> tuple[Codes, Floats, Floats]:
        side, quantity, price = no_orders(len(net), 2)
        if not situation.market:
            return side, quantity, price
        import_limit, export_limit = situation.connection.limits(situation.hours)
        buys = action == BUY
        own = np.maximum(np.where(buys, net, -net), 0.0)
        limit = np.where(buys, import_limit, export_limit)
        quantity[:, 0] = np.minimum(own, limit)
        stored = np.where(buys, up, down)
        quantity[:, 1] = np.minimum(stored, limit - quantity[:, 0])
        quantity[action == HOLD] = 0.0
        price[:, 0] = np.where(buys, retail, feed_in)
        price[:, 1] = 0.5 * (retail + feed_in)
        side[:] = action[:, None]
        side[quantity <= 0] = HOLD
        if situation.terms is not None:
            # Nobody is clipped to a price at which it would lose: beyond the far end, no offer.
            lowest, highest = situation.terms.lowest, situation.terms.highest
            side[((side == BUY) & (price < lowest)) | ((side == SELL) & (price > highest))] = HOLD
            side[...] = HOLD if lowest > highest else side
            price = np.clip(price, lowest, max(lowest, highest))
        return side, quantity, price


def _price_ahead(situation: Situation) -> Floats:
    """Mean price of the next day: the model's forecast where there is one, else the tariff."""
    ahead = None if situation.forecast is None else situation.forecast.price
    if ahead is None:
        ahead, _ = situation.tariff(situation.steps_per_day)
    if ahead.shape[1] == 0:
        return np.full(situation.households, np.nan)
    return np.asarray(ahead.sum(axis=1) / ahead.shape[1])


def _net_load_now(situation: Situation) -> Floats:
    """Net load expected for t: forecast load less yesterday's PV, or yesterday's net load."""
    day = situation.steps_per_day
    column = situation.past_load.shape[1] + situation.lag - day
    nothing = np.full(situation.households, np.nan)
    if column < 0 or situation.past_load.shape[1] == 0:
        load, pv = nothing, np.zeros(situation.households)
    else:
        load, pv = situation.past_load[:, column], situation.past_pv[:, column]
    if situation.forecast is not None:
        load = situation.forecast.load[:, 0]
    return np.asarray(load - np.nan_to_num(pv), dtype=np.float64)


def _score(
    situation: Situation,
    retail: Floats,
    feed_in: Floats,
    soc: Floats,
    rises: Floats,
    wants: Codes,
) -> Floats:
    """Profitability 0-100 of acting now: price move, room in the battery, market state."""
    spec = situation.battery
    full = FULL_MOVE * np.maximum(np.abs(retail), LEAST_PRICE)
    move = np.minimum(np.abs(rises) / full, 1.0)
    window = np.maximum(np.asarray(spec.soc_max) - np.asarray(spec.soc_min), 1e-9)
    filled = np.clip((soc - spec.soc_min) / window, 0.0, 1.0)
    space = np.where(wants == BUY, 1.0 - filled, filled)
    last = None if situation.past_local is None else situation.past_local[-1:]
    spread = np.maximum(retail - feed_in, 1e-9)
    if last is None or not len(last) or not np.isfinite(last).all():
        market = np.full(len(soc), 0.5)
    else:
        cheap = np.clip((retail - last[0, 0]) / spread, 0.0, 1.0)
        dear = np.clip((last[0, 1] - feed_in) / spread, 0.0, 1.0)
        # The grid's own price is neutral: where nobody trades there is no reason not to act.
        market = 0.5 + 0.5 * np.where(wants == BUY, cheap, dear)
    return np.asarray(np.nan_to_num(MOVE * move + ROOM * space + MARKET * market))
