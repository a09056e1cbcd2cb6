"""What a lie about the price is worth: the best misreport found, quantities fixed."""

from dataclasses import dataclass, replace

import numpy as np

from common.arrays import Ints
from common.market_rules import MICRO, MILLI_WH_PER_KWH, MarketRules
from common.rng import generator
from fl_server.market import MECHANISMS, Clearing, OrderBook, clear
from simulations.benchmarks.market.books import GRID, random_book
from simulations.benchmarks.market.quality import gains_of
from simulations.progress import track

_LIARS = 6  # households tried per book
_GRID_STEPS = 24


@dataclass(frozen=True)
class Lies:
    """Currency per kWh ordered: the best misreport found of all households tried, and the mean over
    households of each one's best (0 where truth is best).
    """

    best: float
    mean: float


def search(sizes: list[int], books: int, seed: int) -> dict[str, list[Lies]]:
    """For every mechanism and number of orders N: ``books`` books, six households each.

    A household tries 24 prices between 0 and 1.2 x retail, and those just above and below every
    price that the market shows when it tells the truth. What counts as gain is more than the
    grain of whole mWh and whole micro per kWh.
    """
    rules = MarketRules()
    found: dict[str, list[Lies]] = {name: [] for name in MECHANISMS}
    for orders in sizes:
        gains: dict[str, list[float]] = {name: [] for name in MECHANISMS}
        for number in track(range(books), f"misreports among {orders} orders"):
            book = random_book(orders, seed + number)
            rng = generator(seed, "", number, "liars")
            for liar in rng.choice(orders, min(_LIARS, orders), replace=False).tolist():
                for name in MECHANISMS:
                    gains[name].append(_best_lie(name, book, rules, liar, number))
        for name, values in gains.items():
            found[name].append(Lies(max(values), float(np.mean(values))))
    return found


def _best_lie(name: str, book: OrderBook, rules: MarketRules, liar: int, seed: int) -> float:
    true_price = book.price / MICRO
    honest = clear(name, book, rules, GRID, seed)
    truth = float(gains_of(honest, true_price)[liar])
    best = 0.0
    for stated in _candidates(honest, rules, bool(book.side[liar] > 0)).tolist():
        price = book.price.copy()
        price[liar] = stated
        lie = clear(name, replace(book, price=price), rules, GRID, seed)
        # Shares are whole mWh, earnings per kWh whole micro.
        trades = 1 + _rows(honest, liar) + _rows(lie, liar)
        grain = (trades * GRID.retail + int(book.quantity[liar])) / MICRO / MILLI_WH_PER_KWH
        best = max(best, float(gains_of(lie, true_price)[liar]) - truth - grain)
    return best / (int(book.quantity[liar]) / MILLI_WH_PER_KWH)


def _rows(trades: Clearing, order: int) -> int:
    return int(((trades.buy_order == order) | (trades.sell_order == order)).sum())


def _candidates(honest: Clearing, rules: MarketRules, buyer: bool) -> Ints:
    """A grid of prices and both sides of what the honest market shows, in the liar's own terms."""
    shown = [honest.price, honest.marginal_bid, honest.marginal_ask]
    shown += [int(edge[0]) for edge in (honest.buy_price[:1], honest.buy_price[-1:]) if len(edge)]
    known = [price if buyer else rules.highest_ask(price) for price in shown if price is not None]
    grid = np.linspace(0, 1.2 * GRID.retail, _GRID_STEPS).astype(np.int64)
    near = np.array(known, np.int64)
    return np.unique(np.maximum(np.concatenate((grid, near - 1, near, near + 1)), 0))
