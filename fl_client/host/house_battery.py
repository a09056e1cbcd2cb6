"""What there is to see of the battery, who drives it and why; and how people overrule it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from markupsafe import Markup

from common.errors import InputError
from common.page import table
from common.web import FORM_TOKEN
from fl_client.control.following import at_the_grid
from fl_client.control.record import (
    COMMAND,
    FOLLOW,
    NOTE,
    OBSERVE,
    OVERRIDDEN,
    OWN,
    RECORD,
    STEERING,
    Command,
    Override,
    Record,
    Snapshot,
)
from fl_client.home.clock import HouseClock
from fl_client.host.house_view import HouseView
from fl_client.host.override import hours_of

SET, CLEAR = "set", "clear"
_HOURS = (1, 4, 12, 24)
_SHOWN = 12
_STALE_S = 60.0
_WHO = {
    OWN: "The battery drives itself.",
    STEERING: "The battery follows the plan.",
    OVERRIDDEN: "You have taken over: the battery drives itself.",
}


def override(home: Path, clock: HouseClock, fields: Mapping[str, str], who: str) -> None:
    """Do what the form asks: ``do`` set, for ``hours`` [h] or until ended, or clear.

    Raises InputError, also where there is no battery to leave alone.
    """
    wanted, hours = fields.get("do", ""), fields.get("hours", "")
    if wanted not in (SET, CLEAR):
        raise InputError(f"do: {SET} or {CLEAR}, not {wanted[:20]!r}")
    until = None
    if wanted == SET and hours:
        until = clock.now() + 3600 * hours_of(hours, "hours")
    if not (home / RECORD).exists():
        raise InputError(f"{home}: no battery is controlled here (docs/control.md)")
    record = Record(home)
    try:
        if wanted == CLEAR:
            record.clear_override()
        else:
            record.set_override(clock.now(), until, who)
    finally:
        record.close()


def draw_battery(view: HouseView, form_token: str) -> Markup:
    """The section of the page; nothing where no battery is looked at."""
    seen = view.battery
    if seen is None:
        return Markup("")
    old = (view.now - seen.at) / view.speed > _STALE_S
    parts = [Markup("<h2>Battery</h2>")]
    if old:
        since = _clock_of(seen.at)
        parts.append(
            Markup('<p class="off">Nothing has been heard from its control since {}.</p>').format(
                since
            )
        )
    lines = [_WHO.get(seen.state, seen.state)]
    if seen.why:
        lines[0] += f" {seen.why[0].upper()}{seen.why[1:]}."
    if seen.mode != COMMAND:
        lines.append(
            "It is only looked at."
            if seen.mode == OBSERVE
            else "What it would be told is written down and not sent (shadow)."
        )
    parts += [Markup("<p>{}</p>").format(line) for line in lines]
    parts += [Markup('<p class="off">{}</p>').format(words) for words in seen.faults]
    parts.append(table(("Now", ""), _rows(seen)))
    parts.append(_form(view.override, view.now, form_token))
    parts.append(_log(view.commands))
    return Markup("").join(parts)


def _rows(seen: Snapshot) -> list[tuple[str, str]]:
    rows = [("Measured at the battery", _flow(seen.battery_kw))]
    told = "Told" if seen.mode == COMMAND else "Would be told"
    if seen.follow_kw is not None:
        rows.append((told, f"keep {at_the_grid(seen.follow_kw)}"))
    elif seen.setpoint_kw is not None:
        rows.append((told, _flow(seen.setpoint_kw)))
    if seen.soc is not None:
        bounds = ""
        if seen.soc_min is not None and seen.soc_max is not None:
            bounds = f", kept between {seen.soc_min:.0%} and {seen.soc_max:.0%}"
        rows.append(("In store", f"{seen.soc:.0%}{bounds}"))
    plan = seen.plan
    if plan is not None:
        name = f"Plan until {_clock_of(plan.end)}"
        rows.append((name, f"{_moved(plan.target_kwh)}; so far {_moved(plan.battery_kwh)}"))
        expected = plan.net_kwh + plan.rest_kwh
        spare = "beyond its own sun" if expected >= 0 else "of its own sun to spare"
        rows.append(("The house by then", f"{abs(expected):.2f} kWh {spare}"))
    return rows


def _flow(kw: float | None) -> str:
    if kw is None:
        return "unknown"
    if abs(kw) < 0.005:
        return "at rest"
    return f"{abs(kw):.2f} kW {'into it' if kw > 0 else 'out of it'}"


def _moved(kwh: float) -> str:
    if abs(kwh) < 0.005:
        return "nothing"
    return f"{abs(kwh):.2f} kWh {'in' if kwh > 0 else 'out'}"


def _form(held: Override | None, now: float, form_token: str) -> Markup:
    hidden = Markup('<input type="hidden" name="{}" value="{}">').format(FORM_TOKEN, form_token)
    if held is not None:
        until = "until you end it" if held.until is None else f"until {_clock_of(held.until, now)}"
        who = f" by {held.who}" if held.who else ""
        return Markup(
            '<div class="box"><p>Taken over{} since {}, {}.</p>'
            '<form method="post" action="/override">{}'
            '<button name="do" value="{}">Let it follow the plan again</button></form></div>'
        ).format(who, _clock_of(held.since, now), until, hidden, CLEAR)
    choices = Markup("").join(
        Markup('<option value="{}">for {} hour{}</option>').format(hours, hours, "s" * (hours > 1))
        for hours in _HOURS
    ) + Markup('<option value="">until I end it</option>')
    return Markup(
        '<div class="box"><p>Take over: the battery is left to its own inverter, and nothing more '
        'is written to it.</p><form method="post" action="/override">{}'
        '<select name="hours" aria-label="for how long">{}</select>'
        '<button name="do" value="{}">Leave the battery alone</button></form></div>'
    ).format(hidden, choices, SET)


def _log(commands: Sequence[Command]) -> Markup:
    if not commands:
        return Markup("")
    rows = [
        (
            _clock_of(one.at),
            one.reason,
            one.command
            + (
                ""
                if one.kw is None
                else f" {(at_the_grid if one.command == FOLLOW else _flow)(one.kw)}"
            )
            + ("" if one.sent or one.command == NOTE else " (not sent)"),
        )
        for one in commands[:_SHOWN]
    ]
    return Markup("<details><summary>What it was told, and why</summary>{}</details>").format(
        table(("At", "Because", "Told"), rows)
    )


def _clock_of(seconds: float, now: float | None = None) -> str:
    """The local time of day; with ``now`` [s] the date too where that is another one."""
    try:
        moment = datetime.fromtimestamp(seconds)
    except (ValueError, OverflowError, OSError):
        # Whatever stands in a record: people must be able to end it here.
        return "a time beyond any calendar"
    if now is None or moment.date() == datetime.fromtimestamp(now).date():
        return f"{moment:%H:%M}"
    return f"{moment:%Y-%m-%d %H:%M}"
