"""How long clearing takes, from 10 orders to a million."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import linear_regression, median

from common.market_rules import MarketRules
from fl_server.market import MECHANISMS, OrderBook, clear
from simulations.benchmarks.market.books import GRID, random_book
from simulations.benchmarks.market.loop import clear_by_loop, rows_of
from simulations.benchmarks.market.peer import clear_with_pymarket, has_pymarket
from simulations.progress import track

ORDERS_PER_FEEDER = 1_000
ACCOUNTS = "uniform + accounts"
LOOP = "plain Python loop"
PYMARKET = "pymarket MUDA"
_PYMARKET_ORDERS = 1_000  # beyond that one run takes minutes
_FITTED_FROM = 1_000  # below, the cost of a call hides the cost of an order
_ENOUGH_S = 0.05


@dataclass(frozen=True)
class Speed:
    """Milliseconds per clearing (None: not run), by name and number of orders.

    ``milliseconds`` is the processor time of the one thread that clears, which on an idle core is
    the time that passes, and does not count the neighbours on a busy one; ``elapsed`` counts all.
    """

    sizes: Sequence[int]
    milliseconds: dict[str, list[float | None]]
    elapsed: dict[str, list[float | None]]

    def exponent(self, name: str) -> float | None:
        """p of ``time ~ orders ** p``, least squares in logarithms over 1,000 orders and more."""
        pairs = [
            (math.log(n), math.log(ms))
            for n, ms in zip(self.sizes, self.milliseconds[name], strict=True)
            if n >= _FITTED_FROM and ms is not None
        ]
        if len(pairs) < 2:
            return None
        x, y = zip(*pairs, strict=True)
        return linear_regression(x, y).slope


def measure(sizes: Sequence[int], runs: int, seed: int) -> Speed:
    """Median time of ``runs`` clearings of the same book, after one that is not counted."""
    rules = MarketRules()
    names = [*MECHANISMS, ACCOUNTS, LOOP, *([PYMARKET] if has_pymarket() else [])]
    spent: dict[str, list[float | None]] = {name: [] for name in names}
    passed: dict[str, list[float | None]] = {name: [] for name in names}
    for orders in track(sizes, "timing"):
        book = random_book(orders, seed)
        feeders = random_book(orders, seed, max(1, orders // ORDERS_PER_FEEDER))
        for name in names:
            task = _task(name, feeders if name == "hierarchical" else book, rules)
            times = (None, None) if task is None else _median_ms(task, runs)
            spent[name].append(times[0])
            passed[name].append(times[1])
    return Speed(tuple(sizes), spent, passed)


def _task(name: str, book: OrderBook, rules: MarketRules) -> Callable[[], object] | None:
    if name == LOOP:
        rows = rows_of(book)
        return lambda: clear_by_loop(rows, rules.loss, rules.min_margin)
    if name == PYMARKET:
        if len(book) > _PYMARKET_ORDERS:
            return None
        return lambda: clear_with_pymarket(book)
    if name == ACCOUNTS:
        return lambda: clear("uniform", book, rules, GRID).fills(len(book))
    return lambda: clear(name, book, rules, GRID)


def _median_ms(task: Callable[[], object], runs: int) -> tuple[float, float]:
    """Processor and elapsed time. Short tasks repeat within a run, for the clocks' grain."""
    begin = time.process_time()
    task()
    once = time.process_time() - begin
    repeat = max(1, min(200, int(_ENOUGH_S / max(once, 1e-6))))
    spent, passed = [], []
    for _ in range(min(runs, 3) if once > 1 else runs):
        begin, started = time.process_time(), time.perf_counter()
        for _ in range(repeat):
            task()
        spent.append((time.process_time() - begin) / repeat)
        passed.append((time.perf_counter() - started) / repeat)
    return median(spent) * 1e3, median(passed) * 1e3
