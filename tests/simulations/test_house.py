"""The emulated house: energy is kept, a battery obeys while it hears, registers are true."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from common.errors import InputError
from fl_client.home.clock import HouseClock
from simulations.house import INTERVAL_S, Bridge, House, Store

BEGINS = 1_790_866_800.0


def house(load: float = 0.5, pv: float = 0.0, rows: int = 48, store: Store = Store()) -> House:  # noqa: B008
    return House("maple", np.full(rows, load), np.full(rows, pv), BEGINS, store)


@given(seed=st.integers(0, 99), tick=st.sampled_from([10, 20, 60]), remote=st.booleans())
@settings(max_examples=20, deadline=None)
def test_energy_is_kept(seed: int, tick: int, remote: bool) -> None:
    """Whatever the battery is told: a row's load and sun are lived through whole, import less
    export is load less sun plus charge less discharge, and the store changes by what went in and
    out."""
    draw = np.random.default_rng(seed)
    load, pv = draw.uniform(0, 1.5, 12), draw.uniform(0, 2, 12)
    made = House("maple", load, pv, BEGINS, Store(), seed)
    for row in range(12):
        if remote:
            made.command("remote", float(draw.uniform(-6, 6)))
        made.live(BEGINS + (row + 1) * INTERVAL_S, tick)
    kwh, spec = made.counted, made.store
    assert kwh["pv"] == pytest.approx(pv.sum())
    net = kwh["import"] - kwh["export"]
    assert net == pytest.approx(load.sum() - pv.sum() + kwh["charge"] - kwh["discharge"])
    stored = (kwh["charge"] * spec.eta - kwh["discharge"] / spec.eta) / spec.capacity_kwh
    assert made.soc == pytest.approx(0.5 + stored)
    assert spec.soc_min - 1e-9 <= made.soc <= spec.soc_max + 1e-9


def test_a_battery_obeys_while_it_hears() -> None:
    """A setpoint acts after the delay, and is forgotten by the watchdog: the battery covers the
    house again."""
    made = house()
    made.command("remote", 2.0)
    made.live(BEGINS + 60)
    assert made.battery_kw == pytest.approx(2.0)
    made.live(BEGINS + 240)
    assert made.mode == "auto"
    assert made.battery_kw < 0


def test_a_battery_holds_a_power_at_the_grid_by_itself() -> None:
    """Whatever the house uses, the meter shows what was told; a setpoint ends it."""
    made = house(store=Store(watchdog_s=1e9))
    made.command("remote", 0.5, follows=True)
    shown = []
    for second in range(60, 1860, 60):
        made.live(BEGINS + second)
        shown.append(made.net_kw)
    assert np.median(shown) == pytest.approx(0.5, abs=1e-6)
    made.command("remote", 1.0)
    made.live(BEGINS + 1920)
    assert made.battery_kw == pytest.approx(1.0)


def test_the_past_ends_where_the_present_begins() -> None:
    """Registers at every half hour, each the use of the one before; saved, it goes on the same."""
    made = house(load=1.0, store=Store(capacity_kwh=0.0))
    told = list(made.past(BEGINS + 5 * INTERVAL_S + 100))
    assert [t for t, _ in told] == [BEGINS + n * INTERVAL_S for n in range(6)]
    assert [kwh["import"] for _, kwh in told] == pytest.approx([0, 1, 2, 3, 4, 5])
    other = house(load=1.0, store=Store(capacity_kwh=0.0))
    other.resume(**json.loads(json.dumps(made.saved())))
    made.live(BEGINS + 20000)
    other.live(BEGINS + 20000)
    assert made.counted == other.counted


def test_a_house_whose_readings_end_says_so() -> None:
    """It does not make any up."""
    with pytest.raises(InputError, match="its readings end at 2026-10-01T16:00"):
        house(rows=2).live(BEGINS + 3 * INTERVAL_S)


def test_meters_speak_and_commands_are_heard(broker: Any, tmp_path: Path) -> None:
    """On a real broker, at many times the clock: stamps follow the house's clock, registers are in
    whole Wh, and a setpoint [W, discharge > 0] is what the battery does."""
    import threading

    said: dict[str, dict[str, Any]] = {}
    client = Client(CallbackAPIVersion.VERSION2, "listener")
    client.on_message = lambda _c, _d, m: said.update({m.topic: json.loads(m.payload)})
    client.connect("127.0.0.1", broker.port)
    client.subscribe("house/maple/+", 1)
    client.loop_start()
    stop = threading.Event()
    clock = HouseClock(BEGINS + 3600, time.time(), 60)
    bridge = Bridge(house(store=Store(watchdog_s=1e9)), f"mqtt://127.0.0.1:{broker.port}", clock)
    thread = threading.Thread(target=bridge.run, args=(stop,))
    thread.start()
    try:
        end = time.monotonic() + 30
        while said.get("house/maple/battery", {}).get("power_w") != -1500:
            assert time.monotonic() < end, said
            client.publish("house/maple/battery/mode/set", "remote", 1)
            client.publish("house/maple/battery/setpoint/set", "-1500", 1)
            time.sleep(0.5)
        meter = said["house/maple/meter"]
        assert meter["time"].startswith("2026-10-01T")
        assert 1000 * meter["import_kwh"] == round(1000 * meter["import_kwh"])
        assert said["house/maple/battery"]["mode"] == "remote"
    finally:
        stop.set()
        thread.join()
        client.disconnect()
        client.loop_stop()
