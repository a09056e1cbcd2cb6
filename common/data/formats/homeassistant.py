"""Home Assistant: the energy dashboard's CSV and the history CSV of cumulative meters."""

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from common.arrays import Floats
from common.data.formats.table import MISSING, parts
from common.data.readings import CHANNELS, Batch, Kind, Options, household_name, one_home_a_file
from common.errors import InputError

_TYPES = {
    "grid_consumption": "import",
    "grid_return": "export",
    "solar_production": "pv",
    "battery_in": "charge",
    "battery_out": "discharge",
}
_KWH = {"Wh": 1e-3, "kWh": 1.0, "MWh": 1e3}
_KW = {"W": 1e-3, "kW": 1.0}
_UNITS = {
    **{u: (Kind.REGISTER, f) for u, f in _KWH.items()},
    **{u: (Kind.POWER, f) for u, f in _KW.items()},
}
# Words of an entity's name that settle its role, the first that fits. "energy" settles nothing:
# it stands in the name of every meter.
_DECISIVE = (
    ("discharge", r"battery.*(out|discharg)|discharg"),
    ("charge", r"battery.*(_in\b|in$|charg)"),
    ("export", r"export|returned|_return|feed_?in|to_grid|injection|produc\w*_tari|teruglever"),
    ("import", r"import|from_grid|grid_(consum|use|usage)|consum\w*_tari"),
    ("pv", r"solar|(^|[._])pv|photovolt"),
)
# Words that are no such flow, or may be one of several: the user has to say.
_DOUBTFUL = (
    r"charger|wallbox|(^|[._])ev([._]|$)|(^|[._])car([._]|$)|vehicle|inverter|load|plug|heat_?pump"
)
_MAIN = r"grid|meter|mains|house|home|total|consum|energy|power|usage"
_SOMETHING = rf"{_MAIN}|{_DOUBTFUL}|battery|kwh|produc"
# What tells two registers of one meter apart, not two quantities.
_TARIFF = (
    r"(tari\w*|low|high|normal|peak|off_?peak|day|night|dal|piek|rate|phase)_?[0-9abc]?$"
    r"|_?[tl]?[123]$"
)


class HomeAssistantEnergy:
    """Energy dashboard, "Download data": a row per entity, a column per hour in UTC."""

    name = "ha-energy"
    title = "Home Assistant energy dashboard CSV"
    zone = None
    clock = None
    reads: frozenset[str] = frozenset({"name", "each"})
    folders = False

    def recognises(self, path: Path, head: str) -> bool:
        """The header begins with entity_id,type,unit."""
        return head.startswith("entity_id,type,unit")

    def read(self, paths: Sequence[Path], options: Options) -> Iterator[Batch]:
        """Yield one batch per entity of a flow; entities of one kind add up."""
        one_home_a_file(paths, options)
        for path in paths:
            yield from _energy(path, household_name(path, options))


def _energy(path: Path, name: str) -> Iterator[Batch]:
    with path.open(newline="", encoding="utf-8-sig") as stream:
        rows = list(csv.reader(stream))
    stamps = pd.to_datetime(pd.Series(rows[0][3:]), format="ISO8601", errors="coerce", utc=True)
    if len(stamps) < 2 or stamps.isna().any():
        at = int(np.argmax(stamps.isna().to_numpy())) if len(stamps) else 0
        raise InputError(f"{path}: row 1: column {at + 4} is not a time")
    start = stamps.to_numpy("datetime64[s]").astype(np.int64)
    step = int(np.median(np.diff(start)))
    if step > 3600:
        raise InputError(
            f"{path}: row 1: readings every {step // 3600} hours; choose a shorter range in the "
            "dashboard to get hourly ones"
        )
    meters: dict[str, list[tuple[str, Floats, int]]] = {}
    for number, cells in enumerate(rows[1:], 2):
        if not cells:
            continue
        if len(cells) != len(rows[0]):
            raise InputError(
                f"{path}: row {number}: {len(cells)} columns instead of {len(rows[0])} "
                "(truncated file or another separator?)"
            )
        channel = _TYPES.get(cells[1])
        if channel is None:
            continue
        if cells[2] not in _KWH:
            raise InputError(f"{path}: row {number}: unit = {cells[2]!r}: not an energy")
        kwh = _numbers(path, number, cells[3:]) * _KWH[cells[2]]
        meters.setdefault(channel, []).append((cells[0], kwh, number))
    if not meters:
        kinds = ", ".join(sorted({cells[1] for cells in rows[1:] if len(cells) > 1})) or "no rows"
        raise InputError(
            f"{path}: no energy of the grid, the panels or a battery among its rows ({kinds}): "
            "download it from the dashboard's page of all sources"
        )
    for channel, entities in meters.items():
        for entity, kwh, number in _lifetimes(entities):
            row = np.full(len(start), number, dtype=np.int64)
            length = np.full(len(start), step)
            yield Batch(name, channel, start, length, kwh, row, path, series=entity)


def _lifetimes(entities: Sequence[tuple[str, Floats, int]]) -> list[tuple[str, Floats, int]]:
    """Let an entity count nothing before its first and after its last value.

    There another of the same kind has one: a meter that was replaced, or a second one added.
    """
    some = np.logical_or.reduce([~np.isnan(kwh) for _, kwh, _ in entities])
    found = []
    for entity, kwh, number in entities:
        there = np.flatnonzero(~np.isnan(kwh))
        if not there.size:
            continue
        outside = np.ones(len(kwh), dtype=np.bool_)
        outside[there[0] : there[-1] + 1] = False
        found.append((entity, np.where(outside & some, 0.0, kwh), number))
    return found


def _numbers(path: Path, row: int, cells: Sequence[str]) -> Floats:
    values = np.full(len(cells), np.nan)
    for i, cell in enumerate(cells):
        if cell.strip() in MISSING:
            continue
        try:
            values[i] = float(cell)
        except ValueError:
            raise InputError(
                f"{path}: row {row}: column {i + 4} = {cell!r}: not a number"
            ) from None
    return values


class HomeAssistantHistory:
    """History, "Download data": entity_id,state,last_changed; irregular, cumulative meters.

    A state counts up until the next one; the difference is spread over the time between. With
    ``--unit W`` or ``kW`` the state is a power that holds until the next: Home Assistant writes a
    row only when a state changes.
    """

    name = "ha-history"
    title = "Home Assistant history CSV"
    zone = None
    clock = None
    reads: frozenset[str] = frozenset({"name", "each", "roles", "unit", "allow_resets"})
    folders = False

    def recognises(self, path: Path, head: str) -> bool:
        """The header is entity_id,state,last_changed."""
        return head.startswith("entity_id,state,last_changed")

    def read(self, paths: Sequence[Path], options: Options) -> Iterator[Batch]:
        """Yield one batch per entity; a file of this kind holds days, not years."""
        kind, factor = unit_of(options.unit)
        one_home_a_file(paths, options)
        for path in paths:
            table = _history(path)
            roles = roles_of(list(dict.fromkeys(table["e"])), options, path)
            for entity, channel in roles.items():
                if channel == "ignore":
                    continue
                rows = table[table["e"] == entity]
                # Of several states within one second the last one holds.
                rows = rows[~rows["t"].duplicated(keep="last")]
                value = _states(path, rows)
                yield Batch(
                    household_name(path, options),
                    channel,
                    rows["t"].to_numpy(np.int64),
                    np.full(len(rows), _HOLD_S, dtype=np.int64),
                    value * factor,
                    rows["row"].to_numpy(np.int64),
                    path,
                    kind=kind,
                    series=entity,
                )


_HOLD_S = 400 * 86400  # a state holds until the next, however long that is


def unit_of(unit: str | None) -> tuple[Kind, float]:
    """Return what a state in ``unit`` is, and the factor to kWh or kW. Raises InputError."""
    if (unit or "kWh") not in _UNITS:
        raise InputError(f"--unit {unit!r}: known: {', '.join(_UNITS)}")
    return _UNITS[unit or "kWh"]


def _history(path: Path) -> pd.DataFrame:
    """Return the columns e, t, v (text), row of a history, oldest first."""
    frames = []
    for part in parts(path, ("entity_id", "state", "last_changed")):
        seconds, zoned = part.times("last_changed")
        if not zoned:
            raise InputError(f"{path}: row {part.first_row}: last_changed has no offset")
        entity, state = part.text("entity_id").to_pylist(), part.text("state").to_pylist()
        frames.append(pd.DataFrame({"e": entity, "t": seconds, "v": state, "row": part.row}))
    if not frames:
        raise InputError(f"{path}: no rows after the header")
    return pd.concat(frames).sort_values("t", kind="stable")


def _states(path: Path, rows: pd.DataFrame) -> Floats:
    text = rows["v"].where(~rows["v"].isin(MISSING))
    value = pd.to_numeric(text, errors="coerce").to_numpy(np.float64)
    wrong = (np.isnan(value) & text.notna().to_numpy()) | np.isinf(value)
    if wrong.any():
        at = int(np.argmax(wrong))
        raise InputError(
            f"{path}: row {rows['row'].iloc[at]}: {rows['e'].iloc[at]} = {rows['v'].iloc[at]!r}: "
            "not a number"
        )
    return value


def roles_of(entities: Sequence[str], options: Options, path: Path) -> dict[str, str]:
    """Return entity -> channel or ``ignore``, by ``--map`` or by words that settle it.

    Raises InputError where a name does not say, and where several say the same without being
    registers of one meter.
    """
    known = {*CHANNELS, "ignore"}
    for entity, role in options.roles.items():
        if entity not in entities:
            raise InputError(
                f"{path}: --map {entity}={role}: no such entity: {', '.join(entities)}"
            )
        if role not in known:
            raise InputError(f"--map {entity}={role}: known: {', '.join(CHANNELS)}, ignore")
    roles = {e: options.roles.get(e) or _role(e, entities, path) for e in entities}
    guessed: dict[str, list[str]] = {}
    for entity, role in roles.items():
        if entity not in options.roles and role != "ignore":
            guessed.setdefault(role, []).append(entity)
    for role, alike in guessed.items():
        if len({_stem(e) for e in alike}) > 1 or (
            len(alike) < sum(r == role for r in roles.values())
        ):
            raise InputError(
                f"{path}: {alike[0]} and {alike[-1]} both look like {role}: use --map {alike[-1]}="
                f"ROLE; two of one role add up, ROLE 'ignore' leaves one out"
            )
    return roles


def bystanders_of(entities: Sequence[str], options: Options) -> list[str]:
    """Return the entities whose names settle no role, or, with ``--map``, that it does not name."""
    if options.roles:
        return [e for e in entities if e not in options.roles]
    return [
        e
        for e in entities
        if re.search(_DOUBTFUL, e.lower())
        or not any(re.search(words, e.lower()) for _, words in _DECISIVE)
    ]


def _stem(entity: str) -> str:
    return re.sub(_TARIFF, "", entity.lower())


def _role(entity: str, entities: Sequence[str], path: Path) -> str:
    name = entity.lower()
    role = next((role for role, words in _DECISIVE if re.search(words, name)), None)
    if re.search(_DOUBTFUL, name) is None:
        if role is not None:
            return role
        others = [e for e in entities if e != entity and re.search(_SOMETHING, e.lower())]
        if re.search(_MAIN, name):
            if not others:
                return "import"
            if "grid" in name:
                return "import"
        elif not re.search(_SOMETHING, name) and len(entities) > 1:
            return "ignore"  # no word of energy: a bystander
        elif len(entities) == 1:
            return "consumption"
    raise InputError(
        f"{path}: what is {entity}? Its name does not settle it: use --map {entity}=ROLE, for "
        "example import, export, pv, charge, discharge, ev_charging or ignore"
    )
