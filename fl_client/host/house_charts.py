"""The day of a house as two charts: energy, and what a kWh cost. SVG, a day wide."""

import math
from collections.abc import Mapping

from markupsafe import Markup, escape

from fl_client.host.house_view import HouseView

_WIDTH, _HEIGHT, _LEFT, _TOP = 900, 280, 64, 10
_HOUR = (_WIDTH - _LEFT - 10) / 24


def energy(view: HouseView) -> Markup:
    """Use of the day as bars, with what was expected and what the sun gave as lines."""
    if not view.today:
        return Markup("")
    hours = _hours(view)
    settled = [one for one in view.today if one.settled]
    load = _by_hour(view, {one.t: one["load"] / hours for one in settled})
    sun = _by_hour(view, {one.t: one["pv"] / hours for one in settled})
    ahead = _by_hour(view, {t: kwh / hours for t, kwh in view.forecast.items()})
    sunny = any(kw > 0 for kw in sun.values())
    highest = max([0.1, *load.values(), *sun.values(), *ahead.values()]) * 1.1
    width = hours * _HOUR
    bars = "".join(
        f'<rect x="{_x(at):.1f}" width="{max(width - 2, 1):.1f}" y="{_y(kw, highest):.1f}" '
        f'height="{_y(0, highest) - _y(kw, highest):.1f}" fill="var(--soft)"/>'
        for at, kw in load.items()
    )
    charging = ", charging with it" if view.kw("charge") >= 0 and not view.commanded else ""
    expected = "days before" if view.own_days else "expected at midnight"
    told = f"bars: used{charging}" + (f"; line: {expected}" if ahead else "")
    told += "; yellow: from the sun" if sunny else ""
    lines = _line(ahead, highest, hours, "currentColor")
    lines += _line(sun, highest, hours, "var(--sun)") if sunny else ""
    return _chart(f"Power today [kW]; {told}", highest, bars + lines)


def prices(view: HouseView) -> Markup:
    """What a kWh cost and earned at the grid, and among neighbours, as far as the day has come."""
    if not view.today:
        return Markup("")
    hours = _hours(view)
    paid = _by_hour(view, {one.t: one["retail"] for one in view.today})
    fed = _by_hour(view, {one.t: one["feed_in"] for one in view.today})
    local = _by_hour(view, {one.t: one["local_buy"] for one in view.today if one.settled})
    known = [p for some in (paid, fed, local) for p in some.values()]
    highest = max([0.01, *known]) * 1.1
    lowest = min([0.0, *known]) * 1.1
    dots = "".join(
        f'<circle cx="{_x(at + hours / 2):.1f}" cy="{_y(p, highest, lowest):.1f}" r="4" '
        'fill="var(--accent)"/>'
        for at, p in local.items()
    )
    body = "".join(_stairs(some, highest, lowest, hours) for some in (paid, fed)) + dots
    told = "steps: grid, dear to buy and cheap to sell" + ("; dots: neighbours" if dots else "")
    return _chart(f"Price of a kWh today; {told}", highest, body, lowest)


def _hours(view: HouseView) -> float:
    """Length of an interval [h]."""
    return view.step.total_seconds() / 3600


def _by_hour(view: HouseView, values: Mapping[int, float]) -> dict[float, float]:
    """By hours since midnight, in order, what is known of today's intervals."""
    one, hours = view.today[0], _hours(view)
    since = one.begins.hour + one.begins.minute / 60
    # A day on which the clock goes back has an hour more than there is room for.
    found = {since + (t - one.t) * hours: value for t, value in sorted(values.items())}
    return {at: value for at, value in found.items() if 0 <= at < 24 and math.isfinite(value)}


def _x(hour: float) -> float:
    return _LEFT + hour * _HOUR


def _y(value: float, highest: float, lowest: float = 0.0) -> float:
    return _TOP + (_HEIGHT - _TOP - 24) * (highest - value) / (highest - lowest)


def _line(values: Mapping[float, float], highest: float, hours: float, colour: str) -> str:
    points = " ".join(
        f"{_x(at + hours / 2):.1f},{_y(value, highest):.1f}" for at, value in values.items()
    )
    return (
        f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2" '
        'stroke-opacity=".8"/>'
    )


def _stairs(values: Mapping[float, float], highest: float, lowest: float, hours: float) -> str:
    points = " ".join(
        f"{_x(at + side):.1f},{_y(price, highest, lowest):.1f}"
        for at, price in values.items()
        for side in (0, hours)
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
        f'<text x="{_x(hour):.1f}" y="{_HEIGHT - 4}" text-anchor="middle">{hour:02d}</text>'
        for hour in (6, 12, 18)
    )
    return Markup(
        f"<h2>{escape(title)}</h2>"
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"{ticks}{body}{hours}</svg>"
    )
