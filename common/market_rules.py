"""The market's rules, which both sides must agree on: units, the wedge, order admission.

Energy is counted in mWh (1e-6 kWh) and money in micro (1e-6 currency), both int64, so a price is
in micro per kWh and every sum is exact. Orders buy energy *delivered* and sell energy *sent*.
Prices have either sign.

A bid, and every price of the market, is *all-in*: what the buyer pays per delivered kWh, the local
fee included. A seller receives ``(price - fee) * (1 - loss)`` per sent kWh.

The wedge. With loss l, margin m and local fee g a pair may trade only if
``(bid - g) * (1 - l) >= ask + m * |ask|``. In integers:
``bid >= ceil((ask + m * |ask|) / (1 - l)) + g``. That right-hand side is the *grossed ask*. It
rises with the ask, for m < 1, so with it every mechanism is a standard double auction over
delivered kWh.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from common.arrays import Floats, Ints
from common.data.prices import PRICE_LIMIT_PER_KWH
from common.errors import InputError

Mask = npt.NDArray[np.bool_]

MILLI_WH_PER_KWH: Final = 1_000_000
"""mWh in a kWh."""
MICRO: Final = 1_000_000
"""Micro in one unit of currency."""
PPM: Final = 1_000_000
SCARCITY: Final = 1.2
"""Imports beyond an allowance cost this times the dearest price published, by default."""
MAX_QUANTITY_MILLIWH: Final = 1_000 * MILLI_WH_PER_KWH
"""Largest order: 1,000 kWh in half an hour is no household's."""
MAX_PRICE_MICRO: Final = round(PRICE_LIMIT_PER_KWH) * MICRO
"""Largest price of either sign. With MAX_QUANTITY_MILLIWH, price x quantity fits int64."""
_GRAIN: Final = 1e-4  # a float this close below an integer is that integer: 0.29 * 1e6 is not


@dataclass(frozen=True)
class MarketRules:
    """What the market asks of every trade.

    ``loss``: share of sent energy lost on the way. ``min_margin``: the share by which a bid must
    clear the ask. ``local_fee``: network charges and levies on local energy, the VAT on them
    included, in currency per delivered kWh. ``max_steps``: orders per household and interval.
    ``k``: where between the ask (0) and the bid (1) a price is set where the orders leave room.
    ``feeder_loss`` and ``feeder_fee`` (currency per delivered kWh): extra for trades between
    feeders.
    """

    loss: float = 0.05
    min_margin: float = 0.05
    max_steps: int = 200
    k: float = 0.5
    feeder_loss: float = 0.02
    feeder_fee: float = 0.01
    local_fee: float = 0.0

    def __post_init__(self) -> None:
        for name, low, high in (
            ("loss", 0.0, 0.999),
            ("min_margin", 0.0, 0.999),
            ("k", 0.0, 1.0),
            ("feeder_loss", 0.0, 0.999),
            ("feeder_fee", 0.0, PRICE_LIMIT_PER_KWH),
            ("local_fee", 0.0, PRICE_LIMIT_PER_KWH),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise InputError(f"market.{name} = {value!r}: expected {low:g} to {high:g}")
        if self.max_steps < 1:
            raise InputError(f"market.max_steps = {self.max_steps!r}: expected 1 or more")

    @property
    def keep_ppm(self) -> int:
        """Delivered per sent energy, in millionths."""
        return PPM - round(self.loss * PPM)

    @property
    def margin_ppm(self) -> int:
        """The margin in millionths."""
        return round(self.min_margin * PPM)

    @property
    def k_ppm(self) -> int:
        """``k`` in millionths."""
        return round(self.k * PPM)

    @property
    def local_fee_micro(self) -> int:
        """``local_fee`` in micro per delivered kWh."""
        return to_micro(self.local_fee)

    def grossed_ask(self, ask_micro: Ints) -> Ints:
        """Asks per sent kWh -> the lowest bids per delivered kWh they may trade with."""
        return gross_up(ask_micro, self.keep_ppm, self.margin_ppm, self.local_fee_micro)

    def highest_ask(self, price_micro: int) -> int:
        """The highest ask per sent kWh that may trade at an all-in price per delivered kWh."""
        arrives = (price_micro - self.local_fee_micro) * self.keep_ppm
        return arrives // (PPM + self.margin_ppm if arrives >= 0 else PPM - self.margin_ppm)

    def truthful_earning(self, price_micro: int) -> int:
        """What a seller earns per delivered kWh if it gets the highest ask that lets it trade.

        That is the price without fee and margin. A seller that got all of the price would gain by
        asking a margin less than it wants.
        """
        return -(-self.highest_ask(price_micro) * PPM // self.keep_ppm)


def gross_up(ask_micro: Ints, keep_ppm: int, margin_ppm: int, fee_micro: int = 0) -> Ints:
    """``ceil((ask + margin * |ask|) / (1 - loss)) + fee``, within +-MAX_PRICE_MICRO.

    Above it is MAX_PRICE_MICRO + 1: no bid reaches that, as every bid reaches the lower end, so the
    clip changes no trade.
    """
    grossed = -(-(ask_micro * PPM + np.abs(ask_micro) * margin_ppm) // keep_ppm) + fee_micro
    clipped: Ints = np.clip(grossed, -MAX_PRICE_MICRO, MAX_PRICE_MICRO + 1)
    return clipped


def delivered_of(sent_milliwh: Ints, keep_ppm: int) -> Ints:
    """``floor((1 - loss) * sent)``, without overflow for sums up to 9e15 mWh."""
    whole, rest = np.divmod(sent_milliwh, PPM)
    delivered: Ints = whole * keep_ppm + rest * keep_ppm // PPM
    return delivered


def sent_for(delivered_milliwh: Ints, keep_ppm: int | Ints) -> Ints:
    """``ceil(delivered / (1 - loss))``: the least that must be sent."""
    whole, rest = np.divmod(delivered_milliwh, keep_ppm)
    sent: Ints = whole * PPM - np.floor_divide(-rest * PPM, np.asarray(keep_ppm))
    return sent


def to_milliwh(kwh: Floats) -> Ints:
    """Order quantities: kWh -> mWh, rounded down so that nobody trades more than was ordered."""
    return np.floor(np.asarray(kwh, np.float64) * MILLI_WH_PER_KWH + _GRAIN).astype(np.int64)


def meter_milliwh(kwh: Floats) -> Ints:
    """Meter readings: kWh -> mWh, rounded to nearest."""
    return np.rint(np.asarray(kwh, np.float64) * MILLI_WH_PER_KWH).astype(np.int64)


def to_micro(price: float) -> int:
    """A published price per kWh -> micro per kWh, rounded to nearest."""
    return round(price * MICRO)


@dataclass(frozen=True)
class Orders:
    """Orders as received, not yet trusted; arrays of one length N.

    ``household`` indexes the community's list, -1 for a sender nobody knows. ``side`` is +1 buy
    or -1 sell. ``price`` is per delivered kWh on buys and per sent kWh on sells. ``number`` tells
    one household's orders apart. ``interval`` is the one the sender meant.
    """

    household: Ints
    side: npt.NDArray[np.int8]
    quantity_kwh: Floats
    price: Floats
    number: Ints
    interval: Ints
    feeder: Ints
    min_kwh: Floats

    @classmethod
    def of_curves(
        cls, side: npt.ArrayLike, quantity_kwh: npt.ArrayLike, price: npt.ArrayLike, interval: int
    ) -> "Orders":
        """Orders of H households with up to K steps each: arrays (H, K), side 0 where none."""
        sides = np.asarray(side, np.int8)
        household, number = np.nonzero(sides)
        here = (household, number)
        return cls(
            household=household.astype(np.int64),
            side=sides[here],
            quantity_kwh=np.asarray(quantity_kwh, np.float64)[here],
            price=np.asarray(price, np.float64)[here],
            number=number.astype(np.int64),
            interval=np.full(len(household), interval, np.int64),
            feeder=np.zeros(len(household), np.int64),
            min_kwh=np.zeros(len(household)),
        )


REASONS: Final = (
    "accepted",
    "unknown household",
    "wrong interval",
    "replay of a cleared interval",
    "household has already answered",
    "duplicate of another order",
    "too many orders",
    "side is neither buy nor sell",
    "quantity is not a finite number",
    "quantity is negative",
    "quantity is absurdly large",
    "price is not a finite number",
    "price is not within +-100 per kWh",
    "price is outside the bounds of the interval",
    "minimum quantity is not between 0 and the quantity",
    "more than the connection can carry",
    "household's own buy and sell orders cross",
    "feeder is not a number from 0 to 65535",
)
"""Why an order is refused; ``Admission.reason`` indexes it."""
(
    _ACCEPTED,
    _UNKNOWN,
    _WRONG_INTERVAL,
    _REPLAY,
    _ANSWERED,
    _DUPLICATE,
    _TOO_MANY,
    _SIDE,
    _QUANTITY_NAN,
    _QUANTITY_NEGATIVE,
    _QUANTITY_ABSURD,
    _PRICE_NAN,
    _PRICE_ABSURD,
    _PRICE_BOUNDS,
    _MINIMUM,
    _CONNECTION,
    _CROSSES,
    _FEEDER,
) = range(len(REASONS))
MAX_FEEDER: Final = 65_535


@dataclass(frozen=True)
class Admission:
    """What became of N orders: integers of the M accepted ones, a reason for each of the N.

    ``source`` (M,) gives the row of each accepted order among the N received.
    """

    reason: npt.NDArray[np.int8]
    source: Ints
    household: Ints
    side: npt.NDArray[np.int8]
    quantity_milliwh: Ints
    price_micro: Ints
    feeder: Ints
    min_milliwh: Ints

    @property
    def refused(self) -> int:
        """How many orders were refused."""
        return int(np.count_nonzero(self.reason))

    def reason_of(self, row: int) -> str:
        """What became of the order in a row of those received."""
        return REASONS[self.reason[row]]

    def refusals(self, orders: Orders) -> dict[int, list[tuple[int, str]]]:
        """Per household index: (order number, reason) of each refused order, to tell it."""
        told: dict[int, list[tuple[int, str]]] = {}
        for row in np.flatnonzero(self.reason):
            told.setdefault(int(orders.household[row]), []).append(
                (int(orders.number[row]), REASONS[self.reason[row]])
            )
        return told


def admit(
    orders: Orders,
    rules: MarketRules,
    *,
    interval: int,
    households: int,
    import_kwh: npt.ArrayLike = np.inf,
    export_kwh: npt.ArrayLike = np.inf,
    answered: Mask | None = None,
    bounds: tuple[int, int] | None = None,
) -> Admission:
    """Check every order; refuse the bad ones, each with a reason, and leave the others alone.

    ``import_kwh``/``export_kwh`` (scalar or (H,)): what a connection carries per interval; steps
    are counted in the order of their numbers, and from the one that passes the limit on they are
    refused.
    ``answered`` (H,): households whose orders for this interval are already in. ``bounds``: the
    lowest and the highest price [micro per kWh] that an order of the interval may name. Nothing
    here depends on the order of the rows.
    """
    n = len(orders.household)
    reason = np.zeros(n, np.int8)

    def refuse(bad: Mask, code: int) -> None:
        reason[bad & (reason == _ACCEPTED)] = code

    household = orders.household
    refuse((household < 0) | (household >= households), _UNKNOWN)
    member = np.clip(household, 0, households - 1)
    refuse(orders.interval < interval, _REPLAY)
    refuse(orders.interval > interval, _WRONG_INTERVAL)
    if answered is not None:
        refuse(answered[member], _ANSWERED)
    refuse(np.abs(orders.side) != 1, _SIDE)
    refuse(~np.isfinite(orders.quantity_kwh), _QUANTITY_NAN)
    refuse(orders.quantity_kwh < 0, _QUANTITY_NEGATIVE)
    refuse(orders.quantity_kwh > MAX_QUANTITY_MILLIWH / MILLI_WH_PER_KWH, _QUANTITY_ABSURD)
    refuse(~np.isfinite(orders.price), _PRICE_NAN)
    refuse(np.abs(orders.price) > MAX_PRICE_MICRO / MICRO, _PRICE_ABSURD)
    refuse(~((orders.min_kwh >= 0) & (orders.min_kwh <= orders.quantity_kwh)), _MINIMUM)
    refuse((orders.feeder < 0) | (orders.feeder > MAX_FEEDER), _FEEDER)
    duplicate, too_many = _repeated(orders, member, rules.max_steps)
    refuse(duplicate, _DUPLICATE)
    refuse(too_many, _TOO_MANY)

    good = np.flatnonzero(reason == _ACCEPTED)
    # Later orders of a curve are dearer or cheaper ones: count the connection in their own order.
    good = good[np.lexsort((orders.number[good], household[good]))]
    side = orders.side[good]
    quantity = to_milliwh(orders.quantity_kwh[good])
    least = -np.floor(-orders.min_kwh[good] * MILLI_WH_PER_KWH + _GRAIN).astype(np.int64)
    least = np.minimum(least, quantity)
    scaled = orders.price[good] * MICRO
    # A bid rounds down and an ask up: no one trades at a worse price than written.
    price = np.where(side > 0, np.floor(scaled + _GRAIN), np.ceil(scaled - _GRAIN)).astype(np.int64)
    who = household[good]

    if bounds is not None:
        outside = (price < bounds[0]) | (price > bounds[1])
        reason[good[outside]] = _PRICE_BOUNDS
        good, side, quantity = good[~outside], side[~outside], quantity[~outside]
        least, price, who = least[~outside], price[~outside], who[~outside]

    for sign, limit in ((1, import_kwh), (-1, export_kwh)):
        mine = np.flatnonzero(side == sign)
        room = np.broadcast_to(np.asarray(limit, np.float64), (households,))[who[mine]]
        reason[
            good[mine[_running_total(who[mine], quantity[mine]) > room * MILLI_WH_PER_KWH + 0.5]]
        ] = _CONNECTION

    kept = reason[good] == _ACCEPTED
    best_bid = np.full(households, -MAX_PRICE_MICRO - 1, np.int64)
    lowest_ask = np.full(households, MAX_PRICE_MICRO + 1, np.int64)
    buys, sells = kept & (side > 0), kept & (side < 0)
    np.maximum.at(best_bid, who[buys], price[buys])
    np.minimum.at(lowest_ask, who[sells], rules.grossed_ask(price[sells]))
    reason[good[kept & (best_bid >= lowest_ask)[who]]] = _CROSSES

    kept = reason[good] == _ACCEPTED
    return Admission(
        reason=reason,
        source=good[kept],
        household=who[kept],
        side=side[kept],
        quantity_milliwh=quantity[kept],
        price_micro=price[kept],
        feeder=orders.feeder[good[kept]],
        min_milliwh=least[kept],
    )


def _running_total(group: Ints, amount: Ints) -> Ints:
    """Cumulative sum of ``amount`` within each run of equal ``group`` (sorted)."""
    total = np.cumsum(amount)
    first = np.flatnonzero(np.diff(group, prepend=-1))
    before = np.concatenate(([0], total))[first]
    within: Ints = total - np.repeat(before, np.diff(first, append=len(group)))
    return within


def _repeated(orders: Orders, member: Ints, max_steps: int) -> tuple[Mask, Mask]:
    """Masks of (orders repeating a household's order number, orders of households with too many).

    Of identical copies one is kept; copies that contradict each other are all refused.
    """
    n = len(member)
    if n == 0:
        return np.zeros(0, bool), np.zeros(0, bool)
    columns = (orders.min_kwh, orders.price, orders.quantity_kwh, orders.side)
    rank = np.lexsort((*columns, orders.number, orders.household))
    same = np.zeros(n, bool)
    same[1:] = (np.diff(orders.household[rank]) == 0) & (np.diff(orders.number[rank]) == 0)
    contradicts = same.copy()
    contradicts[1:] &= np.any([c[rank][1:] != c[rank][:-1] for c in columns], axis=0)
    group = np.cumsum(~same) - 1
    torn = np.zeros(group[-1] + 1, bool)
    torn[group[contradicts]] = True
    duplicate = np.empty(n, bool)
    duplicate[rank] = same | torn[group]
    steps = np.bincount(member[~duplicate])
    return duplicate, np.concatenate((steps, np.zeros(member.max() + 1, np.int64)))[
        member
    ] > max_steps
