"""The mapping: shapes of real devices, and one clear line for what is wrong."""

import math

import pytest

from common.errors import InputError
from fl_client.home.mapping import parse_mapping, read_mapping
from fl_client.home.values import Unreadable, decode, number, pick, stamp
from tests.support.yaml_values import changed, read_or_refused

GOOD = """
- {role: import, source: mqtt, topic: dsmr/reading/electricity_delivered_1}
- {role: import, source: mqtt, topic: dsmr/reading/electricity_delivered_2}
- {role: export, source: mqtt://broker:1884, topic: shellies/em/emeter/0/total_returned, unit: Wh}
- {role: pv, topic: tele/x, json: SML.Total_out, time: {json: Time, zone: Europe/Berlin}}
- {role: soc, source: homeassistant, entity: sensor.soc}
- {role: power, topic: house/meter, json: power_w, time: time}
- {role: discharge, source: sql, query: "select time, value from x", json: value}
- {role: charge, path: charge.csv, kind: interval, minutes: 15, unit: Wh, json: wh, sign: 1}
"""


def test_a_mapping_is_read(tmp_path):
    """Every kind of source; what is left out has the usual meaning; relative paths start at the
    mapping."""
    file = tmp_path / "meters.yaml"
    file.write_text(GOOD)
    found = read_mapping(file)
    assert [one.via for one in found] == ["mqtt"] * 4 + ["homeassistant", "mqtt", "sql", "file"]
    assert [one.kind for one in found[4:6]] == ["level", "power"]
    assert found[2].server == "mqtt://broker:1884"
    assert found[2].scale == pytest.approx(1e-3)
    assert (found[3].time, found[3].zone) == ("Time", "Europe/Berlin")
    assert found[4].unit == ""
    assert found[7].address == str(tmp_path / "charge.csv")
    assert len({one.name for one in found}) == len(found)


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("{role: heating, topic: x}", "role 'heating': known are import"),
        ("{role: import}", "one of topic, entity, query, path, url is needed"),
        ("{role: import, topic: x, entity: y}", "needed, not topic, entity"),
        ("{role: import, topic: x, unit: W}", "unit 'W' of a register: known are Wh, kWh"),
        ("{role: import, topic: x, units: Wh}", "unknown key 'units'"),
        ("{role: import, topic: x, kind: level}", "import is energy"),
        ("{role: soc, topic: x, kind: register}", "a soc is a level"),
        ("{role: import, topic: x, kind: interval}", "minutes: the length"),
        ("{role: import, topic: x, sign: 2}", "sign: 1 or -1, not 2"),
        ("{role: import, topic: x, time: {json: t, zone: Mars/Base}}", "zone 'Mars/Base'"),
        ("{role: import, source: sql, topic: x}", "source sql: needs query"),
        ("{role: import, source: 'ftp://x', topic: x}", "expected mqtt or mqtt://..."),
        ("{role: import, source: 'mqtt://me:secret@x', topic: x}", "no password in a mapping"),
        ("{role: import, topic: x}\n- {role: import, topic: x}", "stands there twice"),
        ("{role: soc, topic: x}", "no meter with energy"),
        ("[1]", "expected keys and values"),
        ("{role: import, topic: true}", "topic: expected text"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, entry, says):
    """File, entry, cause and what would be right; never the secret itself."""
    file = tmp_path / "meters.yaml"
    file.write_text(f"- {entry}\n")
    with pytest.raises(InputError) as error:
        read_mapping(file)
    assert says in str(error.value)
    assert str(error.value).startswith(str(file))
    assert "\n" not in str(error.value)
    assert "secret@" not in str(error.value)


def test_a_number_is_found_and_nothing_else_is_a_number():
    """Dotted paths through objects and lists; words such as unavailable are never 0."""
    message = decode(b'{"SML": {"Total_in": "12.5"}, "em:0": {"a.b": 3}, "list": [{"total": 7}]}')
    assert number(pick(message, "SML.Total_in")) == 12.5
    assert number(pick(message, "em:0.a.b")) == 3
    assert number(pick(message, "list.0.total")) == 7
    assert number(pick(decode("1234.5"), "")) == 1234.5
    for wrong in ("unavailable", "", "nan", "inf", True, None, [1]):
        with pytest.raises(Unreadable):
            number(wrong)
    for path in ("SML.Total_out", "list.3.total", "SML.Total_in.x"):
        with pytest.raises(Unreadable):
            pick(message, path)


def test_stamps_of_every_kind():
    """ISO with and without zone, seconds, milliseconds; a local stamp of the repeated hour is the
    later one unless that lies ahead; what no clock showed is refused, as is a stamp without zone.
    """
    noon = 1_795_694_400  # 2026-11-26 12:00 UTC
    for text in ("2026-11-26T12:00:00Z", "2026-11-26 13:00:00+01:00", noon, str(noon), noon * 1000):
        assert stamp(text, "", noon) == noon
    assert stamp("2026-11-26T13:00:00", "Europe/Berlin", noon) == noon
    first, second = 1_792_888_200, 1_792_891_800  # 2026-10-25 02:30, summer and winter time
    assert stamp("2026-10-25T02:30:00", "Europe/Berlin", first + 5) == first
    assert stamp("2026-10-25T02:30:00", "Europe/Berlin", second + 5) == second
    for text, zone in (
        ("2026-03-29T02:30:00", "Europe/Berlin"), ("2026-11-26T13:00:00", ""), (1e19, ""),
        (noon * 10**6, ""), ("99999999999999999999", ""),
    ):  # fmt: skip
        with pytest.raises(Unreadable):
            stamp(text, zone, noon)


@pytest.mark.parametrize("entry", [
    {"role": "import", "source": "mqtt://h:1", "topic": "x", "json": "j", "unit": "Wh",
     "kind": "register", "time": {"json": "t", "zone": "UTC"}, "sign": 1, "every": 0},
    {"role": "import", "source": "https://h:8123", "entity": "sensor.x"},
    {"role": "import", "source": "postgresql://h/d", "query": "select 1", "zone": "UTC"},
    {"role": "import", "path": "x", "kind": "interval", "minutes": 15, "stamp": "end", "time": "t"},
    {"role": "import", "url": "http://h/x", "every": 10},
], ids=lambda entry: list(entry)[2])  # fmt: skip
def test_any_value_of_any_key_is_read_or_refused(tmp_path, entry):
    """In one line that begins with the file; what is read has finite numbers alone."""
    path = tmp_path / "meters.yaml"
    for content in changed([entry]):
        found = read_or_refused(lambda content=content: parse_mapping(content, path), path)
        for one in found or []:
            assert math.isfinite(one.minutes)
            assert math.isfinite(one.every_s)
            assert one.sign in (1.0, -1.0)


def test_messages_that_are_none():
    """Numbers of hundreds of digits, lists in lists, digits that are none, the calendar's edges."""
    for text in ("9" * 400, "-" + "9" * 400, "9" * 5000, "1e999", "[" * 100_000):
        with pytest.raises(Unreadable):
            number(decode(text))
        with pytest.raises(Unreadable):
            stamp(decode(text), "", 1.8e9)
    for path in ("\u00b2", "\u0663", "9" * 5000, "--1"):
        with pytest.raises(Unreadable):
            pick([1, 2, 3, 4], path)
    for text, zone in (("0001-01-01T00:00", "Asia/Tokyo"), ("9999-12-31T23:59", "America/Lima")):
        with pytest.raises(Unreadable):
            stamp(text, zone, 1.8e9)
