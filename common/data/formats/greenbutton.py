"""Green Button (NAESB REQ.21, ESPI): Atom XML of interval readings, Unix time, UTC.

Elements are matched by local name, because files differ in how they declare namespaces. Entities
and document type declarations are refused (defusedxml). Links say which block belongs to which
meter reading, reading type and usage point; where they do not, nothing is guessed.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree
import numpy as np
from defusedxml.common import DefusedXmlException

from common.arrays import Floats, Ints
from common.data.readings import Batch, Kind, Options, household_name, one_home_a_file
from common.errors import InputError

_WATTS, _WATT_HOURS = "38", "72"
_FORWARD, _NET, _REVERSE = "1", "4", "19"
_ELECTRICITY = {"0", "1", "2"}  # commodity: none said, electricity by either meter
_INTERVALS, _REGISTERS = {"0", "4"}, {"1", "3", "9"}  # accumulationBehaviour
_AVERAGE = "2"  # dataQualifier
# ESPI QualityOfReading: estimated, interpolated, questionable, derived, projected.
_ESTIMATED = {"8", "9", "10", "11", "12"}
# LocalTimeParameters of the United States and Canada: second Sunday of March, first of November.
_US_RULES = ("360e2000", "b40e2000")
_WITH_SUMMER = {
    -14400: "America/Halifax",
    -18000: "America/New_York",
    -21600: "America/Chicago",
    -25200: "America/Denver",
    -28800: "America/Los_Angeles",
    -32400: "America/Anchorage",
}
_WITHOUT_SUMMER = {-25200: "America/Phoenix", -36000: "Pacific/Honolulu"}


@dataclass(frozen=True)
class _Type:
    flow: str
    unit: str
    power: int
    accumulation: str
    commodity: str
    qualifier: str
    seconds: int


@dataclass
class _Block:
    href: str
    up: str
    readings: list[tuple[int, int, float, bool]] = field(default_factory=list)
    first_row: int = 0


@dataclass
class _Feed:
    types: dict[str, _Type] = field(default_factory=dict)
    blocks: list[_Block] = field(default_factory=list)
    meters: list[tuple[str, list[str]]] = field(default_factory=list)  # href, related
    kinds: dict[str, str] = field(default_factory=dict)  # usage point -> ServiceCategory
    links: dict[str, list[str]] = field(default_factory=dict)  # usage point -> related
    count: int = 0


@dataclass
class _Meter:
    """One MeterReading: what it measures, and its readings."""

    point: str
    href: str
    type: _Type
    blocks: list[_Block] = field(default_factory=list)

    @property
    def id(self) -> str:
        """What ``--map`` calls it: its usage point, or else its own name."""
        return self.point or self.href.rstrip("/").rpartition("/")[2] or "?"


class GreenButton:
    """Import and export as two meter readings of one home."""

    name = "greenbutton"
    title = "Green Button ESPI XML"
    zone = None
    clock = None
    reads: frozenset[str] = frozenset({"name", "each", "roles", "unit"})
    folders = False

    def recognises(self, path: Path, head: str) -> bool:
        """An XML file that speaks of ESPI."""
        return head.lstrip("\ufeff \r\n").startswith("<") and (
            "espi" in head or "IntervalReading" in head
        )

    def read(self, paths: Sequence[Path], options: Options) -> Iterator[Batch]:
        """Yield a batch per meter reading. Rows are interval readings counted in the file."""
        if options.unit not in (None, "W"):
            raise InputError(f"--unit {options.unit!r}: known: W, for readings of power")
        one_home_a_file(paths, options)
        for path in paths:
            yield from _file(path, household_name(path, options), options)

    def zone_of(self, path: Path) -> str | None:
        """Return the zone that the file's LocalTimeParameters describe, if it is a known one."""
        with path.open("rb") as stream:
            text = stream.read(4 << 20).decode("utf-8", errors="replace")
        return _zone(text)


def _zone(text: str) -> str | None:
    def cell(name: str) -> str:
        found = re.search(rf"<(?:\w+:)?{name}>\s*([^<\s]+)\s*<", text)
        return found[1].lower() if found else ""

    try:
        offset, summer = int(cell("tzOffset")), int(cell("dstOffset") or 0)
    except ValueError:
        return None
    rules = (cell("dstStartRule"), cell("dstEndRule"))
    if summer:
        return _WITH_SUMMER.get(offset) if rules in (_US_RULES, ("", "")) else None
    if offset % 3600:
        return None
    return _WITHOUT_SUMMER.get(offset) or f"Etc/GMT{-offset // 3600:+d}"


def _local(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _text(element: Element, *names: str, default: str = "") -> str:
    """Return the text of the first descendant reached by ``names``, whatever the namespace."""
    node: Element | None = element
    for name in names:
        if node is None:
            return default
        node = next((child for child in node if _local(child) == name), None)
    return default if node is None or node.text is None else node.text.strip()


def _file(path: Path, name: str, options: Options) -> Iterator[Batch]:
    feed = _parse(path)
    electric = [kind for kind in feed.kinds.values() if kind in ("", "0")]
    if feed.kinds and not electric:
        kinds = sorted(set(feed.kinds.values()))
        raise InputError(f"{path}: holds no electricity (ServiceCategory {kinds})")
    if not feed.count:
        raise InputError(f"{path}: holds no IntervalReading")
    if not feed.types:
        raise InputError(f"{path}: holds no ReadingType: units unknown")
    meters = [m for m in _meters(path, feed) if feed.kinds.get(m.point, "0") in ("", "0")]
    meters = [m for m in meters if m.type.commodity in _ELECTRICITY]
    yield from _batches(path, name, _usable(path, meters, options), options)


def _parse(path: Path) -> _Feed:
    feed = _Feed()
    try:
        for _, entry in defusedxml.ElementTree.iterparse(str(path), forbid_dtd=True):
            if _local(entry) != "entry":
                continue
            links = [(n.get("rel"), n.get("href") or "") for n in entry if _local(n) == "link"]
            href = next((h for rel, h in links if rel == "self"), "")
            up = next((h for rel, h in links if rel == "up"), "")
            related = [h for rel, h in links if rel == "related"]
            for node in entry.iter():
                kind = _local(node)
                if kind == "UsagePoint":
                    feed.kinds[_point(href)] = _text(node, "ServiceCategory", "kind")
                    feed.links[_point(href)] = related
                elif kind == "MeterReading":
                    feed.meters.append((href, related))
                elif kind == "ReadingType":
                    feed.types[href or f"#{len(feed.types)}"] = _reading_type(path, node)
                elif kind == "IntervalBlock":
                    block = _Block(href, up, first_row=feed.count + 1)
                    _readings(path, node, block)
                    feed.count += len(block.readings)
                    feed.blocks.append(block)
            entry.clear()
    except DefusedXmlException as error:
        reason = type(error).__name__
        raise InputError(f"{path}: refused: XML entities or a document type ({reason})") from None
    except ParseError as error:
        raise InputError(f"{path}: not well-formed XML (truncated?): {error}") from None
    return feed


def _point(href: str) -> str:
    found = re.search(r"UsagePoint/([^/]+)", href)
    return found[1] if found else ""


def _reading_type(path: Path, node: Element) -> _Type:
    cells = {
        name: _text(node, name, default="0") or "0"
        for name in ("powerOfTenMultiplier", "intervalLength")
    }
    for cell, text in cells.items():
        if not re.fullmatch(r"[+-]?\d+", text):
            raise InputError(f"{path}: ReadingType: {cell} = {text!r} is not a whole number")
    return _Type(
        _text(node, "flowDirection", default=_FORWARD),
        _text(node, "uom", default=_WATT_HOURS),
        int(cells["powerOfTenMultiplier"]),
        _text(node, "accumulationBehaviour", default="4"),
        _text(node, "commodity", default="1"),
        _text(node, "dataQualifier"),
        int(cells["intervalLength"]),
    )


def _readings(path: Path, block: Element, into: _Block) -> None:
    """Read start, seconds (0: not said), value (nan: none) and quality of each reading.

    A start that is not said is -1: it follows from the block's own and the place in it.
    """
    begin = _text(block, "interval", "start")
    length = _text(block, "interval", "duration")
    nodes = [node for node in block if _local(node) == "IntervalReading"]
    for place, node in enumerate(nodes):
        row = into.first_row + len(into.readings)

        def number(name: str, text: str, row: int = row) -> float:
            try:
                return float(text)
            except ValueError:
                raise InputError(
                    f"{path}: row {row} (IntervalReading): {name} = {text!r}: not a number"
                ) from None

        start = _text(node, "timePeriod", "start")
        seconds = _text(node, "timePeriod", "duration")
        value = _text(node, "value")
        if not start:
            if not begin or not length:
                raise InputError(
                    f"{path}: row {row} (IntervalReading): no start, and none of its IntervalBlock"
                )
            step = number("duration", length) / len(nodes)
            start, seconds = str(number("start", begin) + place * step), seconds or str(step)
        into.readings.append(
            (
                int(number("start", start)),
                int(number("duration", seconds)) if seconds else 0,
                number("value", value) if value else float("nan"),
                _text(node, "ReadingQuality", "quality") in _ESTIMATED,
            )
        )


def _meters(path: Path, feed: _Feed) -> list[_Meter]:
    """Return the meter readings with their blocks. Raises InputError where links do not tell."""
    found: dict[tuple[str, str, _Type], _Meter] = {}
    kinds = set(feed.types.values())
    for block in feed.blocks:
        if not block.readings:
            continue
        owner = next((m for m in feed.meters if _owns(m, block)), ("", []))
        href, related = owner
        linked = [feed.types[h] for h in related if h in feed.types]
        if not linked and len(kinds) > 1:
            raise InputError(
                f"{path}: row {block.first_row} (IntervalReading): {len(kinds)} kinds of readings, "
                "and no link tells which of them these are: ask for each in a file of its own"
            )
        kind = linked[0] if linked else next(iter(kinds))
        point = next((p for h in (block.href, block.up, href, *related) if (p := _point(h))), "")
        if not point:
            point = next((p for p, links in feed.links.items() if href and href in links), "")
        if not href and not point and len(feed.kinds) == 1:
            point = next(iter(feed.kinds))
        meter = found.setdefault((point, href, kind), _Meter(point, href, kind))
        meter.blocks.append(block)
    return list(found.values())


def _owns(meter: tuple[str, list[str]], block: _Block) -> bool:
    href, related = meter
    if block.href in related or block.up in related:
        return True
    return bool(href) and any((h + "/").startswith(href + "/") for h in (block.href, block.up))


def _usable(path: Path, meters: Sequence[_Meter], options: Options) -> list[_Meter]:
    """Leave out what is not interval energy beside what is; refuse where nothing is left."""
    by_unit = [m for m in meters if m.type.unit == _WATT_HOURS]
    powers = [m for m in meters if m.type.unit == _WATTS]
    if not by_unit and powers:
        if options.unit != "W" and any(m.type.qualifier != _AVERAGE for m in powers):
            raise InputError(
                f"{path}: holds powers (uom 38, W), no energy: if each is the mean over its "
                "interval, '--unit W' reads it as average power"
            )
        return powers
    intervals = [m for m in by_unit if m.type.accumulation in _INTERVALS]
    registers = [m for m in by_unit if m.type.accumulation in _REGISTERS]
    usable = intervals or registers
    if not usable:
        units = sorted({m.type.unit for m in meters})
        raise InputError(f"{path}: holds no electric energy (uom 72): uom {', '.join(units)}")
    return usable


def _arrays(meter: _Meter) -> tuple[Ints, Ints, Floats, np.ndarray, Ints]:
    rows = [r for b in meter.blocks for r in b.readings]
    start, seconds, value, estimated = map(np.asarray, zip(*rows, strict=True))
    number = np.concatenate(
        [np.arange(b.first_row, b.first_row + len(b.readings)) for b in meter.blocks]
    )
    seconds = np.where(seconds == 0, meter.type.seconds, seconds)
    return start.astype(np.int64), seconds.astype(np.int64), value, estimated, number


def _batches(path: Path, name: str, meters: Sequence[_Meter], options: Options) -> Iterator[Batch]:
    flows = {_FORWARD: "import", _REVERSE: "export", _NET: "net"}
    roles = dict(options.roles)
    ids = {i for m in meters for i in (m.id, m.href) if i}
    for key, role in roles.items():
        if key not in ids:
            raise InputError(f"{path}: --map {key}={role}: known: {', '.join(sorted(ids))}")
        if role not in ("import", "export", "pv", "ignore"):
            raise InputError(f"--map {key}={role}: known: import, export, pv, ignore")
    taken: dict[str, list[tuple[_Meter, bool]]] = {}
    for meter in meters:
        told = roles.get(meter.id) or roles.get(meter.href)
        flow = told or flows.get(meter.type.flow)
        if flow is not None and flow != "ignore":
            taken.setdefault(flow, []).append((meter, told is not None))
    if not taken:
        raise InputError(f"{path}: holds readings of no known flowDirection (1, 4, 19)")
    for role, members in taken.items():
        members = _finest(members)
        if len(members) > 1 and not all(told for _, told in members):
            both = " and ".join(sorted({m.id for m, _ in members})[:2])
            raise InputError(
                f"{path}: two meters of {role} ({both}): two homes, or two meters of one? "
                f"'--map {members[0][0].id}=ignore' leaves one out, '--map ID={role}' for each "
                "adds them up"
            )
        for meter, _ in members:
            yield from _readings_of(path, name, role, meter, "export" in taken)


def _finest(members: list[tuple[_Meter, bool]]) -> list[tuple[_Meter, bool]]:
    """Of one usage point's readings by the hour and by the day keep the finer."""
    length = {id(m): float(np.median(_arrays(m)[1])) for m, _ in members}
    kept = []
    for meter, told in members:
        finer = [m for m, _ in members if m.point == meter.point and length[id(m)] > 0]
        if told or length[id(meter)] <= min((length[id(m)] for m in finer), default=0.0):
            kept.append((meter, told))
    return kept or members


def _readings_of(
    path: Path, name: str, role: str, meter: _Meter, has_export: bool
) -> Iterator[Batch]:
    start, seconds, value, estimated, row = _arrays(meter)
    kind = Kind.ENERGY
    if meter.type.unit == _WATTS:
        kind = Kind.MEAN_POWER
    elif meter.type.accumulation in _REGISTERS:
        kind = Kind.REGISTER
    value = value * 10.0 ** (meter.type.power - 3)
    batch = Batch(
        name, role, start, seconds, value, row, path, estimated.astype(np.bool_), kind=kind,
        series=meter.id,
    )  # fmt: skip
    net = role == "net" or (role == "import" and bool((value < 0).any()) and not has_export)
    if not net or kind == Kind.REGISTER:
        yield batch
        return
    # A net meter: what flows in one interval flows one way.
    yield replace(batch, channel="import", value=np.where(value < 0, 0.0, value))
    yield replace(batch, channel="export", value=np.where(value < 0, -value, value * 0.0))
