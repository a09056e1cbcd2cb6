"""Homes on real parts at many times the clock: what is metered is what was used.

One home each on MQTT, a database, a growing file and, with ``make test-live``, Home Assistant. The
daemon's own classes read them; nobody feeds the store by hand.
"""

import csv
import os
import threading
import time

import psycopg
import pytest
import yaml
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from fl_client.home.clock import HouseClock
from fl_client.home.daemon import Meters
from fl_client.home.intervals import MEASURED
from fl_client.home.proposal import propose
from tests.support.homeassistant import FAKETIME, HASS, HomeAssistant, discovery
from tests.support.house import ENERGIES, House, iso

# Half hours that are lived through, and how fast. FEDWATT_LIVE_INTERVALS=96 is two days.
INTERVALS = int(os.environ.get("FEDWATT_LIVE_INTERVALS", "4"))
SPEED = 60 if HASS else 240
EVERY_S = 30
BEGIN = 1_790_866_800  # 2026-10-01 15:00 UTC: the sun goes down, the battery takes over
RESOLUTION = 0.001
# 99 % of the interpolated half hours of a meter that speaks every 60 s, whose step is 1 Wh.
ERROR = 0.011


class Home:
    """A house, and a thread that lets its meter speak in time by ``send``."""

    def __init__(self, name, seed, folder, send, entries, secrets):
        self.house = House(seed, BEGIN, (INTERVALS + 3) // 2 + 1, solar=seed % 2 == 1)
        self.name, self._send, self._secrets, self.folder = name, send, secrets, folder
        folder.mkdir()
        (folder / "meters.yaml").write_text(yaml.safe_dump(entries))

    def live(self, clock, stop):
        begun = clock.now()
        for one in self.house.messages(every=EVERY_S, resolution=RESOLUTION):
            if one.due < begun:
                continue  # the test began in the middle of the day
            if stop.wait(max(clock.wall(one.due - clock.now()), 0)):
                return
            self._send(one)

    def read(self, clock, stop, problems):
        try:
            meters = Meters(self.folder, self.name, self._secrets, clock=clock)
            meters.start()
            while not stop.is_set():
                meters.step(0.2)
            meters.close()
        except BaseException as error:
            problems.append(error)
            raise


def _entry(role, key, address, **more):
    kwh = {"json": f"{role}_kwh"}
    return {"role": role, key: address, "time": "time", "every": 10.0 / SPEED} | kwh | more


@pytest.fixture
def homes(tmp_path, broker, postgres):
    """The homes, and the clock they live by."""
    client = Client(CallbackAPIVersion.VERSION2, "houses")
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    made, assistant = [], None

    def publish(topic):
        import json

        return lambda one: client.publish(topic, json.dumps(one.body()), 1, retain=True)

    server = {"source": f"mqtt://127.0.0.1:{broker.port}"}
    entries = [_entry(role, "topic", "house/mqtt", **server) for role in ENERGIES]
    made.append(Home("on-mqtt", 1, tmp_path / "on-mqtt", publish("house/mqtt"), entries, {}))

    url = postgres()
    db = psycopg.connect(url, autocommit=True)
    names = ", ".join(f"{role}_kwh float8" for role in ENERGIES)
    db.execute(f"create table meter (time timestamptz primary key, {names})")

    def insert(one):
        db.execute("insert into meter values (%s, %s, %s, %s, %s, %s)",
                   (iso(one.stamp), *one.registers))  # fmt: skip

    query = "select * from meter where time > :since"
    entries = [_entry(role, "query", query) for role in ENERGIES]
    made.append(Home("on-sql", 2, tmp_path / "on-sql", insert, entries, {"FEDWATT_SQL": url}))

    file = tmp_path / "meter.csv"
    file.write_text("time," + ",".join(f"{role}_kwh" for role in ENERGIES) + "\n")

    def append(one):
        with file.open("a", newline="") as out:
            csv.writer(out).writerow([iso(one.stamp), *one.registers])

    entries = [_entry(role, "path", str(file)) for role in ENERGIES]
    made.append(Home("on-file", 3, tmp_path / "on-file", append, entries, {}))

    clock = HouseClock(BEGIN, time.time() + 2, SPEED)
    if HASS:
        if not FAKETIME.exists():
            pytest.skip("libfaketime is not installed (Debian: apt-get install faketime)")
        # A first start installs packages, which may take minutes: that is done by the clock.
        warm = HomeAssistant(tmp_path / "warm", broker)
        warm.stop()
        assistant = HomeAssistant(tmp_path / "assistant", broker, (BEGIN - 600, SPEED))
        clock = HouseClock(BEGIN - 600, assistant.anchor, SPEED)
        for topic, config in discovery("lab", "house/lab", (*ENERGIES, "soc", "power")):
            client.publish(topic, config, 1, retain=True).wait_for_publish(5)
        session = assistant.session()
        session.ask(type="energy/save_prefs", energy_sources=[
            {"type": "grid", "cost_adjustment_day": 0,
             "flow_from": [{"stat_energy_from": "sensor.lab_import", "stat_cost": None,
                            "entity_energy_price": None, "number_energy_price": None}],
             "flow_to": [{"stat_energy_to": "sensor.lab_export", "stat_compensation": None,
                          "entity_energy_price": None, "number_energy_price": None}]},
            {"type": "solar", "stat_energy_from": "sensor.lab_pv",
             "config_entry_solar_forecast": None},
            {"type": "battery", "stat_energy_from": "sensor.lab_discharge",
             "stat_energy_to": "sensor.lab_charge"},
        ])  # fmt: skip
        session.close()
        proposal = propose(assistant.url, assistant.token)
        assert {e["role"] for e in proposal.entries} == {*ENERGIES, "soc"}
        secrets = {"FEDWATT_HOMEASSISTANT_TOKEN": assistant.token}
        folder = tmp_path / "on-assistant"
        made.append(
            Home("on-assistant", 5, folder, publish("house/lab"), proposal.entries, secrets)
        )
    yield made, clock
    if assistant is not None:
        assistant.stop()
    client.disconnect()
    client.loop_stop()
    db.close()


def test_metered_is_what_was_used(homes):
    """No faults: at least 95 % of the intervals are measured; of those 98 % are right to two steps
    of the register and the error of the cadence, none beyond three times that; a day's sum to two
    steps and the boundaries of its ends."""
    made, clock = homes
    stop, problems = threading.Event(), []
    threads = [threading.Thread(target=home.live, args=(clock, stop)) for home in made]
    threads += [threading.Thread(target=home.read, args=(clock, stop, problems)) for home in made]
    for thread in threads:
        thread.start()
    first = int(max(clock.now(), BEGIN) // 1800 + 1) * 1800
    last = first + INTERVALS * 1800
    while clock.now() < last + 400 and not problems:
        time.sleep(0.2)
    stop.set()
    for thread in threads:
        thread.join(30)
    assert not problems
    from fl_client.home.store import Store

    for home in made:
        store = Store(home.folder / "meters.sqlite")
        for role in ENERGIES:
            found = store.intervals(role, 30, first, last)
            assert [one.start for one in found] == list(range(first, last, 1800)), (
                home.name, role, store.states(), store.doubts(0),
            )  # fmt: skip
            measured = [one for one in found if one.kind == MEASURED]
            assert len(measured) >= 0.95 * len(found), (home.name, role, found)
            errors = [
                abs(one.kwh - home.house.between(role, one.start, one.start + 1800))
                for one in measured
            ]
            bound = 2 * RESOLUTION + ERROR
            assert sum(error <= bound for error in errors) >= 0.98 * len(errors)
            assert max(errors) <= 3 * bound
            total = sum(one.kwh for one in found) - home.house.between(role, first, last)
            assert abs(total) <= 2 * RESOLUTION + ERROR
            print(home.name, role, f"max {max(errors) * 1000:.1f} Wh, sum {total * 1000:+.1f} Wh")
        store.close()
