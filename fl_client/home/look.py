"""What a home's meters say, as a picture for people: mapped, with age and doubts."""

from collections.abc import Sequence
from datetime import datetime

from rich.table import Table

from fl_client.home.mapping import ENERGIES, Channel
from fl_client.home.store import Store

_DOUBTS_S = 86400.0
_UNIT = {"register": "kWh", "interval": "kWh", "power": "kW", "level": ""}
_INTERVALS = 4


def silent(store: Store, channels: Sequence[Channel]) -> list[Channel]:
    """Channels that have not said anything yet."""
    return [one for one in channels if store.newest(one.name) is None]


def meters(store: Store, channels: Sequence[Channel], now: float) -> Table:
    """What each channel said last, how old it is, and what is doubtful about it."""
    table = Table("role", "where", "value", "measured", "age", "doubts of the last day", box=None)
    doubts: dict[str, list[str]] = {}
    for name, _, words in store.doubts(now - _DOUBTS_S):
        doubts.setdefault(name, []).append(words)
    for one in channels:
        said, found = store.newest(one.name), doubts.get(one.name, [])
        where = f"{one.address} {one.field}".strip().replace("\n", " ")
        told = f"{found[-1]} ({len(found)})" if found else ""
        if said is None:
            table.add_row(one.role, where, "nothing yet", "", "", told)
            continue
        value = f"{said.value:.0%}" if one.kind == "level" else f"{said.value:.3f}"
        when = datetime.fromtimestamp(said.measured).strftime("%H:%M:%S")
        table.add_row(
            one.role, where, f"{value} {_UNIT[one.kind]}", when, _age(now - said.measured), told
        )
    return table


def energies(store: Store, minutes: int, now: float) -> Table:
    """The newest intervals of every role, and how well they are known."""
    length = minutes * 60
    first = int(now // length) * length - (_INTERVALS + 1) * length
    known = {role: store.intervals(role, minutes, first, int(now)) for role in ENERGIES}
    used = [role for role in ENERGIES if store.span(role, minutes) is not None]
    table = Table("interval from", *(f"{role} [kWh]" for role in used), box=None)
    for start in sorted({one.start for found in known.values() for one in found}):
        cells = []
        for role in used:
            one = next((m for m in known[role] if m.start == start), None)
            cells.append("" if one is None else f"{one.kwh:.3f} {one.kind}")
        table.add_row(datetime.fromtimestamp(start).strftime("%d %H:%M"), *cells)
    return table


def sources(store: Store, now: float) -> Table:
    """How the sources are doing."""
    table = Table("source", "state", "for", box=None)
    for name, (state, since) in store.states().items():
        table.add_row(name, state, _age(now - since))
    return table


def _age(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
