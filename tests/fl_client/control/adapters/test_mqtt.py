"""Commands by a real broker: what arrives, what does not, and what must never arrive late."""

import queue
import time

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from fl_client.control.adapters import open_adapter
from fl_client.control.settings import Control, Order


@pytest.fixture
def inverter(broker):
    """(Topic, text, retained) of what an inverter hears."""
    heard: queue.Queue = queue.Queue()
    client = Client(CallbackAPIVersion.VERSION2, "inverter", clean_session=False)
    client.reconnect_delay_set(0.1, 0.5)
    client.on_connect = lambda one, *_: one.subscribe("inverter/#", 1)
    client.on_message = lambda _c, _d, m: heard.put((m.topic, m.payload.decode(), m.retain))
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    yield heard
    client.disconnect()
    client.loop_stop()


def _open(broker, setpoint, follow=None, hand_back=("auto",)):
    control = Control(
        mode="command",
        adapter="mqtt",
        server=f"mqtt://127.0.0.1:{broker.port}",
        setpoint=setpoint,
        follow=follow,
        take=(Order("inverter/mode", "remote"),),
        hand_back=tuple(Order("inverter/mode", word) for word in hand_back),
    )
    adapter = open_adapter(control, {}, "maple")
    _until(lambda: not adapter.trouble, adapter)
    return adapter


def _until(happened, adapter):
    end = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < end, adapter.trouble
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("order", "text"),
    [
        (Order("inverter/p", factor=-1000.0), "-1234"),
        (Order("inverter/p", factor=1.0), "1.234"),
        (Order("inverter/p", field="power", factor=1000.0), '{"power": 1234.0}'),
    ],
)
def test_commands_arrive_in_the_inverters_words(broker, inverter, order, text):
    """Sign, unit and form of the mapping; in order; none of them retained."""
    adapter = _open(broker, order)
    adapter.take()
    adapter.setpoint(1.234)
    adapter.hand_back()
    heard = [inverter.get(timeout=5) for _ in range(3)]
    assert heard == [
        ("inverter/mode", "remote", False),
        ("inverter/p", text, False),
        ("inverter/mode", "auto", False),
    ]
    adapter.close()
    time.sleep(0.2)
    assert inverter.empty()  # an end in good order needs no last will


def test_what_is_held_at_the_grid_goes_to_its_own_topic(broker, inverter):
    """In its own unit and sign, whatever those of the setpoint are."""
    adapter = _open(broker, Order("inverter/p", factor=-1000.0), Order("inverter/grid", factor=1.0))
    adapter.follow(-0.5)
    assert inverter.get(timeout=5) == ("inverter/grid", "-0.5", False)
    adapter.close()


def test_what_a_dead_line_did_not_take_is_never_sent(broker, inverter):
    """It is an error then and there; when the broker is back nothing old comes."""
    adapter = _open(broker, Order("inverter/p", factor=1000.0))
    broker.stop()
    _until(lambda: adapter.trouble, adapter)
    for command in (adapter.take, lambda: adapter.setpoint(1.0), adapter.hand_back):
        with pytest.raises(OSError, match="mqtt 127"):
            command()
    broker.start()
    _until(lambda: not adapter.trouble, adapter)
    adapter.setpoint(2.0)
    heard = [inverter.get(timeout=5)]
    while heard[-1][1] != "2000":
        heard.append(inverter.get(timeout=5))
    # The broker may have said the last will; no command of ours is among it.
    assert {text for _, text, _ in heard} <= {"auto", "2000"}
    adapter.close()


def test_a_broker_that_is_not_there_is_said(broker):
    """No exception at the start: it connects when it can."""
    broker.stop()
    control = Control(
        server=f"mqtt://127.0.0.1:{broker.port}", adapter="mqtt",
        hand_back=(Order("inverter/mode", "auto"),),
    )  # fmt: skip
    adapter = open_adapter(control, {}, "maple")
    assert adapter.trouble
    broker.start()
    _until(lambda: not adapter.trouble, adapter)
    adapter.close()
