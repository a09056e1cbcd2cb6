"""Lines of bills: they sum to what is booked, whatever is traded, late, estimated or corrected."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.energy.charges import Charges, LocalFee
from common.errors import InputError
from common.market_rules import MICRO, MarketRules
from fl_server.ledger import LOCAL, Ledger
from fl_server.market import MECHANISMS, Fills, Grid, OrderBook, clear
from fl_server.price_lists import PriceList
from fl_server.settlement import Settlement, settle
from fl_server.statement import TOTAL, Statement, statement
from tests.support.booked import NAMES
from tests.support.books import books, no_grid, seeds

START = "2016-10-30T00:00:00+00:00"
ZONE = "Europe/Vienna"  # clocks go back in the first night
few = settings(max_examples=max(25, settings().max_examples // 4))
"""Each example writes a ledger."""
FEE = LocalFee(network=30_001, levies=7, vat=6_002)
ALONE = PriceList(
    120_000, 15_000, 80_000, 20_000, 47_000, 61_000, 30_001, 7, 6_002, 350_000, 70_000
)
OTHER = ALONE._replace(energy=-20_000, vat=19_001, export=70_000)
LISTS = [ALONE, OTHER]
OF = np.array([0, 1, 0, 0, 1, 0])


def prices(lists: list[PriceList], of: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Import and export prices of each household [micro per kWh]."""
    return (
        np.array([sum(lists[i][:5]) for i in of.tolist()]),
        np.array([lists[i].export for i in of.tolist()]),
    )


def fills_of(t: int) -> Fills:
    """Two buy of one, or nobody trades."""
    fills = Fills.none(len(NAMES))
    if t % 3:
        fills.bought[:2] = 400_003 + t, 700_001
        fills.sold[2] = 1_157_899
        fills.paid[:2] = 60_000 + t, 105_000
        fills.received[2] = 120_000
        loss = int(fills.sold.sum() - fills.bought.sum())
        fee = int((fills.bought * (FEE.network + FEE.levies + FEE.vat)).sum()) // MICRO
        fills = Fills(fills.bought, fills.sold, fills.paid, fills.received, loss, local_fees=fee)
    return fills


def settled(t: int, meter: np.ndarray) -> Settlement:
    imported, exported = prices(LISTS, OF)
    return settle(
        np.maximum(meter, 0), np.maximum(-meter, 0), fills_of(t), imported, exported, 950_000
    )


def meter(t: int) -> np.ndarray:
    made = np.random.default_rng(t).integers(-1_500_000, 1_500_000, len(NAMES))
    made[5] = 0  # nobody's meter moves: there is no posting either
    return made


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Three local days of settlements; one reading late, one estimated and then corrected in
    November, one corrected within October."""
    url = f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    with Ledger(url, durable=False) as made:
        made.open_run("r", NAMES, start=START, timezone=ZONE, local=FEE)
        for t in range(144):
            if t == 20:
                made.record_late(3, 2, only(3, 2, meter(3)))
                made.record_late(4, 3, only(4, 3, meter(4)), estimated=True)
            if t == 30:
                made.revise(3, 2, only(3, 2, meter(99)))
            if t == 110:
                made.revise(4, 3, only(4, 3, meter(98)))
            before = settled(t - 1, meter(t - 1)) if t else None
            if before is not None and t - 1 in (3, 4):
                before = without(before, 2 if t - 1 == 3 else 3)
            day = np.full(len(NAMES), 420_000) if t in (46, 94, 142) else None
            made.record(t, fills_of(t), before, standing=day, prices=(LISTS, OF))
        made.record(144, None, settled(143, meter(143)))
        yield made


def only(t: int, h: int, reading: np.ndarray) -> Settlement:
    """The settlement of one household's interval."""
    imported, exported = prices(LISTS, OF)
    fills = Fills.none(len(NAMES))
    for array, value in zip(
        (fills.bought, fills.sold, fills.paid, fills.received),
        (fills_of(t).bought, fills_of(t).sold, fills_of(t).paid, fills_of(t).received),
        strict=True,
    ):
        array[h] = value[h]
    mine = np.zeros_like(reading)
    mine[h] = reading[h]
    return settle(np.maximum(mine, 0), np.maximum(-mine, 0), fills, imported, exported, 950_000)


def without(one: Settlement, h: int) -> Settlement:
    """A settlement in which the reading of one is missing."""
    parts = {name: value.copy() for name, value in vars(one).items() if name != "surcharge"}
    for value in parts.values():
        value[h] = 0
    return Settlement(**parts)


def micro(made: Statement, period: str) -> dict[str, int]:
    return {name: round(x * MICRO) for name, x in made.of(period)["amount"].items()}


@pytest.mark.parametrize("by", ["day", "month", "total", "interval"])
def test_lines_add_up_to_the_ledger(ledger: Ledger, by: str) -> None:
    """By any period, with late, estimated and corrected readings: lines sum to their totals and the
    totals to what the ledger says the household owes, to the micro; the books verify."""
    assert ledger.verify().error is None
    balances = ledger.balances()
    for name in NAMES:
        made = statement(ledger, "r", name, by=by)  # type: ignore[arg-type]
        sums = [micro(made, period) for period in made.periods]
        assert all(sum(one.values()) == 2 * one[TOTAL] for one in sums)
        assert sum(one[TOTAL] for one in sums) == -balances[name][1]


def test_corrections_stand_in_the_month_that_books_them(ledger: Ledger) -> None:
    """A reading of October corrected in November is a line of November, and October's statement
    stays what it was; one corrected within October is October's."""
    third, second = (statement(ledger, "r", NAMES[h], by="month") for h in (3, 2))
    assert third.periods == ["2016-10", "2016-11"]
    assert "corrections" in micro(third, "2016-11")
    assert "corrections" not in micro(third, "2016-10")
    assert "corrections" in micro(second, "2016-10")
    assert "corrections" not in micro(second, "2016-11")
    assert third.estimated_kwh == pytest.approx(meter(4)[3] / MICRO)


def test_alone_is_what_the_meter_says_at_the_own_tariff(ledger: Ledger) -> None:
    """Of a household whose readings came on time: import at the import price less export at the
    export price, or the net of both where export earns more, each interval rounded; and the days.
    Where nothing is booked for a settled interval it has drawn just what it bought."""
    for h in (0, 1, 4, 5):
        imported, exported = (int(side[h]) for side in prices(LISTS, OF))
        alone = 0
        for t in range(144):
            reading = int(meter(t)[h])
            price = imported if reading > 0 else exported
            alone += (reading * price + MICRO // 2) // MICRO
        made = statement(ledger, "r", NAMES[h], by="total").of(TOTAL)
        assert made.loc[TOTAL, "alone"] * MICRO == pytest.approx(alone + 3 * 420_000, abs=144)


def test_standing_charges_and_vat(ledger: Ledger) -> None:
    """Days are counted, their VAT stands with the other VAT, and what was bought bears its fees."""
    one = statement(ledger, "r", NAMES[5], by="total").of(TOTAL)
    assert one.index.tolist() == ["standing_charge", "vat", TOTAL]
    assert one.loc["standing_charge", "quantity"] == 3
    assert one["amount"].tolist() == [1.05, 0.21, 1.26]
    zero = statement(ledger, "r", NAMES[0], by="total").of(TOTAL)
    kwh = [int(fills_of(t).bought[0]) for t in range(144)]
    fee = sum((x * FEE.network + MICRO // 2) // MICRO for x in kwh)
    assert round(zero.loc["local_network_fee", "amount"] * MICRO) == fee
    assert zero.loc["local_energy", "quantity"] == pytest.approx(sum(kwh) / MICRO)


def test_a_ledger_without_prices_has_energy_alone(tmp_path: Path) -> None:
    """Postings of a release that kept no prices: what the grid took and paid, and alone is open."""
    with Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}", durable=False) as old:
        old.open_run("r", NAMES, start=START, timezone=ZONE)
        for t in range(5):
            old.record(t, Fills.none(len(NAMES)), settled(t - 1, meter(t - 1)) if t else None)
        made = statement(old, "r", NAMES[0], by="total").of(TOTAL)
        assert set(made.index) <= {"energy", "feed_in", "local_energy", "local_sales", TOTAL}
        assert made["alone"].isna().all()
        assert round(made.loc[TOTAL, "amount"] * MICRO) == -old.balances()[NAMES[0]][1]


def test_who_has_no_fee_gets_none_later(tmp_path: Path) -> None:
    """A run that began without a local fee has no accounts for it: it is refused in one line."""
    with Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}", durable=False) as ledger:
        ledger.open_run("r", NAMES, start=START)
        with pytest.raises(InputError, match="without a local fee"):
            ledger.open_run("r", NAMES, start=START, local=FEE)


def test_played_again_prices_are_kept_once(tmp_path: Path) -> None:
    """Forgetting the newest intervals and playing them again leaves the same rows and prices, also
    where a household has moved to another list meanwhile."""

    def play(ledger: Ledger, first: int, last: int) -> None:
        for t in range(first, last):
            of = OF if t < 7 else OF[::-1]
            ledger.record(t, fills_of(t), None, prices=(LISTS, of))

    found = []
    for again in (False, True):
        with Ledger(f"sqlite:///{tmp_path / f'{again}.sqlite'}", durable=False) as ledger:
            ledger.open_run("r", NAMES, start=START, local=FEE)
            play(ledger, 0, 10)
            if again:
                ledger.truncate_from(5)
                play(ledger, 5, 10)
            found.append([ledger.price_lists_of(name).tolist() for name in NAMES])
    assert found[0] == found[1]
    assert [row[1] for row in found[0][1]] == [OTHER.energy] * 7 + [OTHER.energy, *[-20_000] * 2]
    assert [row[1] for row in found[0][0]] == [120_000] * 10


@pytest.mark.parametrize("mechanism", sorted(MECHANISMS))
@few
@given(
    book=books(), loss=st.sampled_from([0.05, 0.0]), seed=seeds, terms=no_grid,
    network=st.integers(-5, 90_000), levies=st.integers(0, 9), vat=st.integers(5, 20_000),
)  # fmt: skip
def test_local_accounts_hold_the_sum_of_the_lines(
    mechanism: str,
    book: OrderBook,
    loss: float,
    seed: int,
    terms: Grid,
    network: int,
    levies: int,
    vat: int,
) -> None:
    """By every mechanism, at prices of either sign: the entry balances, no figure is negative, the
    accounts network, levies and vat hold just the sum of each buyer's rounded line, and what that
    leaves the market is less than two micro per buyer more than before."""
    fee = LocalFee(network, levies, vat)
    rules = MarketRules(loss=loss, local_fee=(network + levies + vat) / MICRO)
    trades = clear(mechanism, book, rules, terms, seed)
    names = [f"H{h}" for h in range(int(book.household.max(initial=0)) + 1)]
    fills = trades.fills(len(names))
    with Ledger("sqlite://", durable=False) as ledger:
        ledger.open_run("r", names, local=fee)
        ledger.record(0, fills, None)
        assert ledger.verify().error is None
        balances = ledger.balances()
    for account, part in zip(LOCAL, (network, levies, vat), strict=True):
        lines = [(x * part + MICRO // 2) // MICRO for x in fills.bought.tolist()]
        assert balances[account][1] == sum(lines)
    buyers = int(np.count_nonzero(fills.bought))
    assert abs(balances["market"][1] - fills.residue) <= 2 * buyers + 1


@given(
    energy=st.floats(-0.5, 2.0), markup=st.floats(-0.1, 0.5), network=st.floats(-0.1, 0.5),
    levies=st.floats(-0.1, 0.5), vat=st.floats(0, 1),
)  # fmt: skip
def test_parts_of_a_price_are_the_price(
    energy: float, markup: float, network: float, levies: float, vat: float
) -> None:
    """Energy, markup, network fee and levies, with VAT on all of them, is what a kWh costs."""
    charges = Charges(markup, network, levies, vat)
    price = float(charges.all_in(np.array([energy]))[0])
    assert price == pytest.approx((energy + markup + network + levies) * (1 + vat), abs=1e-12)
    assert float(Charges().all_in(np.array([energy]))[0]) == energy
