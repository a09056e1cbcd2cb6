"""Homes on real parts at many times the clock: what is metered is what was used.

One home each on MQTT, a database, a growing file and, with ``make test-live``, Home Assistant. The
daemon's own classes read them; nobody feeds the store by hand.
"""

import os
import threading
import time

import pytest
import yaml

from fl_client.home.clock import HouseClock
from fl_client.home.daemon import Meters
from fl_client.home.intervals import MEASURED
from tests.support.homeassistant import FAKETIME, HASS, HomeAssistant
from tests.support.house import ENERGIES, House
from tests.support.live_homes import Paths

# Half hours that are lived through, and how fast. FEDWATT_LIVE_INTERVALS=96 is two days.
INTERVALS = int(os.environ.get("FEDWATT_LIVE_INTERVALS", "4"))
SPEED = 60 if HASS else 240
EVERY_S = 30
BEGIN = 1_790_866_800  # 2026-10-01 15:00 UTC: the sun goes down, the battery takes over
RESOLUTION = 0.001
# 99 % of the interpolated half hours of a meter that speaks every 60 s, whose step is 1 Wh.
ERROR = 0.011


class Read:
    """What reads a home: the daemon's own classes in a thread."""

    def __init__(self, home, folder):
        self.home, self.folder = home, folder
        folder.mkdir()
        (folder / "meters.yaml").write_text(yaml.safe_dump(home.entries))

    def read(self, clock, stop, problems):
        try:
            meters = Meters(self.folder, self.home.name, self.home.secrets, clock=clock)
            meters.start()
            while not stop.is_set():
                meters.step(0.2)
            meters.close()
        except BaseException as error:
            problems.append(error)
            raise


@pytest.fixture
def homes(tmp_path, broker, postgres):
    """The homes, and the clock they live by."""
    paths = Paths(broker, every_s=10.0 / SPEED)
    hours = (INTERVALS + 3) // 2 + 1
    made = [
        paths.mqtt("on-mqtt", House(1, BEGIN, hours)),
        paths.sql("on-sql", House(2, BEGIN, hours, solar=False), postgres()),
        paths.file("on-file", House(3, BEGIN, hours), tmp_path / "meter.csv"),
    ]
    clock, assistant = HouseClock(BEGIN, time.time() + 2, SPEED), None
    if HASS:
        if not FAKETIME.exists():
            pytest.skip("libfaketime is not installed (Debian: apt-get install faketime)")
        # A first start installs packages, which may take minutes: that is done by the clock.
        warm = HomeAssistant(tmp_path / "warm", broker)
        warm.stop()
        assistant = HomeAssistant(tmp_path / "assistant", broker, (BEGIN - 600, SPEED))
        clock = HouseClock(BEGIN - 600, assistant.anchor, SPEED)
        made.append(paths.assistant("on-assistant", House(5, BEGIN, hours), assistant))
    yield [Read(home, tmp_path / home.name) for home in made], clock
    if assistant is not None:
        assistant.stop()
    paths.close()


def test_metered_is_what_was_used(homes):
    """No faults: at least 95 % of the intervals are measured; of those 98 % are right to two steps
    of the register and the error of the cadence, none beyond three times that; a day's sum to two
    steps and the boundaries of its ends."""
    made, clock = homes
    stop, problems = threading.Event(), []
    said = [one.home.house.messages(every=EVERY_S, resolution=RESOLUTION) for one in made]
    threads = [
        threading.Thread(target=one.home.live, args=(clock, stop, messages))
        for one, messages in zip(made, said, strict=True)
    ]
    threads += [threading.Thread(target=one.read, args=(clock, stop, problems)) for one in made]
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

    for one in made:
        home, store = one.home, Store(one.folder / "meters.sqlite")
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
