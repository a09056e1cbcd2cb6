"""The interval loop when households stay away, answer twice or talk nonsense."""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Error, Message

from common.config import Settings
from common.messages import CONFIG
from fl_client.app import app as client_app
from fl_server.ledger import Kind, Ledger
from fl_server.start import run as run_server
from simulations.engine.loop import LoopGrid, server_context
from tests.support.reading import intervals
from tests.support.runs import small

RUN_ID = 11
Fault = Callable[[LoopGrid, Message], Iterable[Message]]


class FaultyGrid(LoopGrid):
    """Lets ``fault`` decide what becomes of each interval request and its reply."""

    def __init__(self, settings: Settings, directory: Path, fault: Fault) -> None:
        config = {"settings": settings.model_dump_json(), "out": str(directory)}
        super().__init__(client_app, settings.run.households, config, RUN_ID)  # type: ignore[arg-type]
        server_context(RUN_ID, config)  # type: ignore[arg-type]
        self._fault = fault

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        for message_id in list(message_ids):
            message = self._waiting.get(message_id)
            if message is None:
                continue
            yield from self._fault(self, message)
            self._waiting.pop(message_id, None)

    def answered(self, message: Message) -> Message:
        [reply] = super().pull_messages([message.metadata.message_id])
        return reply


def place(message: Message) -> tuple[int, int]:
    """(interval, partition) of a request; interval -1 for other messages."""
    config = message.content.config_records.get(CONFIG, {})
    t = config["t"] if message.metadata.message_type == "query.interval" else -1
    assert isinstance(t, int)
    return t, message.metadata.dst_node_id - 1000


def settlements(directory: Path, settings: Settings) -> Counter[tuple[int, str]]:
    """How often each (interval, household) was settled with the grid, late ones included."""
    reports = json.loads((directory / "reports.json").read_text())
    names = sorted(reports["joined"])
    with Ledger(f"sqlite:///{directory / 'ledger.sqlite'}") as ledger:
        ledger.open_run(settings.digest(), names, start=reports["start"])
        assert ledger.verify().error is None
        community = 4
        return Counter(
            (row.interval, names[row.account - community])
            for row in ledger.rows()
            if row.kind != Kind.FILLS and row.account >= community
        )


def lost_reply(grid: LoopGrid, message: Message) -> Iterable[Message]:
    assert isinstance(grid, FaultyGrid)
    reply = grid.answered(message)
    t, partition = place(message)
    if not (partition == 1 and 5 <= t < 8):
        yield reply


def lost_request(grid: LoopGrid, message: Message) -> Iterable[Message]:
    assert isinstance(grid, FaultyGrid)
    t, partition = place(message)
    if not (partition == 1 and 5 <= t < 8):
        yield grid.answered(message)


def error_reply(grid: LoopGrid, message: Message) -> Iterable[Message]:
    assert isinstance(grid, FaultyGrid)
    t, partition = place(message)
    if partition == 1 and 5 <= t < 8:
        yield Message(Error(code=1, reason="out of order"), reply_to=message)
    else:
        yield grid.answered(message)


def nonsense(grid: LoopGrid, message: Message) -> Iterable[Message]:
    assert isinstance(grid, FaultyGrid)
    reply = grid.answered(message)
    t, partition = place(message)
    if partition == 1 and 5 <= t < 8:
        reply.content.config_records[CONFIG]["orders"] = b"nonsense"
    yield reply


@pytest.fixture
def quick(homes: Path) -> Settings:
    return small(
        homes, "run.days=0.25", "run.reply_deadline_s=0.05", "fl.enabled=false", "run.shadow=false"
    )


@pytest.mark.parametrize("fault", [lost_reply, lost_request, error_reply, nonsense])
def test_a_household_that_fails_delays_nobody_and_is_settled_once(
    fault: Fault, quick: Settings, tmp_path: Path
) -> None:
    """Intervals 5 to 7 of one household fail on the way; the run goes on and mends the books.

    Every (household, interval) with a flow is settled at most once, the ledger's energy is the
    household's own, and the faults are on record.
    """
    run_server(FaultyGrid(quick, tmp_path, fault), quick, tmp_path)
    reports = json.loads((tmp_path / "reports.json").read_text())
    assert [(t, name) for t, name, _ in reports["faults"]] == [(t, "H0002") for t in (5, 6, 7)]
    booked = settlements(tmp_path, quick)
    assert max(booked.values()) == 1
    lines = [json.loads(line) for line in (tmp_path / "intervals.jsonl").read_text().splitlines()]
    assert [line["interval"] for line in lines] == list(range(12))
    with Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}") as ledger:
        ledger.open_run(quick.digest(), sorted(reports["joined"]), start=reports["start"])
        balances = ledger.balances()
    assert sum(money for _, money in balances.values()) == 0
    for name in sorted(reports["joined"]):
        rows = intervals(tmp_path, name)
        own = sum(r["bought"] + r["grid_import"] - r["sold"] - r["grid_export"] for r in rows)
        assert balances[name][0] / 1e6 == pytest.approx(own, abs=12 * 1e-6)


def test_others_do_not_notice(quick: Settings, homes: Path, tmp_path: Path) -> None:
    """Nonsense from one household leaves the others' orders of that interval as they were."""
    ways = {}
    for name, fault in (("well", lambda g, m: [g.answered(m)]), ("ill", nonsense)):
        directory = tmp_path / name
        run_server(FaultyGrid(quick, directory, fault), quick, directory)
        ways[name] = [r["score"] for r in intervals(directory, "H0001")[:6]]
    assert ways["well"] == ways["ill"]


def test_fewer_nodes_than_expected_is_an_error(quick: Settings, tmp_path: Path) -> None:
    """After the deadline the run fails and says how many came."""
    settings = quick.model_copy(
        update={"run": quick.run.model_copy(update={"node_deadline_s": 0.1})}
    )

    class Short(LoopGrid):
        def get_node_ids(self) -> Iterable[int]:
            return list(super().get_node_ids())[:1]

    config = {"settings": settings.model_dump_json(), "out": str(tmp_path)}
    server_context(RUN_ID, config)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="1 of 3"):
        run_server(Short(client_app, 3, config, RUN_ID), settings, tmp_path)  # type: ignore[arg-type]


def well(grid: LoopGrid, message: Message) -> Iterable[Message]:
    """Let everything through."""
    assert isinstance(grid, FaultyGrid)
    yield grid.answered(message)


def lines(directory: Path) -> list[dict[str, Any]]:
    """The run's log of intervals."""
    return [json.loads(line) for line in (directory / "intervals.jsonl").read_text().splitlines()]


def test_feeders_are_runs_of_names_and_crossing_them_costs_a_fee(
    homes: Path, tmp_path: Path
) -> None:
    """A feeder that holds everyone is none; with one household each, all trade pays the fee."""
    ways, fees = {}, {}
    for size in ("null", "3", "1"):
        chosen = small(
            homes, "fl.enabled=false", "run.shadow=false", "market.mechanism=hierarchical",
            f"market.feeder_size={size}", "market.feeder_fee=0.005",
        )  # fmt: skip
        directory = tmp_path / size
        run_server(FaultyGrid(chosen, directory, well), chosen, directory)
        ways[size] = [line["delivered_kwh"] for line in lines(directory)]
        with Ledger(f"sqlite:///{directory / 'ledger.sqlite'}") as ledger:
            ledger.attach()
            fees[size] = ledger.balances()["fees"][1] / 1e6
    assert ways["null"] == ways["3"]
    assert fees["null"] == fees["3"] == 0
    assert sum(ways["1"]) > 0
    assert fees["1"] == pytest.approx(0.005 * sum(ways["1"]), abs=48 * 1e-6)


def test_k_decides_who_gets_the_room_between_bid_and_ask(homes: Path, tmp_path: Path) -> None:
    """Where the price first differs, k = 0 gave the lower one: all orders were alike until then."""
    prices = {}
    for k in (0, 1):
        chosen = small(
            homes, "fl.enabled=false", "run.shadow=false", "market.mechanism=k-double",
            f"market.k={k}",
        )  # fmt: skip
        directory = tmp_path / str(k)
        run_server(FaultyGrid(chosen, directory, well), chosen, directory)
        prices[k] = [line["local_price"] for line in lines(directory)]
    low, high = next(pair for pair in zip(prices[0], prices[1], strict=True) if len({*pair}) > 1)
    assert low < high


def telling(reading: tuple[int, int]) -> Fault:
    """H0002 says in interval 5 that its meter has counted this in the one before [mWh]."""

    def altered(grid: LoopGrid, message: Message) -> Iterable[Message]:
        assert isinstance(grid, FaultyGrid)
        reply = grid.answered(message)
        t, partition = place(message)
        if partition == 1 and t == 5:
            config = reply.content.config_records[CONFIG]
            rows = np.frombuffer(config["readings"], "<i8").reshape(-1, 3).copy()  # type: ignore[call-overload]
            rows[-1, 1:] = reading
            config["readings"] = rows.tobytes()
        yield reply

    return altered


@pytest.mark.parametrize(("kwh", "faults"), [(12.0, 0), (3.0, 1)])
def test_each_household_has_its_own_connection(
    homes: Path, tmp_path: Path, kwh: float, faults: int
) -> None:
    """7 kWh in half an hour are refused where a home's own connection is smaller, though the
    run's would carry them, and taken where it is larger."""
    chosen = small(
        homes, "fl.enabled=false", "run.shadow=false", "connection.import_kwh=7.5",
        f"homes.H0002.connection.import_kwh={kwh}",
    )  # fmt: skip

    run_server(FaultyGrid(chosen, tmp_path, telling((7_000_000, 0))), chosen, tmp_path)
    reports = json.loads((tmp_path / "reports.json").read_text())
    assert [(t, name) for t, name, _ in reports["faults"]] == [(5, "H0002")] * faults


@pytest.mark.parametrize(
    ("reading", "why"),
    [
        ((11_000_000, 0), "more than its connection can carry"),
        ((0, 4_000_001), "more than its connection can carry"),
        ((2**62, 0), "more than its connection can carry"),
    ],
)
def test_a_reading_beyond_the_connection_is_a_fault(
    quick: Settings, tmp_path: Path, reading: tuple[int, int], why: str
) -> None:
    """10 kWh in and 4 kWh out in half an hour are what the connection carries: who says
    more is not heard, is not paid for it, and settles with its next honest reading."""
    run_server(FaultyGrid(quick, tmp_path, telling(reading)), quick, tmp_path)
    reports = json.loads((tmp_path / "reports.json").read_text())
    [(t, name, said)] = reports["faults"]
    assert (t, name) == (5, "H0002")
    assert why in said
    assert max(settlements(tmp_path, quick).values()) == 1
