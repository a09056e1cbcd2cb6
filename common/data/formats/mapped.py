"""Tables of any layout, read as a mapping says: long, wide, or a day's values in one row.

A table is read in blocks. Names of columns come from the header, what they mean from the mapping;
a column that nobody mapped is named, never read by chance.
"""

import re
from collections.abc import Iterator, Sequence
from collections.abc import Mapping as Roles
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from common.arrays import Floats, Ints, Mask
from common.data.formats.canonical import KNOWN, STAMPS
from common.data.formats.cells import bare, decimals, layout_of, no_layout, stamps
from common.data.formats.dialect import Dialect, dialect_of
from common.data.formats.mapping import (
    IGNORE,
    NET,
    Column,
    Mapping,
    Times,
    strange_unit_in,
    unit_called,
    unit_in,
)
from common.data.formats.parquet import is_parquet, is_text, parquet_parts
from common.data.formats.table import MISSING, Part, joined, parts
from common.data.frame import PRICES
from common.data.readings import (
    LEVELS,
    Batch,
    Kind,
    Options,
    household_name,
    one_home_a_file,
)
from common.data.resample import to_utc
from common.errors import InputError

_DAY_S = 86400
_FLAG = re.compile(r"status|qualit|flag|valid|estimat|ersatz|calidad|\u00e9tat", re.IGNORECASE)
_UNNAMED = re.compile(r"column \d+")


@dataclass(frozen=True)
class _Value:
    """A column of readings: its name in the file, its role, kind, factor, and whose it is."""

    name: str
    role: str
    kind: Kind
    factor: float
    home: str | None = None


@dataclass(frozen=True)
class _Plan:
    """What of a file is read: fixed once its header is known."""

    times: Times
    values: tuple[_Value, ...]
    slots: tuple[tuple[str, int], ...]  # column, seconds after midnight
    home: str | None


class Table:
    """A table read by a mapping; ``--format table`` takes it from the user."""

    folders = False
    reads: frozenset[str] = frozenset(
        {"clock", "name", "each", "roles", "unit", "allow_resets", "mapping"}
    )

    def __init__(self, name: str = "table", mapping: Mapping | None = None) -> None:
        self.name = name
        self._mapping = mapping or Mapping()
        self.title = self._mapping.title or "a table read by a mapping"
        self.zone = self._mapping.zone
        self.said: list[str] = []
        self.doubts: list[str] = []
        self._grouped = False  # a point may stand between thousands
        self._numbered = False  # a stamp of 24:00 was seen

    @property
    def clock(self) -> str | None:
        """The clock that the mapping names."""
        return None if self._mapping.time is None else self._mapping.time.clock

    def recognises(self, path: Path, head: str) -> bool:
        """Whether the header has the columns by which the mapping knows its files."""
        wanted = self._mapping.recognise
        if not wanted or path.is_dir() or head.startswith("PAR1"):
            return False
        try:
            found = self._dialect(path, search=self._mapping.header is None)
        except InputError:
            return False
        names = {name.strip().lower() for name in found.names}
        return self._fits(found) and all(_matches(cell, names) for cell in wanted)

    def _fits(self, found: Dialect) -> bool:
        told = self._mapping.preamble
        return told is None or re.search(told, found.before, re.IGNORECASE) is not None

    def with_options(self, options: Options) -> "Table":
        """Return the format as the user's options change it. Raises InputError."""
        mapping = options.mapping if isinstance(options.mapping, Mapping) else Mapping()
        given = mapping.model_dump(exclude_unset=True)
        merged = self._mapping.model_copy(update={k: getattr(mapping, k) for k in given})
        columns = {**merged.columns, **_columns(options.roles)}
        return Table(self.name, merged.model_copy(update={"columns": columns}))

    def mapping(self) -> Mapping:
        """Return what is read how."""
        return self._mapping

    def _dialect(self, path: Path, *, search: bool = False) -> Dialect:
        m = self._mapping
        return dialect_of(
            path,
            encoding=m.encoding,
            separator=m.separator,
            skip=m.skip,
            header=m.header,
            search=search,
        )

    def read(self, paths: Sequence[Path], options: Options) -> Iterator[Batch]:
        """Yield a batch per household, column and block."""
        if self._mapping.home is None and not any("home" in c for c in self._mapping.columns):
            one_home_a_file(paths, options)
        for path in paths:
            names, blocks = self._open(path)
            plan = self._plan(path, names, options)
            for part in blocks if plan.home is None else joined(blocks, plan.home):
                yield from self._batches(part, plan, options)

    def _open(self, path: Path) -> tuple[list[str], Iterator[Part]]:
        if is_parquet(path):
            blocks, names = parquet_parts(path)
            return names, blocks
        found = self._dialect(path)
        if not self._fits(found):
            raise InputError(
                f"{path}: the lines before its header do not hold {self._mapping.preamble!r}, as "
                f"{self.title} has: another kind of file?"
            )
        self._grouped = found.separator != ","
        names = list(found.names)
        cut = _narrower(path, found.first, len(names))
        blocks = parts(
            path,
            names,
            separator=found.separator,
            skip=found.skip + 1 + self._mapping.after_header,
            names=[*names, *cut],
            encoding=found.encoding,
        )
        return names, blocks

    def _plan(self, path: Path, names: Sequence[str], options: Options) -> _Plan:
        m = self._mapping
        times = m.time or _own_time(path, names)
        missing = [c for c in times.columns if c not in names]
        if missing:
            raise InputError(
                f"{path}: no column {missing[0]!r} for the time in the header: {_list(names)}"
            )
        slots = _slots(path, m, names)
        values = () if m.slots is not None else self._values(path, names, times, options)
        named = (
            m.rows.column if m.rows else None,
            m.estimates.column if m.estimates else None,
            times.until,
        )
        for column in (m.home, *named):
            if column and column not in names:
                raise InputError(f"{path}: no column {column!r} in the header: {_list(names)}")
        used = {*times.columns, *(v.name for v in values), *(c for c, _ in slots), m.home}
        used |= set(named)
        unread = [name for name in names if name not in used and not _UNNAMED.fullmatch(name)]
        if unread:
            self._say(f"columns not read: {_list(unread)}")
        flags = [name for name in unread if _FLAG.search(name)]
        if flags:
            doubt = (
                f"column {flags[0]!r} may say which readings count, and is not read: "
                "'estimates' of a mapping marks them"
            )
            if doubt not in self.doubts:
                self.doubts.append(doubt)
        return _Plan(times, values, slots, m.home)

    def _values(
        self, path: Path, names: Sequence[str], times: Times, options: Options
    ) -> tuple[_Value, ...]:
        columns = self._mapping.columns or {
            name: _own_column(KNOWN[name.lower()], options)
            for name in names
            if name.lower() in KNOWN
        }
        if not columns:
            raise InputError(
                f"{path}: which column is what? --map 'COLUMN=ROLE', for example import: "
                f"{_list([n for n in names if n not in times.columns])}"
            )
        found = []
        for key, column in columns.items():
            matches = [(name, home) for name in names for home in _match(key, name)]
            if not matches and column.optional:
                continue
            if not matches:
                raise InputError(
                    f"{path}: no column {key.removeprefix('re:')!r} in the header: {_list(names)}"
                )
            for name, home in matches:
                level = column.role in LEVELS  # a price names the energy it is for
                said = None if level else unit_in(name)
                unit = column.unit or options.unit or unit_in(name)
                strange = None if level else strange_unit_in(name)
                if unit is None and strange is not None:
                    raise InputError(
                        f"{path}: column {name!r}: unit {strange!r} is none that is read: convert "
                        f"it, or say what it is: --map '{name}={column.role}:UNIT'"
                    )
                if said is not None and unit is not None and unit_called(unit) != said:
                    raise InputError(
                        f"{path}: column {name!r} says {said}, and it is told to be {unit}: "
                        "rename it if its name is wrong"
                    )
                if unit is None and not self._mapping.columns:
                    unit = _unitless(column.role)
                if unit is None:
                    unit = _unitless(column.role)
                    self._say(
                        f"{name}: {unit} is assumed: --map '{name}={column.role}:UNIT' names "
                        "another"
                    )
                try:
                    kind, factor = column.resolved(unit_called(unit) or unit)
                except ValueError as error:
                    raise InputError(f"{path}: {name}: {error}") from None
                found.append(_Value(name, column.role, kind, factor, home))
        return tuple(found)

    def _say(self, line: str) -> None:
        if line not in self.said:
            self.said.append(line)

    def _batches(self, part: Part, plan: _Plan, options: Options) -> Iterator[Batch]:
        start, utc = self._times(part, plan, options)
        estimated = self._estimated(part)
        groups = list(self._groups(part, plan, options))
        slots = self._mapping.slots
        if slots is not None:
            yield from self._days(part, plan, start, utc, estimated, groups, options)
            return
        length = (plan.times.minutes or 0) * 60
        ends = plan.times.stamps != "begin"
        if ends and (self._numbered or plan.times.stamps == "count") and not utc:
            # The time of day is a number: what lies before it is an hour of the same clock.
            length = length or self._usual(part, start)
            start, ends = start - length, False
        seconds = np.full(len(part), length, dtype=np.int64)
        if plan.times.until is not None:
            seconds = _until(part, plan.times.until, plan.times.format, start, utc)
        lines = part.row
        for value in plan.values:
            numbers = decimals(part, value.name, self._mapping.decimal, self._grouped)
            for home, rows in groups:
                for role, word, chosen, kind, factor in self._roles(part, value, rows):
                    batch = Batch(
                        value.home or home, role, start[chosen], seconds[chosen],
                        numbers[chosen] * factor, lines[chosen], part.path,
                        _at(estimated, chosen), not utc, kind, ends, word or value.name, bool(word),
                    )  # fmt: skip
                    yield from _signed(batch)

    def _times(self, part: Part, plan: _Plan, options: Options) -> tuple[Ints, bool]:
        times = plan.times
        name = times.columns[0]
        layout = times.format
        if layout == "iso" and len(times.columns) == 1 and is_text(part.columns[name]):
            told = layout_of(str(bare(part.columns[name])[0].as_py() or "")) if len(part) else "iso"
            if told is None:
                raise no_layout(part, name)
            layout = told
        seconds, utc, numbered = stamps(part, times.columns, layout)
        self._numbered |= numbered
        utc = utc or re.search(r"\b(utc|gmt)\b", name.lower().replace("_", " ")) is not None
        if not utc and not (times.clock or options.clock or options.timezone or self.zone):
            raise InputError(
                f"{part.path}: row {part.first_row}: {name} has no offset: name the clock with "
                "--timezone (of the homes) or --clock, for example UTC, Europe/London or +10:00"
            )
        return seconds, utc

    def _usual(self, part: Part, start: Ints) -> int:
        steps = np.diff(np.unique(start))
        if not len(steps):
            raise InputError(f"{part.path}: one reading: how long it is, --minutes has to say")
        sizes, counts = np.unique(steps, return_counts=True)
        return int(sizes[np.argmax(counts)])

    def _estimated(self, part: Part) -> Mask | None:
        if self._mapping.estimates is None:
            return None
        words = bare(part.columns[self._mapping.estimates.column]).to_pylist()
        return np.isin(np.array(words, dtype=object), self._mapping.estimates.words)

    def _groups(self, part: Part, plan: _Plan, options: Options) -> Iterator[tuple[str, Ints]]:
        """Yield each household of a block and its rows."""
        if plan.home is None:
            yield household_name(part.path, options), np.arange(len(part))
            return
        coded = pa.array(bare(part.columns[plan.home].cast(pa.string()))).dictionary_encode()
        codes = coded.indices.to_numpy(zero_copy_only=False)
        by_home = np.argsort(codes, kind="stable")
        for rows in np.split(by_home, np.flatnonzero(np.diff(codes[by_home])) + 1):
            yield options.name or str(coded.dictionary[int(codes[rows[0]])]), rows

    def _roles(
        self, part: Part, value: _Value, rows: Ints
    ) -> Iterator[tuple[str, str, Ints, Kind, float]]:
        """Yield role, its word in the file, rows, kind and factor; one where no column says it."""
        told = self._mapping.rows
        if told is None:
            yield value.role, "", rows, value.kind, value.factor
            return
        words = np.array(bare(part.columns[told.column]).to_pylist(), dtype=object)[rows]
        for word in sorted(set(words.tolist())):
            text = told.roles.get(word)
            if text is None:
                at = int(rows[np.argmax(words == word)])
                raise part.fail(at, told.column, f"known: {', '.join(told.roles)}")
            role, _, unit = text.partition(":")
            if role == IGNORE:
                continue
            kind, factor = value.kind, value.factor
            if unit:
                kind, factor = Column(role=role, unit=unit).resolved(unit)
            yield role, word, rows[words == word], kind, factor

    def _days(
        self,
        part: Part,
        plan: _Plan,
        midnight: Ints,
        utc: bool,
        estimated: Mask | None,
        groups: Sequence[tuple[str, Ints]],
        options: Options,
    ) -> Iterator[Batch]:
        """Yield the readings of rows that hold a day each."""
        slots = self._mapping.slots
        assert slots is not None
        length = slots.minutes * 60
        names = [name for name, _ in plan.slots]
        offset = np.array([at for _, at in plan.slots], dtype=np.int64)
        numbers = np.column_stack(
            [decimals(part, n, self._mapping.decimal, self._grouped) for n in names]
        )
        if slots.counts == "elapsed" and not utc:
            clock = options.clock or plan.times.clock or options.timezone or self.zone or "UTC"
            _check_day(part, midnight, numbers, offset, length, clock)
            midnight, utc = to_utc(midnight, clock)[0], True
        begin = midnight[:, None] + offset
        value = _Value(
            "", slots.role, *Column(role=slots.role, unit=slots.unit).resolved(slots.unit)
        )
        for home, rows in groups:
            for role, word, chosen, kind, factor in self._roles(part, value, rows):
                batch = Batch(
                    home,
                    role,
                    begin[chosen].reshape(-1),
                    np.full(len(chosen) * len(names), length, dtype=np.int64),
                    numbers[chosen].reshape(-1) * factor,
                    np.repeat(part.row[chosen], len(names)),
                    part.path,
                    None if estimated is None else np.repeat(estimated[chosen], len(names)),
                    wall_clock=not utc,
                    kind=kind,
                    series=word,
                    takes_turns=bool(word),
                )
                yield from _signed(batch)


def _until(part: Part, column: str, layout: str, start: Ints, utc: bool) -> Ints:
    """Return (n,) seconds from ``start`` to the times of ``column``.

    What is still open is taken to be as long as the others are as a rule; 0 where all are.
    """
    text = bare(part.columns[column].cast(pa.string()))
    open_ended = pc.is_in(text, value_set=pa.array(MISSING)).to_numpy(zero_copy_only=False)
    closed = np.flatnonzero(~open_ended)
    length = np.zeros(len(part), dtype=np.int64)
    if not closed.size:
        return length
    some = Part(part.path, part.first_row, {column: text.take(pa.array(closed))})
    try:
        ends, zoned, _ = stamps(some, [column], layout)
    except InputError:
        raise part.fail(int(closed[0]), column, "not all ends of this block are times") from None
    length[closed] = ends - start[closed]
    wrong = length < 0
    if zoned != utc or wrong.any():
        at = int(np.argmax(wrong)) if zoned == utc else int(closed[0])
        why = "ends before it begins" if zoned == utc else "has an offset, or lacks it, unlike it"
        raise part.fail(at, column, f"the end of a reading that {why}")
    sizes, counts = np.unique(length[closed], return_counts=True)
    length[open_ended] = sizes[np.argmax(counts)]
    return length


def _check_day(
    part: Part, midnight: Ints, numbers: Floats, offset: Ints, length: int, clock: str
) -> None:
    """Name a day that has more values than its clock has time for."""
    begin, _, _ = to_utc(midnight, clock)
    end, _, _ = to_utc(midnight + _DAY_S, clock)
    late = ~np.isnan(numbers) & (offset + length > (end - begin)[:, None])
    if late.any():
        row = int(np.argmax(late.any(axis=1)))
        hours = (end - begin)[row] / 3600
        raise InputError(
            f"{part.path}: row {part.first_row + row}: {int((~np.isnan(numbers[row])).sum())} "
            f"values on a day of {hours:g} hours in {clock}: do they follow another clock (--clock "
            "UTC)?"
        )


def _columns(roles: Roles[str, str]) -> dict[str, Column]:
    """Return the columns of ``--map COLUMN=ROLE[:UNIT][:KIND]``."""
    found = {}
    for name, text in roles.items():
        role, _, rest = str(text).partition(":")
        unit, kind = None, None
        for word in filter(None, rest.split(":")):
            if word in ("interval", "register", "power"):
                kind = word
            else:
                unit = word
        try:
            found[name] = Column(role=role, unit=unit, kind=kind)
        except ValueError as error:
            what = next((t for t in str(error).splitlines() if "known:" in t), str(error))
            what = what.strip().removeprefix("Value error, ").partition(" [type=")[0]
            raise InputError(f"--map {name}={text}: {what}") from None
    return found


def _own_time(path: Path, names: Sequence[str]) -> Times:
    """Return the time column that fedwatt's own tables have."""
    known = [name for name in names if name.lower() in STAMPS]
    if len(known) != 1:
        raise InputError(f"{path}: which column is the time? --time COLUMN: {_list(names)}")
    return Times(columns=(known[0],))


def _own_column(role: str, options: Options) -> Column:
    """A column of fedwatt's own name: kWh as documented, unless the user says another unit."""
    return Column(role=role, unit=options.unit if role not in LEVELS else None)


def _unitless(role: str) -> str:
    if role in PRICES:
        return "/kWh"
    return {"temperature": "degC", "solar_irradiance": "W/m2"}.get(role, "kWh")


def _list(names: Sequence[str]) -> str:
    text = ", ".join(repr(name) for name in names)
    return text if len(text) < 200 else f"{text[:200]}..."


def _match(key: str, name: str) -> list[str | None]:
    """Return the household that a column names (None: none of its own) if it matches the key."""
    if not key.startswith("re:"):
        return [None] if name == key.strip() else []
    found = re.fullmatch(key[3:], name)
    if found is None:
        return []
    return [found.groupdict().get("home")]


def _matches(cell: str, names: set[str]) -> bool:
    if cell.startswith("re:"):
        return any(re.fullmatch(cell[3:], name, re.IGNORECASE) for name in names)
    return cell.strip().lower() in names


def _slots(path: Path, mapping: Mapping, names: Sequence[str]) -> tuple[tuple[str, int], ...]:
    """Return the columns of a day and the seconds after midnight at which each begins."""
    slots = mapping.slots
    if slots is None:
        return ()
    length = slots.minutes * 60
    found = []
    for name in names:
        match = re.fullmatch(slots.pattern, name)
        if match is None:
            continue
        groups = match.groupdict()
        if groups.get("number"):
            at = (int(groups["number"]) - 1) * length
        else:
            at = int(groups["hour"]) * 3600 + int(groups.get("minute") or 0) * 60
            if slots.stamps == "end":
                at = (at or _DAY_S) - length
        found.append((name, at))
    if not found:
        raise InputError(f"{path}: no column like {slots.pattern!r} in the header: {_list(names)}")
    times = [at for _, at in found]
    if len(set(times)) < len(times):
        raise InputError(f"{path}: two columns of the header are the same time of day")
    return tuple(sorted(found, key=lambda slot: slot[1]))


def _narrower(path: Path, rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """Return names for columns that the rows have beyond the header's: empty ones alone."""
    extra = max((len(row) for row in rows), default=width) - width
    if extra <= 0:
        return []
    if any(cell.strip() for row in rows for cell in row[width:]):
        raise InputError(
            f"{path}: rows have more cells than the header: is --skip or --header missing?"
        )
    return [""] * extra


def _signed(batch: Batch) -> Iterator[Batch]:
    """Split a net flow by its sign: in one interval it flows one way."""
    if batch.channel != NET:
        yield batch
        return
    if batch.kind == Kind.REGISTER:
        raise InputError(f"{batch.path}: {batch.series}: a register cannot be net: it counts up")
    value = batch.value
    yield replace(batch, channel="import", value=np.where(value < 0, 0.0, value))
    yield replace(batch, channel="export", value=np.where(value > 0, 0.0, -value))


def _at(values: Mask | None, rows: Ints) -> Mask | None:
    return None if values is None else values[rows]
