"""The day of a house as two charts: energy, and what a kWh cost. SVG, 48 half hours wide."""

import math

from markupsafe import Markup, escape

from fl_client.host.books import DAY
from fl_client.host.house_view import HouseView

_WIDTH, _HEIGHT, _LEFT, _TOP = 900, 280, 64, 10


def energy(view: HouseView) -> Markup:
    """Use of the day as bars, with what was expected and what the sun gave as lines."""
    if not view.today:
        return Markup("")
    first = _midnight(view)
    load = {one.t - first: one["load"] for one in view.today if one.settled}
    sun = {one.t - first: one["pv"] for one in view.today if one.settled}
    ahead = {t - first: kwh for t, kwh in view.forecast.items()}
    highest = max([0.1, *load.values(), *sun.values(), *ahead.values()]) * 1.1
    step = _step()
    bars = "".join(
        f'<rect x="{_x(i):.1f}" width="{step - 2:.1f}" y="{_y(kwh, highest):.1f}" '
        f'height="{_y(0, highest) - _y(kwh, highest):.1f}" fill="var(--soft)"/>'
        for i, kwh in load.items()
        if math.isfinite(kwh)
    )
    told = "bars: used" + ("; line: expected at midnight" if ahead else "")
    told += "; yellow: from the sun" if any(kwh > 0 for kwh in sun.values()) else ""
    lines = _line(ahead, highest, "currentColor")
    lines += _line(sun, highest, "var(--sun)") if any(kwh > 0 for kwh in sun.values()) else ""
    return _chart(f"Energy today [kWh]; {told}", highest, bars + lines)


def prices(view: HouseView) -> Markup:
    """What a kWh cost and earned at the grid, and among neighbours, as far as the day has come."""
    if not view.today:
        return Markup("")
    first = _midnight(view)
    paid = {one.t - first: one["retail"] for one in view.today}
    fed = {one.t - first: one["feed_in"] for one in view.today}
    local = {one.t - first: one["local_buy"] for one in view.today if one.settled}
    known = [p for some in (paid, fed, local) for p in some.values() if math.isfinite(p)]
    highest = max([0.01, *known]) * 1.1
    lowest = min([0.0, *known]) * 1.1
    dots = "".join(
        f'<circle cx="{_x(i) + _step() / 2:.1f}" cy="{_y(p, highest, lowest):.1f}" r="4" '
        'fill="var(--accent)"/>'
        for i, p in local.items()
        if math.isfinite(p)
    )
    body = _stairs(paid, highest, lowest) + _stairs(fed, highest, lowest) + dots
    told = "steps: grid, dear to buy and cheap to sell" + ("; dots: neighbours" if dots else "")
    return _chart(f"Price of a kWh today; {told}", highest, body, lowest)


def _midnight(view: HouseView) -> int:
    """The interval, perhaps of before the run, that today begins with."""
    one = view.today[0]
    return one.t - (one.begins.hour * 60 + one.begins.minute) // 30


def _step() -> float:
    return (_WIDTH - _LEFT - 10) / DAY


def _x(i: float) -> float:
    return _LEFT + i * _step()


def _y(value: float, highest: float, lowest: float = 0.0) -> float:
    return _TOP + (_HEIGHT - _TOP - 24) * (highest - value) / (highest - lowest)


def _line(values: dict[int, float], highest: float, colour: str) -> str:
    points = " ".join(
        f"{_x(i + 0.5):.1f},{_y(kwh, highest):.1f}"
        for i, kwh in sorted(values.items())
        if math.isfinite(kwh) and 0 <= i < DAY
    )
    return (
        f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2" '
        'stroke-opacity=".8"/>'
        if points
        else ""
    )


def _stairs(values: dict[int, float], highest: float, lowest: float) -> str:
    points = " ".join(
        f"{_x(i + side):.1f},{_y(price, highest, lowest):.1f}"
        for i, price in sorted(values.items())
        if math.isfinite(price)
        for side in (0, 1)
    )
    return f'<polyline points="{points}" fill="none" stroke="currentColor" stroke-opacity=".55"/>'


def _chart(title: str, highest: float, body: str, lowest: float = 0.0) -> Markup:
    marks = (highest / 1.1, highest / 2.2, 0.0, *([lowest / 1.1] if lowest < 0 else []))
    ticks = "".join(
        f'<line x1="{_LEFT}" x2="{_WIDTH - 10}" y1="{_y(v, highest, lowest):.1f}" '
        f'y2="{_y(v, highest, lowest):.1f}" stroke="var(--line)"/><text x="{_LEFT - 6}" '
        f'y="{_y(v, highest, lowest) + 4:.1f}" text-anchor="end">{v:.2f}</text>'
        for v in marks
    )
    hours = "".join(
        f'<text x="{_x(2 * hour):.1f}" y="{_HEIGHT - 4}" text-anchor="middle">{hour:02d}</text>'
        for hour in (6, 12, 18)
    )
    return Markup(
        f"<h2>{escape(title)}</h2>"
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"{ticks}{body}{hours}</svg>"
    )
