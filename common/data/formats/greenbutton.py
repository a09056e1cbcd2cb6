"""Green Button (NAESB REQ.21, ESPI): Atom XML of interval readings, Unix time, UTC.

Elements are matched by local name, because files differ in how they declare namespaces. Entities
and document type declarations are refused (defusedxml).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree
import numpy as np
from defusedxml.common import DefusedXmlException

from common.data.readings import Batch, Options, household_name
from common.errors import InputError

_WATT_HOURS = "72"
_FORWARD, _REVERSE = "1", "19"
# ESPI QualityOfReading: estimated, interpolated, questionable, derived, projected.
_ESTIMATED = {"8", "9", "10", "11", "12"}


@dataclass
class _ReadingType:
    href: str
    flow: str
    unit: str
    power: int
    accumulation: str
    commodity: str


@dataclass
class _Block:
    href: str
    up: str
    order: int  # reading types seen before the block
    readings: list[tuple[int, int, float, bool]] = field(default_factory=list)
    first_row: int = 0


class GreenButton:
    """Import and export as two meter readings of one home."""

    name = "greenbutton"
    title = "Green Button ESPI XML"
    zone = "UTC"
    repeats = False
    folders = False

    def recognises(self, path: Path, head: str) -> bool:
        """An XML file that speaks of ESPI."""
        return head.lstrip("\ufeff \r\n").startswith("<") and "espi" in head

    def read(self, paths: Sequence[Path], options: Options) -> Iterator[Batch]:
        """Yield a batch per interval block. Rows are interval readings counted in the file."""
        for path in paths:
            yield from _file(path, household_name(path, options))


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


def _file(path: Path, name: str) -> Iterator[Batch]:
    types: list[_ReadingType] = []
    blocks: list[_Block] = []
    meters: list[tuple[str, list[str]]] = []  # href of a MeterReading, what it is related to
    kinds: set[str] = set()
    count = 0
    try:
        for _, entry in defusedxml.ElementTree.iterparse(str(path), forbid_dtd=True):
            if _local(entry) == "kind":
                kinds.add((entry.text or "").strip())
            if _local(entry) != "entry":
                continue
            links = [(n.get("rel"), n.get("href") or "") for n in entry if _local(n) == "link"]
            href = next((h for rel, h in links if rel == "self"), "")
            up = next((h for rel, h in links if rel == "up"), "")
            for node in entry.iter():
                kind = _local(node)
                if kind == "MeterReading":
                    meters.append((href, [h for rel, h in links if rel == "related"]))
                elif kind == "ReadingType":
                    types.append(_reading_type(path, node, href))
                elif kind == "IntervalBlock":
                    block = _Block(href, up, len(types), first_row=count + 1)
                    _readings(path, node, block)
                    count += len(block.readings)
                    blocks.append(block)
            entry.clear()
    except DefusedXmlException as error:
        reason = type(error).__name__
        raise InputError(f"{path}: refused: XML entities or a document type ({reason})") from None
    except ParseError as error:
        raise InputError(f"{path}: not well-formed XML (truncated?): {error}") from None
    if kinds and "0" not in kinds:
        raise InputError(f"{path}: holds no electricity (ServiceCategory {sorted(kinds)})")
    if not count:
        raise InputError(f"{path}: holds no IntervalReading")
    for block in blocks:
        batch = _batch(path, name, block, _type_of(path, block, types, meters))
        if batch is not None:
            yield batch


def _reading_type(path: Path, node: Element, href: str) -> _ReadingType:
    power = _text(node, "powerOfTenMultiplier", default="0") or "0"
    try:
        exponent = int(power)
    except ValueError:
        raise InputError(f"{path}: powerOfTenMultiplier = {power!r}") from None
    return _ReadingType(
        href,
        _text(node, "flowDirection", default=_FORWARD),
        _text(node, "uom", default=_WATT_HOURS),
        exponent,
        _text(node, "accumulationBehaviour", default="4"),
        _text(node, "commodity", default="1"),
    )


def _readings(path: Path, block: Element, into: _Block) -> None:
    for node in block:
        if _local(node) != "IntervalReading":
            continue
        row = into.first_row + len(into.readings)
        cells = {
            "start": _text(node, "timePeriod", "start"),
            "duration": _text(node, "timePeriod", "duration"),
            "value": _text(node, "value"),
        }
        try:
            start, seconds = int(cells["start"]), int(cells["duration"])
            value = float(cells["value"])
        except ValueError:
            raise InputError(f"{path}: row {row} (IntervalReading): {cells}") from None
        estimated = _text(node, "ReadingQuality", "quality") in _ESTIMATED
        into.readings.append((start, seconds, value, estimated))


def _type_of(
    path: Path,
    block: _Block,
    types: Sequence[_ReadingType],
    meters: Sequence[tuple[str, list[str]]],
) -> _ReadingType:
    """Follow the links block -> meter reading -> reading type; without links, document order."""
    if not types:
        raise InputError(f"{path}: holds no ReadingType: units unknown")
    if len(types) == 1:
        return types[0]
    by_href = {kind.href: kind for kind in types if kind.href}
    for href, related in meters:
        mine = block.href in related or block.up in related
        mine = mine or (bool(href) and (block.href + "/").startswith(href + "/"))
        mine = mine or (bool(href) and (block.up + "/").startswith(href + "/"))
        for target in related:
            if mine and target in by_href:
                return by_href[target]
    return types[max(0, block.order - 1)]


def _batch(path: Path, name: str, block: _Block, kind: _ReadingType) -> Batch | None:
    if kind.commodity not in {"0", "1", "2"} or not block.readings:
        return None
    if kind.unit != _WATT_HOURS:
        return None  # volts, amperes and the like beside the energy
    if kind.accumulation not in {"4", "0"}:
        raise InputError(
            f"{path}: accumulationBehaviour {kind.accumulation}: only interval energy (4) is read"
        )
    if kind.flow not in {_FORWARD, _REVERSE}:
        return None
    start, seconds, value, estimated = map(np.asarray, zip(*block.readings, strict=True))
    return Batch(
        name,
        "import" if kind.flow == _FORWARD else "export",
        start.astype(np.int64),
        seconds.astype(np.int64),
        value.astype(np.float64) * 10.0 ** (kind.power - 3),
        np.arange(block.first_row, block.first_row + len(start), dtype=np.int64),
        path,
        estimated.astype(np.bool_),
    )
