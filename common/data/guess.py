"""What an unknown table may mean: a proposal, how sure each part of it is, and why.

Only the beginning of the file is read, and nothing is imported. What the file leaves open - whether
01/06 is June, whose zone it is - is asked, not decided.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from common.arrays import Floats, Ints
from common.data.formats import choose
from common.data.formats.cells import decimal_of
from common.data.formats.dialect import Dialect, dialect_of
from common.data.formats.mapping import Column, Mapping, Times, unit_in
from common.data.formats.parquet import is_parquet, parquet_parts
from common.data.formats.table import MISSING
from common.data.readings import Options
from common.data.registers import falls_like_a_power, looks_like_a_register
from common.data.unpack import unpack
from common.errors import InputError

SURE, LIKELY, OPEN = "sure", "likely", "open"
_LAYOUTS = (
    *("%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M", "%d/%m/%Y %H:%M:%S", "%m/%d/%Y %H:%M:%S"),
    *("%d-%m-%Y %H:%M", "%d-%m-%Y %H:%M:%S", "%d.%m.%Y %H:%M", "%d.%m.%Y %H:%M:%S"),
    *("%Y/%m/%d %H:%M", "%Y/%m/%d %H:%M:%S", "%m/%d/%Y %I:%M %p", "%d/%m/%Y %I:%M %p"),
    *("%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%d.%m.%Y", "%Y/%m/%d", "%Y%m%d"),
)
# Words of a column's name and the role they speak for, the first that fits.
_WORDS = (
    ("price", r"price|preis|tarif_?price|prix|precio"),
    ("export", r"export|einspeis|return|feed.?in|inject|teruglever|vertida|surplus|to_?grid"),
    ("discharge", r"discharg|entlad|battery.?out|from.?battery"),
    ("charge", r"batter\w*.?(charg|in\b)|to.?battery|beladung"),
    ("pv", r"\bpv\b|solar|photovolt|erzeug|produc|generat|opwek|production"),
    ("import", r"import|bezug|netz|offtake|afname|from.?grid|grid|levering|soutir"),
    ("temperature", r"temperat|\btemp\b"),
    ("consumption", r"consum|verbrauch|verbruik|usage|load|conso|kwh|energy|energie|valeur|wert"),
)
_NO_READING = (
    r"\bcost|kosten|co[uû]t|amount|\beur\b|pence|\bgas\b|m3|m³|water|status|quality|serial|"
    r"account|mprn"
)
_ENDS = r"\bend\b|ende|\bfin\b|until|\btot\b|\bbis\b|horodate|hora\b"
_BEGINS = r"begin|start|from|\bvan\b|\bvon\b|d[eé]but"
_HOMES = r"household|home_?id|meter.?id|mpan|mprn|lclid|customer|cups|\bean\b|\bnmi\b|icp"


@dataclass(frozen=True)
class Part:
    """One thing that was guessed: what, how sure (SURE, LIKELY, OPEN), and why."""

    what: str
    value: str
    sure: str
    why: str


@dataclass(frozen=True)
class Guess:
    """A proposed mapping, its parts, and the options that what is open needs."""

    mapping: Mapping
    parts: tuple[Part, ...]
    missing: tuple[str, ...]


def known_format(path: Path) -> str | None:
    """Return the format that recognises a plain file by itself; None: none does."""
    try:
        return choose(None, path, Options()).name
    except InputError:
        return None


def guess(path: Path, scratch: Path) -> Guess:
    """Propose how to read the table ``path``; ``scratch``: a folder for unpacking.

    Raises InputError where it is no table at all.
    """
    unpacked = unpack([path], scratch)
    plain = unpacked.paths[0]
    try:
        if is_parquet(plain):
            found, rows = _of_parquet(plain)
        else:
            found = dialect_of(plain, search=True)
            rows = [r for r in found.first if len(r) == len(found.names)]
        if len(found.names) < 2 or len(rows) < max(2, 0.8 * len(found.first)):
            raise InputError(f"{plain}: no table: its lines do not have the same number of cells")
    except InputError as error:
        raise InputError(unpacked.shown(str(error))) from None
    columns = {
        name: [row[at].strip() if at < len(row) else "" for row in rows]
        for at, name in enumerate(found.names)
    }
    parts = [] if found.separator == "" else _dialect_parts(found)
    time, stamps, part = _time(columns)
    parts.append(part)
    missing: list[str] = []
    if part.sure == OPEN:
        missing.append("--date-format")
    if time is not None and not _carries_offset(columns[time.columns[0]], time):
        missing.append("--timezone")
        parts.append(Part("clock", "?", OPEN, "the stamps carry no offset: whose time is it?"))
    home, part_ = _home(columns, time)
    parts += part_
    mapped, column_parts, decimal = _columns(columns, time, home, stamps)
    parts += column_parts
    if not mapped:
        missing.append("--map")
    mapping = Mapping(
        separator=found.separator or None,
        decimal=decimal,
        encoding=None if found.encoding.startswith("utf-8") else found.encoding,
        skip=found.skip or None,
        time=time,
        home=home,
        columns=mapped,
    )
    return Guess(mapping, tuple(parts), tuple(missing))


def _of_parquet(path: Path) -> tuple[Dialect, list[tuple[str, ...]]]:
    blocks, names = parquet_parts(path)
    block = next(blocks, None)
    if block is None:
        raise InputError(f"{path}: holds no rows")
    cells = [[_text(v) for v in block.columns[n].slice(0, 200).to_pylist()] for n in names]
    rows = list(zip(*cells, strict=True))
    return Dialect("utf-8", "", 0, tuple(names), tuple(rows)), rows


def _text(value: object) -> str:
    if value is None:
        return ""
    return value.isoformat() if isinstance(value, pd.Timestamp) else str(value)


def _dialect_parts(found: Dialect) -> list[Part]:
    width = len(found.names)
    parts = [
        Part("separator", repr(found.separator), SURE, f"every line below has {width} cells"),
        Part("header", f"line {found.skip + 1}", SURE, "the first line as wide as those below it"),
    ]
    if not found.encoding.startswith("utf-8"):
        parts.append(Part("encoding", found.encoding, LIKELY, "it is not UTF-8"))
    return parts


def _parsed(cells: Sequence[str], layout: str) -> "pd.Series[pd.Timestamp]":
    text = pd.Series(list(cells)).str.replace(r"([ T])24:00", r"\g<1>00:00", regex=True)
    kind = "ISO8601" if layout == "iso" else layout
    return pd.to_datetime(text, format=kind, errors="coerce", utc=True)


def _numbers(cells: Sequence[str], decimal: str | None) -> Floats:
    text = pd.Series([c for c in cells if c not in MISSING], dtype=object).astype(str)
    if decimal == ",":
        text = text.str.replace(".", "", regex=False).str.replace(",", ".", regex=False)
    return pd.to_numeric(text, errors="coerce").to_numpy(np.float64)


def _time(columns: dict[str, list[str]]) -> tuple[Times | None, Ints, Part]:
    """Find the time: the first column, or pair of columns, that one layout reads throughout."""
    names = list(columns)
    clocks = [n for n in names if _looks_like_a_time_of_day(columns[n])]
    pairs: list[tuple[str, ...]] = [(a, b) for a in names for b in clocks if a not in clocks]
    for chosen in [*pairs, *((n,) for n in names)]:
        cells = [" ".join(c) for c in zip(*(columns[n] for n in chosen), strict=True)]
        fits = _fitting(cells)
        if not fits:
            continue
        layout, stamps = fits[0]
        told_apart = len(fits) == 1 and len(_fitting(cells, apart=False)) > 1
        shown = " + ".join(chosen)
        ends: Literal["begin", "end", "count"] = "begin"
        if "24:00" in " ".join(cells):
            ends = "count"
        elif re.search(_ENDS, shown.lower()) and not re.search(_BEGINS, shown.lower()):
            ends = "end"
        times = Times(columns=chosen, format=layout, stamps=ends)
        what = f"{shown}, {layout}, {ends} of each reading"
        if len(fits) > 1:
            others = " or ".join(repr(other) for other, _ in fits)
            why = f"{cells[0]!r} may be read as {others}: say which with --date-format"
            return times, stamps, Part("time", what, OPEN, why)
        sure = SURE if ends == "begin" and not told_apart else LIKELY
        why = f"every cell reads so, as {cells[0]!r}"
        why += "; with day and month the other way round the days would not follow" * told_apart
        return times, stamps, Part("time", what, sure, why)
    zero = np.zeros(0, dtype=np.int64)
    return None, zero, Part("time", "?", OPEN, "no column reads as a time: --time COLUMN")


def _looks_like_a_time_of_day(cells: Sequence[str]) -> bool:
    return all(re.fullmatch(r"\d{1,2}:\d\d(:\d\d)?( ?[AaPp][Mm])?", c) for c in cells)


def _fitting(cells: Sequence[str], *, apart: bool = True) -> list[tuple[str, Ints]]:
    """Return the layouts that read every cell; ``apart``: of several the one whose days follow."""
    fits = []
    if all(re.fullmatch(r"1\d{9}", c) for c in cells):
        return [("epoch", np.array([int(c) for c in cells], dtype=np.int64))]
    if all(re.fullmatch(r"1\d{12}", c) for c in cells):
        return [("epoch_ms", np.array([int(c) // 1000 for c in cells], dtype=np.int64))]
    if all(re.fullmatch(r"[34]\d{4}\.\d{2,}|[34]\d{4}", c) for c in cells) and any(
        "." in c for c in cells
    ):
        days = np.array([float(c) for c in cells])
        return [("excel", np.rint((days - 25569) * 86400).astype(np.int64))]
    for layout in ("iso", *_LAYOUTS):
        if layout == "iso" and not all(re.match(r"\d{4}-\d\d-\d\d", c) for c in cells):
            continue
        read = _parsed(cells, layout)
        if not read.isna().any():
            fits.append((layout, read.to_numpy("datetime64[s]").astype(np.int64)))
    if len(fits) > 1 and apart:
        # A day is as long as the next: read the wrong way round, months take the place of days.
        steady = [f for f in fits if _steady(f[1])]
        fits = steady if len(steady) == 1 else fits
    return fits


def _steady(stamps: Ints) -> bool:
    steps = np.diff(np.unique(stamps))
    if not len(steps):
        return False
    return bool(steps.max() <= 3 * 86400 and (steps == np.median(steps)).mean() > 0.5)


def _carries_offset(cells: Sequence[str], time: Times) -> bool:
    if time.format in ("epoch", "epoch_ms"):
        return True
    named = re.search(r"utc|gmt", time.columns[0].lower()) is not None
    return named or all(re.search(r"(Z|[+-]\d\d:?\d\d|UTC|GMT)$", c) for c in cells)


def _home(columns: dict[str, list[str]], time: Times | None) -> tuple[str | None, list[Part]]:
    for name, cells in columns.items():
        if time is not None and name in time.columns:
            continue
        if re.search(_HOMES, name.lower()) and len(set(cells)) > 1:
            return name, [Part("home", name, LIKELY, f"{len(set(cells))} of them in these rows")]
    return None, []


def _columns(
    columns: dict[str, list[str]], time: Times | None, home: str | None, stamps: Ints
) -> tuple[dict[str, Column], list[Part], str | None]:
    mapped: dict[str, Column] = {}
    parts: list[Part] = []
    every = [c for n, cells in columns.items() for c in cells if _is_value(n, time, home)]
    decimal = decimal_of([c for c in every if re.fullmatch(r"[+-]?[\d.,' ]*\d", c)])
    if decimal == ",":
        parts.append(Part("decimal sign", "','", SURE, "numbers such as 0,25"))
    for name, cells in columns.items():
        if not _is_value(name, time, home):
            continue
        value = _numbers(cells, decimal)
        if not len(value) or np.isnan(value).any() or re.search(_NO_READING, name.lower()):
            parts.append(Part(name, "left out", LIKELY, "no readings of electricity"))
            continue
        role, sure, why = _role(name)
        unit = unit_in(name)
        kind, kind_why = _kind(name, value, unit, cells, stamps)
        if role is None:
            parts.append(Part(name, "?", OPEN, "its name says no role: --map 'NAME=ROLE'"))
            continue
        if unit is None and role not in ("price", "temperature"):
            sure, why = OPEN if kind == "interval" else LIKELY, f"{why}; no unit: kWh, Wh, W?"
        mapped[name] = Column(role=role, unit=unit if unit in _units(role) else None, kind=kind)
        shown = f"{role}, {unit or 'kWh?'}, {kind}"
        parts.append(Part(name, shown, sure, f"{why}{kind_why}"))
    return mapped, parts, decimal if decimal == "," else None


def _units(role: str) -> tuple[str, ...]:
    if role == "price":
        return ("/kWh", "/MWh", "ct/kWh")
    return ("degC",) if role == "temperature" else ("Wh", "kWh", "MWh", "W", "kW", "MW")


def _is_value(name: str, time: Times | None, home: str | None) -> bool:
    return name != home and (time is None or name not in time.columns)


def _role(name: str) -> tuple[str | None, str, str]:
    found = [role for role, words in _WORDS if re.search(words, name.lower())]
    if not found:
        return None, OPEN, ""
    weak = found[0] == "consumption"
    return found[0], LIKELY if weak else SURE, f"its name {name!r}"


def _kind(
    name: str, value: Floats, unit: str | None, cells: Sequence[str], stamps: Ints
) -> tuple[str, str]:
    kept = np.array([c not in MISSING for c in cells])
    times = stamps[kept] if len(stamps) == len(cells) else np.arange(len(value)) * 1800
    by_time = np.argsort(times, kind="stable")
    times, value = times[by_time], value[by_time]
    most = float(np.diff(value).max()) if len(value) > 1 else 0.0
    rising = len(value) >= 12 and bool((np.diff(value) >= 0).all()) and value[0] > 20 * most > 0
    if unit not in ("W", "kW", "MW") and (rising or looks_like_a_register(times, value)):
        return "register", f"; it never falls ({value[0]:g} to {value[-1]:g})"
    steps = np.diff(times)
    if unit in ("W", "kW", "MW") and len(steps) and (steps != np.median(steps)).mean() > 0.2:
        return "power", "; a power at irregular times"
    return "interval", "; it falls as often as it rises" if falls_like_a_power(value) else ""
