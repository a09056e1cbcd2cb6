"""A statement as a page: one HTML file that opens offline and prints, a sheet per month."""

from html import escape
from typing import Final

import pandas as pd

from fl_server.statement import TOTAL, Statement
from simulations.report.bill_page import STYLE

LABELS: Final = {
    "energy": "Energy from the grid",
    "markup": "Supplier's markup",
    "network_fee": "Network fee",
    "levies": "Levies",
    "standing_charge": "Standing charge",
    "vat": "VAT",
    "local_energy": "Energy from neighbours",
    "local_network_fee": "Network fee on it",
    "local_levies": "Levies on it",
    "local_vat": "VAT on these two",
    "local_sales": "Energy to neighbours",
    "feed_in": "Energy fed into the grid",
    "undelivered": "Sold and not sent, bought and not used",
    "surcharge": "Beyond the allowance",
    "compensation": "Compensation",
    "corrections": "Corrections by later readings",
    TOTAL: "To pay",
}
"""What the lines of a statement are called."""
_STYLE: Final = (
    STYLE
    + """
section{margin-bottom:2.4rem}h2{font-size:1.15rem;margin:0 0 .5rem}
tr.total td{font-weight:700;border-top:2px solid #1b2733;border-bottom:0}
p.note{color:#5c6b78}
@media print{section{break-after:page;break-inside:avoid}section:last-of-type{break-after:auto}
@page{size:A4;margin:18mm}}
"""
)


def statement_page(statement: Statement) -> str:
    """HTML of a statement: per period the lines, what they would be alone, and the difference."""
    name = escape(statement.household)
    sheets = "".join(
        f"<section><h2>{escape(period)}</h2>{_table(statement.of(period))}</section>"
        for period in statement.periods
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Statement of {name}</title>
<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>
<h1>Statement of {name}</h1>
<p class=sub>time zone {escape(statement.timezone)} · run {escape(statement.run)}</p>
{sheets or "<p>No postings in this period.</p>"}
{"".join(f"<p class=note>{escape(note)}</p>" for note in notes(statement))}
</body></html>
"""


def notes(statement: Statement) -> list[str]:
    """What must be said beside the lines."""
    said = ["Alone: the same meter at the same tariff without a market. Below zero is earned."]
    if statement.lines["alone"].isna().any():
        said.append("Alone is not known where the ledger does not hold the prices.")
    if statement.estimated_kwh:
        said.append(f"Estimated for want of a reading: {statement.estimated_kwh:.3f} kWh net.")
    if statement.unsettled:
        said.append(f"Traded and not metered yet: {statement.unsettled} intervals.")
    return said


def _table(lines: pd.DataFrame) -> str:
    def money(value: float) -> str:
        return "" if value != value else f"{value:.2f}"

    rows = "".join(
        f"<tr{' class=total' if line == TOTAL else ''}><td>{LABELS[str(line)]}</td>"
        f"<td>{_quantity(one)}</td><td>{money(one['amount'])}</td><td>{money(one['alone'])}</td>"
        f"<td>{money(one['saved'])}</td></tr>"
        for line, one in lines.iterrows()
    )
    return (
        "<table><thead><tr><th>line</th><th>quantity</th><th>amount</th><th>alone</th>"
        f"<th>saved</th></tr></thead><tbody>{rows}</tbody></table>"
    )


def _quantity(one: pd.Series) -> str:
    if not one["unit"]:
        return ""
    digits = 0 if one["unit"] == "days" else 3
    return f"{one['quantity']:.{digits}f} {one['unit']}"
