"""A CityLearn data set folder: schema.json, a CSV file per building, pricing and weather.

The set names no year. The first row's month, hour and day type fix the date: the first year from
2016 on whose weekday fits, unless the user names the first day. Hour h begins at h:00 wall clock
and hour 24 at midnight, as the readings of these sets show.
"""

import json
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from common.arrays import Floats, Ints
from common.data.formats.table import Part, header, parts
from common.data.readings import Batch, Options
from common.errors import InputError

# (package up to 2.0, package from 2.1 on)
_MONTH = ("Month", "month")
_HOUR = ("Hour", "hour")
_DAY_TYPE = ("Day Type", "day_type")
_LOAD = ("Equipment Electric Power [kWh]", "non_shiftable_load")
_SOLAR = ("Solar Generation [W/kW]", "solar_generation")
_TEMPERATURE = ("Outdoor Drybulb Temperature [C]", "outdoor_dry_bulb_temperature")
_PRICE = ("Electricity Pricing [$/kWh]", "electricity_pricing")


class CityLearn:
    """Load and PV of every building; temperature and price of the set."""

    name = "citylearn"
    title = "CityLearn data set (folder with schema.json)"
    zone = "America/Los_Angeles"
    clock = None
    reads: frozenset[str] = frozenset({"clock", "first_day"})
    folders = True

    def recognises(self, path: Path, head: str) -> bool:
        """A folder with a schema, or one building of it."""
        return path.is_dir() and (path / "schema.json").is_file()

    def read(self, paths: Sequence[Path], options: Options) -> Iterator[Batch]:
        """Yield load, PV, temperature and price of every building of every folder."""
        for folder in paths:
            schema = _schema(folder)
            seconds = int(schema.get("seconds_per_time_step", 3600))
            for name, building in schema["buildings"].items():
                if building.get("include", True):
                    yield from _building(folder, name, building, seconds, options)


def _schema(folder: Path) -> dict[str, Any]:
    path = folder / "schema.json"
    try:
        schema = json.loads(path.read_text())
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"{path}: not JSON: {error}") from None
    if not isinstance(schema, dict) or not isinstance(schema.get("buildings"), dict):
        raise InputError(f"{path}: no 'buildings'")
    return schema


def _find(path: Path, names: tuple[str, str]) -> str:
    found = header(path, ",")
    for name in names:
        if name in found:
            return name
    raise InputError(f"{path}: no column {names[0]!r} or {names[1]!r} in the header")


def _whole(path: Path, *columns: tuple[str, str]) -> tuple[Part, list[Floats], Ints]:
    """Return the first block, all values of each column, and the rows."""
    names = [_find(path, column) for column in columns]
    blocks = list(parts(path, names))
    if not blocks:
        raise InputError(f"{path}: no rows after the header")
    values = [np.concatenate([block.numbers(name) for block in blocks]) for name in names]
    return blocks[0], values, np.concatenate([block.row for block in blocks])


def first_day(month: int, hour: int, day_type: int) -> date:
    """Return the day on which the first row begins: the first of a month, from 2016 on."""
    after_midnight = hour == 24
    begins = month % 12 + 1 if after_midnight else month
    weekday = (day_type % 7 if after_midnight else day_type - 1) if day_type <= 7 else None
    for year in range(2016, 2044):
        first = date(year, begins, 1)
        if weekday is None or first.weekday() == weekday:
            return first
    raise AssertionError("every weekday begins a given month within 28 years")


def _building(
    folder: Path, name: str, building: dict[str, Any], seconds: int, options: Options
) -> Iterator[Batch]:
    path = folder / str(building.get("energy_simulation", f"{name}.csv"))
    _, (month, hour, kind, load, solar), row = _whole(path, _MONTH, _HOUR, _DAY_TYPE, _LOAD, _SOLAR)
    if np.isnan([month[0], hour[0], kind[0]]).any():
        raise InputError(f"{path}: row 2: month, hour and day type are needed")
    day = options.first_day or first_day(int(month[0]), int(hour[0]), int(kind[0]))
    wall = int((day - date(1970, 1, 1)).total_seconds()) + int(hour[0]) % 24 * 3600
    start = wall + seconds * np.arange(len(row), dtype=np.int64)
    length = np.full(len(row), seconds, dtype=np.int64)
    panels = (building.get("pv") or {}).get("attributes") or {}
    nominal_kw = float(panels.get("nominal_power") or 0.0)
    yield Batch(name, "consumption", start, length, load, row, path, wall_clock=True)
    pv = solar / 1000.0 * nominal_kw
    yield Batch(name, "pv", start, length, pv, row, path, wall_clock=True)
    for key, channel, column in (
        ("weather", "temperature", _TEMPERATURE),
        ("pricing", "price", _PRICE),
    ):
        if not building.get(key):  # left out, or null
            continue
        other = folder / str(building[key])
        _, (value,), rows = _whole(other, column)
        if len(value) != len(start):
            raise InputError(f"{other}: {len(value)} rows, {path.name} has {len(start)}")
        yield Batch(name, channel, start, length, value, rows, other, wall_clock=True)
