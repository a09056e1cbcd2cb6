"""Home Assistant: the energy dashboard's CSV and the history CSV of cumulative meters."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from common.arrays import Floats
from common.data.formats.table import MISSING, parts
from common.data.readings import CHANNELS, Batch, Options, household_name
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
# Words of an entity's name that tell its role, the first that fits.
_WORDS = (
    ("pv", ("solar", "pv", "photovoltaic", "inverter")),
    ("export", ("export", "return", "feed_in", "production")),
    ("discharge", ("battery_out", "discharge")),
    ("charge", ("battery_in", "charge")),
    ("import", ("import", "grid", "meter", "consumption", "energy")),
)


class HomeAssistantEnergy:
    """Energy dashboard, "Download data": a row per entity, a column per hour in UTC."""

    name = "ha-energy"
    title = "Home Assistant energy dashboard CSV"
    zone = "UTC"
    repeats = False
    folders = False

    def recognises(self, path: Path, head: str) -> bool:
        """The header begins with entity_id,type,unit."""
        return head.startswith("entity_id,type,unit")

    def read(self, paths: Sequence[Path], options: Options) -> Iterator[Batch]:
        """Yield one batch per kind of flow; entities of one kind are summed."""
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
    totals: dict[str, tuple[Floats, int]] = {}
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
        if channel in totals:
            before, first = totals[channel]
            both = np.isnan(before) & np.isnan(kwh)
            kwh = np.where(both, np.nan, np.nan_to_num(before) + np.nan_to_num(kwh))
            number = first
        totals[channel] = (kwh, number)
    for channel, (kwh, number) in totals.items():
        row = np.full(len(start), number, dtype=np.int64)
        yield Batch(name, channel, start, np.full(len(start), step), kwh, row, path)


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
    ``--unit W`` or ``kW`` the state is a power that holds until the next.
    """

    name = "ha-history"
    title = "Home Assistant history CSV"
    zone = "UTC"
    repeats = False
    folders = False

    def recognises(self, path: Path, head: str) -> bool:
        """The header is entity_id,state,last_changed."""
        return head.startswith("entity_id,state,last_changed")

    def read(self, paths: Sequence[Path], options: Options) -> Iterator[Batch]:
        """Yield one batch per entity; a file of this kind holds days, not years."""
        unit = options.unit or "kWh"
        if unit not in {*_KWH, *_KW}:
            raise InputError(f"--unit {unit!r}: known: {', '.join({**_KWH, **_KW})}")
        for path in paths:
            needs = ("entity_id", "state", "last_changed")
            frames = []
            for part in parts(path, needs):
                seconds, zoned = part.times("last_changed")
                if not zoned:
                    raise InputError(f"{path}: row {part.first_row}: last_changed has no offset")
                state = part.numbers("state")
                entity = part.text("entity_id").to_pylist()
                frames.append(
                    pd.DataFrame({"e": entity, "t": seconds, "v": state, "row": part.row})
                )
            if not frames:
                raise InputError(f"{path}: no rows after the header")
            table = pd.concat(frames)
            entities = list(dict.fromkeys(table["e"]))
            taken: dict[str, str] = {}
            for entity in entities:
                channel = _role(entity, entities, options)
                if channel == "ignore":
                    continue
                if channel in taken:
                    raise InputError(
                        f"{path}: {taken[channel]} and {entity} both look like {channel}: "
                        f"use --map {entity}=ROLE, ROLE also 'ignore'"
                    )
                taken[channel] = entity
                rows = table[table["e"] == entity]
                yield _steps(path, household_name(path, options), channel, rows, unit, options)


def _role(entity: str, entities: Sequence[str], options: Options) -> str:
    if entity in options.roles:
        role = options.roles[entity]
        if role not in {*CHANNELS, "ignore"}:
            raise InputError(f"--map {entity}={role}: known: {', '.join(CHANNELS)}, ignore")
        return role
    for role, words in _WORDS:
        if any(word in entity.lower() for word in words):
            return role
    if len(entities) == 1:
        return "consumption"
    raise InputError(f"what is {entity}? Use --map {entity}=ROLE, for example consumption or pv")


def _steps(
    path: Path, name: str, channel: str, rows: pd.DataFrame, unit: str, options: Options
) -> Batch:
    time = rows["t"].to_numpy(np.int64)
    state = rows["v"].to_numpy(np.float64)
    row = rows["row"].to_numpy(np.int64)
    seconds = np.diff(time)
    if (seconds < 0).any():
        at = int(np.argmax(seconds < 0)) + 1
        raise InputError(f"{path}: row {row[at]}: last_changed goes back in time")
    if unit in _KW:
        kwh = state[:-1] * _KW[unit] * seconds / 3600.0
    else:
        kwh = register_steps(state, row, path, allow_resets=options.allow_resets) * _KWH[unit]
    keep = seconds > 0
    return Batch(name, channel, time[:-1][keep], seconds[keep], kwh[keep], row[1:][keep], path)


def register_steps(state: Floats, row: np.ndarray, path: Path, *, allow_resets: bool) -> Floats:
    """Return (n - 1,) increments of a register; NaN next to a missing state.

    A register that falls was reset or replaced: what it counted in between is lost. Without
    ``allow_resets`` that is an InputError; with it, a register counts on from zero.
    """
    step = np.diff(state)
    for at in np.flatnonzero(step < 0).tolist():
        if not allow_resets:
            raise InputError(
                f"{path}: row {row[at + 1]}: the meter falls from {state[at]:g} to "
                f"{state[at + 1]:g}: a reset? '--allow-resets' counts on from zero"
            )
        step[at] = state[at + 1]
    return step
