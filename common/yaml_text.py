"""YAML as people write it: plain values, each key once, no more of it than a person would write.

PyYAML takes the second of two equal keys without a word, and its readers raise whatever a damaged
or nested file makes them raise.
"""

import math
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml

from common.errors import InputError

_MOST_CHARACTERS = 1_000_000
_DEEPEST = 50
# Whatever base it is written in, it can be a float then, and be printed.
_MOST_DIGITS = 250


class _Loader(yaml.SafeLoader):
    """Values alone, and no key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if key is not None and key != "<<" and key in seen:
                line = key_node.start_mark.line + 1
                raise yaml.constructor.ConstructorError(
                    problem=f"key {key!r} twice, again in line {line}"
                )
            seen.add(key)
        return super().construct_mapping(node, deep)

    def whole(self, node: yaml.ScalarNode) -> int:
        """A whole number."""
        if len(str(node.value)) > _MOST_DIGITS:
            line = node.start_mark.line + 1
            raise ValueError(f"a number of {len(str(node.value))} digits in line {line}")
        return int(self.construct_yaml_int(node))


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.whole)


def parse_yaml(text: str, where: str) -> Any:
    """Return what a YAML text holds. Raises InputError that begins with ``where``."""
    if len(text) > _MOST_CHARACTERS:
        raise InputError(f"{where}: {len(text)} characters are no settings")
    try:
        loaded = yaml.load(text, _Loader)
        _check_plain(loaded, _DEEPEST)
    except yaml.YAMLError as error:
        said = " ".join(str(error).split())[:300]
        raise InputError(f"{where}: not YAML: {said}") from None
    except RecursionError:
        raise InputError(f"{where}: nested too deeply, or holds itself") from None
    except (ValueError, OverflowError) as error:
        # Numbers, dates and letters that look like such and are none.
        raise InputError(f"{where}: {' '.join(str(error).split())[:300]}") from None
    return loaded


def read_yaml(path: Path) -> Any:
    """Return what a YAML file holds, None for an empty one. Raises InputError that names it."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file in UTF-8") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    return parse_yaml(text, str(path))


def number(
    entry: Mapping[Any, Any], key: str, default: float, low: float, high: float, where: str = ""
) -> float:
    """The finite number from ``low`` to ``high`` that ``entry`` has for ``key``.

    Raises InputError that begins with ``where`` and the key.
    """
    value = entry.get(key, default)
    if key not in entry:
        return float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"{where}{key}: expected a number, not {value!r:.60}")
    if not low <= value <= high:
        raise InputError(f"{where}{key}: {value:g}: expected {low:g} to {high:g}")
    return float(value)


def whole_number(
    entry: Mapping[Any, Any], key: str, default: int, low: int, high: int, where: str = ""
) -> int:
    """As ``number``, and a whole one."""
    value = number(entry, key, default, low, high, where)
    if not isinstance(entry.get(key, default), int):
        raise InputError(f"{where}{key}: {value:g}: expected a whole number, {low} to {high}")
    return int(value)


def _check_plain(value: object, left: int) -> None:
    """Raise RecursionError for what is nested too deeply, by an alias a value may hold itself; and
    ValueError for text that no file or line can carry."""
    if left == 0:
        raise RecursionError
    if isinstance(value, str):
        value.encode()
        if "\0" in value:
            raise ValueError("a character of no text, U+0000")
    if isinstance(value, dict | list):
        for one in (*value, *value.values()) if isinstance(value, dict) else value:
            _check_plain(one, left - 1)
