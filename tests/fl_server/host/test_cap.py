"""A deployed community under an import cap: the simulation's ledger, and nobody settled twice."""

import json
from pathlib import Path

import pytest
from flwr.app import Message

from fl_client.state import State
from fl_server.ledger import Kind, Ledger
from tests.support.community import NODE, Homes, Killed, community, contexts, run, simulated
from tests.support.live import INTERVALS, MARKET_ONLY, NAMES, agree, never, rows

CAP_KW = 0.6
# Small batteries, so that allowances do not last.
CAP = (*MARKET_ONLY, f"market.import_cap_kw={CAP_KW}", "battery.capacity_kwh=1")


def surcharges(directory: Path) -> set[tuple[int, int]]:
    """(interval, late household) of the ledger's surcharges."""
    with Ledger(f"sqlite:///{directory / 'ledger.sqlite'}") as ledger:
        ledger.attach()
        return {(r.interval, r.late_household) for r in ledger.rows() if r.kind == Kind.SURCHARGE}


def test_parity_with_a_simulation_and_allowances_told_at_once(homes: Path, tmp_path: Path) -> None:
    """The same ledger row by row, surcharges included; each household keeps what it was told."""
    folder = community(tmp_path / "server", homes, NAMES, *CAP, hour=0)
    run(folder, Homes(contexts(tmp_path, homes, NAMES, folder), never))
    directory = simulated(homes, tmp_path / "simulated", folder, len(NAMES))
    assert surcharges(folder.run)
    assert rows(folder.run) == rows(directory)
    agree(tmp_path, folder)
    lines = [json.loads(x) for x in (folder.run / "intervals.jsonl").read_text().splitlines()]
    told = [State(tmp_path / name / "state", durable=True) for name in NAMES]
    for line in lines:
        allowed = [state.allowed(line["interval"]) for state in told]
        assert sum(a[0] for a in allowed if a) <= CAP_KW / 2 * 0.9 * 1e6
        assert {a[1] for a in allowed if a} == {round(line["scarcity_price"] * 1e6)}


def test_killed_at_every_settlement_while_one_is_away(
    homes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A household away from interval 3 to 7 has an equal share then, and pays for more when it is
    back; the coordinator, killed after every commit, books what one that lived would have."""

    def away(message: Message) -> bool:
        t = int(message.metadata.group_id.partition("-")[0])
        return message.metadata.dst_node_id == NODE + 1 and 3 <= t < 8

    whole = community(tmp_path / "whole", homes, NAMES, *CAP, hour=0)
    run(whole, Homes(contexts(tmp_path / "a", homes, NAMES, whole), away))
    folder = community(tmp_path / "server", homes, NAMES, *CAP, hour=0)
    grid = Homes(contexts(tmp_path, homes, NAMES, folder), away)
    record = Ledger.record
    deaths: set[int] = set()

    def dies(self: Ledger, interval: int, *rest: object) -> bool:
        done = record(self, interval, *rest)  # type: ignore[arg-type]
        if interval not in deaths:
            deaths.add(interval)
            raise Killed
        return done

    monkeypatch.setattr(Ledger, "record", dies)
    for _ in range(INTERVALS + 1):
        with pytest.raises(Killed):
            run(folder, grid)
    run(folder, grid)
    agree(tmp_path, folder)
    late = {interval for interval, household in surcharges(folder.run) if household == 1}
    assert late
    assert late <= {2, 3, 4, 5, 6}
    assert rows(folder.run) == rows(whole.run)


def test_an_allowance_that_differs_from_the_one_announced_is_refused(
    homes: Path, tmp_path: Path
) -> None:
    """What a household was allowed holds: another figure later is an error, not a fact."""
    folder = community(tmp_path / "server", homes, NAMES, *CAP)

    def tamper(message: Message) -> bool:
        if "fills" in message.metadata.message_type and message.metadata.dst_node_id == NODE:
            config = message.content.config_records["config"]
            config["allowance"] = b"\1" + bytes(config["allowance"])[1:]  # type: ignore[arg-type]
        return False

    run(folder, Homes(contexts(tmp_path, homes, NAMES, folder), tamper))
    assert "are not those announced" in (folder.log / "coordinator.jsonl").read_text()
