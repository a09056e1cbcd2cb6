"""What control sees of a household's store, whatever its meters tell and do not tell."""

import numpy as np
import pytest

from fl_client.control.sight import Seen, StoreSight
from fl_client.home.mapping import Channel
from fl_client.home.store import OWN, Reading, Store
from tests.support.house import House

BEGIN = 1_800_000_000  # a full hour
ROLES = ("import", "export", "charge", "discharge")
CHANNELS = [
    *(Channel(role, "mqtt", "", "house", f"{role}_kwh") for role in ROLES),
    Channel("soc", "mqtt", "", "house", "soc", "%", "level"),
    Channel("power", "mqtt", "", "house", "power_w", "W", "power"),
    Channel("battery", "mqtt", "", "battery", "power_w", "W", "power"),
]
SWITCH = Channel("switch", "mqtt", "", "battery", "remote", "1", "level", word="ON")


@pytest.fixture
def house():
    """An hour of a house with PV, at noon."""
    return House(3, BEGIN, 1)


def _filled(folder, house, channels, every=10, until=3600, resolution=0.001):
    """A sight of what the house has said until then."""
    store = Store(folder / "meters.sqlite", write=True)
    store._db.execute("PRAGMA synchronous = OFF")
    readings = []
    for at in range(0, until + 1, every):
        now = float(BEGIN + at)
        kwh = {
            role: np.floor(house.at(role, now) / resolution + 1e-6) * resolution for role in ROLES
        }
        moved = [house.between(role, now - 10, now) * 360 for role in ROLES]
        values = kwh | {"soc": round(0.4 + at / 1e5, 2), "power": moved[0] - moved[1],
                        "battery": moved[2] - moved[3], "switch": 1.0}  # fmt: skip
        readings += [Reading(c.name, now, now, float(values[c.role]), OWN) for c in channels]
    store.put(readings)
    return StoreSight(store, channels)


def test_energies_are_those_of_the_house(tmp_path, house):
    """Between any two times, to the registers' steps and what flows between two readings."""
    sight = _filled(tmp_path, house, CHANNELS)
    for begin, end in ((0, 1800), (610, 1795), (3, 3597)):
        net, battery = sight.counted(float(BEGIN + begin), float(BEGIN + end))
        flows = {r: house.between(r, BEGIN + begin, BEGIN + end) for r in ROLES}
        done = flows["charge"] - flows["discharge"]
        assert battery == pytest.approx(done, abs=0.004)
        assert net == pytest.approx(flows["import"] - flows["export"] - done, abs=0.006)


def test_without_counters_the_batterys_power_is_summed(tmp_path, house):
    """A battery of which only its power is known."""
    some = [c for c in CHANNELS if c.role not in ("charge", "discharge")]
    sight = _filled(tmp_path, house, some)
    _, battery = sight.counted(float(BEGIN), float(BEGIN + 1800))
    done = house.between("charge", BEGIN, BEGIN + 1800) - house.between(
        "discharge", BEGIN, BEGIN + 1800
    )
    assert battery == pytest.approx(done, abs=0.03)


def test_the_newest_powers_and_their_age(tmp_path, house):
    """As measured; where no meter tells the grid's power, of what its registers moved lately."""
    now = float(BEGIN + 1800)
    seen = _filled(tmp_path, house, [*CHANNELS, SWITCH], until=1800).see(now + 7)
    assert isinstance(seen, Seen)
    assert (seen.oldest, seen.counted_to, seen.permitted) == (now, now, True)
    moved = [house.between(role, now - 10, now) * 360 for role in ROLES]
    assert seen.grid_kw == pytest.approx(moved[0] - moved[1])
    assert seen.battery_kw == pytest.approx(moved[2] - moved[3])
    (tmp_path / "other").mkdir()
    some = [c for c in CHANNELS if c.role != "power"]
    rough = _filled(tmp_path / "other", house, some, until=1800).see(now)
    flowed = house.between("import", now - 30, now) - house.between("export", now - 30, now)
    assert rough.grid_kw == pytest.approx(flowed * 120, abs=0.25)


@pytest.mark.parametrize(
    ("role", "words"),
    [("battery", "battery's power"), ("soc", "state of charge"), ("import", "the meter")],
)
def test_what_is_missing_is_said(tmp_path, house, role, words):
    """Not mapped, or mapped and never heard."""
    some = [c for c in CHANNELS if c.role != role]
    unmapped = _filled(tmp_path, house, some, until=600)
    assert words in unmapped.see(BEGIN + 600.0)
    assert "is not mapped" in unmapped.see(BEGIN + 600.0)
    silent = StoreSight(unmapped._store, CHANNELS)
    assert "has not been heard" in silent.see(BEGIN + 600.0)


def test_a_switch_that_says_no(tmp_path, house):
    """It holds until it says yes again."""
    channels = [*CHANNELS, SWITCH]
    sight = _filled(tmp_path, house, channels, until=600)
    for at, value in ((605.0, 0.0), (615.0, 1.0)):
        sight._store.put([Reading(SWITCH.name, BEGIN + at, BEGIN + at, value, OWN)])
        assert sight.see(BEGIN + at).permitted is (value == 1.0)


def test_a_switch_that_was_told_once_holds(tmp_path, house):
    """Never heard, it permits nothing; told once, it holds while other readings are dropped."""
    sight = _filled(tmp_path, house, CHANNELS, until=600)
    watched = StoreSight(sight._store, [*CHANNELS, SWITCH])
    assert "switch of the house has not been heard" in watched.see(BEGIN + 600.0)
    at = float(BEGIN + 1)
    sight._store.put([Reading(SWITCH.name, at, at, 0.0, OWN)])
    for hour in range(1, 50):
        sight._store.forget(SWITCH.name, at + 3600 * hour, newest=False)
        assert watched.see(BEGIN + 600.0).permitted is False
