"""``orders.csv`` in, ``trades.csv`` out; a bad cell is named by file, row and column."""

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from common.arrays import Floats, Ints
from common.data.formats.dialect import SEPARATORS
from common.errors import InputError
from common.files import whole
from common.market_rules import MICRO, MILLI_WH_PER_KWH, PPM, Admission, MarketRules, Orders, admit
from fl_server.market import GRID, Clearing

REQUIRED: Final = ("order_id", "household", "side", "quantity_kwh", "price")
OPTIONAL: Final = ("feeder", "min_kwh")
TRADES: Final = (
    "buyer",
    "seller",
    "buy_order",
    "sell_order",
    "sent_kwh",
    "delivered_kwh",
    "price_paid",
    "price_received",
)
_COLUMN_OF = {"quantity": "quantity_kwh", "price": "price", "minimum": "min_kwh"}
_SIDES = {"buy": 1, "sell": -1}
_NUMBERS = ("quantity_kwh", "price", "min_kwh")
_GRID_NAME = "grid"


@dataclass(frozen=True)
class OrderFile:
    """The orders of a file, sorted by id so that the order of its rows plays no part."""

    order_id: Sequence[str]
    household: Sequence[str]
    orders: Orders
    admitted: Admission

    @property
    def refused(self) -> list[tuple[str, str, str]]:
        """(order, household, reason) of each order that was refused."""
        return [
            (self.order_id[row], self.household[row], self.admitted.reason_of(row))
            for row in np.flatnonzero(self.admitted.reason).tolist()
        ]


def read_orders(path: Path, rules: MarketRules) -> OrderFile:
    """Read and check a file of orders. Raises InputError naming file, row and column.

    Rows are counted as lines of the file, the header being row 1. A household whose own orders
    cross is refused, not an error: it is in ``OrderFile.refused``.
    """
    header, rows = _read(path)
    row_of = [line for line, _ in rows]
    column = {name: [cells[at] for _, cells in rows] for at, name in enumerate(header)}

    def fail(at: int, name: str, problem: str) -> InputError:
        return InputError(f"{path}: row {row_of[at]}, column {name}: {problem}")

    for name in ("order_id", "household"):
        for at, text in enumerate(column[name]):
            if not text:
                raise fail(at, name, "empty")
            if text.lower() == _GRID_NAME:
                raise fail(at, name, f"{text!r} is what trades call the grid: another name")
    seen: dict[str, int] = {}
    for at, order_id in enumerate(column["order_id"]):
        if order_id in seen:
            raise fail(at, "order_id", f"{order_id!r} is in row {row_of[seen[order_id]]} already")
        seen[order_id] = at
    for at, text in enumerate(column["side"]):
        if text.lower() not in _SIDES:
            raise fail(at, "side", f"{text!r} is neither buy nor sell")
    numbers = {name: _numbers(column[name], name, fail) for name in ("quantity_kwh", "price")}
    least = [text or "0" for text in column.get("min_kwh", ["0"] * len(rows))]

    by_id = sorted(range(len(rows)), key=lambda at: column["order_id"][at])
    order = np.array(by_id, np.int64)
    household = np.array(column["household"], dtype=object)[order]
    _, member = np.unique(household.astype(str), return_inverse=True)
    feeders = np.array(column.get("feeder", [""] * len(rows)), dtype=str)
    _, feeder = np.unique(feeders, return_inverse=True)
    orders = Orders(
        household=member.astype(np.int64),
        side=np.array([_SIDES[text.lower()] for text in column["side"]], np.int8)[order],
        quantity_kwh=numbers["quantity_kwh"][order],
        price=numbers["price"][order],
        number=np.arange(len(rows), dtype=np.int64),
        interval=np.zeros(len(rows), np.int64),
        feeder=feeder.astype(np.int64)[order],
        min_kwh=_numbers(least, "min_kwh", fail)[order],
    )
    admitted = admit(orders, rules, interval=0, households=int(member.max(initial=0)) + 1)
    wrong = {int(order[row]): row for row in np.flatnonzero(admitted.reason).tolist()}
    for at in sorted(wrong):
        reason = admitted.reason_of(wrong[at])
        culprit = _COLUMN_OF.get(reason.split()[0])
        if culprit is not None:
            raise fail(at, culprit, f"{column[culprit][at]!r}: {reason}")
    ids = [column["order_id"][at] for at in by_id]
    return OrderFile(ids, household.tolist(), orders, admitted)


def _read(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Header and (line, cells) of every row that is not blank, cells stripped.

    The separator is the one of the header; with another than the comma a decimal comma is read.
    """
    separator = ","
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            first = file.readline()
            separator = max(SEPARATORS, key=first.count)
            file.seek(0)
            reader = csv.reader(file, strict=True, delimiter=separator)
            header = [name.strip().lower() for name in next(reader, [])]
            _check_header(path, header)
            rows = []
            for cells in reader:
                if not any(cell.strip() for cell in cells):
                    continue
                if len(cells) != len(header):
                    raise InputError(
                        f"{path}: row {reader.line_num}, column "
                        f"{header[min(len(cells), len(header) - 1)]}: "
                        f"{len(cells)} cells under {len(header)} columns"
                    )
                rows.append((reader.line_num, [cell.strip() for cell in cells]))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: byte {error.start} is not UTF-8: save it as CSV in UTF-8, not packed"
        ) from None
    except csv.Error as error:
        raise InputError(f"{path}: row {reader.line_num}: {error}") from None
    if separator != ",":
        numbers = [at for at, name in enumerate(header) if name in _NUMBERS]
        for _, cells in rows:
            for at in numbers:
                cells[at] = cells[at].replace(",", ".", 1)
    return header, rows


def _check_header(path: Path, header: list[str]) -> None:
    for name in REQUIRED:
        if name not in header:
            found = ", ".join(header)[:80] or "nothing"
            raise InputError(
                f"{path}: row 1: column {name} is missing: the header is {found}; wanted is "
                f"{','.join(REQUIRED)}"
            )
    for name in header:
        if name not in REQUIRED + OPTIONAL:
            known = ", ".join(REQUIRED + OPTIONAL)
            raise InputError(f"{path}: row 1: unknown column {name!r}; known: {known}")
        if header.count(name) > 1:
            raise InputError(f"{path}: row 1: column {name} is there twice")


def _numbers(
    cells: Sequence[str], name: str, fail: Callable[[int, str, str], InputError]
) -> Floats:
    try:
        return np.array(cells, dtype=str).astype(np.float64)
    except ValueError:
        for at, cell in enumerate(cells):
            try:
                float(cell)
            except ValueError:
                comma = ": a point is the decimal sign" if "," in cell else ""
                raise fail(at, name, f"{cell!r} is not a number{comma}") from None
        raise


def write_trades(path: Path, trades: Clearing, file: OrderFile) -> None:
    """Write the trades, sorted by buy and sell order; whole or not at all.

    ``price_paid`` is exact; ``price_received`` is what the seller earns per delivered kWh times
    (1 - loss).
    """
    received = trades.sell_price * trades.keep_ppm  # 1e-12 currency per sent kWh
    rows = sorted(
        zip(
            _names(trades.buy_order, file, file.household),
            _names(trades.sell_order, file, file.household),
            _names(trades.buy_order, file, file.order_id),
            _names(trades.sell_order, file, file.order_id),
            (_decimal(x, MILLI_WH_PER_KWH) for x in trades.sent.tolist()),
            (_decimal(x, MILLI_WH_PER_KWH) for x in trades.delivered.tolist()),
            (_decimal(x, MICRO) for x in trades.buy_price.tolist()),
            (_decimal(x, MICRO * PPM) for x in received.tolist()),
            strict=True,
        ),
        key=lambda row: (row[2], row[3]),
    )
    try:
        with (
            whole(path, durable=False) as part,
            part.open("w", newline="", encoding="utf-8") as out,
        ):
            writer = csv.writer(out, lineterminator="\n")
            writer.writerow(TRADES)
            writer.writerows(rows)
    except OSError as error:
        raise InputError(f"--out {path}: {error.strerror}") from None


def _names(rows: Ints, file: OrderFile, names: Sequence[str]) -> list[str]:
    source = file.admitted.source
    return [_GRID_NAME if row == GRID else names[source[row]] for row in rows.tolist()]


def _decimal(value: int, unit: int) -> str:
    """A whole number of 1/unit as a decimal, without loss."""
    whole, rest = divmod(abs(value), unit)
    digits = f"{rest:0{len(str(unit)) - 1}d}".rstrip("0")
    return f"{'-' if value < 0 else ''}{whole}.{digits or 0}"
