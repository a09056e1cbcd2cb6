"""The community's page: price, volume, rounds, who is there, bills. One file, no script."""

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup, escape

from common.page import document, table, tiles
from fl_server.host.view import View, progress

_REFRESH_S = 30
_PHASES = {
    "waiting": "waiting for the next {}",
    "market": "a market round is on",
    "model round": "a model round is on",
    "closing": "the last readings are waited for",
    "finished": "the run is over",
}


def draw(view: View) -> str:
    """Return the page as HTML; it asks for itself again every half minute."""
    status = view.status
    body = _waiting(view) if not status else _community(view)
    return document("Community", body, _REFRESH_S)


def _waiting(view: View) -> Markup:
    names = ", ".join(view.admitted) or "nobody yet"
    return Markup("<h1>Community</h1><p>No run has begun. Admitted: {}.</p>").format(names)


def _community(view: View) -> Markup:
    status = view.status
    online = sum(h["online"] for h in status["households"].values())
    last = view.intervals[-1] if view.intervals else {}
    day = view.intervals[-view.cadence.per_day :]
    figures = [
        (_money(last.get("local_price")), f"local price per kWh, last settled {view.cadence.noun}"),
        (_money(last.get("retail")), "grid price per kWh then"),
        (f"{sum(line['delivered_kwh'] for line in day):.2f} kWh", "traded in the last 24 hours"),
        (f"{online} of {len(status['households'])}", "households online"),
        (f"{status.get('totals', {}).get('rounds', 0):.0f}", "model rounds"),
        (progress(status), f"{view.cadence.noun}s"),
    ]
    state = _PHASES.get(status["phase"], status["phase"]).format(view.cadence.noun)
    if not view.alive and status["phase"] != "finished":
        state = "the coordinator is not running"
    settled = f"; settled up to the {view.cadence.noun} of {_moment(last['time'])}" if last else ""
    sub = Markup('<p class="sub">{} (as of {:.0f} s ago){}</p>').format(
        state.capitalize(), view.age_s or 0.0, settled
    )
    parts = [Markup("<h1>Community</h1>"), sub, tiles(figures)]
    parts.append(_chart("Price per kWh: local (dots), grid (steps)", view.intervals))
    parts.append(_households(view))
    parts.append(_rounds(view.rounds))
    return Markup("").join(parts)


def _households(view: View) -> Markup:
    rows = []
    for name, home in view.status["households"].items():
        there = Markup("online") if home["online"] else Markup('<span class="off">away</span>')
        bills = (f"{home.get('bill_today', 0.0):.2f}", f"{home.get('bill', 0.0):.2f}")
        rows.append((name, there, home["owed"], *bills))
    head = ("Household", "Connection", "Readings missing", "Bill today", "Bill in all")
    return Markup("<h2>Households</h2>") + table(head, rows)


def _rounds(rounds: Sequence[dict[str, Any]]) -> Markup:
    if not rounds:
        return Markup("")
    rows = [
        (
            line["round"],
            f"{line['replies']} of {line['sampled']}",
            line["dropped"],
            "" if line["val_loss"] is None else f"{line['val_loss']:.4f}",
            f"{line['seconds']:.1f} s",
        )
        for line in reversed(rounds)
    ]
    head = ("Round", "Updates", "Dropped", "Validation loss", "Took")
    said = [i for i in range(len(head)) if any(row[i] != "" for row in rows)]
    shown = table([head[i] for i in said], [[row[i] for i in said] for row in rows])
    whys = [
        Markup("<p>Round {}: {}.</p>").format(line["round"], why)
        for line in reversed(rounds)
        if (why := _why(line))
    ]
    return Markup("").join([Markup("<h2>Model rounds</h2>"), shown, *whys, _WHERE if whys else ""])


_WHERE = Markup(
    '<p class="sub">No reply: the household was away, or slow. Error reply: its own log says what '
    "went wrong. The server's log is in log/ of its folder (coordinator.jsonl), every round in "
    "run/rounds.jsonl.</p>"
)


def _why(line: dict[str, Any]) -> str:
    """What became of the updates that a round went without."""
    reasons = [f"{why} ({count})" for why, count in line.get("dropped_reasons", {}).items()]
    return "; ".join([*reasons, *filter(None, [line.get("failed")])])


def _chart(title: str, lines: Sequence[dict[str, Any]]) -> Markup:
    """Prices over bars of traded energy, as SVG."""
    if len(lines) < 2:
        return Markup("")
    # Room for the letters of a narrow screen, which are larger (common/page.py).
    width, height, left, top = 900, 240, 64, 20
    inner_w, inner_h = width - left - 10, height - top - 38
    highest: float = max(max(line["retail"], line["local_price"] or 0.0) for line in lines) * 1.1
    most = max(max(line["delivered_kwh"] for line in lines), 1e-9)
    step = inner_w / len(lines)

    def y(price: float) -> float:
        return top + inner_h * (1 - price / highest)

    bars = "".join(
        f'<rect x="{left + i * step:.1f}" width="{max(step - 1, 1):.1f}" '
        f'y="{top + inner_h * (1 - 0.5 * line["delivered_kwh"] / most):.1f}" '
        f'height="{inner_h * 0.5 * line["delivered_kwh"] / most:.1f}" fill="var(--soft)"/>'
        for i, line in enumerate(lines)
    )
    retail = " ".join(
        f"{left + (i + side) * step:.1f},{y(line['retail']):.1f}"
        for i, line in enumerate(lines)
        for side in (0, 1)
    )
    dots = "".join(
        f'<circle cx="{left + (i + 0.5) * step:.1f}" cy="{y(line["local_price"]):.1f}" r="2.5" '
        'fill="var(--accent)"/>'
        for i, line in enumerate(lines)
        if line["local_price"] is not None
    )
    ticks = "".join(
        f'<line x1="{left}" x2="{width - 10}" y1="{y(v):.1f}" y2="{y(v):.1f}" '
        f'stroke="var(--line)"/><text x="{left - 6}" y="{y(v) + 4:.1f}" '
        f'text-anchor="end">{v:.2f}</text>'
        for v in (0.0, highest / 2, highest / 1.1)
    )
    ends = (
        f'<text x="{left}" y="{height - 6}">{escape(_moment(lines[0]["time"]))}</text>'
        f'<text x="{width - 10}" y="{height - 6}" text-anchor="end">'
        f"{escape(_moment(lines[-1]['time']))}</text>"
    )
    return Markup(
        f"<h2>{escape(title)}; bars: energy traded, up to {most:.2f} kWh</h2>"
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">'
        f'{ticks}{bars}<polyline points="{retail}" fill="none" stroke="currentColor" '
        f'stroke-opacity=".55"/>{dots}{ends}</svg>'
    )


def _moment(time: object) -> str:
    return f"{str(time)[:16].replace('T', ' ')} UTC"


def _money(value: float | None) -> str:
    return "no trade" if value is None else f"{value:.3f}"
