"""What a block of households was asked since it last wrote its files: enough to ask it again.

Households are deterministic, so their files plus these requests are their present state. A
process writes a request down before it acts on it, and starts afresh once the files tell all.
"""

import struct
from pathlib import Path

_HEAD = struct.Struct("<Q")


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
