"""What a table means: a mapping, as the user gives it, as ``fedwatt data guess`` proposes it, or as
one ships with fedwatt in ``configs/meters`` and ``configs/prices``.

Nothing in it is guessed. What it leaves open and the file does not say is an error, or, for the
unit and the interval, assumed and said.
"""

import re
from collections.abc import Iterator
from collections.abc import Mapping as Changes
from datetime import date
from functools import cache
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from common.data.frame import APPLIANCES, check_zone
from common.data.readings import FLOWS, LEVELS, Kind
from common.data.resample import clock_zone
from common.errors import InputError
from common.yaml_text import parse_yaml

NET = "net"  # in one column, what is drawn from the grid, or with a minus what is fed in
IGNORE = "ignore"
ROLES = (*FLOWS, NET, *APPLIANCES, *LEVELS)
ENERGY_UNITS = {"Wh": 1e-3, "kWh": 1.0, "MWh": 1e3}
POWER_UNITS = {"W": 1e-3, "kW": 1.0, "MW": 1e3}
PRICE_UNITS = {"/kWh": 1.0, "/MWh": 1e-3, "ct/kWh": 1e-2}
OTHER_UNITS = {"degC": 1.0, "W/m2": 1.0}
UNITS = {**ENERGY_UNITS, **POWER_UNITS, **PRICE_UNITS, **OTHER_UNITS}
# Of quantities that are no energy, power or price, or of energy in a unit that is not read.
_STRANGE = re.compile(
    r"[\d.,]*\s*[x*]?\s*(?:[kMGT]?(?:Wh?|VAh?|varh?|J|cal|BTU)|MMBTU|m3|m\u00b3|therms?|ccf|"
    r"[lLAVF%]|Hz|\u00b0F)(?:/\w+)?",
    re.IGNORECASE,
)
_SCALED = re.compile(r"(10{1,3}|0[.,]0{0,2}1)\s*[x*]?\s*([^\d\s].*)")
_ALIKE = {
    "kwh/h": "kW",
    "wh/h": "W",
    "c/kwh": "ct/kWh",
    "p/kwh": "ct/kWh",
    "cent/kwh": "ct/kWh",
    "°c": "degC",
    "c": "degC",
}
KINDS = ("interval", "register", "power")


def unit_called(text: str) -> str | None:
    """Return the unit that ``text`` names, whatever its case; None: none that is known."""
    known = {unit.lower(): unit for unit in UNITS} | _ALIKE
    scaled = _SCALED.fullmatch(text.strip())
    if scaled is None:
        return known.get(text.strip().lower())
    unit = known.get(scaled[2].lower())
    return None if unit is None else f"{scaled[1].replace(',', '.')} {unit}"


def unit_in(column: str) -> str | None:
    """Return the unit that the name of a column says: in brackets, or as its last word."""
    for text in _unit_words(column):
        if text.lower() in ("c", "p"):
            continue
        unit = unit_called(text)
        if unit is not None:
            return unit
    return None


def strange_unit_in(column: str) -> str | None:
    """Return what the name of a column says as its unit where that is none that is read."""
    if unit_in(column) is not None:
        return None
    return next((text for text in _unit_words(column) if _STRANGE.fullmatch(text)), None)


def _unit_words(column: str) -> list[str]:
    """What may be the unit in a name: what stands in brackets, then its words from the last on."""
    inside = re.findall(r"[\[(]\s*(?:in |en )?([^\])]+?)\s*[\])]", column)
    words = re.split(r"[\s_]+", re.sub(r"[\[(].*?[\])]", " ", column).strip())
    last = words[-1:] if len(words) > 1 else []  # a name of one word may be any word
    scaled = [f"{a} {b}" for a, b in pairwise(words) if _SCALED.fullmatch(a + b)]
    return [*inside, *scaled, *last, *reversed(words[:-1] if last else words)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Column(_Model):
    """What one column holds. ``unit`` None: what its name says, or else kWh, said to be assumed."""

    role: str
    unit: str | None = None
    optional: bool = False  # some files of this kind lack the column
    kind: Literal["interval", "register", "power"] | None = None

    @field_validator("role")
    @classmethod
    def _known_role(cls, role: str) -> str:
        if role not in ROLES:
            raise ValueError(f"role {role!r}: known: {', '.join(ROLES)}")
        return role

    @field_validator("unit")
    @classmethod
    def _known_unit(cls, unit: str | None) -> str | None:
        if unit is None:
            return None
        called = unit_called(unit)
        if called is None:
            raise ValueError(f"unit {unit!r}: known: {', '.join(UNITS)}")
        return called

    def resolved(self, unit: str) -> tuple[Kind, float]:
        """Return what a value in ``unit`` is and the factor to kWh, kW or the level's unit.

        Raises ValueError where role, unit and kind do not go together.
        """
        known: tuple[str, ...]
        if self.role in LEVELS:
            known = tuple(PRICE_UNITS if "price" in self.role else OTHER_UNITS)
        else:
            known = {
                "register": tuple(ENERGY_UNITS),
                "power": tuple(POWER_UNITS),
            }.get(self.kind or "", (*ENERGY_UNITS, *POWER_UNITS))
        factor, _, base = unit.rpartition(" ")
        if base not in known:
            raise ValueError(f"{self.kind or ''} {self.role} in {unit}: known: {', '.join(known)}")
        kind = {"register": Kind.REGISTER, "power": Kind.POWER}.get(self.kind or "", Kind.ENERGY)
        if kind == Kind.ENERGY and base in POWER_UNITS:
            kind = Kind.MEAN_POWER
        return kind, float(factor or 1) * UNITS[base]


class Times(_Model):
    """Where the time stands. ``columns``: one, or a date and a time that are joined by a blank.
    ``until``: the column of each reading's end, where their lengths differ.

    ``format``: iso, epoch, epoch_ms, excel, or as in strptime, several with ``|`` between them.
    ``clock``: of stamps without
    offset. ``stamps``: the begin or the end of each reading, or its ``count`` in the day from 1 on,
    as in 01:00 to 24:00. ``minutes``: its length; None: the usual distance of stamps.
    """

    columns: tuple[str, ...] = Field(min_length=1, max_length=2)
    format: str = "iso"
    clock: str | None = None
    # ``count``: the number of the reading in its day, from 1 on, as in 01:00 to 24:00.
    stamps: Literal["begin", "end", "count"] = "begin"
    minutes: Annotated[int, Field(ge=1, le=1440)] | None = None
    until: str | None = None

    @field_validator("clock")
    @classmethod
    def _known_clock(cls, clock: str | None) -> str | None:
        if clock is not None:
            clock_zone(clock)
        return clock


class Slots(_Model):
    """Columns of one day's values, of one role.

    ``pattern``: a regular expression that a slot's name matches whole: with a group ``number``,
    counted from 1, or ``hour`` and ``minute``. ``counts`` says what the slots of a day on which
    the clock moves are: ``wall`` times its clock shows, or ``elapsed`` time since its midnight.
    """

    pattern: str
    minutes: Annotated[int, Field(ge=1, le=60)]
    stamps: Literal["begin", "end"] = "begin"
    counts: Literal["wall", "elapsed"] = "wall"
    role: str = "consumption"
    unit: str = "kWh"

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            groups = re.compile(pattern).groupindex
        except re.error as error:
            raise ValueError(f"pattern {pattern!r}: {error}") from None
        if "number" not in groups and "hour" not in groups:
            raise ValueError(f"pattern {pattern!r}: needs a group 'number', or 'hour'")
        return pattern


class RowRoles(_Model):
    """A column that says of each row what its value is: its words, and the role of each.

    A role may have the unit of its rows: ``import:kW``. Rows of one role take turns, as day and
    night registers do, or add up where both are there.
    """

    column: str
    roles: dict[str, str]

    @field_validator("roles")
    @classmethod
    def _known_roles(cls, roles: dict[str, str]) -> dict[str, str]:
        for word, told in roles.items():
            role, _, unit = told.partition(":")
            if role not in (*ROLES, IGNORE):
                raise ValueError(f"{word!r}: role {role!r}: known: {', '.join(ROLES)}, {IGNORE}")
            if unit and unit not in {**ENERGY_UNITS, **POWER_UNITS}:
                raise ValueError(f"{word!r}: unit {unit!r} is none of energy or power")
        return roles


class Estimates(_Model):
    """The column that says which values are estimates, and its words for that."""

    column: str
    words: tuple[str, ...]


class Mapping(_Model):
    """How to read one kind of table.

    ``columns``: by name, or ``re:`` and a regular expression; a group ``home`` in it names the
    household. ``header``: what the header line begins with, where lines come before it; ``skip``:
    how many do; ``after_header``: lines below it that are no rows; ``preamble``: what the lines
    before it must hold. ``recognise``: columns by which the file is known. Columns of one name are
    called NAME (1), NAME (2); one without a name is called by its place: column 1.
    """

    title: str = ""
    page: str = ""
    read_on: date | None = None
    quirks: str = ""
    zone: str | None = None
    recognise: tuple[str, ...] = ()
    separator: str | None = None
    decimal: Literal[".", ","] | None = None
    encoding: str | None = None
    skip: int | None = Field(None, ge=0, le=1000)
    header: str | None = None
    after_header: int = Field(0, ge=0, le=20)
    preamble: str | None = None
    time: Times | None = None
    home: str | None = None
    columns: dict[str, Column] = {}
    slots: Slots | None = None
    rows: RowRoles | None = None
    estimates: Estimates | None = None

    @field_validator("zone")
    @classmethod
    def _known_zone(cls, zone: str | None) -> str | None:
        return None if zone is None else check_zone(zone)

    @field_validator("columns")
    @classmethod
    def _patterns_compile(cls, columns: dict[str, Column]) -> dict[str, Column]:
        for name in columns:
            if name.startswith("re:"):
                try:
                    re.compile(name[3:])
                except re.error as error:
                    raise ValueError(f"column {name!r}: {error}") from None
        return columns


def parse_mapping(text: str, where: str) -> Mapping:
    """Return the mapping a YAML text holds. Raises InputError that names ``where`` and the key."""
    raw = parse_yaml(text, where)
    if not isinstance(raw, dict):
        raise InputError(f"{where}: a mapping has keys such as time and columns")
    try:
        return Mapping.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        what = str(first["msg"]).removeprefix("Value error, ")
        raise InputError(f"{where}: {key}: {what}") from None
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def change_mapping(mapping: Mapping, changes: Changes[str, object]) -> Mapping:
    """Return ``mapping`` with what the user says apart from it; None changes nothing.

    ``changes``: fields of Mapping, and ``time_columns``, ``date_format``, ``stamps``, ``minutes``
    of its time. Raises InputError.
    """
    given = {key: value for key, value in changes.items() if value is not None}
    names = {"time_columns": "columns", "date_format": "format"}
    time = {
        names.get(key, key): given.pop(key)
        for key in ("time_columns", "date_format", "stamps", "minutes")
        if key in given
    }
    try:
        plain = mapping.model_dump(exclude_unset=True) | given
        if time:
            before = {} if mapping.time is None else mapping.time.model_dump(exclude_unset=True)
            if "columns" not in before | time:
                raise InputError("--time COLUMN is needed beside what is said about the time")
            plain["time"] = before | time
        return Mapping.model_validate(plain)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{key}: {str(first['msg']).removeprefix('Value error, ')}") from None


def load_mapping(name: str, option: str = "--mapping", of: str = "meters") -> Mapping:
    """Return the mapping of a file, or the one that ships under ``name``."""
    known = shipped(of)
    if name in known:
        return known[name]
    try:
        text = Path(name).read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"{option} {name}: cannot be read: {reason}; shipped: {', '.join(known)}"
        ) from None
    return parse_mapping(text, name)


@cache
def shipped(of: str = "meters") -> dict[str, Mapping]:
    """Return the mappings that ship with fedwatt, of ``meters`` or ``prices``, by name."""
    return dict(_shipped(of))


def _shipped(of: str) -> Iterator[tuple[str, Mapping]]:
    folder = files("configs").joinpath(of)
    for file in sorted(folder.iterdir(), key=lambda f: f.name):
        if file.name.endswith(".yaml"):
            yield file.name.removesuffix(".yaml"), parse_mapping(file.read_text(), file.name)


def dump_mapping(mapping: Mapping) -> str:
    """Return a mapping as YAML, without what it leaves open."""
    plain = mapping.model_dump(mode="json", exclude_defaults=True)
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)
