"""Messages on their way between processes: one parcel for many, each model in it once.

Pickle keeps what messages share shared. Models stay outside it, as arrays of bytes that Ray
hands to any number of processes without a copy.
"""

import io
import pickle
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from flwr.app import Array, ArrayRecord, Message
from numpy.typing import NDArray

_NOTHING = np.zeros(0, np.uint8)


class Model(NamedTuple):
    """An ArrayRecord by parts: (name, dtype, shape, serialisation) of each array, and its bytes."""

    heads: tuple[tuple[str, str, tuple[int, ...], str], ...]
    data: tuple[NDArray[np.uint8], ...]

    @classmethod
    def of(cls, record: ArrayRecord) -> "Model":
        """Take a record apart; nothing is copied."""
        heads = tuple((name, a.dtype, tuple(a.shape), a.stype) for name, a in record.items())
        data = (np.frombuffer(a.data, np.uint8) if a.data else _NOTHING for a in record.values())
        return cls(heads, tuple(data))

    def record(self) -> ArrayRecord:
        """Put the record together again; its arrays are views of these bytes."""
        arrays = ArrayRecord()
        for (name, dtype, shape, stype), data in zip(self.heads, self.data, strict=True):
            arrays[name] = Array(dtype, shape, stype, b"")
            # The constructor takes bytes alone; all readers take a buffer as well.
            arrays[name].data = data.data  # type: ignore[assignment]
        return arrays


class _Packer(pickle.Pickler):
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=5)
        self.records: dict[int, ArrayRecord] = {}

    def persistent_id(self, obj: object) -> int | None:
        if not isinstance(obj, ArrayRecord):
            return None
        self.records.setdefault(id(obj), obj)
        return list(self.records).index(id(obj))


class _Unpacker(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, records: Sequence[ArrayRecord]) -> None:
        super().__init__(file)
        self._records = records

    def persistent_load(self, pid: int) -> ArrayRecord:
        return self._records[pid]


def carries_models(messages: Sequence[Message]) -> bool:
    """Whether any message holds arrays."""
    return any(
        isinstance(record, ArrayRecord)
        for message in messages
        if message.has_content()
        for record in message.content.values()
    )


def pack(messages: Sequence[Message]) -> tuple[bytes, list[ArrayRecord]]:
    """Return the messages as bytes, and the distinct array records they refer to."""
    if not carries_models(messages):
        return pickle.dumps(list(messages), protocol=5), []
    file = io.BytesIO()
    packer = _Packer(file)
    packer.dump(list(messages))
    return file.getvalue(), list(packer.records.values())


def unpack(body: bytes, records: Sequence[ArrayRecord] = ()) -> list[Message]:
    """Return the messages of a parcel."""
    messages: list[Message] = _Unpacker(io.BytesIO(body), records).load()
    return messages
