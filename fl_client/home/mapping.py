"""``meters.yaml``: which number of which source is what in the home.

A list of ``{role, source, topic|entity|query|path|url, json, unit, kind, time, sign}``;
docs/live.md explains each key. Several entries of one role add up.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from common.errors import InputError
from common.yaml_text import number, read_yaml
from fl_client.home import address as addresses

MAPPING = "meters.yaml"
ROLES = ("import", "export", "pv", "charge", "discharge", "soc", "power")
ENERGIES = ("import", "export", "pv", "charge", "discharge")
BATTERY_ROLES = ("battery", "switch")
"""What a battery's control reads besides: power at its terminals; whether it may be commanded."""
KINDS = ("register", "interval", "power", "level")
# What is asked for, and the source that answers.
ADDRESSES = {
    "topic": "mqtt",
    "entity": "homeassistant",
    "query": "sql",
    "path": "file",
    "url": "http",
}
_UNITS = {
    "energy": {"Wh": 1e-3, "kWh": 1.0, "MWh": 1e3, "Wmin": 1e-3 / 60, "Ws": 1e-3 / 3600},
    "power": {"W": 1e-3, "kW": 1.0, "MW": 1e3},
    "level": {"%": 1e-2, "1": 1.0},
}
_KEYS = {*ADDRESSES, "role", "source", "json", "unit", "kind", "time", "sign", "zone", "minutes",
         "stamp", "every", "is"}  # fmt: skip
_EVERY_S = {"sql": 30.0, "file": 10.0, "http": 30.0}
_LONGEST_MINUTES = 31 * 1440.0
_LONGEST_EVERY_S = 86400.0


@dataclass(frozen=True)
class Channel:
    """One number of one source.

    ``via``: mqtt, homeassistant, sql, file or http. ``server``: where that is, "" for the one in
    secret.env. ``address``: topic, entity, query, path or URL. ``field``: where the number is in a
    message or row, "" for the whole. ``unit``: "" where the source says it. ``time``: where the
    stamp is, "" without one; ``zone`` of stamps that name none. ``minutes``, ``stamp``: length of
    an interval's reading and the end of it that its stamp names. ``every_s``: between two polls.
    ``word``: the text that counts as 1, any other being 0; "" where a number is told.
    """

    role: str
    via: str
    server: str
    address: str
    field: str = ""
    unit: str = ""
    kind: str = "register"
    time: str = ""
    zone: str = ""
    sign: float = 1.0
    minutes: float = 0.0
    stamp: str = "begin"
    every_s: float = 30.0
    word: str = ""

    @property
    def name(self) -> str:
        """What the store and messages call it."""
        return f"{self.role} {self.address}" + (f" {self.field}" if self.field else "")

    @property
    def scale(self) -> float:
        """Factor to kWh, kW or a fraction, with the sign; of the unit that the mapping names."""
        return factor(self.kind, self.unit) * self.sign


def factor(kind: str, unit: str) -> float:
    """Factor from ``unit`` to kWh, kW or a fraction. Raises InputError."""
    known = _UNITS[{"register": "energy", "interval": "energy"}.get(kind, kind)]
    if unit not in known:
        raise InputError(f"unit {unit!r:.60} of a {kind}: known are {', '.join(known)}")
    return known[unit]


def read_mapping(path: Path) -> list[Channel]:
    """Read ``meters.yaml``. Raises InputError with file, entry and what to write instead."""
    if not path.exists():
        raise InputError(f"{path}: no such file (docs/live.md says what it holds)")
    return parse_mapping(read_yaml(path), path)


def parse_mapping(loaded: object, path: Path) -> list[Channel]:
    """Return the channels of what ``path`` holds. Raises InputError."""
    if not isinstance(loaded, list) or not loaded:
        raise InputError(f"{path}: expected a list of meters, each with a role")
    channels = []
    for place, entry in enumerate(loaded, 1):
        where = f"{path}: entry {place}"
        if not isinstance(entry, dict):
            raise InputError(f"{where}: expected keys and values, not {entry!r:.60}")
        where += f" ({entry['role']})" if entry.get("role") in ROLES else ""
        try:
            channels.append(channel(entry, path.parent))
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
    names = [one.name for one in channels]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise InputError(
            f"{path}: {min(twice)!r:.60} stands there twice; it would be counted twice"
        )
    if not any(one.role in ENERGIES for one in channels):
        raise InputError(f"{path}: no meter with energy; the least is one of role import")
    return channels


def channel(entry: Mapping[Any, Any], folder: Path, roles: Sequence[str] = ROLES) -> Channel:
    """The channel of one entry; paths are relative to ``folder``. Raises InputError."""
    for key in entry:
        if key not in _KEYS:
            raise InputError(f"unknown key {key!r:.60}; known: {', '.join(sorted(_KEYS))}")
    role = _one_of(entry, "role", roles)
    given = [key for key in ADDRESSES if key in entry]
    if len(given) != 1:
        raise InputError(f"one of {', '.join(ADDRESSES)} is needed, not {', '.join(given) or '-'}")
    via, address = ADDRESSES[given[0]], _text(entry, given[0])
    if not address:
        raise InputError(f"{given[0]}: empty")
    if via == "mqtt":
        addresses.topic(address, "topic")
    if via == "http":
        _check_url(address)
    default = _KIND_OF.get(role, "register")
    kind = _one_of(entry, "kind", KINDS, default)
    if role in _KIND_OF and kind != default:
        raise InputError(f"kind: a {role} is a {default}")
    word = _text(entry, "is")
    if (role == "switch") != bool(word):
        raise InputError("is: the text that means yes; for a switch, and only it")
    if role in ENERGIES and kind == "level":
        raise InputError(f"kind: {role} is energy: a register, an interval or a power")
    told = "1" if word else "" if via == "homeassistant" else _UNIT_OF[kind]
    unit = _text(entry, "unit", told)
    if unit:
        factor(kind, unit)
    time, zone = _time(entry)
    minutes = number(entry, "minutes", 0.0, 0.0, _LONGEST_MINUTES)
    if (kind == "interval") != (minutes > 0):
        raise InputError("minutes: the length of an interval's reading; for that kind, and only it")
    if via == "file":
        try:
            address = str((folder / address).resolve())
        except (OSError, RuntimeError):
            raise InputError(f"path: {address!r:.60} is none") from None
    if via in ("sql", "file") and not time:
        time = "time"
    every = number(entry, "every", _EVERY_S.get(via, 0.0), 0.0, _LONGEST_EVERY_S)
    return Channel(
        role, via, _server(entry, via), address, _text(entry, "json"), unit, kind, time, zone,
        _sign(entry), minutes, _one_of(entry, "stamp", ("begin", "end"), "begin"), every, word,
    )  # fmt: skip


_KIND_OF = {"soc": "level", "power": "power", "battery": "power", "switch": "level"}
_UNIT_OF = {"register": "kWh", "interval": "kWh", "power": "W", "level": "%"}


def _text(entry: Mapping[Any, Any], key: str, default: str = "") -> str:
    value = entry.get(key, default)
    if isinstance(value, bool):
        raise InputError(f"{key}: expected text; YAML reads this as yes or no: put it in quotes")
    if not isinstance(value, str | int):
        raise InputError(f"{key}: expected text, not {value!r:.60}")
    return str(value).strip()


def _one_of(entry: Mapping[Any, Any], key: str, known: Sequence[str], default: str = "") -> str:
    value = _text(entry, key, default)
    if value not in known:
        raise InputError(f"{key} {value!r:.60}: known are {', '.join(known)}")
    return value


def _sign(entry: Mapping[Any, Any]) -> float:
    value = {"+": 1, "-": -1}.get(str(entry.get("sign", 1)), entry.get("sign", 1))
    if value not in (1, -1) or isinstance(value, bool):
        raise InputError(f"sign: 1 or -1, not {value!r:.60}")
    return float(value)


def _time(entry: Mapping[Any, Any]) -> tuple[str, str]:
    """(Where the stamp is, its zone)."""
    value = entry.get("time", "")
    zone = _text(entry, "zone")
    if isinstance(value, dict):
        unknown = set(value) - {"json", "zone"}
        if unknown:
            raise InputError(f"time: unknown key {min(map(str, unknown))!r:.60}; known: json, zone")
        zone, value = _text(value, "zone", zone), _text(value, "json")
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise InputError(f"time: expected where the stamp is, not {value!r:.60}")
    if zone:
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise InputError(f"zone {zone!r:.60}: no such time zone, as in Europe/Berlin") from None
    return str(value), zone


def _server(entry: Mapping[Any, Any], via: str) -> str:
    """The server that ``source`` names; "" where it is only the kind of source."""
    source = _text(entry, "source", via)
    if source == via or source == "":
        return ""
    if source in ADDRESSES.values():
        key = next(k for k, v in ADDRESSES.items() if v == source)
        raise InputError(f"source {source}: needs {key}")
    schemes = {"mqtt": ("mqtt", "mqtts"), "homeassistant": ("http", "https"),
               "sql": ("postgresql", "postgres")}.get(via, ())  # fmt: skip
    if not source.startswith(tuple(f"{one}://" for one in schemes)):
        said = f"{via} or {' or '.join(f'{s}://...' for s in schemes)}" if schemes else via
        shown = source.rpartition("@")[2][:80]
        raise InputError(f"source {shown!r:.60}: expected {said}")
    # A database's address may name several hosts, or none: its own library reads it.
    if via == "sql":
        secret = _password(source)
    else:
        secret = addresses.server(source, schemes, "source").password
    if secret is not None:
        raise InputError("source: no password in a mapping; it belongs into secret.env")
    return source


def _password(url: str) -> str | None:
    try:
        return urlsplit(url).password
    except ValueError:
        raise InputError(
            "source: no address of a database: expected postgresql://USER@HOST:PORT/DATABASE"
        ) from None


def _check_url(url: str) -> None:
    """Raise InputError for what no device answers at."""
    if addresses.server(url, ("http", "https"), "url").username is not None:
        raise InputError("url: no user or password here; they belong into secret.env")
    if not url.isascii():
        raise InputError(f"url {url!r:.60}: other letters than ASCII: write them as %C3%A4")
