"""Homes whose readings arrive while the run goes on: the same ledger, whenever they do."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from flwr.app import Message

from common.data.store import read_household, write_household
from fl_client.readings import Calendar, RunReadings
from fl_server.bills import bill
from fl_server.ledger import Kind
from fl_server.market.book import Fills
from fl_server.settlement import settle
from tests.support.arriving import Meters
from tests.support.community import NODE, Homes, community, contexts, run, simulated
from tests.support.live import INTERVALS, MARKET_ONLY, NAMES, exactly_once, opened, rows, traded

NO_BATTERY = "battery.capacity_kwh=0"


@pytest.fixture
def netted(homes: Path, tmp_path: Path) -> Path:
    """The homes, in numbers that add and subtract without rounding."""
    folder = tmp_path / "netted"
    folder.mkdir()
    for name in NAMES:
        home = read_household(homes / f"{name}.parquet")
        energy = [c for c in home.frame.columns if not c.startswith(("battery", "price"))]
        for column in set(energy) - {"temperature", "solar_irradiance"}:
            home.frame[column] = np.round(home.frame[column] * 2**20) / 2**20
        write_household(home, folder)
    return folder


def _live(tmp_path, netted, monkeypatch, delay, *override, hour=10):
    monkeypatch.setenv("TZ", "Europe/London")
    folder = community(
        tmp_path / "server", netted, NAMES, *MARKET_ONLY, NO_BATTERY, *override, hour=hour
    )
    start = pd.Timestamp(yaml.safe_load(folder.live.read_text())["start"])
    intervals = folder.settings(len(NAMES)).intervals
    meters = Meters(tmp_path, netted, start, delay, intervals)
    nodes = contexts(tmp_path, netted, NAMES, folder)
    for context in nodes.values():
        context.node_config["data"] = "meters"

    def arrive(message: Message) -> bool:
        group = message.metadata.group_id.partition("-")[0]
        if group.isdigit():
            meters.tell(NAMES[message.metadata.dst_node_id - NODE], int(group))
        return False

    run(folder, Homes(nodes, arrive))
    return folder, meters


def test_readings_that_are_there_in_time_give_the_ledger_of_a_simulation(
    netted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each reading arrives before the next decision: row by row what simulate books on them."""
    folder, _ = _live(tmp_path, netted, monkeypatch, lambda name, s: 0, "run.days=0.75", hour=0)
    out = simulated(netted, tmp_path / "simulated", folder, len(NAMES))
    assert rows(folder.run) == rows(out)
    assert traded(folder.run)


def _sums(directory: Path) -> dict[tuple[int, int, bool], tuple[int, int]]:
    """Energy [mWh] and money [micro] of each (interval, account, whether by trading), whenever
    booked."""
    sums: dict[tuple[int, int, bool], tuple[int, int]] = {}
    with opened(directory) as ledger:
        for row in ledger.rows():
            key = row.interval, row.account, row.kind == Kind.FILLS
            energy, money = sums.get(key, (0, 0))
            sums[key] = (
                energy + row.energy_in_milliwh - row.energy_out_milliwh,
                money + row.money_in_micro - row.money_out_micro,
            )
    return {key: both for key, both in sums.items() if any(both)}


def test_readings_one_interval_late_give_the_ledger_of_a_simulation_that_knows_as_much(
    netted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each reading arrives one decision late: what every account has by trading and by settlement
    of each interval is what a simulation books whose decisions read one interval less. That is
    another ledger than one that knows all."""
    folder, _ = _live(tmp_path, netted, monkeypatch, lambda name, s: 1, "run.days=0.75", hour=0)
    prompt = simulated(netted, tmp_path / "prompt", folder, len(NAMES))
    made = RunReadings._calendar

    def late(readings: RunReadings, *one: Any) -> Calendar:
        calendar = made(readings, *one)
        # What was before the run is known when it begins.
        return replace(calendar, lag=calendar.lag + (np.arange(len(calendar.lag)) > 0))

    monkeypatch.setattr(RunReadings, "_calendar", late)
    out = simulated(netted, tmp_path / "simulated", folder, len(NAMES))
    assert _sums(folder.run) == _sums(out)
    assert _sums(folder.run) != _sums(prompt)
    assert traded(folder.run)


def test_late_readings_are_settled_once_and_rightly(
    netted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readings up to four intervals late, out of order: decisions are taken without them, every
    interval is settled once, by the reading and the fills it had, and all sums are zero."""
    draw = np.random.default_rng(7)
    late = {(name, s): int(draw.integers(0, 5)) for name in NAMES for s in range(INTERVALS)}
    folder, meters = _live(tmp_path, netted, monkeypatch, lambda name, s: late[name, s])
    exactly_once(folder.run)
    _final_readings_are_settled(folder, meters)


def test_estimates_and_corrections_end_in_the_final_reading(
    netted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readings that come after they were estimated, and readings corrected again and again: the
    entries of each interval sum to the settlement of the final one; an estimate is never below
    what was drawn at that time; bills show both."""
    draw = np.random.default_rng(11)
    late = {(name, s): int(draw.integers(0, 9)) for name in NAMES for s in range(INTERVALS)}
    wait = "settlement.wait_hours=1.5"
    corrected: set[tuple[int, str]] = set()

    class Correcting(Meters):
        def tell(self, name: str, t: int) -> None:
            super().tell(name, t)
            if t in (6, 9, INTERVALS) and (t, name) not in corrected:
                corrected.add((t, name))
                for s in range(t - 1):
                    if late[name, s] < t - s - 1 and draw.random() < 0.4:
                        self.correct(name, s, 0.125)

    monkeypatch.setattr("tests.fl_server.host.test_arrivals.Meters", Correcting)
    folder, meters = _live(tmp_path, netted, monkeypatch, lambda name, s: late[name, s], wait)
    _final_readings_are_settled(folder, meters)
    with opened(folder.run) as ledger:
        booked = [row for row in ledger.rows() if row.account >= 4]
        estimated = {(r.interval, r.late_household) for r in booked if r.kind == Kind.ESTIMATE}
        revised = [r for r in booked if r.kind == Kind.REVISION]
        assert len(estimated) >= 3
        assert {(r.interval, r.late_household) for r in revised} >= estimated
        assert max(r.revision for r in revised) > 1
        silent = NAMES[min(estimated)[1]]
        found = bill(ledger, ledger.runs()[0], silent).lines
        assert {"estimated_kwh", "corrected_kwh", "corrections"} <= set(found.columns)


def _final_readings_are_settled(folder, meters) -> None:
    """Given the fills of the ledger, entries sum to the settlement of the final reading."""
    prices = folder.settings(len(NAMES))
    with opened(folder.run) as ledger:
        assert ledger.verify().ok
        assert sum(money for _, money in ledger.balances().values()) == 0
        lines = _lines(folder)
        for h, name in enumerate(NAMES):
            booked = ledger.postings_of(name)
            for s in range(INTERVALS):
                of_s = booked[booked[:, 0] == s]
                traded_, settled_ = of_s[of_s[:, 1] == 1], of_s[of_s[:, 1] != 1]
                fills = Fills.none(len(NAMES))
                for row in traded_:
                    fills.bought[h], fills.sold[h] = row[3], row[4]
                    fills.received[h], fills.paid[h] = row[5], row[6]
                meter = np.zeros((2, len(NAMES)), dtype=np.int64)
                meter[:, h] = meters.milliwh(name, s)
                right = settle(
                    meter[0], meter[1], fills, round(lines[s]["retail"] * 1e6),
                    round(lines[s]["feed_in"] * 1e6), round(1e6 * (1 - prices.market.loss)),
                )  # fmt: skip
                energy = (settled_[:, 3] - settled_[:, 4]).sum()
                assert energy == right.grid_import[h] - right.grid_export[h]
                money = (settled_[:, 6] - settled_[:, 5]).sum()
                assert money == right.cost[h] - right.revenue[h]


def _lines(folder):
    import json

    return [json.loads(x) for x in (folder.run / "intervals.jsonl").read_text().splitlines()]
