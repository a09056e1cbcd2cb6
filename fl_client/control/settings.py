"""``HOME/control.yaml``: how the household's battery is read and commanded, and how far.

docs/control.md explains each key.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import InputError
from common.yaml_text import number, read_yaml, whole_number
from fl_client.control.proof import Delay
from fl_client.control.record import COMMAND, MODES, NONE, SHADOW
from fl_client.home import address as addresses
from fl_client.home.mapping import BATTERY_ROLES, Channel, channel

CONTROL = "control.yaml"
MQTT, HOMEASSISTANT, MODBUS = "mqtt", "homeassistant", "modbus"
ADAPTERS = (MQTT, HOMEASSISTANT, MODBUS)
_ADDRESS = {MQTT: "topic", HOMEASSISTANT: "entity", MODBUS: "register"}
_TYPES = ("int16", "uint16", "int32", "uint32", "float32")
_SCHEMES = {MQTT: ("mqtt", "mqtts"), HOMEASSISTANT: ("http", "https"), MODBUS: ("tcp",)}
_KEYS = ("mode", "adapter", "server", "device", "setpoint", "follow", "take", "hand_back",
         "readback", "limits", "deadtime_s", "ramp_kw_per_s", "watchdog_s", "every_s",
         "stale_s")  # fmt: skip
_LIMITS = ("charge_kw", "discharge_kw", "soc_min", "soc_max")
_UNITS = {"W": 1000.0, "kW": 1.0}
_LEAST_EVERY_S = 2.0
_LAST_REGISTER = 65535
_REGISTER = re.compile(r"[0-9]{1,5}")
# How a value may be written, by adapter.
_FORMS = {MQTT: ("json",), HOMEASSISTANT: (), MODBUS: ("type", "order")}


@dataclass(frozen=True)
class Order:
    """One thing that can be written to the battery.

    address: topic, entity or register. value: what to write; "" for a setpoint. field: where the
    value stands in a JSON message, "" for the whole. factor: from kW, charging positive, to what is
    written.
    type, little: how registers hold it; the lower word first.
    """

    address: str
    value: str = ""
    field: str = ""
    factor: float = 1.0
    type: str = "int16"
    little: bool = False


@dataclass(frozen=True)
class Control:
    """``control.yaml``.

    server: "" for the one in secret.env. device: Modbus' number of the inverter. follow: the power
    at the grid's connection that the inverter holds by itself (import positive), None where it
    cannot. take: what makes
    the inverter listen to setpoints; hand_back: what gives it back to its own self-consumption;
    each a list. readback: channels of the battery's power (charging positive) and of the switch of
    the house. charge_kw,
    discharge_kw, soc_min, soc_max: limits beside those of the battery's settings. watchdog_s: the
    inverter forgets commands after so long, 0: never. every_s: between two setpoints. stale_s: of
    readings older than that the battery is handed back.
    """

    mode: str = SHADOW
    adapter: str = ""
    server: str = ""
    device: int = 1
    setpoint: Order | None = None
    follow: Order | None = None
    take: tuple[Order, ...] = ()
    hand_back: tuple[Order, ...] = ()
    readback: tuple[Channel, ...] = ()
    charge_kw: float = math.inf
    discharge_kw: float = math.inf
    soc_min: float = 0.0
    soc_max: float = 1.0
    deadtime_s: float = 3.0
    ramp_kw_per_s: float = 1.0
    watchdog_s: float = 0.0
    every_s: float = 10.0
    stale_s: float = 60.0

    @property
    def delay(self) -> Delay:
        """How the battery follows a command."""
        return Delay(self.deadtime_s, self.ramp_kw_per_s)


def read_control(home: Path) -> Control:
    """Read ``HOME/control.yaml``; without it control does nothing. Raises InputError."""
    path = home / CONTROL
    if not path.exists():
        return Control(mode=NONE)
    loaded = read_yaml(path)
    if not isinstance(loaded, dict):
        raise InputError(f"{path}: expected keys and values")
    try:
        return _control(loaded, home)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _control(entry: Mapping[Any, Any], home: Path) -> Control:
    _known(entry, _KEYS)
    mode = _one_of(entry, "mode", MODES, SHADOW)
    adapter = _one_of(entry, "adapter", ("", *ADAPTERS), "")
    limits = _mapping(entry, "limits")
    _known(limits, _LIMITS, "limits.")
    low = number(limits, "soc_min", 0.0, 0.0, 1.0, "limits.")
    high = number(limits, "soc_max", 1.0, 0.0, 1.0, "limits.")
    if not low < high:
        raise InputError(f"limits: soc_min {low:g} is not below soc_max {high:g}")
    every = number(entry, "every_s", 10.0, _LEAST_EVERY_S, 300.0)
    watchdog = number(entry, "watchdog_s", 0.0, 0.0, 3600.0)
    if 0 < watchdog < 3 * every:
        raise InputError(
            f"watchdog_s: {watchdog:g}: below three times every_s ({every:g}) the inverter would "
            "forget a command before it can be renewed"
        )
    readback = _readback(_mapping(entry, "readback"), home)
    slow = any(one.via != MQTT for one in readback)
    made = Control(
        mode=mode,
        adapter=adapter,
        server=_server(entry, adapter),
        device=whole_number(entry, "device", 1, 0, 255),
        setpoint=_setpoint(entry, "setpoint", adapter),
        follow=_setpoint(entry, "follow", adapter),
        take=_orders(entry, "take", adapter),
        hand_back=_orders(entry, "hand_back", adapter),
        readback=readback,
        charge_kw=number(limits, "charge_kw", math.inf, 0.0, math.inf, "limits."),
        discharge_kw=number(limits, "discharge_kw", math.inf, 0.0, math.inf, "limits."),
        soc_min=low,
        soc_max=high,
        deadtime_s=number(entry, "deadtime_s", 3.0, 0.0, 60.0),
        ramp_kw_per_s=number(entry, "ramp_kw_per_s", 1.0, 0.01, 1000.0),
        watchdog_s=watchdog,
        every_s=every,
        stale_s=number(entry, "stale_s", 150.0 if slow else 60.0, 2 * every, 3600.0),
    )
    _check(made)
    return made


def _check(made: Control) -> None:
    """What a mode needs is there."""
    if made.mode == NONE:
        return
    if not any(one.role == "battery" for one in made.readback):
        raise InputError("readback.power: needed; nothing else shows what the battery does")
    if made.mode != COMMAND:
        return
    if not made.adapter:
        raise InputError(f"adapter: needed to command; known are {', '.join(ADAPTERS)}")
    if made.setpoint is None:
        raise InputError("setpoint: needed to command")
    if not made.hand_back:
        raise InputError(
            "hand_back: needed to command; how does the inverter get back to its own mode?"
        )


def _readback(entry: Mapping[Any, Any], home: Path) -> tuple[Channel, ...]:
    _known(entry, ("power", "switch"), "readback.")
    found = []
    for key, role in zip(("power", "switch"), BATTERY_ROLES, strict=True):
        several = entry.get(key, [])
        for one in several if isinstance(several, list) else [several]:
            if not isinstance(one, dict):
                raise InputError(f"readback.{key}: expected keys and values, not {one!r:.60}")
            if "role" in one:
                raise InputError(f"readback.{key}: it has its role already; leave it out")
            try:
                found.append(channel({**one, "role": role}, home, BATTERY_ROLES))
            except InputError as error:
                raise InputError(f"readback.{key}: {error}") from None
    return tuple(found)


def _setpoint(entry: Mapping[Any, Any], key: str, adapter: str) -> Order | None:
    """Where a power goes: the battery's (``setpoint``) or the grid's (``follow``)."""
    if key not in entry:
        return None
    one, where = _mapping(entry, key), f"{key}."
    address = _address(one, key, adapter, ("unit", "sign", *_FORMS[adapter or MQTT]))
    unit = _one_of(one, "unit", ("W", "kW"), "W", where)
    sign = one.get("sign", 1)
    if sign not in (1, -1) or isinstance(sign, bool):
        positive = "charging" if key == "setpoint" else "drawing from the grid"
        raise InputError(f"{where}sign: 1 where {positive} is positive, -1 where it is negative, "
                         f"not {sign!r:.60}")  # fmt: skip
    return Order(address, "", _text(one, "json", where), _UNITS[unit] * sign,
                 *_register(one, where))  # fmt: skip


def _orders(entry: Mapping[Any, Any], key: str, adapter: str) -> tuple[Order, ...]:
    several = entry.get(key, [])
    made = []
    for one in several if isinstance(several, list) else [several]:
        if not isinstance(one, dict):
            raise InputError(f"{key}: expected keys and values, not {one!r:.60}")
        address = _address(one, key, adapter, ("value", *_FORMS[adapter or MQTT]))
        value = _text(one, "value", f"{key}.")
        if not value:
            raise InputError(f"{key}.value: what to write")
        form = _register(one, f"{key}.")
        made.append(Order(address, value, _text(one, "json", f"{key}."), 1.0, *form))
    return tuple(made)


def _register(one: Mapping[Any, Any], where: str) -> tuple[str, bool]:
    """(Type, whether the lower word comes first) of what registers hold."""
    kind = _one_of(one, "type", _TYPES, "int16", where)
    return kind, _one_of(one, "order", ("big", "little"), "big", where) == "little"


def _address(one: Mapping[Any, Any], key: str, adapter: str, others: tuple[str, ...]) -> str:
    if not adapter:
        raise InputError(f"{key}: say the adapter too; known are {', '.join(ADAPTERS)}")
    kind = _ADDRESS[adapter]
    _known(one, (kind, *others), f"{key}.")
    address = _text(one, kind, f"{key}.")
    if not address:
        raise InputError(f"{key}.{kind}: needed with adapter {adapter}")
    if adapter == MQTT:
        return addresses.topic(address, f"{key}.topic")
    if adapter == HOMEASSISTANT and "." not in address:
        raise InputError(
            f"{key}.entity: {address!r:.60} is no entity, as in number.battery_setpoint"
        )
    if adapter == MODBUS and not (_REGISTER.fullmatch(address) and int(address) <= _LAST_REGISTER):
        raise InputError(f"{key}.register: {address!r:.60}: expected 0 to {_LAST_REGISTER}")
    return address


def _server(entry: Mapping[Any, Any], adapter: str) -> str:
    server = _text(entry, "server")
    if not server and adapter == MODBUS:
        raise InputError("server: needed with adapter modbus, as in tcp://inverter.lan:502")
    if not server:
        return ""
    if not adapter:
        raise InputError(f"server: say the adapter too; known are {', '.join(ADAPTERS)}")
    if addresses.server(server, _SCHEMES[adapter], "server").password is not None:
        raise InputError("server: no password here; it belongs into secret.env")
    return server


def _known(entry: Mapping[Any, Any], keys: tuple[str, ...], where: str = "") -> None:
    for key in entry:
        if key not in keys:
            said = " ".join(str(key).split())[:60]
            raise InputError(f"unknown key {where}{said}; known: {', '.join(keys)}")


def _mapping(entry: Mapping[Any, Any], key: str) -> Mapping[Any, Any]:
    value = entry.get(key, {})
    if not isinstance(value, dict):
        raise InputError(f"{key}: expected keys and values, not {value!r:.60}")
    return value


def _text(entry: Mapping[Any, Any], key: str, where: str = "") -> str:
    value = entry.get(key, "")
    if isinstance(value, bool):
        raise InputError(
            f"{where}{key}: expected text; YAML reads this as yes or no: put it in quotes"
        )
    if not isinstance(value, str | int | float):
        raise InputError(f"{where}{key}: expected text, not {value!r:.60}")
    return str(value).strip()


def _one_of(
    entry: Mapping[Any, Any], key: str, known: tuple[str, ...], default: str, where: str = ""
) -> str:
    value = _text(entry, key, where) or default
    if value not in known:
        raise InputError(
            f"{where}{key} {value!r:.60}: known are {', '.join(one for one in known if one)}"
        )
    return value
