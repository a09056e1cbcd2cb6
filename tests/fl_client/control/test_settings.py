"""``control.yaml``: what it may say, and what is said of one that is wrong."""

import math
from dataclasses import astuple

import pytest
import yaml

from common.errors import InputError
from fl_client.control import settings
from fl_client.control.adapters.modbus import ModbusAdapter
from fl_client.control.record import COMMAND, NONE, SHADOW
from fl_client.control.settings import Order, read_control
from tests.support.yaml_values import changed, read_or_refused

POWER = {"topic": "b", "json": "power_w", "sign": -1}
FULL = {
    "mode": "command",
    "adapter": "mqtt",
    "server": "mqtt://broker.lan:1883",
    "setpoint": {"topic": "p/set", "unit": "W", "sign": -1},
    "take": {"topic": "m/set", "value": "remote"},
    "hand_back": [{"topic": "p/set", "value": "0"}, {"topic": "m/set", "value": "auto"}],
    "readback": {"power": [POWER, POWER | {"topic": "c"}], "switch": {"topic": "s", "is": "ON"}},
    "limits": {"charge_kw": 3, "soc_min": 0.2},
    "watchdog_s": 120,
}


MODBUS = {
    "adapter": "modbus",
    "server": "tcp://inverter.lan:502",
    "setpoint": {"register": 40, "type": "int32", "order": "little"},
    "take": {"register": 41, "value": 4},
    "hand_back": {"register": 41, "value": 0},
}


HOMEASSISTANT = {
    "adapter": "homeassistant",
    "server": "http://house.lan:8123",
    "setpoint": {"entity": "number.x", "unit": "kW"},
    "take": {"entity": "switch.x", "value": "on"},
    "hand_back": [{"entity": "switch.x", "value": "off"}],
}
READ = {"source": "mqtt://h", "every": 3, "time": "t", "zone": "UTC", "kind": "power", "minutes": 0}
EVERY = {
    "device": 1,
    "readback": {"power": [POWER | READ], "switch": {"topic": "s", "is": "ON"}},
    "limits": {"charge_kw": 3, "discharge_kw": 3, "soc_min": 0.2, "soc_max": 0.9},
    "every_s": 10,
    "stale_s": 60,
    "deadtime_s": 3,
    "ramp_kw_per_s": 1,
}


def _read(folder, content):
    text = content if isinstance(content, str) else yaml.safe_dump(content)
    (folder / "control.yaml").write_text(text)
    return read_control(folder)


def test_without_a_file_nothing_is_done_and_with_one_it_is_a_shadow(tmp_path):
    """The battery is left alone until somebody says otherwise; then nothing is sent until somebody
    says command."""
    assert read_control(tmp_path).mode == NONE
    found = _read(tmp_path, {"readback": {"power": POWER}})
    assert found.mode == SHADOW
    assert found.stale_s == 60


def test_all_of_it(tmp_path):
    """Orders in order, signs and units as a factor, channels with their roles, a slow path's
    patience."""
    found = _read(tmp_path, FULL)
    assert found.mode == COMMAND
    assert found.setpoint == Order("p/set", factor=-1000.0)
    assert found.follow is None
    follow = {"follow": {"topic": "g/set", "unit": "kW", "sign": -1}}
    assert _read(tmp_path, FULL | follow).follow == Order("g/set", factor=-1.0)
    assert [one.value for one in found.hand_back] == ["0", "auto"]
    assert [(one.role, one.address) for one in found.readback] == [
        ("battery", "b"), ("battery", "c"), ("switch", "s"),
    ]  # fmt: skip
    assert found.readback[0].scale == -1e-3
    assert (found.charge_kw, found.discharge_kw) == (3.0, float("inf"))
    registers = _read(tmp_path, FULL | MODBUS)
    assert registers.setpoint == Order("40", factor=1000.0, type="int32", little=True)
    assert registers.take == (Order("41", "4"),)
    slow = FULL | {"readback": {"power": {"entity": "sensor.b"}}}
    assert _read(tmp_path, slow).stale_s == 150


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"mode": "on"}, "mode 'on': known are none, observe, shadow, command"),
        ({"modes": "x"}, "unknown key modes"),
        ({"adapter": "knx"}, "adapter 'knx': known are mqtt, homeassistant, modbus"),
        ({"adapter": "modbus", "server": ""}, "server: needed with adapter modbus"),
        (MODBUS | {"setpoint": {"register": 70000}}, "expected 0 to 65535"),
        (MODBUS | {"setpoint": {"register": 1, "type": "int8"}}, "known are int16, uint16"),
        (MODBUS | {"setpoint": {"register": 1, "json": "x"}}, "unknown key setpoint.json"),
        ({"setpoint": {"topic": "p", "type": "int16"}}, "unknown key setpoint.type"),
        ({"adapter": ""}, "say the adapter too"),
        ({"setpoint": {"topic": ""}}, "setpoint.topic: needed with adapter mqtt"),
        ({"setpoint": {"entity": "number.x"}}, "unknown key setpoint.entity"),
        ({"setpoint": {"topic": "p/#"}}, "is no topic: one alone"),
        ({"setpoint": {"topic": "p", "sign": 0}}, "setpoint.sign: 1 where charging is positive"),
        ({"setpoint": {"topic": "p", "unit": "A"}}, "setpoint.unit 'A': known are W, kW"),
        ({"follow": {"topic": ""}}, "follow.topic: needed with adapter mqtt"),
        ({"follow": {"topic": "p", "sign": 2}}, "follow.sign: 1 where drawing from the grid is"),
        ({"take": {"topic": "m", "value": True}}, "take.value: expected text; YAML reads"),
        ({"take": {"topic": "m"}}, "take.value: what to write"),
        ({"hand_back": []}, "hand_back: needed to command"),
        ({"readback": {}}, "readback.power: needed"),
        ({"readback": {"power": {"topic": "b", "unit": "Wh"}}}, "unit 'Wh' of a power"),
        ({"readback": {"power": POWER, "switch": {"topic": "s"}}}, "is: the text that means yes"),
        ({"readback": {"power": POWER | {"role": "soc"}}}, "it has its role already"),
        ({"limits": {"soc_min": 0.9, "soc_max": 0.8}}, "soc_min 0.9 is not below soc_max 0.8"),
        ({"limits": {"charge_kw": -1}}, "limits.charge_kw: -1: expected 0 to inf"),
        ({"limits": {"soc_max": "full"}}, "limits.soc_max: expected a number, not 'full'"),
        ({"limits": {"power_kw": 3}}, "unknown key limits.power_kw"),
        ({"every_s": 0.1}, "every_s: 0.1: expected 2 to 300"),
        ({"watchdog_s": 20}, "the inverter would forget a command before"),
        ({"server": "mqtt://me:secret@broker"}, "no password here"),
        ({"server": "http://broker"}, "expected mqtt://... or mqtts://..."),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, change, says):
    """File, key, cause, what would be right; never the secret."""
    with pytest.raises(InputError) as error:
        _read(tmp_path, FULL | change)
    text = str(error.value)
    assert text.startswith(f"{tmp_path / 'control.yaml'}: ")
    assert says in text
    assert "\n" not in text
    assert "secret@" not in text


def test_a_file_that_is_no_mapping(tmp_path):
    """A list, a word, nothing at all."""
    for text in ("- 1\n", "command\n", ""):
        with pytest.raises(InputError, match="expected keys and values"):
            _read(tmp_path, text)


@pytest.mark.parametrize("line", [{}, MODBUS, HOMEASSISTANT], ids=["mqtt", "modbus", "ha"])
def test_any_value_of_any_key_is_read_or_refused(tmp_path, monkeypatch, line):
    """In one line that begins with the file; what is read has finite numbers alone, beside limits
    that are left out, and an inverter's number that is one."""
    path = tmp_path / "control.yaml"
    path.touch()
    for content in changed(FULL | EVERY | line):
        monkeypatch.setattr(settings, "read_yaml", lambda _, content=content: content)
        found = read_or_refused(lambda: read_control(tmp_path), path)
        if found is not None:
            numbers = [one for one in astuple(found) if isinstance(one, float)]
            left_out = content["limits"] == {}
            assert all(math.isfinite(one) or left_out for one in numbers), content
            assert found.device in range(256)


def test_what_is_no_address_register_or_number(tmp_path):
    """Half an address, a port that there is not, a register of other digits, half a device."""
    for change, key in (
        ({"server": "mqtt://[::1"}, "server"),
        (MODBUS | {"server": "tcp://x:99999"}, "server"),
        (MODBUS | {"setpoint": {"register": "\u00b2"}}, "setpoint.register"),
        (MODBUS | {"setpoint": {"register": "\u0663"}}, "setpoint.register"),
        (MODBUS | {"device": 1.7}, "device"),
        ({"readback": {"power": POWER | {"source": "mqtt://[::1"}}}, "readback.power: source"),
        ({"limits": {"charge_kw": 10**240 * 10**80}}, "a number of 321 digits in line"),
        ({"limits": {"charge_kw": math.inf}}, "limits.charge_kw"),
    ):
        with pytest.raises(InputError) as error:
            _read(tmp_path, FULL | change)
        assert str(error.value).startswith(f"{tmp_path / 'control.yaml'}: ")
        assert key in str(error.value)


@pytest.mark.parametrize("value", [".nan", ".inf", "-.inf", "nan", "1e999"])
def test_no_register_holds_what_is_no_number(tmp_path, value):
    """Refused when the line is made, before a battery is taken."""
    text = yaml.safe_dump(FULL | MODBUS) + f"\ntake: {{register: 41, value: {value}}}\n"
    text = text.replace("take:\n  register: 41\n  value: 4\n", "")
    control = _read(tmp_path, text)
    with pytest.raises(InputError, match=r"register 41: .* is no number"):
        ModbusAdapter(control)
