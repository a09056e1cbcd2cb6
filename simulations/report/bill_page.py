"""A bill as a page: one HTML file that opens offline and prints on paper."""

from html import escape
from typing import Final

import pandas as pd

from fl_server.bills import (
    CAP_FIGURES,
    COMPENSATION_FIGURES,
    ESTIMATE_FIGURE,
    REVISION_FIGURES,
    STANDING_FIGURE,
    Bill,
)

_HEADINGS: Final = {
    "bought_kwh": "bought kWh",
    "paid": "paid",
    "sold_kwh": "sold kWh",
    "received": "received",
    "grid_import_kwh": "from grid kWh",
    "grid_cost": "cost",
    "grid_export_kwh": "to grid kWh",
    "grid_revenue": "revenue",
    "standing_charge": "standing",
    "surcharge": "paid",
    "surcharge_returned": "returned",
    "compensation_given": "given",
    "compensation_received": "received",
    "estimated_kwh": "estimated kWh",
    "corrected_kwh": "corrected kWh",
    "corrections": "corrections",
    "total": "to pay",
}
STYLE: Final = """
body{font:15px/1.45 system-ui,sans-serif;color:#1b2733;margin:2.5rem auto;max-width:62rem;
padding:0 1rem}
h1{font-size:1.5rem;margin:0}p.sub{color:#5c6b78;margin:.2rem 0 1.6rem}
.cards{display:flex;gap:1rem;margin-bottom:1.6rem;flex-wrap:wrap}
.card{flex:1;min-width:9rem;border:1px solid #d8dfe5;border-radius:8px;padding:.8rem 1rem}
.card b{display:block;font-size:1.45rem;font-variant-numeric:tabular-nums}
.card span{color:#5c6b78}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:.34rem .4rem;text-align:right;border-bottom:1px solid #e6ebef;white-space:nowrap}
th:first-child,td:first-child{text-align:left}
thead th{color:#5c6b78;font-weight:600;vertical-align:bottom;white-space:normal}
.wide{overflow-x:auto}
thead tr.group th{border-bottom:0;text-align:center;color:#1b2733}
tfoot td{font-weight:700;border-top:2px solid #1b2733;border-bottom:0}
svg{width:100%;height:auto;margin-bottom:1.6rem}
@media print{body{margin:0;font-size:11px}.card{break-inside:avoid}}
"""
"""How bills and statements look, on a screen and on paper."""


def page(bill: Bill) -> str:
    """HTML of a bill: what is to pay, a bar per period, the table."""
    total = bill.total
    periods = list(bill.lines.index)
    span = f"{periods[0]} to {periods[-1]}" if periods else "no postings in this period"
    owes = "To pay" if total["total"] >= 0 else "To receive"
    cards = (
        (owes, f"{abs(total['total']):.2f}"),
        ("Bought from neighbours", f"{total['bought_kwh']:.1f} kWh"),
        ("Sold to neighbours", f"{total['sold_kwh']:.1f} kWh"),
        ("From the grid", f"{total['grid_import_kwh']:.1f} kWh"),
        ("To the grid", f"{total['grid_export_kwh']:.1f} kWh"),
    )
    shown = "".join(f"<div class=card><span>{k}</span><b>{v}</b></div>" for k, v in cards)
    name = escape(bill.household)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Bill of {name}</title>
<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>
<h1>Bill of {name}</h1>
<p class=sub>{escape(span)} · time zone {escape(bill.timezone)} · run {escape(bill.run)}</p>
<div class=cards>{shown}</div>
{_bars(bill.lines["total"])}
{_table(bill)}
</body></html>
"""


def _bars(total: pd.Series) -> str:
    """What each period costs (up) or earns (down)."""
    if len(total) < 2:
        return ""
    width, height, pad = 960.0, 180.0, 34.0
    high, low = max(float(total.max()), 0.0), min(float(total.min()), 0.0)
    scale = (height - 2 * pad) / ((high - low) or 1.0)
    zero = pad + high * scale
    step = width / len(total)
    bars = []
    for at, (period, value) in enumerate(total.items()):
        top, tall = (zero - value * scale, value * scale) if value > 0 else (zero, -value * scale)
        color = "#2f6fab" if value > 0 else "#2a9d6f"
        bars.append(
            f'<rect x="{at * step + step * 0.12:.1f}" y="{top:.1f}" width="{step * 0.76:.1f}" '
            f'height="{max(tall, 0.5):.1f}" fill="{color}"><title>{escape(str(period))}: '
            f"{value:.2f}</title></rect>"
        )
    labels = "".join(
        f'<text x="{(at + 0.5) * step:.1f}" y="{height - 8:.0f}" text-anchor="middle">'
        f"{escape(str(total.index[at]))}</text>"
        for at in range(len(total) // 16, len(total), max(1, -(-len(total) // 8)))
    )
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" font-size="12" fill="#5c6b78" role="img" '
        f'aria-label="cost per period"><text x="0" y="14">to pay per period '
        f"(green: earned)</text>{''.join(bars)}"
        f'<line x1="0" x2="{width:.0f}" y1="{zero:.1f}" y2="{zero:.1f}" stroke="#1b2733"/>'
        f"{labels}</svg>"
    )


def _table(bill: Bill) -> str:
    shown = list(bill.lines.columns)

    def cells(values: pd.Series) -> str:
        digits = {name: 3 if name.endswith("_kwh") else 2 for name in shown}
        return "".join(f"<td>{values[name]:.{digits[name]}f}</td>" for name in shown)

    rows = "".join(
        f"<tr><td>{escape(str(period))}</td>{cells(line)}</tr>"
        for period, line in bill.lines.iterrows()
    )
    heads = "".join(f"<th>{_HEADINGS[name]}</th>" for name in shown)
    groups = (
        ("days", (STANDING_FIGURE,)),
        ("beyond allowance", CAP_FIGURES),
        ("compensation", COMPENSATION_FIGURES),
        ("no reading", (ESTIMATE_FIGURE,)),
        ("later readings", REVISION_FIGURES),
    )
    more = "".join(
        f"<th colspan={len(names)}>{name}</th>" for name, names in groups if names[0] in shown
    )
    return (
        "<div class=wide><table><thead><tr class=group><th></th>"
        "<th colspan=4>market</th><th colspan=4>grid</th>"
        f"{more}<th></th></tr><tr><th>period</th>{heads}</tr></thead><tbody>{rows}</tbody>"
        f"<tfoot><tr><td>total</td>{cells(bill.total)}</tr></tfoot></table></div>"
    )
