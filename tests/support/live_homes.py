"""Homes whose meters speak in time, each on a path of its own: MQTT, a database, a file, Home
Assistant."""

import csv
import json
import threading
from collections.abc import Callable
from pathlib import Path

import psycopg
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from fl_client.home.proposal import propose
from tests.support.homeassistant import discovery
from tests.support.house import ENERGIES, House, iso


class SpeakingHouse:
    """A house whose meters speak by ``send`` when its clock says that it is time.

    ``entries``: its meters.yaml; ``secrets``: what its sources ask for.
    """

    def __init__(self, name, house, send, entries, secrets):
        self.name, self.house, self.entries, self.secrets = name, house, entries, secrets
        self._send = send

    def live(self, clock, stop, messages):
        """Say ``messages`` in time until ``stop`` is set, from now on."""
        begun = clock.now()
        for one in messages:
            if one.due < begun:
                continue  # the test began in the middle of the day
            if stop.wait(max(clock.wall(one.due - clock.now()), 0)):
                return
            self._send(one)


def entry(role, key, address, every_s, **more):
    """One line of meters.yaml."""
    kwh = {"json": f"{role}_kwh"}
    return {"role": role, key: address, "time": "time", "every": every_s} | kwh | more


class Paths:
    """Makes homes on real parts; ``close`` ends what it has opened."""

    def __init__(self, broker, *, every_s: float) -> None:
        self._broker, self._every_s = broker, every_s
        self._client = Client(CallbackAPIVersion.VERSION2, "houses")
        self._client.connect("127.0.0.1", broker.port)
        self._client.loop_start()
        self._opened: list[Callable[[], object]] = []
        self._lock = threading.Lock()

    def close(self) -> None:
        for end in self._opened:
            end()
        self._client.disconnect()
        self._client.loop_stop()

    def _publish(self, topic):
        return lambda one: self._client.publish(topic, json.dumps(one.body()), 1, retain=True)

    def _entries(self, key, address, **more):
        return [entry(role, key, address, self._every_s, **more) for role in ENERGIES]

    def mqtt(self, name: str, house: House) -> SpeakingHouse:
        server = {"source": f"mqtt://127.0.0.1:{self._broker.port}"}
        topic = f"house/{name}"
        entries = self._entries("topic", topic, **server)
        return SpeakingHouse(name, house, self._publish(topic), entries, {})

    def sql(self, name: str, house: House, url: str) -> SpeakingHouse:
        db = psycopg.connect(url, autocommit=True)
        self._opened.append(db.close)
        names = ", ".join(f"{role}_kwh float8" for role in ENERGIES)
        db.execute(f"create table meter (time timestamptz primary key, {names})")

        def insert(one):
            # The same stamp again is a repeated message, or a wrong clock set right.
            db.execute("insert into meter values (%s, %s, %s, %s, %s, %s) on conflict do nothing",
                       (iso(one.stamp), *one.registers))  # fmt: skip

        entries = self._entries("query", "select * from meter where time > :since")
        return SpeakingHouse(name, house, insert, entries, {"FEDWATT_SQL": url})

    def file(self, name: str, house: House, path: Path) -> SpeakingHouse:
        path.write_text("time," + ",".join(f"{role}_kwh" for role in ENERGIES) + "\n")

        def append(one):
            with path.open("a", newline="") as out:
                csv.writer(out).writerow([iso(one.stamp), *one.registers])

        return SpeakingHouse(name, house, append, self._entries("path", str(path)), {})

    def assistant(self, name: str, house: House, assistant) -> SpeakingHouse:
        """On Home Assistant, whose energy dashboard says which entity is what."""
        topic = f"house/{name}"
        for where, config in discovery("lab", topic, (*ENERGIES, "soc", "power")):
            self._client.publish(where, config, 1, retain=True).wait_for_publish(5)
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
        return SpeakingHouse(name, house, self._publish(topic), proposal.entries, secrets)
