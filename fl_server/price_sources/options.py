"""The settings of one price source: each read by name, none left over."""

import hashlib
import json
from collections.abc import Mapping

from common.errors import InputError

Value = float | int | str | bool


class Options:
    """``values`` of ``source``; whatever is asked for is noted, so that a mistyped key shows."""

    def __init__(self, source: str, values: Mapping[str, Value]) -> None:
        self.source, self._values = source, values
        self._known: list[str] = []

    @property
    def digest(self) -> str:
        """One digest, one source with these settings."""
        told = json.dumps([self.source, sorted(self._values.items())])
        return hashlib.sha256(told.encode()).hexdigest()[:16]

    def text(self, key: str, default: str | None = None) -> str:
        """A text; without a default it must be there. Raises InputError."""
        self._known.append(key)
        value = self._values.get(key, default)
        if value is None:
            raise InputError(f"tariff.source = {self.source}: source_options.{key} is missing")
        return str(value)

    def number(self, key: str, default: float) -> float:
        """A number above zero. Raises InputError."""
        self._known.append(key)
        value = self._values.get(key, default)
        if isinstance(value, str | bool) or not value > 0:
            raise InputError(
                f"tariff.source_options.{key} = {value!r}: expected a number above zero"
            )
        return float(value)

    def all_read(self) -> None:
        """Raise InputError for a key that the source does not know."""
        unknown = sorted(set(self._values) - set(self._known))
        if unknown:
            raise InputError(
                f"tariff.source_options.{unknown[0]}: {self.source} knows {', '.join(self._known)}"
            )
