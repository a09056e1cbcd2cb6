"""What a block of households was asked since it last wrote its files: enough to ask it again.

Households are deterministic, so their files plus these requests are their present state. A
process writes a request down before it acts on it, and starts afresh once the files tell all.
"""

import json
import struct
from collections.abc import Sequence
from pathlib import Path

from flwr.app import ConfigRecord, Message, RecordDict

_HEAD = struct.Struct("<Q")


def written(messages: Sequence[Message]) -> bytes:
    """Messages of config records alone as data: to whom, of what type, what they say.

    Python's own pickles would run what is in a file that somebody else has put there. What
    messages have in common is written once.
    """
    values: dict[tuple[type, object], int] = {}
    plain: list[object] = []

    def number(value: object) -> int:
        key = (type(value), repr(value) if isinstance(value, list) else value)
        if key not in values:
            values[key] = len(plain)
            plain.append({"bytes": value.decode("latin-1")} if isinstance(value, bytes) else value)
        return values[key]

    rows = [
        (
            message.metadata.dst_node_id,
            message.metadata.message_type,
            {
                name: {key: number(value) for key, value in record.items()}
                for name, record in message.content.config_records.items()
            },
        )
        for message in messages
    ]
    return json.dumps([plain, rows]).encode()


def read(entry: bytes) -> list[Message]:
    """The messages of an entry that ``written`` has made."""
    plain, rows = json.loads(entry)
    values = [
        value["bytes"].encode("latin-1") if isinstance(value, dict) else value for value in plain
    ]
    return [
        Message(
            RecordDict(
                {
                    name: ConfigRecord({key: values[i] for key, i in record.items()})
                    for name, record in records.items()
                }
            ),
            node,
            kind,
        )
        for node, kind, records in rows
    ]


class Journal:
    """A file of byte strings, appended one by one; what a killed process tore off is cut away."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a+b", buffering=0)

    def read(self) -> list[bytes]:
        """Return the entries that are whole, oldest first."""
        self._file.seek(0)
        data, at, found = self._file.read(), 0, []
        while at + _HEAD.size <= len(data):
            (size,) = _HEAD.unpack_from(data, at)
            if at + _HEAD.size + size > len(data):
                break
            found.append(data[at + _HEAD.size : at + _HEAD.size + size])
            at += _HEAD.size + size
        self._file.truncate(at)
        return found

    def append(self, entry: bytes) -> None:
        """Write an entry; it survives this process, not a power cut."""
        self._file.write(_HEAD.pack(len(entry)) + entry)

    def clear(self) -> None:
        """Forget all entries."""
        self._file.truncate(0)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
