"""What mechanisms do with the same books: welfare, price, volume, fairness."""

from dataclasses import dataclass

import numpy as np

from common.arrays import Floats
from common.market_rules import MICRO, MILLI_WH_PER_KWH, MarketRules
from fl_server.market import MECHANISMS, Clearing, OrderBook, clear
from simulations.benchmarks.market.books import GRID, random_book
from simulations.progress import track

FEEDERS = 5


@dataclass(frozen=True)
class Quality:
    """Means over books. ``welfare`` and ``volume`` are shares of the optimum's, which is what the
    uniform auction trades; ``gain`` is the share of the optimum's welfare that households keep;
    the rest is the market's residue, fees, and trades not made. ``jain`` and ``gini`` are those of
    gains over all households, the idle ones included.
    """

    welfare: float
    volume: float
    price: float
    gain: float
    jain: float
    gini: float


def gains_of(trades: Clearing, true_price: Floats | None = None) -> Floats:
    """Gain of every household (N,), currency, one order each: value less payment.

    ``true_price`` [currency per kWh]: what the orders are worth, by default what they state.
    """
    book = trades.book
    worth = book.price / MICRO if true_price is None else true_price
    b, s, energy = trades.buy_order, trades.sell_order, trades.delivered / MILLI_WH_PER_KWH
    gain = np.zeros(len(book))
    np.add.at(gain, b, (worth[b] - trades.buy_price / MICRO) * energy)
    np.add.at(
        gain, s, trades.sell_price / MICRO * energy - worth[s] * trades.sent / MILLI_WH_PER_KWH
    )
    return gain


def welfare_of(trades: Clearing) -> float:
    """Currency: value to buyers less cost to sellers, margin not counted."""
    worth = trades.book.price / MICRO
    value = worth[trades.buy_order] * trades.delivered - worth[trades.sell_order] * trades.sent
    return float(value.sum()) / MILLI_WH_PER_KWH


def jain(gain: Floats) -> float:
    """Jain, Chiu and Hawe (1984): 1 if all gain alike, 1/n if one gains all."""
    squares = float((gain**2).sum())
    return float(gain.sum()) ** 2 / (len(gain) * squares) if squares else 1.0


def gini(gain: Floats) -> float:
    """Gini coefficient of gains that are not negative: 0 if all gain alike."""
    ranked = np.sort(gain)
    n, total = len(ranked), float(ranked.sum())
    if total <= 0:
        return 0.0
    return float((2 * np.arange(1, n + 1) - n - 1) @ ranked) / (n * total)


def compare(orders: int, books: int, seed: int) -> dict[str, Quality]:
    """Every mechanism on the same ``books`` books of ``orders`` orders, on five feeders."""
    rules = MarketRules()
    rows: dict[str, list[tuple[float, ...]]] = {name: [] for name in MECHANISMS}
    for number in track(range(books), f"welfare of {orders} orders"):
        book = random_book(orders, seed + number, FEEDERS)
        best = clear("uniform", book, rules, GRID, number)
        for name in MECHANISMS:
            rows[name].append(_row(clear(name, book, rules, GRID, number), best))
    return {
        name: Quality(*(float(np.nanmean(column)) for column in zip(*table, strict=True)))
        for name, table in rows.items()
    }


def _row(trades: Clearing, best: Clearing) -> tuple[float, ...]:
    gain = np.maximum(gains_of(trades), 0.0)  # a mWh of rounding may show as -1e-9
    optimum, volume = welfare_of(best) or np.nan, best.delivered_milliwh or np.nan
    return (
        welfare_of(trades) / optimum,
        trades.delivered_milliwh / volume,
        np.nan if trades.price is None else trades.price / MICRO,
        float(gain.sum()) / optimum,
        jain(gain),
        gini(gain),
    )


__all__ = ["FEEDERS", "OrderBook", "Quality", "compare", "gains_of", "gini", "jain"]
