"""The page of the house, drawn for the people who live there. One file, no script."""

import math
from collections.abc import Sequence

from markupsafe import Markup

from common.page import document, table, tiles
from fl_client.host import house_charts
from fl_client.host.books import Fill, Interval, Order
from fl_client.host.house_view import HouseView, Meter
from fl_client.host.own_bill import Line
from fl_client.trader.base import HOLD_REASONS, RED

_REFRESH_S = 30
_STALE_S = 900.0
_TRADES = 8
_NOTHING = Markup("")


def draw(view: HouseView, battery: Markup = _NOTHING) -> str:
    """Return the page as HTML; it asks for itself again every half minute.

    ``battery``: what there is to see of a battery, and its override.
    """
    parts = [Markup("<h1>{}</h1>").format(view.name), _head(view), tiles(_now(view))]
    parts += [
        _warnings(view),
        battery,
        _plan(view),
        house_charts.energy(view),
        house_charts.prices(view),
        _trades(view),
    ]
    parts += [_bill(view), _expected(view), _model(view), _meters(view)]
    return document(view.name, Markup("").join(parts), _REFRESH_S)


def _head(view: HouseView) -> Markup:
    if view.present is None:
        return Markup('<p class="sub">No run has been joined yet.</p>')
    last = view.last_settled
    return Markup('<p class="sub">{}, the time from {:%H:%M}{}</p>').format(
        f"{view.present.begins:%A, %d %B %Y}".replace(" 0", " "),
        view.present.begins,
        f"; settled up to {last.begins + view.step:%H:%M}" if last else "; nothing settled today",
    )


def _now(view: HouseView) -> list[tuple[str, str]]:
    """Figures of this moment, then of the day."""
    shown = [(value, text) for value, text in _powers(view) if value]
    present, last = view.present, view.last_settled
    if present is not None:
        shown.append((_price(present["retail"]), "a kWh from the grid, now"))
        if last is not None and math.isfinite(last["local_buy"]):
            shown.append((_price(last["local_buy"]), f"among neighbours, {last.begins:%H:%M}"))
        shown.append(_owed(view.bill_today.total, "today so far"))
        shown.append(_owed(view.bill_month.total, "this month"))
        if view.expected is not None:
            shown.append(_owed(view.expected.total, "expected for the month"))
    return shown


def _owed(amount: float, when: str) -> tuple[str, str]:
    return _money(abs(amount)), f"{'earned' if amount < 0 else 'owed'} {when}"


def _powers(view: HouseView) -> list[tuple[str, str]]:
    came, went = view.kw("import"), view.kw("export")
    net = came - (0.0 if math.isnan(went) else went)
    made, charge, discharge = view.kw("pv"), view.kw("charge"), view.kw("discharge")
    used = net + sum(x for x in (made, discharge, -charge) if math.isfinite(x))
    shown = [
        (_kw(used), "used in the house"),
        (_kw(abs(net)), "to the grid" if net < 0 else "from the grid"),
        (_kw(made), "from the sun"),
    ]
    flow = discharge - charge
    if math.isfinite(flow):
        way = "into the battery" if flow < 0 else "out of the battery"
        shown.append((_kw(abs(flow)), way if abs(flow) >= 0.005 else "the battery rests"))
    last = view.last_settled
    level = view.level("soc")
    if math.isfinite(level):
        shown.append((f"{level:.0%}", "in the battery"))
    elif last is not None and math.isfinite(last["soc"]) and _has_battery(view.today):
        shown.append((f"{last['soc']:.0%}", f"in the battery, {last.begins + view.step:%H:%M}"))
    if not view.meters and last is not None:
        shown.append((f"{last['load']:.2f} kWh", f"used in the time from {last.begins:%H:%M}"))
    return shown


def _has_battery(halves: Sequence[Interval]) -> bool:
    return any(one["charge"] > 0 or one["discharge"] > 0 or one["soc"] > 0 for one in halves)


def _warnings(view: HouseView) -> Markup:
    words = [
        f"{one.role}: has said nothing yet ({one.where})"
        for one in view.meters
        if math.isnan(one.age_s)
    ]
    words += [
        f"{one.role}: silent for {_age(one.age_s)} ({one.where})"
        for one in view.meters
        if one.age_s > _STALE_S
    ]
    return Markup("").join(Markup('<p class="off">{}</p>').format(line) for line in words)


# ---- plan ---------------------------------------------------------------------------------------


def _plan(view: HouseView) -> Markup:
    present = view.present
    if present is None:
        return Markup("")
    until = present.begins + view.step
    parts = [
        Markup("<h2>Plan for {:%H:%M} to {:%H:%M}, and why</h2>").format(present.begins, until)
    ]
    parts += [Markup("<p>{}</p>").format(line) for line in why(view)]
    parts.append(_orders(view.orders))
    return Markup("").join(parts)


def _orders(orders: Sequence[Order]) -> Markup:
    """What it offers each way, and step by step for who wants to know."""
    if not orders:
        return Markup("")
    sides = []
    for words, side in (("buy up to", 1), ("sell up to", -1)):
        some = [one for one in orders if one.side == side]
        if some:
            prices = sorted({one.price for one in some})
            limit = " to ".join(map(_price, (prices[0], prices[-1])[: len(prices)]))
            sides.append((words, _kwh(math.fsum(one.kwh for one in some)), limit))
    steps = [
        ("buy" if one.side > 0 else "sell", _kwh(one.kwh), _price(one.price)) for one in orders
    ]
    head = ("Order", "Energy", "Limit per kWh")
    return table(head, sides) + Markup(
        "<details><summary>all {} orders, one by one</summary>{}</details>"
    ).format(len(steps), table(head, steps))


def why(view: HouseView) -> list[str]:
    """The plan of the present interval and its reasons, in sentences."""
    present = view.present
    if present is None:
        return []
    lines = []
    reason = int(present["reason"]) if math.isfinite(present["reason"]) else 0
    if reason:
        lines.append(f"Trades nothing and leaves the battery to the house: {HOLD_REASONS[reason]}.")
    elif {one.side for one in view.orders} == {1, -1}:
        lines.append("Buys from neighbours where they are cheap, sells to them where they pay.")
    elif any(one.side > 0 for one in view.orders):
        lines.append("Wants to buy from neighbours: cheaper than the grid, now or later.")
    elif view.orders:
        lines.append("Wants to sell to neighbours: they pay more than the energy is worth here.")
    else:
        lines.append("Has nothing to trade: it serves the house itself.")
    lines.append(
        f"The grid takes {_price(present['retail'])} for a kWh and pays "
        f"{_price(present['feed_in'])}; every local price lies between."
        if present["feed_in"] < present["retail"]
        else f"The grid takes {_price(present['retail'])} for a kWh and pays "
        f"{_price(present['feed_in'])}."
    )
    expected = view.forecast.get(present.t, present["forecast_load"])
    if math.isfinite(expected):
        by = "the days before" if view.own_days else "the shared model"
        lines.append(f"Use expected by {by}: {_kwh(expected)}.")
    if _has_battery(view.today) and present["need"] == RED:
        lines.append("What the battery holds does not last until then.")
    fill = view.fills.get(present.t)
    if fill is None:
        lines.append("The market has not told yet what was traded for it.")
    else:
        lines.append(_told(fill))
    return lines


def _told(fill: Fill) -> str:
    words = []
    if fill.bought_kwh:
        price = fill.paid / fill.bought_kwh
        words.append(f"bought {_kwh(fill.bought_kwh)} at {_price(price)}")
    if fill.sold_kwh:
        price = fill.received / fill.sold_kwh
        words.append(f"sold {_kwh(fill.sold_kwh)} at {_price(price)}")
    return f"Traded: {' and '.join(words)} per kWh." if words else "Traded: nothing."


# ---- trades, bill, model, meters ----------------------------------------------------------------


def _trades(view: HouseView) -> Markup:
    first = {one.t: one.begins for one in view.today}
    rows = [
        (
            f"{first[t]:%H:%M}",
            _kwh(fill.bought_kwh) if fill.bought_kwh else "",
            _price(fill.paid / fill.bought_kwh) if fill.bought_kwh else "",
            _kwh(fill.sold_kwh) if fill.sold_kwh else "",
            _price(fill.received / fill.sold_kwh) if fill.sold_kwh else "",
        )
        for t, fill in sorted(view.fills.items(), reverse=True)
        if t in first and (fill.bought_kwh or fill.sold_kwh)
    ]
    if not rows:
        return Markup("<h2>Traded today</h2><p>Nothing yet.</p>") if view.today else Markup("")
    head = ("From", "Bought", "per kWh", "Sold", "per kWh")
    shown = Markup("<h2>Traded today</h2>") + table(head, rows[:_TRADES])
    if len(rows) > _TRADES:
        more = f"{len(rows) - _TRADES} more"
        shown += Markup("<details><summary>{}</summary>{}</details>").format(
            more, table(head, rows[_TRADES:])
        )
    return shown


def _bill(view: HouseView) -> Markup:
    if view.present is None:
        return Markup("")
    names = list(dict.fromkeys(one.name for b in _bills(view) for one in b))
    rows: list[tuple[str, ...]] = []
    for name in names:
        cells = [_cells(next((one for one in b if one.name == name), None)) for b in _bills(view)]
        rows.append((name, *cells[0], *cells[1]))
    rows.append(("Owed", "", _money(view.bill_today.total), "", _money(view.bill_month.total)))
    month = f"{view.present.begins:%B}"
    note = "By the house's own books, of what is settled; below zero is earned. "
    note += "A tariff that only this house has is on the coordinator's statement."
    return (
        Markup("<h2>Bill</h2>")
        + table(("", "Today", "", month, ""), rows, sums=True)
        + Markup('<p class="sub">{}</p>').format(note)
    )


def _expected(view: HouseView) -> Markup:
    """What the month should cost, line by line; nothing where there is no model to say so."""
    if view.expected is None:
        return Markup("")
    booked, rest, begins = view.expected
    names = dict.fromkeys(one.name for bill in (booked, rest) for one in bill.lines)
    rows = []
    for name in names:
        amounts = [math.fsum(o.amount for o in b.lines if o.name == name) for b in (booked, rest)]
        rows.append((name, *map(_money, (*amounts, math.fsum(amounts)))))
    rows.append(("Owed", *map(_money, (booked.total, rest.total, view.expected.total))))
    note = (
        "The rest: the use that the shared model expects, less what the sun gave at that time of "
        "day over the last week, at the prices that the model expects; nothing traded, and the "
        "battery at rest."
    )
    return (
        Markup("<h2>Bill expected for {}</h2>").format(f"{begins:%B}")
        + table(("", "Booked", "Rest", "Month"), rows, sums=True)
        + Markup('<p class="sub">{}</p>').format(note)
    )


def _bills(view: HouseView) -> tuple[list[Line], list[Line]]:
    return view.bill_today.lines, view.bill_month.lines


def _cells(line: Line | None) -> tuple[str, str]:
    if line is None:
        return "", ""
    return "" if line.kwh is None else _kwh(line.kwh), _money(line.amount)


def _model(view: HouseView) -> Markup:
    if view.present is None:
        return Markup("")
    lines = []
    if not view.models:
        lines.append("No shared model has been received yet: the house plans with its own days.")
    else:
        came = f"{view.model_came:%d %B, %H:%M}".lstrip("0") if view.model_came else ""
        lines.append(f"Versions of it received: {view.models}, the newest on {came}.")
    if view.errors is not None:
        e = view.errors
        better = 1 - e.model / e.own_days if e.own_days else 0.0
        lines.append(
            f"Forecasts made at midnight were off by {_kwh(e.model)} an interval over {e.days} "
            f"days; the mean of the house's own days before by {_kwh(e.own_days)}: the model is "
            f"{abs(better):.0%} {'nearer' if better >= 0 else 'further off'}."
        )
    if view.earned is not None:
        lines.append(
            f"What it has changed of the house's own plans has earned {_money(view.earned)} this "
            "month, against the same house planning with its own days, both without a market."
        )
    today, month = view.saved
    if month is not None:
        lines.append(
            f"Trading with neighbours has saved {_money(today or 0.0)} today and {_money(month)} "
            "this month, against the same house living alone."
        )
    return Markup("<h2>The shared model and the market</h2>") + Markup("").join(
        Markup("<p>{}</p>").format(line) for line in lines
    )


def _meters(view: HouseView) -> Markup:
    if not view.meters:
        return Markup("")
    rows = [(one.role, _value(one), _age(one.age_s)) for one in view.meters]
    doubts = Markup("").join(
        Markup('<p class="sub">{}: {}</p>').format(one.role, one.doubt)
        for one in view.meters
        if one.doubt
    )
    sources = Markup("").join(
        Markup('<p class="sub">{}: {}, for {}</p>').format(name, state, _age(age))
        for name, state, age in view.sources
    )
    return Markup("<h2>Meters</h2>") + table(("Meter", "Says", "Ago"), rows) + doubts + sources


def _value(one: Meter) -> str:
    if math.isnan(one.value):
        return "nothing yet"
    if one.kind == "level":
        return f"{one.value:.0%}"
    return f"{one.value:.3f} {'kW' if one.kind == 'power' else 'kWh'}"


def _kwh(kwh: float) -> str:
    return f"{kwh:.2f} kWh"


def _kw(kw: float) -> str:
    return f"{kw:.2f} kW" if math.isfinite(kw) else ""


def _price(price: float) -> str:
    return f"{price:.3f}" if math.isfinite(price) else "unknown"


def _money(amount: float) -> str:
    return f"{round(amount, 2) + 0.0:.2f}"


def _age(seconds: float) -> str:
    if math.isnan(seconds):
        return ""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
