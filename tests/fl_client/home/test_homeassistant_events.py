"""What Home Assistant tells of its entities, message by message, as its WebSocket does."""

import pytest

from fl_client.home.clock import HouseClock
from fl_client.home.inbox import Inbox
from fl_client.home.mapping import Channel
from fl_client.home.sources.homeassistant import HomeAssistant
from fl_client.home.sources.source import TOKEN

NOW = 1_795_694_400.0
CHANNELS = [
    Channel("import", "homeassistant", "", "sensor.import"),
    Channel("battery", "homeassistant", "", "sensor.battery", kind="power"),
]


@pytest.fixture
def source() -> HomeAssistant:
    """One that is connected, and has been told of no entity."""
    return HomeAssistant("http://localhost:8123", CHANNELS, {TOKEN: "t"}, lambda _: None)


def _heard(source: HomeAssistant, *events: dict[str, object]) -> list[object]:
    """(Role, value) of what is read, and words where something is left out."""
    inbox = Inbox(HouseClock(NOW, 0.0, 0.0))
    for event in events:
        source._event(event, inbox)
    found: list[object] = []
    while (item := inbox.take(0.0)) is not None:
        if item.reading is not None:
            found.append((item.reading.channel.split()[0], item.reading.value))
        if item.doubt is not None:
            found.append(item.doubt[2])
    return found


def test_an_entity_that_comes_later_has_its_unit(source: HomeAssistant) -> None:
    """Home Assistant runs before its integrations have made all entities, and makes some anew; a
    unit may come with the entity, or after it, and change."""
    made = {"s": "1500", "lc": NOW, "a": {"unit_of_measurement": "Wh"}}
    assert _heard(source, {"a": {"sensor.import": made}}) == [("import", 1.5)]
    bare = {"s": "unavailable", "lc": NOW, "a": {}}
    told = {"c": {"sensor.battery": {"+": {"s": "300", "lc": NOW}}}}
    known = {"c": {"sensor.battery": {"+": {"lc": NOW, "a": {"unit_of_measurement": "W"}}}}}
    found = _heard(source, {"a": {"sensor.battery": bare}}, told, known)
    assert "unit ''" in str(found[0])
    assert found[1:] == [("battery", 0.3)]
    other = {"s": "2.0", "lc": NOW, "a": {"unit_of_measurement": "kWh"}}
    assert _heard(source, {"r": ["sensor.import"]}, {"a": {"sensor.import": other}}) == [
        ("import", 2.0)
    ]
