"""A household in figures, by name: for programs that look at it, and for Home Assistant."""

import math
from datetime import datetime

from fl_client.host.house_page import why
from fl_client.host.house_view import HouseView
from fl_client.host.own_bill import OwnBill

Figures = dict[str, float | int | str | None]


def figures(view: HouseView) -> Figures:
    """kW, kWh, currency and fractions; None where a figure is not known."""
    present, last = view.present, view.last_settled
    fill = None if present is None else view.fills.get(present.t)
    expected = math.nan if present is None else view.forecast.get(present.t, math.nan)
    found: dict[str, float | int | str | None] = {
        "household": view.name,
        "interval": None if present is None else present.begins.isoformat(),
        "settled_until": None if last is None else last.begins.isoformat(),
        "grid_price": None if present is None else present["retail"],
        "feed_in_price": None if present is None else present["feed_in"],
        "local_price": None if last is None else last["local_buy"],
        "expected_kwh": expected,
        "bought_now_kwh": None if fill is None else fill.bought_kwh,
        "sold_now_kwh": None if fill is None else fill.sold_kwh,
        "from_neighbours_kwh": view.totals[0],
        "to_neighbours_kwh": view.totals[1],
        "bill_today": _owed(view.bill_today),
        "bill_month": _owed(view.bill_month),
        "bill_month_expected": None if view.expected is None else view.expected.total,
        "saved_month": view.saved[1],
        "model_month": view.earned,
        "model_rounds": view.models,
        "today": None if present is None else _midnight(present.begins).isoformat(),
        "month": None if present is None else _midnight(present.begins.replace(day=1)).isoformat(),
        "override": "OFF" if view.override is None else "ON",
        "battery_state": None if view.battery is None else view.battery.state,
        "battery_why": None if view.battery is None else view.battery.why,
        "battery_kw": None if view.battery is None else view.battery.battery_kw,
        "battery_setpoint_kw": None if view.battery is None else view.battery.setpoint_kw,
        "plan": next(iter(why(view)), None),
        "soc": view.level("soc"),
        **{f"{role}_kw": view.kw(role) for role in ("import", "export", "pv")},
    }
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in found.items()
    }


def _midnight(moment: datetime) -> datetime:
    """The local midnight before; its distance from UTC is that of midnight."""
    return moment.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None).astimezone()


def _owed(bill: OwnBill) -> float | None:
    return bill.total if bill.intervals else None
