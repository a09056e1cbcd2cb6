"""MQTT by a real broker: the meter's own stamps, and nothing lost."""

import json
import time

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from fl_client.home.mapping import BATTERY_ROLES, channel
from fl_client.home.store import ARRIVAL, OWN
from tests.fl_client.home.listening import listening, said, until, values, write

NOW = 1_795_694_400


@pytest.fixture
def meter(broker):
    """Publish as a meter does."""
    client = Client(CallbackAPIVersion.VERSION2, "meter")
    client.connect("127.0.0.1", broker.port)
    client.loop_start()

    def publish(topic, body, retain=False):
        text = body if isinstance(body, str) else json.dumps(body)
        client.publish(topic, text, 1, retain=retain).wait_for_publish(5)

    yield publish
    client.disconnect()
    client.loop_stop()


def _import(broker, **more):
    return {"role": "import", "source": f"mqtt://127.0.0.1:{broker.port}", "topic": "meter"} | more


STAMPED = {"json": "import_kwh", "time": "time"}


def _message(seconds, kwh):
    return {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(NOW + seconds)),
            "import_kwh": kwh}  # fmt: skip


def test_a_switch_that_is_retained_is_heard(tmp_path, broker, meter):
    """It was told before anybody listened, and is kept when other readings are dropped."""
    write(tmp_path / "home", _import(broker, **STAMPED))
    meter("wall", "OFF", retain=True)
    entry = {"role": "switch", "source": f"mqtt://127.0.0.1:{broker.port}", "topic": "wall"}
    wall = channel({**entry, "is": "ON"}, tmp_path / "home", BATTERY_ROLES)
    with listening(tmp_path / "home", battery=[wall]) as meters:
        until(meters, lambda: meters.store.newest(wall.name))
        meters._prune(time.time() + 86400.0)
        assert meters.store.newest(wall.name).value == 0.0


def test_messages_carry_their_own_time(tmp_path, broker, meter):
    """A retained message is as old as its stamp; without one it is left out. Repeated and late
    messages find their place; several channels may share a topic; words are no numbers."""
    write(tmp_path / "home", _import(broker, **STAMPED), _import(broker, json="plain", role="pv"))
    meter("meter", {**_message(0, 10.0), "plain": 1.0}, retain=True)
    with listening(tmp_path / "home") as meters:
        until(meters, lambda: values(meters))
        for seconds, kwh in ((20, 10.2), (10, 10.1), (20, 10.2)):
            meter("meter", _message(seconds, kwh))
        meter("meter", {"time": "2026-11-26T12:01:00Z", "import_kwh": "unavailable", "plain": 2.0})
        until(meters, lambda: values(meters, 1))
        assert values(meters) == [(NOW, 10.0), (NOW + 10, 10.1), (NOW + 20, 10.2)]
        assert [value for _, value in values(meters, 1)] == [2.0]
        assert meters.store.newest(meters.channels[0].name).quality == OWN
        assert meters.store.newest(meters.channels[1].name).quality == ARRIVAL
        assert said(meters, "'unavailable' is no number")


def test_nothing_is_lost_while_nobody_listens(tmp_path, broker, meter):
    """What comes while the daemon is down, or dies before it has written, comes again."""
    write(tmp_path / "home", _import(broker, **STAMPED))
    with listening(tmp_path / "home") as meters:
        until(meters, lambda: said(meters, "connected"))
    for seconds in range(0, 400, 10):
        meter("meter", _message(seconds, seconds / 1000))
    with listening(tmp_path / "home") as meters:
        # Heard, but neither written nor acknowledged: as if it were killed now.
        time.sleep(0.5)
        while meters._inbox.take(0.1) is not None:
            pass
    with listening(tmp_path / "home") as meters:
        until(meters, lambda: len(values(meters)) == 40)


def test_a_broker_that_restarts_is_found_again(tmp_path, broker, meter):
    """The client connects by itself, and its subscription holds."""
    write(tmp_path / "home", _import(broker, **STAMPED))
    with listening(tmp_path / "home") as meters:
        until(meters, lambda: said(meters, "connected"))
        meter("meter", _message(0, 1.0))
        until(meters, lambda: len(values(meters)) == 1)
        broker.stop()
        until(meters, lambda: said(meters, "lost"))
        broker.start()
        until(meters, lambda: said(meters, "connected"))
        meter("meter", _message(10, 1.1))
        until(meters, lambda: len(values(meters)) == 2)


def test_a_broker_that_is_not_there_is_said(tmp_path, broker):
    """The state of the source says why; nothing ends."""
    broker.stop()
    write(tmp_path / "home", _import(broker))
    with listening(tmp_path / "home") as meters:
        until(meters, lambda: said(meters, "refused"))
    broker.start()


def test_devices_shapes(tmp_path, broker, meter):
    """Two tariffs that add up, watt hours, local stamps without zone, tens of seconds or five
    minutes: the intervals come out as kWh."""
    source = {"source": f"mqtt://127.0.0.1:{broker.port}"}
    local = {"json": "Time", "zone": "Europe/Berlin"}
    write(
        tmp_path / "home",
        {"role": "import", "topic": "dsmr/1", "json": "value", "time": "time"} | source,
        {"role": "import", "topic": "dsmr/2", "json": "value", "time": "time"} | source,
        {"role": "export", "topic": "tele/x", "json": "SML.Total_out", "time": local} | source,
        {"role": "pv", "topic": "em", "json": "em:0.total_act", "unit": "Wh", "time": "ts"}
        | source,
    )
    begin = NOW - NOW % 1800
    with listening(tmp_path / "home") as meters:
        until(meters, lambda: said(meters, "connected"))
        for seconds in range(0, 3900, 300):
            at = begin + seconds
            iso = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
            wall = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at + 3600))
            meter("dsmr/1", {"time": iso, "value": 100 + seconds * 1e-4})
            meter("dsmr/2", {"time": iso, "value": 200 + seconds * 2e-4})
            meter("tele/x", {"Time": wall, "SML": {"Total_out": 5 + seconds * 3e-4}})
            meter("em", {"ts": at * 1000, "em:0": {"total_act": 9000 + seconds}})
        roles = ("import", "export", "pv")
        found = lambda role: meters.store.intervals(role, 30, begin, begin + 3600)  # noqa: E731
        until(meters, lambda: all(len(found(role)) == 2 for role in roles))
        for role, kwh in zip(roles, (0.54, 0.54, 1.8), strict=True):
            assert [(m.kwh, m.kind) for m in found(role)] == [(pytest.approx(kwh), "measured")] * 2
