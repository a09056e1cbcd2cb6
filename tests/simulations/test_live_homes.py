"""Live homes that trade: every process as on a host of its own, on real meters' paths.

One home each on MQTT, PostgreSQL, a growing file and Home Assistant under libfaketime, all at 60
times the clock. ``make test-live``; FEDWATT_LIVE_INTERVALS=96 are two days, in 50 minutes.
"""

import json
import os
import sqlite3
import threading
import time
from contextlib import ExitStack

import pandas as pd
import pytest
import yaml

from common.files import write_secret
from common.processes import BIN, environment, listens
from fl_client.home.arrivals import Arrivals
from fl_client.home.clock import CLOCK, HouseClock
from fl_client.home.deriving import derive
from fl_client.home.intervals import MEASURED
from fl_client.home.mapping import MAPPING, read_mapping
from fl_client.home.store import OWN, STORE, Reading, Store
from fl_client.host.client_file import SECRETS, ClientFile
from fl_client.host.folder import init_client
from fl_server.host.folder import Deployment, Folder, Live
from fl_server.host.setup import admit_household, init_server
from fl_server.ledger import COMMUNITY, Kind, Ledger
from simulations.processes import free_ports, service, wait_for
from tests.support.homeassistant import FAKETIME, HASS, HomeAssistant
from tests.support.house import ENERGIES, House, every_fault, untold
from tests.support.live_homes import Paths

INTERVALS = int(os.environ.get("FEDWATT_LIVE_INTERVALS", "4"))
FAULTY = "FEDWATT_LIVE_FAULTS" in os.environ
SPEED, EVERY_S = 60, 30
HISTORY_DAYS = 7
# Ten in the morning, 2026-09-30: who has a roof has something to sell soon.
RUN_BEGIN = 1_790_762_400
BEGIN = RUN_BEGIN - HISTORY_DAYS * 86400 - 6 * 3600
FEED_IN = 0.08
LEAD_S = 120.0  # on the wall: for everybody to come up
RESOLUTION = 0.001
# 99 % of the interpolated half hours of a meter that speaks every 60 s, whose step is 1 Wh.
ERROR = 0.011

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not HASS, reason="make test-live: an environment with Home Assistant"),
    pytest.mark.skipif(not FAKETIME.exists(), reason="libfaketime is not installed"),
]


def _remember(folder, house, until):
    """Keep what a house's meters said at every half hour of its past."""
    channels = [one for one in read_mapping(folder / MAPPING) if one.role in ENERGIES]
    store = Store(folder / STORE, write=True)
    readings = [
        Reading(one.name, at, at + 1.0, 1000.0 + round(float(house.at(one.role, at)), 3), OWN)
        for at in range(BEGIN, until + 1, 1800)
        for one in channels
    ]
    derive(store, channels, 30, store.put(readings), until + 1.0)
    store.close()


def _prices(path):
    times = pd.date_range("2026-09-20", "2026-10-20", freq="1h", tz="UTC")
    rows = [f"{t.isoformat()},{0.2 + 0.01 * (t.hour % 13)}" for t in times]
    path.write_text("\n".join(["time,retail", *rows]) + "\n")


def _join(out, folder, ports, home, port, clock):
    """A household's folder, as its own host has it."""
    root = out / home.name
    file = ClientFile(
        home.name, "meters", f"127.0.0.1:{ports[0]}", port=port, poll_s=1.0, keep_loaded=True
    )
    init_client(root, file, folder.tls / "ca.crt", home.entries)
    if home.secrets:
        lines = "".join(f"{key}={value}\n" for key, value in home.secrets.items())
        write_secret(root / SECRETS, lines.encode())
    (root / CLOCK).write_text(yaml.safe_dump(vars(clock)))
    return root


def _faults(seed):
    """Every kind of meter fault at a time of its own, where they are asked for."""
    return every_fault(seed, RUN_BEGIN - BEGIN, max(INTERVALS - 6, 1) * 1800) if FAULTY else ()


def test_homes_trade_and_pay_what_they_used(tmp_path, broker, postgres):
    """Four homes trade through their daemons. Without faults 95 % of the half hours are measured,
    98 % of these right to two steps of the register and the error of the cadence, none beyond three
    times that, a day's sum to twice the step and the error of its ends; whatever happens every
    interval is settled once and known in the end, every bill is exactly the energies told times
    their prices less what was traded, no more is billed in all than was used, and no less but what
    flowed while a register was set back, and no money is left over."""
    paths = Paths(broker, every_s=10.0 / SPEED)
    hours = HISTORY_DAYS * 24 + 6 + INTERVALS // 2 + 24
    with ExitStack() as stack:
        stack.callback(paths.close)
        warm = HomeAssistant(tmp_path / "warm", broker)  # a first start installs packages
        warm.stop()
        shows = RUN_BEGIN - 4.5 * 3600
        assistant = HomeAssistant(tmp_path / "assistant", broker, (shows, SPEED))
        stack.callback(assistant.stop)
        clock = HouseClock(shows, assistant.anchor, float(SPEED))
        homes = [
            paths.mqtt("on-mqtt", House(1, BEGIN, hours)),
            paths.sql("on-sql", House(2, BEGIN, hours, solar=False), postgres()),
            paths.file("on-file", House(4, BEGIN, hours, solar=False), tmp_path / "meter.csv"),
            paths.assistant("on-assistant", House(5, BEGIN, hours), assistant),
        ]
        said = [
            one.house.messages(every=EVERY_S, resolution=RESOLUTION, faults=_faults(number))
            for number, one in enumerate(homes)
        ]
        ports = free_ports(3 + len(homes))
        folder = Folder(tmp_path / "server")
        _prices(tmp_path / "prices.csv")
        init_server(
            folder.root, ["127.0.0.1"], None,
            [f"run.days={INTERVALS / 48}", f"run.history_days={HISTORY_DAYS}", "fl.enabled=false",
             "data.timezone=Europe/Amsterdam", f"tariff.feed_in={FEED_IN}"],
            str(tmp_path / "prices.csv"), len(homes),
            Deployment(fleet_port=ports[0], control_port=ports[1], page_port=ports[2],
                       market_deadline_s=0.75 * 1800 / SPEED, closing_deadline_s=240.0),
        )  # fmt: skip
        flwr = environment(tmp_path / "flwr")
        fedwatt, client = str(BIN / "fedwatt"), str(BIN / "fedwatt-client")

        def started(name, *command):
            log = tmp_path / "log" / f"{name}.txt"
            return stack.enter_context(service(list(command), flwr, log))

        roots = {}
        started("link", fedwatt, "server", "start", str(folder.root))
        stop = threading.Event()
        stack.callback(stop.set)
        now = int(clock.now() // 1800) * 1800
        for home, port, messages in zip(homes, ports[3:], said, strict=True):
            roots[home.name] = _join(tmp_path, folder, ports, home, port, clock)
            _remember(roots[home.name], home.house, now)
            threading.Thread(target=home.live, args=(clock, stop, messages), daemon=True).start()
        wait_for(lambda: listens(ports[1]), "the SuperLink", 600)
        for name, root in roots.items():
            admit_household(folder.root, (root / "key.pub").read_text(), name)
        for name, root in roots.items():
            started(name, client, "start", str(root))
        # The run begins with a half hour that all have time to get ready for.
        begins = int((clock.now() + LEAD_S * SPEED) // 1800 + 1) * 1800
        anchor = assistant.anchor + (begins - shows) / SPEED
        start = pd.Timestamp(begins, unit="s", tz="UTC")
        Live("live-homes", start.isoformat(), anchor, SPEED).write(folder.live)
        process = started("run", fedwatt, "server", "run", str(folder.root))
        end = time.monotonic() + (INTERVALS + 4) * 1800 / SPEED + LEAD_S + 900
        while process.is_running() and process.status() != "zombie":
            assert time.monotonic() < end, (tmp_path / "log" / "run.txt").read_text()
            time.sleep(1)
        assert json.loads(folder.outcome.read_text()) == {"state": "finished"}
    _report(folder)
    errors = {}
    for number, (home, messages) in enumerate(zip(homes, said, strict=True)):
        lost = {
            role: untold(home.house, role, messages, BEGIN, _faults(number), home is homes[-1])
            for role in ENERGIES
        }
        errors[home.name] = _metered(home, roots[home.name], begins, lost)
    _billed(folder, roots, begins)
    if not FAULTY:
        for name, (share, worst, within, day, *_) in errors.items():
            assert share >= 0.95, name
            assert within >= 0.98, name
            assert worst <= 3 * (2 * RESOLUTION + ERROR), name
            assert day <= 2 * RESOLUTION + ERROR, name
    for name, (*_, more, less) in errors.items():
        assert more <= 2 * RESOLUTION + ERROR, name
        assert less <= 2 * RESOLUTION + ERROR, name


def _report(folder):
    """Say what the run was like."""
    lines = [json.loads(line) for line in (folder.run / "intervals.jsonl").read_text().splitlines()]
    traded = sum(line["delivered_kwh"] > 0 for line in lines)
    kwh = sum(line["delivered_kwh"] for line in lines)
    silent = sum(len(line["missing"]) for line in lines)
    print(
        f"\n{len(lines)} intervals, {traded} with trades, {kwh:.2f} kWh, {silent} answers missing"
    )
    assert len(lines) == INTERVALS
    assert traded > 0 or INTERVALS < 8


def _metered(home, root, begins, lost):
    """(Share measured, worst error, share within the bound, worst day's sum, what was counted above
    the truth in all, and below it less what is ``lost`` of each role) [kWh] of a home."""
    store = Store(root / STORE)
    measured, errors, days, count, sums, short = 0, [], [], 0, [], []
    bound = 2 * RESOLUTION + ERROR
    for role in ENERGIES:
        found = store.intervals(role, 30, begins, begins + INTERVALS * 1800)
        assert [one.start for one in found] == [begins + 1800 * t for t in range(INTERVALS)]
        truth = [home.house.between(role, one.start, one.start + 1800) for one in found]
        own = [abs(one.kwh - t) for one, t in zip(found, truth, strict=True)
               if one.kind == MEASURED]  # fmt: skip
        errors, measured, count = errors + own, measured + len(own), count + len(found)
        for day in range(0, INTERVALS, 48):
            kwh = sum(one.kwh for one in found[day : day + 48])
            days.append(abs(kwh - sum(truth[day : day + 48])))
        sums.append(sum(one.kwh for one in found) - sum(truth))
        short.append(-sums[-1] - lost[role])
        kinds = {kind: sum(one.kind == kind for one in found) for kind in {o.kind for o in found}}
        print(home.name, role, f"{sum(truth):.2f} kWh, {kinds}, max {1e3 * max(own):.1f} Wh, "
              f"a day {1e3 * max(days[-(INTERVALS // 48 or 1):]):.1f} Wh, in all "
              f"{1e3 * sums[-1]:.1f} Wh off, {1e3 * lost[role]:.1f} Wh told by nobody")  # fmt: skip
    store.close()
    within = sum(error <= bound for error in errors) / len(errors)
    return measured / count, max(errors), within, max(days), max(sums), max(short)


def _billed(folder, roots, begins):
    """Each interval of each home is settled, at what its meters told, less its trades, to the
    micro; nothing is left over."""
    told = {}
    for line in folder.told.read_text().splitlines():
        interval, price = line.split(",")[:2]
        told[int(interval)] = round(float(price) * 1e6)
    with Ledger(f"sqlite:///{folder.run / 'ledger.sqlite'}") as ledger:
        ledger.attach()
        assert ledger.verify().error is None
        rows = list(ledger.rows())
        names = list(ledger.balances())[len(COMMUNITY) :]
        money = sum(money for _, money in ledger.balances().values())
    assert money == 0
    booked, filled, entries = {}, {}, {}
    for row in rows:
        key = row.interval, row.account - len(COMMUNITY)
        if key[1] < 0:
            continue
        net = row.money_out_micro - row.money_in_micro
        if row.kind == Kind.FILLS:
            filled[key] = row.energy_in_milliwh, row.energy_out_milliwh, net
        elif row.kind in (Kind.SETTLEMENT, Kind.ESTIMATE, Kind.REVISION):
            booked[key] = booked.get(key, 0) + net
            entries[row.kind] = entries.get(row.kind, 0) + 1
    print({Kind(kind).name: count for kind, count in entries.items()})
    feed_in, wrong, used = round(FEED_IN * 1e6), [], 0
    for number, name in enumerate(names):
        rows = Arrivals(roots[name]).rows(begins, INTERVALS)
        with sqlite3.connect(roots[name] / "state" / "household.sqlite") as db:
            said = db.execute("SELECT t, imported, exported FROM told")
            tell = {t: (drawn, fed) for t, drawn, fed in said}
        for t in range(INTERVALS):
            drawn, fed = int(rows.imported[t]), int(rows.exported[t])
            assert tell[t] == (drawn, fed), (name, t, tell[t], drawn, fed)
            bought, sold, _ = filled.get((t, number), (0, 0, 0))
            used += bought > 0 or sold > 0
            grid = max(drawn - bought, 0) + max(sold - fed, 0)
            sent = max(fed - sold, 0) + max(bought - drawn, 0)
            owed = (grid * told[t] + 500_000) // 10**6 - (sent * feed_in + 500_000) // 10**6
            if booked.get((t, number), 0) != owed:
                wrong.append((name, t, booked.get((t, number)), owed))
    print(f"{len(names) * INTERVALS} bills, {len(wrong)} wrong, {used} with trades")
    assert not wrong, wrong[:5]
