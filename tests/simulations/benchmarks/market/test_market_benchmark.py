"""The market benchmark: its measures on known numbers, and its files."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from common.errors import InputError
from common.market_rules import MICRO, MarketRules
from fl_server.market import MECHANISMS, clear
from simulations.benchmarks.market.books import GRID, random_book
from simulations.benchmarks.market.command import market
from simulations.benchmarks.market.loop import clear_by_loop, rows_of
from simulations.benchmarks.market.manipulation import search
from simulations.benchmarks.market.quality import compare, gains_of, gini, jain, welfare_of
from simulations.benchmarks.market.speed import Speed


def test_fairness_indices_on_known_gains() -> None:
    """All alike: Jain 1, Gini 0. One of four gains all: Jain 1/4, Gini (n - 1) / n = 3/4.
    Gains 1, 3: Jain 16 / (2 * 10) = 0.8, Gini (3 - 1) / (2 * 4) = 0.25."""
    for gain, index, coefficient in (([2, 2, 2], 1, 0), ([0, 0, 0, 5], 0.25, 0.75)):
        assert jain(np.array(gain)) == pytest.approx(index)
        assert gini(np.array(gain)) == pytest.approx(coefficient)
    assert jain(np.array([1, 3])) == pytest.approx(0.8)
    assert gini(np.array([1, 3])) == pytest.approx(0.25)


def test_gains_are_welfare_less_what_the_market_keeps() -> None:
    """Value made = gains of households + residue, in every mechanism, to rounding."""
    for name in MECHANISMS:
        trades = clear(name, random_book(60, 3), MarketRules(), GRID, 3)
        fills = trades.fills(60)
        kept = (fills.residue + fills.fees) / MICRO
        assert gains_of(trades).sum() + kept == pytest.approx(welfare_of(trades), abs=1e-4)


def test_the_plain_loop_trades_the_same_energy() -> None:
    """The yardstick does the same work: its volume is that of the uniform auction."""
    for seed in range(5):
        book = random_book(200, seed)
        _, pairs = clear_by_loop(rows_of(book), 0.05, 0.05)
        volume = clear("uniform", book, MarketRules()).delivered_milliwh / 1e6
        assert sum(energy for *_, energy in pairs) == pytest.approx(volume, abs=1e-3)


def test_uniform_sets_the_standard_and_the_truthful_pay_for_truth() -> None:
    """Uniform is 100 % of the optimum by definition; McAfee and MUDA stay below it; nothing but
    the hierarchical auction, which may trade energy it loses on the way, beats its volume."""
    table = compare(orders=40, books=5, seed=1)
    assert table["uniform"].welfare == 1
    assert table["muda"].welfare < 1
    assert table["mcafee"].gain < table["mcafee"].welfare <= 1
    assert all(q.volume <= 1 + 1e-9 for name, q in table.items() if name != "hierarchical")


def test_lies_pay_under_pay_as_bid_and_not_under_mcafee() -> None:
    """The search finds what theory says on both sides."""
    lies = search([20], books=2, seed=0)
    assert lies["pay-as-bid"][0].mean > 0
    assert lies["mcafee"][0].best == 0
    assert lies["muda"][0].best == 0


def test_exponent_of_a_known_law() -> None:
    """1 ms at 1,000 orders, 32 at 10,000: the exponent is log10(32). Small books do not count."""
    speed = Speed((10, 1_000, 10_000), {"x": [9.0, 1.0, 32.0], "y": [1.0, 1.0, None]}, {})
    assert speed.exponent("x") == pytest.approx(np.log10(32))
    assert speed.exponent("y") is None


def test_the_command_writes_tables_and_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All mechanisms in every table; a folder in use is refused."""
    out = tmp_path / "market"
    options = {"runs": 1, "books": 2, "lie_books": 1, "seed": 0}
    market(out, sizes="10,1000,2000", book_sizes="10", lie_sizes="10", **options)
    results = json.loads((out / "results.json").read_text())
    for name in MECHANISMS:
        assert all(ms > 0 for ms in results["speed_ms"][name])
        assert results["exponent"][name] is not None
        assert set(results["mechanisms"]["10"][name]) >= {"welfare", "price", "jain", "gini"}
        assert len(results["misreports"][name]) == 1
    assert (out / "picture.png").stat().st_size > 10_000
    assert "exponent" in capsys.readouterr().out
    with pytest.raises(InputError, match="already holds something"):
        market(out)
    with pytest.raises(InputError, match="--sizes 'ten'"):
        market(tmp_path / "other", sizes="ten")


def test_books_are_a_function_of_the_seed() -> None:
    """Same seed, same book; another seed, another book."""
    one, two, other = random_book(50, 7), random_book(50, 7), random_book(50, 8)
    assert (one.price == two.price).all()
    assert not (one.price == other.price).all()
    assert (replace(one, price=other.price).quantity == two.quantity).all()
