"""Thirty days of a run without end, at the highest speed, with members who come and go."""

import time
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Message

from common.data.synthetic import names
from fl_client import window
from fl_server import coordinator
from fl_server.host.members import admit, leave, read_members
from fl_server.host.setup import end_run
from tests.support.community import NODE, Homes, community, contexts, run
from tests.support.live import MARKET_ONLY, opened
from tests.support.runs import write_homes

DAYS, BACK = 30, 5


@pytest.mark.nightly
def test_neither_time_nor_state_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With households that keep five days in mind instead of sixty, an interval of the last ten
    days costs the CPU time of one of the ten days before them, to a quarter, and the coordinator's
    state is no larger; the ledger verifies, and no money is left over."""
    monkeypatch.setattr(window, "LOOK_BACK_DAYS", BACK)
    monkeypatch.setattr(window, "AHEAD_DAYS", 2)
    monkeypatch.setattr(coordinator, "TOLD_DAYS", BACK)
    homes, who = tmp_path / "homes", names(4)
    write_homes(homes, who, DAYS + 2)
    folder = community(
        tmp_path / "server", homes, who[:3], *MARKET_ONLY, "run.interval_minutes=60",
        "run.days=null", "trader.kind=greedy", hour=0,
    )  # fmt: skip
    seconds: dict[int, float] = {}
    state: dict[int, int] = {}

    def watch(message: Message) -> bool:
        t = int(message.metadata.group_id.partition("-")[0])
        if t in seconds:
            return False
        seconds[t] = time.process_time()
        if t % 24 == 12:
            with opened(folder.run) as ledger:
                state[t // 24] = len(ledger.state() or "")
        there = {member.name: member for member in read_members(folder.members)}
        # One comes on the third day, leaves on the sixth, is back on the ninth, and so on.
        if t % 72 == 0 and t:
            if who[3] not in there:
                admit(folder.members, who[3], NODE + 3, "key")
            else:
                leave(folder.members, who[3], leaving=not there[who[3]].leaving)
        if t == DAYS * 24 - 1:
            end_run(folder.root)
        return False

    run(folder, Homes(contexts(tmp_path, homes, who, folder), watch))
    each = np.diff([seconds[t] for t in range(DAYS * 24)])
    before, last = (float(np.median(each[24 * day : 24 * (day + 10)])) for day in (10, 20))
    rounded = [round(1e3 * float(np.median(each[24 * d : 24 * (d + 1)]))) for d in range(DAYS)]
    print(f"CPU ms an interval, by day: {rounded}; state [bytes]: {state}")
    assert last <= 1.25 * before
    assert max(state[day] for day in range(20, DAYS)) <= 1.1 * max(
        state[day] for day in range(10, 20)
    )
    with opened(folder.run) as ledger:
        assert ledger.verify().ok
        assert sum(money for _, money in ledger.balances().values()) == 0
