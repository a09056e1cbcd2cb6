"""A compensation is one entry at the end of a run: balanced, booked once, a line of the bill."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from common.market_rules import MICRO
from fl_server.audit import audit
from fl_server.bills import COMPENSATION_FIGURES, FIGURES, bill
from fl_server.ledger import COMMUNITY, ON_TIME, Kind, Ledger, LedgerError
from simulations.report.bill_page import page
from tests.support.booked import MOVED, NAMES, START, ZONE, capped, fills_of, settlement_of

INTERVALS = 8


def play(ledger: Ledger, first: int = 0) -> None:
    for t in range(first, INTERVALS):
        ledger.record(t, fills_of(t), settlement_of(t - 1) if t else None)
    ledger.record(INTERVALS, None, settlement_of(INTERVALS - 1), None, (INTERVALS - 1, MOVED))


def rows(ledger: Ledger) -> list[tuple[object, ...]]:
    return [tuple(row) for row in ledger.rows()]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}", durable=False) as ledger:
        ledger.open_run("r", NAMES, start=START, timezone=ZONE)
        play(ledger)
        yield ledger


def test_it_is_the_last_entry_and_balances(ledger: Ledger) -> None:
    """Rows of those it concerns, of the last interval, no energy; the whole still sums to zero."""
    assert ledger.verify().error is None
    last = [row for row in ledger.rows() if row.kind == Kind.COMPENSATION]
    assert last == list(ledger.rows())[-3:]
    assert [(r.interval, r.account - len(COMMUNITY)) for r in last] == [(7, 0), (7, 1), (7, 3)]
    assert [r.money_in_micro - r.money_out_micro for r in last] == [-70, 100, -30]
    assert all(r.energy_in_milliwh == 0 == r.energy_out_milliwh for r in last)
    assert sum(money for _, money in ledger.balances().values()) == 0
    assert ledger.compensated() == {"H0": -70, "H1": 100, "H3": -30}


def test_booking_it_again_changes_nothing(ledger: Ledger) -> None:
    """The same figures are recognised, others refused."""
    before = rows(ledger)
    assert not ledger.record(
        INTERVALS, None, settlement_of(INTERVALS - 1), None, (INTERVALS - 1, MOVED)
    )
    with pytest.raises(LedgerError, match="compensation of interval 7: already booked with other"):
        ledger.record(
            INTERVALS, None, settlement_of(INTERVALS - 1), None, (INTERVALS - 1, 2 * MOVED)
        )
    assert rows(ledger) == before


@pytest.mark.parametrize("resume", [0, 5, INTERVALS, INTERVALS + 1])
def test_a_run_that_is_played_again_books_it_once(ledger: Ledger, resume: int) -> None:
    """It goes with the last settlement and comes back with it."""
    before = rows(ledger)
    ledger.truncate_from(resume)
    assert ledger.verify().ok
    assert bool(ledger.compensated()) == (resume > INTERVALS)
    play(ledger, resume)
    assert rows(ledger) == before


def test_nothing_moved_is_no_entry(tmp_path: Path) -> None:
    """Where nobody lost the ledger is that of a run without the rule."""
    with Ledger(f"sqlite:///{tmp_path / 'l.sqlite'}", durable=False) as ledger:
        ledger.open_run("r", NAMES, start=START)
        ledger.record(0, fills_of(0))
        ledger.record(1, None, settlement_of(0), None, np.zeros(len(NAMES), np.int64))
        assert {row.kind for row in ledger.rows()} == {0, 1}
        assert ledger.compensated() == {}


def test_what_is_owed_counts_each_entry_once(tmp_path: Path) -> None:
    """Before the last settlement is booked and after, with a surcharge and a late reading waiting,
    a household owes its final balance; compensation is no part of it."""
    with Ledger(f"sqlite:///{tmp_path / 'l.sqlite'}", durable=False) as ledger:
        ledger.open_run("r", NAMES, start=START)
        for t in range(4):
            ledger.record(t, fills_of(t), capped(t - 1) if t else None)
        ledger.record_late(1, 4, capped(7))
        owed = ledger.owed(3, capped(3))
        ledger.record(4, None, capped(3), None, (3, MOVED))
        assert ledger.owed(3, capped(3)).tolist() == owed.tolist()
        booked = [-ledger.balances()[name][1] for name in NAMES]
        assert (owed - MOVED).tolist() == booked


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (
            lambda r: [*r, [12, 9, Kind.COMPENSATION, ON_TIME, 5, 0, 0, 1, 0]],
            "do not balance: money by 1 micro",
        ),
        (
            lambda r: [*r, [12, 9, Kind.COMPENSATION, ON_TIME, 5, 3, 3, 0, 0]],
            "row 12: a compensation that moves energy",
        ),
        (
            lambda r: [
                *r,
                [12, 7, Kind.COMPENSATION, ON_TIME, 5, 0, 0, 0, 0],
                [13, 8, Kind.COMPENSATION, ON_TIME, 5, 0, 0, 0, 0],
                [14, 7, Kind.COMPENSATION, ON_TIME, 5, 0, 0, 0, 0],
            ],
            "row 14: a second compensation up to interval 7",
        ),
    ],
)
def test_verification_refuses_a_wrong_one(spoil, found) -> None:  # type: ignore[no-untyped-def]
    """Rows whose hashes are right but whose compensation is not: the operator himself wrote it."""
    from fl_server.audit import Account, link, packed

    figures = spoil([[seq, seq // 2, seq % 2, ON_TIME, 4, 0, 0, 0, 0] for seq in range(12)])
    chained, before = [], b"genesis"
    chart = [Account(number, "", f"{number}", -1) for number in range(10)]
    for row in ([*figure, 0] for figure in figures):  # none of them is a revision
        before = link(before, packed(row))
        chained.append((1, *row, before))
    verdict = audit(chained, b"genesis", chart, len(figures) - 1, before)
    assert verdict.error is not None
    assert found in verdict.error


def test_bills_show_it_and_still_add_up(ledger: Ledger) -> None:
    """Who gives and who receives sees it apart from grid and market; others see nothing of it."""
    for h, name in enumerate(NAMES):
        made = bill(ledger, "r", name, by="day")
        total = made.total
        assert round(total["total"] * MICRO) == -ledger.balances()[name][1]
        grid = sum(settlement_of(t).cost[h] for t in range(INTERVALS))
        assert round(total["grid_cost"] * MICRO) == grid
        if not MOVED[h]:
            assert list(made.lines.columns) == list(FIGURES)
            continue
        assert list(made.lines.columns) == [*FIGURES[:-1], *COMPENSATION_FIGURES, "total"]
        given, received = (round(total[figure] * MICRO) for figure in COMPENSATION_FIGURES)
        assert (given, received) == (max(-MOVED[h], 0), max(MOVED[h], 0))
        assert "<th colspan=2>compensation</th>" in page(made)
