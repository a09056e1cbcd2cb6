"""Surcharges under a community cap: entries of their own that balance, and lines of the bill."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from common.market_rules import MICRO
from fl_server.bills import CAP_FIGURES, FIGURES, bill
from fl_server.ledger import Kind, Ledger
from simulations.report.bill_page import page
from tests.support.booked import NAMES, START, ZONE, capped, fills_of, settlement_of

INTERVALS = 8


def play(ledger: Ledger, first: int = 0) -> None:
    for t in range(first, INTERVALS):
        ledger.record(t, fills_of(t), capped(t - 1) if t else None)
    ledger.record(INTERVALS, None, capped(INTERVALS - 1))


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}", durable=False) as ledger:
        ledger.open_run("r", NAMES, start=START, timezone=ZONE)
        play(ledger)
        yield ledger


def test_surcharges_balance_and_are_booked_where_they_are_due(ledger: Ledger) -> None:
    """One entry for each interval in which somebody passed its allowance, none for interval 3;
    money and energy still sum to zero."""
    assert ledger.verify().error is None
    due = {t for t in range(INTERVALS) if capped(t).surcharge.charged.any()}  # type: ignore[union-attr]
    assert 3 not in due
    assert len(due) > 1
    rows = list(ledger.rows())
    assert {row.interval for row in rows if row.kind == Kind.SURCHARGE} == due
    balances = ledger.balances()
    assert sum(energy for energy, _ in balances.values()) == 0
    assert sum(money for _, money in balances.values()) == 0


@pytest.mark.parametrize("resume", [0, 1, 3, 5, INTERVALS])
def test_surcharges_are_cut_and_written_again_with_their_settlement(
    ledger: Ledger, resume: int
) -> None:
    """Resuming at any interval gives the same rows; what stays is a whole ledger."""
    before = [tuple(row) for row in ledger.rows()]
    ledger.truncate_from(resume)
    assert ledger.verify().ok
    kept = {(row.interval, row.kind) for row in ledger.rows()}
    assert all((t, Kind.SURCHARGE) not in kept for t in range(max(resume - 1, 0), INTERVALS))
    play(ledger, resume)
    assert [tuple(row) for row in ledger.rows()] == before


def test_a_late_reading_brings_its_surcharge(ledger: Ledger) -> None:
    """Booked beside the late settlement, each an entry of its own, and cut with it."""
    before = [tuple(row) for row in ledger.rows()]
    t = INTERVALS + 1
    ledger.record_late(2, 4, capped(1))
    ledger.record(t, fills_of(t), capped(INTERVALS))
    assert ledger.verify().error is None
    late = {(r.interval, r.kind, r.late_household) for r in ledger.rows() if r.late_household >= 0}
    assert late == {(2, Kind.SETTLEMENT, 4), (2, Kind.SURCHARGE, 4)}
    ledger.truncate_from(t)
    assert [tuple(row) for row in ledger.rows()] == before


def test_bills_name_surcharges_and_still_add_up(ledger: Ledger) -> None:
    """What is paid beyond allowances and what comes back stand apart from the grid's cost."""
    charges = [capped(t).surcharge for t in range(INTERVALS)]
    for h, name in enumerate(NAMES):
        made = bill(ledger, "r", name, by="total")
        assert list(made.lines.columns) == [*FIGURES[:-1], *CAP_FIGURES, "total"]
        total = made.total
        assert round(total["surcharge"] * MICRO) == sum(c.charged[h] for c in charges)  # type: ignore[union-attr]
        returned = sum(c.returned[h] for c in charges)  # type: ignore[union-attr]
        assert round(total["surcharge_returned"] * MICRO) == returned
        assert round(total["total"] * MICRO) == -ledger.balances()[name][1]
        grid = sum(settlement_of(t).cost[h] for t in range(INTERVALS))
        assert round(total["grid_cost"] * MICRO) == grid
        assert "beyond allowance" in page(made)
