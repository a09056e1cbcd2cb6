"""An order book as arrays, and what clearing makes of it."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from common.arrays import Ints
from common.market_rules import (
    MAX_PRICE_MICRO,
    MAX_QUANTITY_MILLIWH,
    MILLI_WH_PER_KWH,
    PPM,
    Admission,
    Mask,
)

GRID = -1
"""Order index of the grid as counterparty."""
_NONE = np.zeros(0, np.int64)


@dataclass(frozen=True)
class OrderBook:
    """N admitted orders: integer arrays of one length.

    ``side`` +1 buy or -1 sell; ``quantity`` mWh, delivered on buys and sent on sells; ``price``
    micro per kWh of the same, of either sign; ``min_milliwh``: fill at least this much or nothing.
    """

    household: Ints
    side: npt.NDArray[np.int8]
    quantity: Ints
    price: Ints
    feeder: Ints
    min_milliwh: Ints

    def __post_init__(self) -> None:
        n = len(self.household)
        for name in ("side", "quantity", "price", "feeder", "min_milliwh"):
            if len(getattr(self, name)) != n:
                raise ValueError(f"order book: {name} has {len(getattr(self, name))} rows, not {n}")
        if n and not (
            0 <= self.quantity.min() <= self.quantity.max() <= MAX_QUANTITY_MILLIWH
            and -MAX_PRICE_MICRO <= self.price.min() <= self.price.max() <= MAX_PRICE_MICRO
            and self.household.min() >= 0
        ):
            raise ValueError("order book: quantity, price or household outside its bounds")

    def __len__(self) -> int:
        return len(self.household)

    @classmethod
    def of(cls, admitted: Admission) -> "OrderBook":
        """The book of the admitted orders; row i is ``admitted.source[i]`` of the received."""
        return cls(
            household=admitted.household,
            side=admitted.side,
            quantity=admitted.quantity_milliwh,
            price=admitted.price_micro,
            feeder=admitted.feeder,
            min_milliwh=admitted.min_milliwh,
        )

    @classmethod
    def empty(cls) -> "OrderBook":
        """A book without orders."""
        return cls(_NONE, np.zeros(0, np.int8), _NONE, _NONE, _NONE, _NONE)


@dataclass(frozen=True)
class Grid:
    """The grid's published prices for one interval, and its part in the market.

    ``retail`` and ``feed_in`` in micro per kWh, of either sign, either above the other; where
    households have their own, the dearest retail and the lowest feed-in price. With
    ``counterparty``, or a cap, the grid fills what peers leave: it sells at retail and buys at
    feed-in, at most ``import_cap`` and ``export_cap`` mWh over the community's transformer (None:
    no limit). Otherwise what the market leaves is settled against the meter.
    """

    retail: int = 300_000
    feed_in: int = 50_000
    counterparty: bool = False
    import_cap: int | None = None
    export_cap: int | None = None

    @property
    def joins(self) -> bool:
        """Whether the grid is a counterparty of this clearing."""
        return self.counterparty or self.import_cap is not None or self.export_cap is not None


@dataclass(frozen=True)
class Fills:
    """What clearing means for H households, the grid and the market, in whole mWh and micro.

    Arrays (H,): ``bought`` delivered and ``sold`` sent energy, the grid's included; ``paid`` and
    ``received`` money, negative at negative prices. Scalars: ``loss`` [mWh]; ``fees`` [micro] of
    the market operator; ``local_fees`` [micro] on local energy; what the grid sold to and bought
    from the community, and what it received and paid for that.
    """

    bought: Ints
    sold: Ints
    paid: Ints
    received: Ints
    loss: int = 0
    fees: int = 0
    grid_sold: int = 0
    grid_bought: int = 0
    grid_received: int = 0
    grid_paid: int = 0
    local_fees: int = 0

    @classmethod
    def none(cls, households: int) -> "Fills":
        """No trade; each array is its own, to be filled in by whoever needs to."""
        bought, sold, paid, received = np.zeros((4, households), np.int64)
        return cls(bought, sold, paid, received)

    @property
    def residue(self) -> int:
        """Micro left in the market: payments less earnings, fees and the grid's balance."""
        grid = self.grid_received - self.grid_paid
        return int(self.paid.sum() - self.received.sum()) - self.fees - self.local_fees - grid


@dataclass(frozen=True)
class Clearing:
    """The trades of one interval, M rows.

    ``buy_order``/``sell_order``: rows of the book, or GRID. ``sent``/``delivered`` [mWh].
    ``buy_price`` is paid per delivered kWh; ``sell_price`` is what the seller earns per
    *delivered* kWh, so per sent kWh it receives ``sell_price * delivered / sent``, that is
    ``sell_price * (1 - loss)``. ``fee`` [micro per delivered kWh]: ``local_fee`` of it, the same in
    every trade between peers, goes to network, levies and VAT, the rest to the market operator.
    What is left of ``buy_price - sell_price - fee`` is the market's residue.

    ``price``: the price of the interval per delivered kWh, None when nothing traded; a mean over
    volume where pairs have their own prices. ``marginal_bid``/``marginal_ask``: the public price
    signal per delivered kWh. After trade both tell what the next kWh would earn and cost; when
    nothing trades they are the best bid and the lowest grossed ask (None without one).
    """

    book: OrderBook
    buy_order: Ints
    sell_order: Ints
    sent: Ints
    delivered: Ints
    buy_price: Ints
    sell_price: Ints
    fee: Ints
    keep_ppm: Ints
    price: int | None
    marginal_bid: int | None
    marginal_ask: int | None
    local_fee: int = 0

    def __len__(self) -> int:
        return len(self.sent)

    @cached_property
    def filled(self) -> Ints:
        """mWh filled of each order of the book (N,): delivered on buys, sent on sells."""
        out = np.zeros(len(self.book) + 1, np.int64)  # the last collects the grid's rows
        np.add.at(out, self.buy_order, self.delivered)
        np.add.at(out, self.sell_order, self.sent)
        return out[:-1]

    @property
    def sent_milliwh(self) -> int:
        """Energy sent by peers to peers."""
        return int(self.sent[self._peer].sum())

    @property
    def delivered_milliwh(self) -> int:
        """Energy delivered by peers to peers."""
        return int(self.delivered[self._peer].sum())

    @property
    def grid_import_milliwh(self) -> int:
        """Energy the grid sold inside the market."""
        return int(self.delivered[self.sell_order == GRID].sum())

    @property
    def grid_export_milliwh(self) -> int:
        """Energy the grid bought inside the market."""
        return int(self.sent[self.buy_order == GRID].sum())

    @property
    def _peer(self) -> Mask:
        peer: Mask = (self.buy_order != GRID) & (self.sell_order != GRID)
        return peer

    def signal(self, grid: Grid, keep_ppm: int) -> tuple[int, int]:
        """Public (buy, sell) price per delivered kWh; the grid's own where no order tells one."""
        buy = grid.retail if self.marginal_ask is None else min(self.marginal_ask, grid.retail)
        if self.price is not None and self.marginal_ask is not None:
            buy = self.marginal_ask  # scarcity under a cap may stand above retail
        sell = self.marginal_bid
        if sell is None:
            sell = grid.feed_in * PPM // keep_ppm + self.local_fee
        return buy, sell

    def fills(self, households: int) -> Fills:
        """Energy and money of each household, in whole mWh and micro.

        Price x quantity is exact in 1e-12 currency, but a household's sum is no whole micro. Sums
        are rounded *cumulatively* along the households, on both sides alike, so the totals match
        to the micro without drift. Then no household pays more than its bids come to and none
        gets less than its asks: a payment above is cut, an earning below is raised, and the
        micro it takes comes one by one, in turn, from sellers who still get more than they
        asked. Only in a book of dust (trades worth less than a micro) does the market account
        bear it, at most one micro per household.
        """
        book = self.book
        bought_by, sold_by = self.buy_order != GRID, self.sell_order != GRID
        buys, sells = self.buy_order[bought_by], self.sell_order[sold_by]
        buyer, seller = book.household[buys], book.household[sells]
        energy_in, energy_out = self.delivered[bought_by], self.sent[sold_by]
        earned_on = self.delivered[sold_by]

        def add_up(who: Ints, amount: Ints) -> Ints:
            out = np.zeros(households, np.int64)
            np.add.at(out, who, amount)
            return out

        def value(who: Ints, price: Ints, energy: Ints) -> tuple[Ints, Ints]:
            whole, rest = np.divmod(price * energy, MILLI_WH_PER_KWH)
            return add_up(who, whole), add_up(who, rest)

        def cumulative(whole: Ints, rest: Ints) -> Ints:
            return whole + np.diff(np.cumsum(rest) // MILLI_WH_PER_KWH, prepend=0)

        paid = cumulative(*value(buyer, self.buy_price[bought_by], energy_in))
        received = cumulative(*value(seller, self.sell_price[sold_by], earned_on))
        whole, rest = value(buyer, book.price[buys], energy_in)
        most = np.minimum(paid, whole + rest // MILLI_WH_PER_KWH)
        whole, rest = value(seller, book.price[sells], energy_out)
        asked = whole - (-rest // MILLI_WH_PER_KWH)
        least = np.maximum(received, asked)
        short = int((paid - most).sum() + (least - received).sum())
        while short and (spare := least > asked).any():
            gives = spare & (np.cumsum(spare) <= short)
            least = least - gives
            short -= int(gives.sum())
        received = least

        from_grid, to_grid = ~sold_by, ~bought_by
        local = np.where(self._peer, self.local_fee, 0)
        return Fills(
            bought=add_up(buyer, energy_in),
            sold=add_up(seller, energy_out),
            paid=most,
            received=received,
            loss=int(self.sent.sum() - self.delivered.sum()),
            fees=_total_value(self.fee - local, self.delivered),
            local_fees=_total_value(local, self.delivered),
            grid_sold=self.grid_import_milliwh,
            grid_bought=self.grid_export_milliwh,
            grid_received=_total_value(self.sell_price[from_grid], self.delivered[from_grid]),
            grid_paid=_total_value(self.buy_price[to_grid], self.delivered[to_grid]),
        )


def _total_value(price: Ints, energy: Ints) -> int:
    """``floor(sum(price * energy))`` in micro."""
    whole, rest = np.divmod(price * energy, MILLI_WH_PER_KWH)
    return int(whole.sum() + rest.sum() // MILLI_WH_PER_KWH)
