"""The coordinator on its own host: the ledger of a simulation, and nothing lost when it dies."""

import json
import time
from collections.abc import Iterable
from datetime import datetime
from functools import partial
from pathlib import Path

import pytest
from flwr.app import Message

from fl_server.coordinator import Answers, Coordinator
from fl_server.host import live
from fl_server.host.clock import Clock
from fl_server.host.folder import Live
from fl_server.ledger import Ledger
from tests.support.community import (
    NODE,
    Homes,
    Killed,
    community,
    contexts,
    forget,
    run,
    simulated,
)
from tests.support.live import (
    INTERVALS,
    MARKET_ONLY,
    NAMES,
    SHORT,
    agree,
    exactly_once,
    meters,
    never,
    opened,
    rows,
    settled,
    traded,
)


def test_parity_with_a_simulation(homes: Path, tmp_path: Path) -> None:
    """The same households, data, seed and days give the same ledger and model, row by row."""
    day = (*SHORT, "run.days=0.75", "fl.every_hours=6")
    folder = community(tmp_path / "server", homes, NAMES, *day, hour=0)
    run(folder, Homes(contexts(tmp_path, homes, NAMES, folder), never))
    directory = simulated(homes, tmp_path / "simulated", folder, len(NAMES))
    assert rows(folder.run) == rows(directory)
    assert traded(folder.run)
    final = "model/final.safetensors"
    assert (folder.run / final).read_bytes() == (directory / final).read_bytes()


def test_unlike_homes_are_settled_alike_in_a_deployment(homes: Path, tmp_path: Path) -> None:
    """One home without a battery and with a tariff of its own below zero for exports, one with a
    small battery, a narrow connection and another trader: the deployment's ledger is that of a
    simulation with the same settings, row by row."""
    own = (
        f"homes.{NAMES[0]}.battery=none", f"homes.{NAMES[0]}.tariff.source=flat",
        f"homes.{NAMES[0]}.tariff.retail=0.4", f"homes.{NAMES[0]}.tariff.feed_in=-0.02",
        f"homes.{NAMES[1]}.battery.capacity_kwh=4", f"homes.{NAMES[1]}.trader.kind=rule",
        f"homes.{NAMES[1]}.connection.export_kwh=1.5",
    )  # fmt: skip
    day = (*SHORT, "run.days=0.75", "fl.enabled=false", *own)
    folder = community(tmp_path / "server", homes, NAMES, *day, hour=0)
    run(folder, Homes(contexts(tmp_path, homes, NAMES, folder), never))
    assert rows(folder.run) == rows(simulated(homes, tmp_path / "simulated", folder, len(NAMES)))
    assert traded(folder.run)


@pytest.mark.parametrize("before", [True, False], ids=["before the commit", "after the commit"])
def test_coordinator_killed_at_every_settlement(
    homes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    """Killed around every commit and started again each time: the ledger of a run that lived."""
    whole = community(tmp_path / "whole", homes, NAMES, *MARKET_ONLY)
    run(whole, Homes(contexts(tmp_path / "a", homes, NAMES, whole), never))
    folder = community(tmp_path / "server", homes, NAMES, *MARKET_ONLY)
    grid = Homes(contexts(tmp_path / "b", homes, NAMES, folder), never)
    record, deaths = Ledger.record, set()

    def dies(self: Ledger, interval: int, *rest: object) -> bool:
        first = interval not in deaths
        deaths.add(interval)
        if first and before:
            raise Killed
        done = record(self, interval, *rest)  # type: ignore[arg-type]
        if first:
            raise Killed
        return done

    monkeypatch.setattr(Ledger, "record", dies)
    for _ in range(INTERVALS + 1):
        with pytest.raises(Killed):
            run(folder, grid)
    run(folder, grid)
    assert len(deaths) == INTERVALS + 1
    assert traded(folder.run)
    assert rows(folder.run) == rows(whole.run)
    assert json.loads(folder.outcome.read_text()) == {"state": "finished"}
    lines = [json.loads(x) for x in (folder.run / "intervals.jsonl").read_text().splitlines()]
    assert [line["interval"] for line in lines] == list(range(INTERVALS))
    exactly_once(folder.run)


def test_household_that_is_away_is_settled_later(homes: Path, tmp_path: Path) -> None:
    """Away for some intervals, it is settled for each of them once, and trades again after."""
    folder = community(tmp_path / "server", homes, NAMES, *MARKET_ONLY)

    def away(message: Message) -> bool:
        t = int(message.metadata.group_id.partition("-")[0])
        return message.metadata.dst_node_id == NODE + 1 and 3 <= t < 8

    run(folder, Homes(contexts(tmp_path, homes, NAMES, folder), away))
    exactly_once(folder.run)
    agree(tmp_path, folder)
    with opened(folder.run) as ledger:
        late = sorted({r.interval for r in ledger.rows() if r.late_household == 1})
    assert late == [2, 3, 4, 5, 6]  # at t it reports t - 1
    assert traded(folder.run)
    missing = [
        json.loads(line)["missing"]
        for line in (folder.run / "intervals.jsonl").read_text().splitlines()
    ]
    assert missing[3:8] == [["H0002"]] * 5
    assert not any(missing[:3] + missing[8:])


def test_reply_lost_after_the_household_decided(
    homes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A household whose reply is lost has decided all the same; its next reply is in step."""
    folder = community(tmp_path / "server", homes, NAMES, *MARKET_ONLY)
    grid = Homes(contexts(tmp_path, homes, NAMES, folder), never)
    pull = grid.pull_messages
    lost = []

    def lossy(ids: list[str]) -> list[Message]:
        kept = []
        for reply in pull(ids):
            group = reply.metadata.group_id.partition("-")[0]
            home = reply.metadata.src_node_id
            if home == NODE and group in ("4", "7") and "interval" in reply.metadata.message_type:
                lost.append(group)
                reply.metadata.__dict__["_src_node_id"] = 1  # nobody's: as if it never came
            kept.append(reply)
        return kept

    monkeypatch.setattr(grid, "pull_messages", lossy)
    run(folder, grid)
    assert lost == ["4", "7"]
    exactly_once(folder.run)
    agree(tmp_path, folder)


def test_household_that_lost_its_disk_joins_again(homes: Path, tmp_path: Path) -> None:
    """Its books are gone; it is told the past, joins and is settled for every interval once."""
    folder = community(tmp_path / "server", homes, NAMES, *MARKET_ONLY)
    wiped: list[int] = []

    def wipe(message: Message) -> bool:
        t = int(message.metadata.group_id.partition("-")[0])
        if t == 6 and not wiped:
            wiped.append(t)
            for file in (tmp_path / NAMES[0] / "state").glob("household.sqlite*"):
                file.unlink()
        return False

    run(folder, Homes(contexts(tmp_path, homes, NAMES, folder), wipe))
    assert wiped
    exactly_once(folder.run)
    assert len(meters(tmp_path, NAMES[0])) == INTERVALS


def test_repeated_request_gets_the_stored_reply(homes: Path, tmp_path: Path) -> None:
    """Each message delivered twice, to fresh processes: the same bytes back, the same ledger."""
    once = community(tmp_path / "once", homes, NAMES[:2], *MARKET_ONLY)
    run(once, Homes(contexts(tmp_path / "a", homes, NAMES[:2], once), never))
    folder = community(tmp_path / "twice", homes, NAMES[:2], *MARKET_ONLY)
    homes_of = contexts(tmp_path / "b", homes, NAMES[:2], folder)
    grid = Homes(homes_of, never)
    replies: list[tuple[bytes, bytes]] = []

    def again(message: Message) -> bool:
        from simulations.engine.loop import answer

        forget()
        first = answer(grid._app, message, homes_of[message.metadata.dst_node_id])
        forget()
        second = answer(grid._app, message, homes_of[message.metadata.dst_node_id])
        if "interval" in message.metadata.message_type:
            pair = [dict(m.content.config_records["config"]) for m in (first, second)]
            replies.append(tuple(repr(sorted(p.items())).encode() for p in pair))  # type: ignore[arg-type]
        return False

    grid.spoil = again
    run(folder, grid)
    assert len(replies) == 2 * (INTERVALS + 1)
    assert all(first == second for first, second in replies)
    assert rows(folder.run) == rows(once.run)


def test_coordinator_skips_intervals_it_slept_through(
    homes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the clock, intervals that passed while it was away are settled without a market."""
    folder = community(tmp_path / "server", homes, NAMES, *MARKET_ONLY)
    interval = Coordinator.interval

    def slow(self: Coordinator, t: int) -> Answers:
        answers = interval(self, t)
        if t == 4:
            monkeypatch.setattr(Clock, "current", lambda _, t: max(t, 8))
        return answers

    monkeypatch.setattr(Coordinator, "interval", slow)
    run(folder, Homes(contexts(tmp_path, homes, NAMES, folder), never))
    exactly_once(folder.run)
    agree(tmp_path, folder)
    assert traded(folder.run)
    assert not traded(folder.run) & {5, 6, 7}


def test_on_the_clock(homes: Path, tmp_path: Path) -> None:
    """At speed 1200, half an hour in 1.5 s: no interval is booked before it begins, those that a
    slow machine missed are settled without a market, and a model round for which there is no time
    is left out."""
    folder = community(tmp_path / "server", homes, NAMES, *SHORT, hour=0)
    begun = Live.read(folder.live)
    assert begun is not None
    anchor = time.time() + 4
    Live(begun.run, begun.start, anchor, 1200.0).write(folder.live)
    run(folder, Homes(contexts(tmp_path, homes, NAMES, folder), never))
    exactly_once(folder.run)
    agree(tmp_path, folder)
    log = [json.loads(x) for x in (folder.log / "coordinator.jsonl").read_text().splitlines()]
    booked = {
        line["interval"]: datetime.fromisoformat(line["time"]).timestamp() - anchor
        for line in log
        if line["event"] == "interval booked"
    }
    assert sorted(booked) == list(range(INTERVALS))
    assert all(after > 1.5 * t for t, after in booked.items())
    skipped = {line["interval"] for line in log if line["event"] == "interval skipped"}
    assert not traded(folder.run) & skipped
    assert skipped != set(range(INTERVALS))
    assert [x["round"] for x in log if x["event"] == "model round left out: no time"] == [1, 2]
    status = json.loads(folder.status.read_text())
    assert (status["phase"], status["speed"]) == ("finished", 1200.0)
    assert status["lag_s"] >= 0


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_set_by_an_hour_loses_and_doubles_nothing(
    homes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    """In real time, with a clock of the test's own that is set by an hour in interval 4: back, and
    interval 5 begins an hour later; forth, and 5 has passed, so that it is settled without a
    market. Each is settled once, and households and ledger agree."""
    folder = community(tmp_path / "server", homes, NAMES, *MARKET_ONLY, hour=0)
    begun = Live.read(folder.live)
    assert begun is not None
    anchor = 1_800_000_000.0
    Live(begun.run, begun.start, anchor, 1.0).write(folder.live)
    slept, asked = [0.0], {}

    def now() -> float:
        return anchor + slept[0] + (3600.0 * hours if 4 in asked else 0.0)

    def sleep(seconds: float) -> None:
        slept[0] += seconds

    def note(message: Message) -> bool:
        asked.setdefault(int(message.metadata.group_id.partition("-")[0]), slept[0])
        return False

    monkeypatch.setattr(live, "Clock", partial(Clock, now=now, sleep=sleep))
    run(folder, Homes(contexts(tmp_path, homes, NAMES, folder), note))
    exactly_once(folder.run)
    agree(tmp_path, folder)
    log = [json.loads(x) for x in (folder.log / "coordinator.jsonl").read_text().splitlines()]
    skipped = {line["interval"] for line in log if line["event"] == "interval skipped"}
    assert skipped == ({5} if hours > 0 else set())
    assert not traded(folder.run) & skipped
    due = {t: 1800.0 * t - (3600.0 * hours if t > 4 else 0.0) for t in range(INTERVALS)}
    for t in due.keys() - skipped:
        assert asked[t] == pytest.approx(due[t], abs=2)


def test_a_short_break_costs_a_rehearsal_nothing(homes: Path, tmp_path: Path) -> None:
    """Without a clock, whoever was there a moment ago is waited for: nobody misses a round."""
    folder = community(tmp_path / "server", homes, NAMES, *MARKET_ONLY)

    class Breaks(Homes):
        looks = 0

        def get_node_ids(self) -> Iterable[int]:
            self.looks += bool(self.away)
            if self.looks == 4:
                self.away.clear()
            return super().get_node_ids()

    def breaks(message: Message) -> bool:
        t = int(message.metadata.group_id.partition("-")[0])
        if t == 4 and "fills" in message.metadata.message_type and not grid.looks:
            grid.away = set(contexts_)
        return False

    contexts_ = contexts(tmp_path, homes, NAMES, folder)
    grid = Breaks(contexts_, breaks)
    run(folder, grid)
    assert grid.looks == 4
    lines = (folder.run / "intervals.jsonl").read_text().splitlines()
    assert [json.loads(line)["missing"] for line in lines] == [[]] * INTERVALS


def test_fills_that_differ_from_those_announced_are_refused(homes: Path, tmp_path: Path) -> None:
    """What a household was told it traded holds: another figure later is an error, not a fact."""
    folder = community(tmp_path / "server", homes, NAMES, *MARKET_ONLY)

    def tamper(message: Message) -> bool:
        if "fills" in message.metadata.message_type and message.metadata.dst_node_id == NODE:
            config = message.content.config_records["config"]
            config["fill"] = b"\1" + bytes(config["fill"])[1:]  # type: ignore[arg-type]
        return False

    grid = Homes(contexts(tmp_path, homes, NAMES, folder), tamper)
    run(folder, grid)
    log = (folder.log / "coordinator.jsonl").read_text()
    assert "are not those announced" in log
    assert {h for _, h in settled(folder.run, len(NAMES))} >= {1, 2}
