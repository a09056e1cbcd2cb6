"""Settings as text for people: every key with its default or value, its meaning and its unit.

The meanings are the descriptions in ``common/config.py``; a number's unit stands at their end, in
brackets. ``configs/default.yaml`` is this text, written by ``fedwatt config show --defaults``.
"""

import difflib
import json
from collections.abc import Iterator
from typing import Annotated, Any, NamedTuple

import yaml
from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo

from common.config import Section, Settings
from common.errors import InputError

HEAD = """\
# Every setting of fedwatt with its default. What a number counts stands in brackets.
# Any of them: `--set section.key=value`, or `--config` with a file of those you change.
# Written by `fedwatt config show --defaults > configs/default.yaml` from common/config.py.
"""


class Setting(NamedTuple):
    """One key: ``section.key``, its field, and its value."""

    key: str
    field: FieldInfo
    value: Any


def every(settings: BaseModel, before: str = "") -> Iterator[Setting]:
    """All settings in order, those of sections inside sections too."""
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, Section):
            yield from every(value, f"{before}{name}.")
        else:
            yield Setting(before + name, field, value)


def annotated(settings: BaseModel, indent: str = "") -> str:
    """YAML of the settings, each with its meaning beside it; ``load`` reads it back."""
    lines = []
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, Section):
            # The docstring of a section says what it is about.
            about = " ".join((type(value).__doc__ or "").split())
            gap = "" if indent else "\n"
            lines.append(f"{gap}{indent}# {about}\n{indent}{name}:\n")
            lines.append(annotated(value, indent + "  "))
        else:
            lines.append(f"{indent}{name}: {_plain(value)}  # {field.description}\n")
    return "".join(lines)


def defaults() -> str:
    """What ``configs/default.yaml`` holds."""
    return HEAD + annotated(Settings())


def explain(key: str) -> str:
    """What a key, or each key of a section, means. Raises InputError for an unknown one."""
    known = list(every(Settings()))
    found = [one for one in known if one.key == key or one.key.startswith(f"{key}.")]
    if not found:
        near = difflib.get_close_matches(key, [one.key for one in known], 3, 0.5)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        raise InputError(
            f"config explain {key!r}: no such setting{hint} (`fedwatt config show` lists all)"
        )
    return "\n".join(
        f"{one.key} (default {_plain(one.value)}; {_kind(one.field)})\n    {one.field.description}"
        for one in found
    )


def _plain(value: object) -> str:
    """A value on one line, as YAML reads it."""
    plain = json.loads(json.dumps(value, default=str))
    text = yaml.safe_dump(plain, default_flow_style=True, width=10_000, sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...")


def _kind(field: FieldInfo) -> str:
    """What may be said for a key: its type, its choices, its bounds."""
    schema = _schema(field)
    variants = schema.get("anyOf", [schema])
    said = list(filter(None, map(_variant, variants)))
    # What comes after two bounds is not one of them.
    return (", or " if any(" and " in one for one in said) else " or ").join(said)


def _schema(field: FieldInfo) -> dict[str, Any]:
    annotation: Any = field.annotation
    if field.metadata:
        annotation = Annotated[annotation, *field.metadata]
    return TypeAdapter(annotation).json_schema()


_BOUNDS = {
    "minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most",
    "exclusiveMaximum": "below",
}  # fmt: skip
_TYPES = {
    "integer": "whole number", "number": "number", "string": "text", "boolean": "true or false",
    "null": "null", "object": "keys and values", "array": "list",
}  # fmt: skip


def _variant(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(map(str, schema["enum"]))
    if "const" in schema:
        return str(schema["const"])
    if schema.get("format") == "date":
        return "date"
    bounds = [f"{word} {schema[key]:,.10g}" for key, word in _BOUNDS.items() if key in schema]
    return " ".join([_TYPES.get(schema.get("type", ""), "value"), " and ".join(bounds)]).strip()
