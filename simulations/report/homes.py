"""What each home has: battery, panels, connection, trader, prices, time zone.

What all have alike is a sentence, what differs a column.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from simulations.report import text
from simulations.report.page import Content, join, paragraph, table
from simulations.report.run import number

Home = Mapping[str, Any]


def _battery(home: Home) -> str:
    capacity = number(home, "battery_kwh")
    if capacity == 0:
        return "none"
    return f"{_short(capacity)} kWh, {_short(number(home, 'battery_kw'))} kW"


def _panels(home: Home) -> str:
    made = number(home, "pv_kwh")
    return "none" if made == 0 else f"made {text.energy(made)}"


def _connection(home: Home) -> str:
    drawn, fed = number(home, "import_kw"), number(home, "export_kw")
    return f"{_short(drawn)} kW in, {_short(fed)} kW out"


def _word(key: str) -> Callable[[Home], str]:
    return lambda home: str(home.get(key) or text.MISSING)


def _price(key: str) -> Callable[[Home], str]:
    return lambda home: text.decimal(number(home, key))


def _short(value: float | None) -> str:
    return text.MISSING if value is None else f"{value:,.4g}"


_COLUMNS: Mapping[str, Callable[[Home], str]] = {
    "Battery": _battery,
    "Panels": _panels,
    "Connection": _connection,
    "Trader": _word("trader"),
    "Grid asks, mean": _price("import_price"),
    "Grid pays, mean": _price("export_price"),
    "Time zone": _word("timezone"),
}


def of(detail: Mapping[str, Any]) -> Home:
    """What the summary says that a household has; empty where it does not."""
    found = detail.get("home")
    return found if isinstance(found, Mapping) else {}


def homes(details: Sequence[Mapping[str, Any]]) -> Content:
    """A table of the homes; nothing where a run does not say what they have."""
    known = [(str(d.get("name", "?")), of(d)) for d in details if of(d)]
    if not known:
        return ""
    cells = {name: [show(home) for _, home in known] for name, show in _COLUMNS.items()}
    unlike = {name: column for name, column in cells.items() if len(set(column)) > 1}
    alike = [f"{name.lower()} {column[0]}" for name, column in cells.items() if name not in unlike]
    said = paragraph(f"Alike in all homes: {'; '.join(alike)}.", "note") if alike else ""
    if not unlike:
        return said
    link = Markup('<a href="#Household={}">{}</a>')
    rows = [
        (link.format(quote(name, safe=""), name), *(column[h] for column in unlike.values()))
        for h, (name, _) in enumerate(known)
    ]
    caption = "What each household has"
    return join(
        [
            table(
                ("Household", *unlike),
                rows,
                caption=caption,
                text_columns=1 + len(unlike),
                tall=len(rows) > 15,
            ),
            said,
        ]
    )


def note(detail: Mapping[str, Any]) -> list[str]:
    """What one household has, in a few words; empty where the run does not say."""
    home = of(detail)
    if not home:
        return []
    battery = _battery(home)
    return [
        "no battery" if battery == "none" else f"battery {battery}",
        _connection(home),
        str(home.get("trader") or "trader unknown"),
        str(home.get("timezone") or "zone unknown"),
    ]
