"""Typed messages and their Flower records. The only file that knows record keys.

Energy travels as integers in mWh (1e-6 kWh) and prices as integers in 1e-6 currency per kWh, so
that both sides hold the same numbers to the last digit. Orders travel as one block of bytes: a
record of Python lists costs more than clearing the market.
"""

import io
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
import numpy.lib.format as npy
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.common.constant import SType
from numpy.typing import NDArray

from common.arrays import Floats, Ints

JOIN = "join"
INTERVAL = "interval"
FILLS = "fills"
CONFIG = "config"
ARRAYS = "arrays"
METRICS = "metrics"
NUM_EXAMPLES = "num-examples"
PROTOCOL = 1
NOT_JOINED = 1001
"""Code of the error by which a household says that it has not joined. Flower's are below."""
MONTH_TOLD = ("month.first", "month.shadow_cost", "month.shadow_end_value", "month.end_value")
"""What a household tells of a month: the first interval that it counts; its bill without a market
[currency]; what the change of its store is worth [currency], alone and with the market."""

_NPY_MAGIC = b"\x93NUMPY\x01\x00"
# Numpy's own reader parses the header as Python, and raises whatever that may raise.
_NPY_HEADER = re.compile(
    rb"\{'descr': '(<f4|\|u1)', 'fortran_order': False, "
    rb"'shape': \(((?:[0-9]{1,12}, ?)*(?:[0-9]{1,12})?)\), \} *\n"
)
_NPY_HEADER_MAX = 1024
_REPORT_MAX = 100_000
_REPORT_ENTRIES = 200
_REPORT_KEY = re.compile(r"[A-Za-z0-9_.]{1,64}")
_SOURCE_MAX = 1000
_FILLED_MAX = 10**9
_FAULT_MAX = 300

T = TypeVar("T")


class MessageError(ValueError):
    """A message that does not have the shape agreed on. The sender is told so."""


class NotJoined(MessageError):
    """A household was asked about a run that it has not joined, or has forgotten."""


def not_joined(error: NotJoined, message: Message) -> Message:
    """The answer of a household that has to be asked to join first."""
    return Message(Error(NOT_JOINED, str(error)), reply_to=message)


def brief(fault: str) -> str:
    """A fault as files and logs may hold it: one line of plain characters, and not a long one."""
    plain = fault[: 2 * _FAULT_MAX].encode("ascii", "backslashreplace").decode()
    return " ".join("".join(c if c.isprintable() else " " for c in plain).split())[:_FAULT_MAX]


def read_reply(message: Message, decode: Callable[[RecordDict], T]) -> T:
    """What a household's reply says, whatever bytes, types and numbers it has been made of.

    Raises MessageError, of one short line, and nothing else: a reply is at worst its sender's
    fault. NotJoined, one of its kinds, where the household says that it has to join first.
    """
    try:
        if message.has_error():
            kind = NotJoined if message.error.code == NOT_JOINED else MessageError
            raise kind(str(message.error.reason))
        return decode(message.content)
    except MessageError as error:
        raise type(error)(brief(str(error))) from None
    except Exception as error:  # parsers of strangers' bytes raise what they like
        raise MessageError(brief(f"unreadable: {type(error).__name__}: {error}")) from None


def _pack(values: NDArray[np.generic], kind: str) -> bytes:
    return np.ascontiguousarray(values, dtype=kind).tobytes()


def _ints(data: object, columns: int, key: str) -> Ints:
    if not isinstance(data, bytes) or len(data) % (8 * columns):
        raise MessageError(f"{key}: expected rows of {columns} 64-bit integers")
    return np.frombuffer(data, dtype="<i8").reshape(-1, columns).astype(np.int64)


def _row(config: Mapping[str, object], key: str, columns: int) -> list[int]:
    rows = _ints(config.get(key), columns, key)
    if len(rows) != 1:
        raise MessageError(f"{key}: expected one row, got {len(rows)}")
    row: list[int] = rows[0].tolist()
    return row


def _floats(data: object, key: str) -> Floats:
    if not isinstance(data, bytes) or len(data) % 8:
        raise MessageError(f"{key}: expected 64-bit floats")
    return np.frombuffer(data, dtype="<f8").astype(np.float64)


def _terms(config: Mapping[str, object]) -> tuple[float, float, float, float]:
    terms = _get(config, "terms", list)
    if len(terms) != 4 or not all(isinstance(term, float) for term in terms):
        raise MessageError("terms: expected four numbers")
    lowest, highest, shortfall, unused = terms
    return lowest, highest, shortfall, unused


def _config(content: RecordDict) -> Mapping[str, object]:
    record = content.get(CONFIG)
    if not isinstance(record, ConfigRecord):
        raise MessageError(f"no {CONFIG!r} record")
    return record


def _get(config: Mapping[str, object], key: str, kind: type[T]) -> T:
    value = config.get(key)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise MessageError(f"{key}: expected {kind.__name__}, got {type(value).__name__}")
    return value


@dataclass(frozen=True)
class Join:
    """The coordinator's first message: which run this is, and where it stands.

    ``start``: ISO time of interval 0, UTC. ``first``: the interval the run begins or resumes
    with. Where the run ``ends`` after ``intervals``, energy left in a battery has a value then, by
    the household's own prices; a run without end never does.
    """

    run: str
    start: str
    intervals: int
    first: int
    ends: bool

    def encode(self) -> RecordDict:
        """Return the Flower record."""
        config = ConfigRecord({"run": self.run, "start": self.start, "protocol": PROTOCOL})
        config["intervals"] = self.intervals
        config["first"] = self.first
        config["ends"] = self.ends
        return RecordDict({CONFIG: config})

    @classmethod
    def decode(cls, content: RecordDict) -> "Join":
        """Read the record; raises MessageError for another protocol or shape."""
        config = _config(content)
        protocol = _get(config, "protocol", int)
        if protocol != PROTOCOL:
            raise MessageError(f"protocol {protocol}, this household speaks {PROTOCOL}")
        return cls(
            run=_get(config, "run", str),
            start=_get(config, "start", str),
            intervals=_get(config, "intervals", int),
            first=_get(config, "first", int),
            ends=_get(config, "ends", bool),
        )


@dataclass(frozen=True)
class Joined:
    """A household's answer: its name, and what it will settle with.

    ``newest``: the last interval of this run that it has decided, -1 before the first.
    """

    name: str
    filled_values: int
    real: bool
    source: str
    newest: int = -1

    def encode(self) -> RecordDict:
        """Return the Flower record."""
        return RecordDict(
            {
                CONFIG: ConfigRecord(
                    {
                        "name": self.name,
                        "filled_values": self.filled_values,
                        "real": self.real,
                        "source": self.source,
                        "newest": self.newest,
                    }
                )
            }
        )

    @classmethod
    def decode(cls, content: RecordDict) -> "Joined":
        """Read the record; raises MessageError."""
        config = _config(content)
        source, filled = _get(config, "source", str), _get(config, "filled_values", int)
        if len(source) > _SOURCE_MAX:
            raise MessageError(f"source: {len(source)} characters")
        if not 0 <= filled <= _FILLED_MAX:
            raise MessageError(f"filled_values: {filled}")
        return cls(
            name=_get(config, "name", str),
            filled_values=filled,
            real=_get(config, "real", bool),
            source=source,
            newest=_get(config, "newest", int),
        )


@dataclass(frozen=True)
class IntervalRequest:
    """The price signal of interval t, and this household's own fills not yet acknowledged.

    ``retail`` and ``feed_in`` (N,) are this household's published import and export prices
    [currency/kWh] of t .. t+N-1, of either sign (``feed_in`` may be one for all). ``terms`` is
    what all members hear of interval t [currency/kWh]: the lowest and the highest price an order
    may name, what a shortfall costs at least and what unused energy earns at most. ``signals``
    (M, 2) are the public marginal local prices [buy, sell; currency per kWh] of the intervals
    ``signals_from`` .. ``signals_from`` + M - 1, nan where nothing was offered. ``fills`` (K, 5)
    are rows (interval, bought mWh delivered, sold mWh sent, paid, received [1e-6 currency]), one
    for every interval whose reading the coordinator still waits for, traded or not. ``closing``
    asks for the last settlement and no orders. ``month``: of these intervals, the first and the
    one after the last, it shall tell what it would have paid alone. ``past_retail``,
    ``past_feed_in`` (M,) are the prices of the same intervals as ``signals``: a household that was
    away settles them by itself. ``undelivered`` (K, 2) are the last two of the terms for the
    interval of every one of ``fills``.

    Under a community cap ``share`` is an equal part of it [mWh], the allowance of whoever hears
    of none, and ``scarcity`` what imports beyond an allowance may cost [1e-6 per kWh]; -1 and 0
    without. ``allowances`` (K, 3) has a row (interval, mWh from the grid, scarcity price) for
    every one of ``fills``.
    """

    run: str
    t: int
    retail: Floats
    feed_in: float | Floats
    fills: Ints
    signals_from: int
    signals: Floats
    refused: tuple[str, ...] = ()
    closing: bool = False
    past_retail: Floats = field(default_factory=lambda: np.zeros(0))
    past_feed_in: Floats = field(default_factory=lambda: np.zeros(0))
    undelivered: Floats = field(default_factory=lambda: np.zeros((0, 2)))
    terms: tuple[float, float, float, float] | None = None
    share: int = -1
    scarcity: int = 0
    allowances: Ints = field(default_factory=lambda: np.zeros((0, 3), dtype=np.int64))
    month: tuple[int, int] | None = None

    def public(self) -> ConfigRecord:
        """Return what this request has in common with those of its interval and tariff."""
        config = ConfigRecord(
            {
                "run": self.run,
                "t": self.t,
                "retail": _pack(self.retail, "<f8"),
                "feed_in": _pack(np.atleast_1d(self.feed_in), "<f8"),
                "closing": self.closing,
            }
        )
        if self.terms is not None:
            config["terms"] = list(self.terms)
        if self.share >= 0:
            config["share"], config["scarcity"] = self.share, self.scarcity
        return config

    def encode(self, public: ConfigRecord | None = None) -> RecordDict:
        """Return the Flower record; ``public`` saves packing the common part again."""
        config = self.public() if public is None else public.copy()
        config["fills"] = _pack(self.fills, "<i8")
        config["signals_from"] = self.signals_from
        config["signals"] = _pack(self.signals, "<f8")
        config["refused"] = list(self.refused)
        config["past_retail"] = _pack(self.past_retail, "<f8")
        config["past_feed_in"] = _pack(self.past_feed_in, "<f8")
        config["undelivered"] = _pack(self.undelivered, "<f8")
        if self.share >= 0:
            config["allowances"] = _pack(self.allowances, "<i8")
        if self.month is not None:
            config["month"] = list(self.month)
        return RecordDict({CONFIG: config})

    @classmethod
    def decode(cls, content: RecordDict) -> "IntervalRequest":
        """Read the record; raises MessageError."""
        config = _config(content)
        capped = "share" in config
        return cls(
            run=_get(config, "run", str),
            t=_get(config, "t", int),
            retail=_floats(config.get("retail"), "retail"),
            feed_in=_floats(config.get("feed_in"), "feed_in"),
            terms=_terms(config) if "terms" in config else None,
            fills=_ints(config.get("fills"), 5, "fills"),
            signals_from=_get(config, "signals_from", int),
            signals=_floats(config.get("signals"), "signals").reshape(-1, 2),
            refused=tuple(str(reason) for reason in _get(config, "refused", list)),
            closing=_get(config, "closing", bool),
            past_retail=_floats(config.get("past_retail"), "past_retail"),
            past_feed_in=_floats(config.get("past_feed_in"), "past_feed_in"),
            undelivered=_floats(config.get("undelivered"), "undelivered").reshape(-1, 2),
            share=_get(config, "share", int) if capped else -1,
            scarcity=_get(config, "scarcity", int) if capped else 0,
            allowances=_ints(config.get("allowances") if capped else b"", 3, "allowances"),
            month=_month(config) if "month" in config else None,
        )


@dataclass(frozen=True)
class Announcement:
    """What a household has traded for interval t, told as soon as the market has cleared.

    ``fill``: bought mWh delivered, sold mWh sent, paid, received [1e-6 currency]. ``allowance``,
    under a community cap: mWh from the grid, scarcity price [1e-6 per kWh]. ``statement``: of a
    month that is closed, until the household has kept it; see ``common.month_statement``.
    Firm: the request of t + 1 carries the same figures again.
    """

    run: str
    t: int
    fill: tuple[int, int, int, int]
    allowance: tuple[int, int] | None = None
    statement: str = ""

    def encode(self) -> RecordDict:
        """Return the Flower record."""
        fill = _pack(np.array(self.fill, dtype=np.int64), "<i8")
        config = ConfigRecord({"run": self.run, "t": self.t, "fill": fill})
        if self.allowance is not None:
            config["allowance"] = _pack(np.array(self.allowance, dtype=np.int64), "<i8")
        if self.statement:
            config["statement"] = self.statement
        return RecordDict({CONFIG: config})

    @classmethod
    def decode(cls, content: RecordDict) -> "Announcement":
        """Read the record; raises MessageError."""
        config = _config(content)
        bought, sold, paid, received = _row(config, "fill", 4)
        allowance = None
        if "allowance" in config:
            milliwh, scarcity = _row(config, "allowance", 2)
            allowance = (milliwh, scarcity)
        fill = (bought, sold, paid, received)
        statement = _get(config, "statement", str) if "statement" in config else ""
        return cls(_get(config, "run", str), _get(config, "t", int), fill, allowance, statement)


@dataclass(frozen=True)
class Kept:
    """A household's answer to an announcement: whether it is what it was told before, if at all."""

    kept: bool

    def encode(self) -> RecordDict:
        """Return the Flower record."""
        return RecordDict({CONFIG: ConfigRecord({"kept": self.kept})})

    @classmethod
    def decode(cls, content: RecordDict) -> "Kept":
        """Read the record; raises MessageError."""
        return cls(_get(_config(content), "kept", bool))


def _month(config: Mapping[str, object]) -> tuple[int, int]:
    month = _get(config, "month", list)
    if len(month) != 2 or not all(isinstance(t, int) for t in month):
        raise MessageError("month: expected two intervals")
    return month[0], month[1]


def content_bytes(content: RecordDict) -> int:
    """Size of a message's content [bytes], without what the transport adds."""
    size = 0
    for config in content.config_records.values():
        size += sum(_size(value) for value in config.values())
    for arrays in content.array_records.values():
        size += sum(len(array.data) for array in arrays.values())
    return size


def _size(value: object) -> int:
    if isinstance(value, list):
        return sum(_size(one) for one in value)
    return len(value) if isinstance(value, bytes | str) else 8


def no_orders() -> Ints:
    """An empty (0, 3) array of orders."""
    return np.zeros((0, 3), dtype=np.int64)


@dataclass(frozen=True)
class IntervalReply:
    """Net meter readings of settled intervals and the orders of interval t.

    ``readings`` (K, 3) are rows (interval, import mWh, export mWh) at the connection, P2P flows
    included. ``orders`` (M, 3) are rows (side +1 buy / -1 sell, quantity mWh, price 1e-6/kWh).
    ``report`` holds the metrics that config allows: at closing, and what is asked of a month.
    """

    t: int
    readings: Ints
    orders: Ints = field(default_factory=no_orders)
    report: Mapping[str, float] = field(default_factory=dict)

    def encode(self) -> RecordDict:
        """Return the Flower record."""
        config = ConfigRecord(
            {
                "t": self.t,
                "readings": _pack(self.readings, "<i8"),
                "orders": _pack(self.orders, "<i8"),
            }
        )
        if self.report:
            config["report"] = json.dumps(dict(self.report), sort_keys=True)
        return RecordDict({CONFIG: config})

    @classmethod
    def decode(cls, content: RecordDict) -> "IntervalReply":
        """Read the record; raises MessageError."""
        config = _config(content)
        report = _report(_get(config, "report", str)) if "report" in config else {}
        return cls(
            t=_get(config, "t", int),
            readings=_ints(config.get("readings"), 3, "readings"),
            orders=_ints(config.get("orders"), 3, "orders"),
            report=report,
        )


def _report(text: str) -> dict[str, float]:
    """Read a closing report: a small object of finite numbers. Raises MessageError."""
    wrong = MessageError("report: expected a small object of numbers")
    if len(text) > _REPORT_MAX:
        raise wrong
    try:
        read = json.loads(text)
    except (ValueError, RecursionError):
        raise wrong from None
    if not isinstance(read, dict) or len(read) > _REPORT_ENTRIES:
        raise wrong
    report = {}
    for key, value in read.items():
        if not _REPORT_KEY.fullmatch(key):
            raise wrong
        # A whole number may have more digits than a float can hold.
        number = isinstance(value, float) or (type(value) is int and abs(value) < 2**63)
        if not number or not math.isfinite(value):
            raise wrong
        report[key] = float(value)
    return report


def encode_arrays(arrays: Mapping[str, NDArray[np.float32]]) -> ArrayRecord:
    """Model weights by name, in the form that every Flower strategy reads."""
    record = ArrayRecord()
    for name, array in arrays.items():  # the constructor would make each Array twice
        record[name] = _array(array)
    return record


def _array(values: NDArray[np.float32]) -> Array:
    """The bytes of ``Array(values)``, copied once: Flower's way through numpy.save takes thrice."""
    values = np.asarray(values, order="C")
    head = _header(values.dtype, values.shape)
    data = b"".join((head, values.reshape(-1).view(np.uint8).data))
    return Array(str(values.dtype), values.shape, SType.NUMPY, data)


# A model is written and read again and again, and before its values stands the same each time.
@lru_cache(maxsize=4096)
def _header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    head = io.BytesIO()
    described = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    npy.write_array_header_1_0(head, described)
    return head.getvalue()


def decode_arrays(record: ArrayRecord) -> dict[str, NDArray[np.float32]]:
    """Weights by name, in the order sent."""
    return {name: array.numpy() for name, array in record.items()}


def view_arrays(record: ArrayRecord) -> dict[str, NDArray[np.float32]]:
    """Arrays by name as read-only views of the message: no copy of a 100 MB model.

    Little-endian float32 or bytes, C-ordered, and nothing else. Raises ValueError where the bytes
    are not a plain numpy array of these.
    """
    return {name: _view(name, array) for name, array in record.items()}


def _view(name: str, array: Array) -> NDArray[np.float32]:
    if array.stype != SType.NUMPY:
        raise ValueError(f"{name}: serialised as {array.stype}, expected numpy")
    size = 10 + int.from_bytes(array.data[8:10], "little")
    layout = _layout(bytes(array.data[: min(size, _NPY_HEADER_MAX + 10)]))
    if layout is None:
        raise ValueError(f"{name}: not a C-ordered numpy array of float32")
    dtype, shape = layout
    data = np.frombuffer(array.data, dtype=dtype, offset=size)
    if math.prod(shape) != data.size:
        raise ValueError(f"{name}: {data.size} values for the shape {shape}")
    return data.reshape(shape)


@lru_cache(maxsize=4096)
def _layout(head: bytes) -> tuple[str, tuple[int, ...]] | None:
    """Type and shape that the bytes before an array's values tell; None for any others."""
    found = _NPY_HEADER.fullmatch(head[10:])
    if not head.startswith(_NPY_MAGIC) or found is None:
        return None
    return found[1].decode(), tuple(int(part) for part in found[2].split(b",") if part.strip())


def encode_metrics(metrics: Mapping[str, float | int]) -> RecordDict:
    """Metrics of an evaluation (with NUM_EXAMPLES)."""
    return RecordDict({METRICS: MetricRecord(dict(metrics))})
