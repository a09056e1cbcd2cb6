"""``fedwatt market clear``: what it writes, and what it says of a bad file."""

import csv
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from fl_server.market import MECHANISMS

HEADER = "order_id,household,side,quantity_kwh,price"
TRADES = [
    "buyer",
    "seller",
    "buy_order",
    "sell_order",
    "sent_kwh",
    "delivered_kwh",
    "price_paid",
    "price_received",
]
BOOK = f"""{HEADER}
b1,A,buy,1.0,0.30
b2,B,buy,1.0,0.20
s1,C,sell,1.0,0.10
s2,D,sell,1.5,0.15
"""


def _run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = "from simulations.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", command, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )


def _trades(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def orders(tmp_path: Path) -> Path:
    path = tmp_path / "orders.csv"
    path.write_text(BOOK)
    return path


def test_clears_a_file(orders: Path, tmp_path: Path) -> None:
    """Grossed asks: s1 0.10 * 1.05 / 0.95 = 0.110527, s2 0.165790. Both bids are above: 2 kWh are
    delivered. s2 has more to sell than is bought, so its grossed ask is the price. Sellers
    receive 0.165790 * 0.95 = 0.1575005 per sent kWh."""
    out = tmp_path / "trades.csv"
    done = _run("market", "clear", orders, "--mechanism", "uniform", "--out", out)
    assert (done.returncode, done.stderr) == (0, "")
    rows = _trades(out)
    assert list(rows[0]) == TRADES
    assert {(r["price_paid"], r["price_received"]) for r in rows} == {("0.16579", "0.1575005")}
    assert sum(float(r["delivered_kwh"]) for r in rows) == pytest.approx(2.0, abs=1e-9)
    assert sum(float(r["sent_kwh"]) for r in rows) == pytest.approx(2.0 / 0.95, abs=1e-6)
    assert [(r["buyer"], r["seller"]) for r in rows] == [("A", "C"), ("A", "D"), ("B", "D")]


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_an_empty_book_gives_a_header(mechanism: str, tmp_path: Path) -> None:
    """Status 0 and a file with nothing but its header."""
    orders, out = tmp_path / "orders.csv", tmp_path / "trades.csv"
    orders.write_text(HEADER + "\n")
    assert _run("market", "clear", orders, "--mechanism", mechanism, "--out", out).returncode == 0
    assert out.read_text() == ",".join(TRADES) + "\n"


def test_the_order_of_rows_changes_no_byte(tmp_path: Path) -> None:
    """Ties included: 40 orders at two prices, shuffled."""
    rng = random.Random(1)
    rows = [
        f"o{i},h{rng.randrange(12) * 2 + i % 2},{('buy', 'sell')[i % 2]},"
        f"{rng.choice((0.5, 1.0))},{rng.choice((0.2, 0.1))},f{i % 3},{rng.choice((0, 0.25))}"
        for i in range(40)
    ]
    results = []
    for name in ("one", "two"):
        orders, out = tmp_path / f"{name}.csv", tmp_path / f"{name}-trades.csv"
        orders.write_text("\n".join([f"{HEADER},feeder,min_kwh", *rows]) + "\n")
        done = _run("market", "clear", orders, "--mechanism", "hierarchical", "--out", out)
        assert done.returncode == 0, done.stderr
        results.append(out.read_bytes())
        rng.shuffle(rows)
    assert results[0] == results[1]
    assert len(results[0].splitlines()) > 5


def test_a_household_that_crosses_itself_is_refused_and_told(tmp_path: Path) -> None:
    """Its orders are named with the reason; the others trade."""
    orders, out = tmp_path / "orders.csv", tmp_path / "trades.csv"
    orders.write_text(BOOK + "x1,E,buy,1,0.2\nx2,E,sell,1,0.1\n")
    done = _run("market", "clear", orders, "--out", out)
    assert done.returncode == 0
    assert "refused: order x1 of E: household's own buy and sell orders cross" in done.stderr
    assert {r["buyer"] for r in _trades(out)} == {"A", "B"}


def test_a_cap_lets_the_grid_in_and_raises_the_price(tmp_path: Path) -> None:
    """Bids of 0.90 and 0.50 for 1 kWh each, no seller, 2 kW for half an hour: 1 kWh. Price 0.70."""
    orders, out = tmp_path / "orders.csv", tmp_path / "trades.csv"
    orders.write_text(f"{HEADER}\nb1,A,buy,1,0.9\nb2,B,buy,1,0.5\n")
    assert _run("market", "clear", orders, "--import-cap", "2", "--out", out).returncode == 0
    (row,) = _trades(out)
    assert (row["buyer"], row["seller"], row["delivered_kwh"]) == ("A", "grid", "1.0")
    assert (row["price_paid"], row["price_received"]) == ("0.7", "0.3")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "row 1: column order_id is missing"),
        ("order_id,household,side,price\n", "row 1: column quantity_kwh is missing"),
        (f"{HEADER},colour\n", "row 1: unknown column 'colour'"),
        (f"{HEADER}\na,A,buy,x,0.1\n", "row 2, column quantity_kwh: 'x' is not a number"),
        (f"{HEADER}\na,A,buy,1,\n", "row 2, column price: '' is not a number"),
        (f"{HEADER}\na,A,buy,nan,0.1\n", "row 2, column quantity_kwh"),
        (f"{HEADER}\na,A,buy,1,inf\n", "row 2, column price"),
        (f"{HEADER}\na,A,buy,-1,0.1\n", "row 2, column quantity_kwh: '-1': quantity is negative"),
        (f"{HEADER}\na,A,buy,1,-101\n", "row 2, column price: '-101': price is not within"),
        (f"{HEADER}\na,A,buy,1e9,0.1\n", "row 2, column quantity_kwh: '1e9': quantity is absurd"),
        (f"{HEADER}\na,A,hold,1,0.1\n", "row 2, column side: 'hold' is neither buy nor sell"),
        (f"{HEADER}\na,,buy,1,0.1\n", "row 2, column household: empty"),
        (f"{HEADER}\na,A,buy,1,0.1\n\na,B,buy,1,0.1\n", "row 4, column order_id: 'a' is in row 2"),
        (f"{HEADER}\na,A,buy,1\n", "row 2, column price: 4 cells under 5 columns"),
        (f"{HEADER}\na,A,buy,1,0.1,7\n", "row 2, column price: 6 cells under 5 columns"),
        (f"{HEADER},min_kwh\na,A,buy,1,0.1,2\n", "row 2, column min_kwh: '2': minimum"),
        (f'{HEADER}\n"a,A,buy,1,0.1\n', "row 2: unexpected end of data"),
        (
            "id,who\n1,A\n",
            "row 1: column order_id is missing: the header is id, who; wanted is order_id,",
        ),
        (f'{HEADER}\na,A,buy,"1,5",0.1\n', "row 2, column quantity_kwh: '1,5' is not a number: a"),
        (f"{HEADER}\na,Grid,buy,1,0.1\n", "row 2, column household: 'Grid' is what trades call"),
        (f"{HEADER}\ngrid,A,buy,1,0.1\n", "row 2, column order_id: 'grid' is what trades call"),
    ],
)
def test_a_bad_file_is_one_line(tmp_path: Path, text: str, complaint: str) -> None:
    """Status 2, one line with file, row and column, and no output file."""
    orders, out = tmp_path / "orders.csv", tmp_path / "trades.csv"
    orders.write_text(text)
    from simulations.commands.market import clear

    with pytest.raises(ValueError) as caught:
        clear(orders, out)
    assert str(caught.value).startswith(f"{orders}: {complaint}")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [orders]


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_orders_as_spreadsheets_write_them(tmp_path: Path, separator: str) -> None:
    """Another separator with decimal commas, a byte order mark, capitals, padding and empty rows
    give the trades of the plain file."""
    from simulations.commands.market import clear

    plain, odd = tmp_path / "orders.csv", tmp_path / "odd.csv"
    plain.write_text(BOOK)
    head, *rows = BOOK.splitlines()
    text = "\n".join([head.title(), *(row.replace("buy", " Buy ") for row in rows), ",,,,", ""])
    odd.write_text(text.replace(",", separator).replace(".", ","), encoding="utf-8-sig")
    clear(plain, tmp_path / "plain_trades.csv")
    clear(odd, tmp_path / "odd_trades.csv")
    made = (tmp_path / "odd_trades.csv").read_bytes()
    assert made == (tmp_path / "plain_trades.csv").read_bytes()


def test_a_mistake_reaches_the_shell_as_status_2(orders: Path, tmp_path: Path) -> None:
    """A missing file, a bad cell, a bad option: one line on standard error, no traceback."""
    out = tmp_path / "trades.csv"
    bad = tmp_path / "bad.csv"
    bad.write_text(f"{HEADER}\na,A,buy,x,0.1\n")
    for arguments, complaint in (
        ((tmp_path / "none.csv", "--out", out), "none.csv: No such file"),
        ((bad, "--out", out), "bad.csv: row 2, column quantity_kwh"),
        ((orders, "--out", out, "--loss", "1.5"), "market.loss = 1.5"),
        ((orders, "--out", out, "--mechanism", "dutch"), "--mechanism 'dutch'"),
        ((orders, "--out", tmp_path / "no" / "t.csv"), "No such file or directory"),
    ):
        done = _run("market", "clear", *arguments)
        assert done.returncode == 2
        assert complaint in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert not out.exists()


def test_negative_prices_and_a_local_fee(tmp_path: Path) -> None:
    """The seller pays up to 0.06 per sent kWh to be rid of 1 kWh: grossed (-0.06 + 0.05 x 0.06) /
    0.95 + 0.001 = -0.059. The bids of -0.02 and 0.10 want more than the 0.95 kWh that arrive, so
    -0.02 is the price, and the seller receives (-0.02 - 0.001) x 0.95 = -0.01995."""
    book, out = tmp_path / "orders.csv", tmp_path / "trades.csv"
    book.write_text(f"{HEADER}\na,A,buy,1,-0.02\nb,B,sell,1,-0.06\nc,C,buy,0.3,0.1\n")
    done = _run("market", "clear", book, "--out", out, "--local-fee", "0.001")
    assert done.returncode == 0, done.stderr
    rows = _trades(out)
    assert {(row["price_paid"], row["price_received"]) for row in rows} == {("-0.02", "-0.01995")}
