"""Accounting months: closed with a statement that a household keeps and the ledger makes again."""

import json
import sqlite3
from pathlib import Path

import pytest
from flwr.app import Message

from common.month_statement import digest
from fl_client.host.books import kept_statements
from fl_client.state import State
from fl_server.host.members import leave
from fl_server.host.setup import end_run
from fl_server.months import check_kept
from tests.support.community import Homes, community, contexts, run
from tests.support.live import MARKET_ONLY, NAMES, opened
from tests.support.runs import write_homes

ZONE = "Europe/London"
INTERVALS, LEAVES = 8, 6


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three homes whose run begins on the last day of May."""
    folder = tmp_path_factory.mktemp("homes")
    write_homes(folder, NAMES, first="2023-05-22", zone=ZONE)
    return folder


def test_a_month_is_closed_once_and_can_be_made_again(homes: Path, tmp_path: Path) -> None:
    """At the turn of a month every household keeps one statement, whose hash the next one carries;
    one that did not hear it keeps the same when it is back; who leaves has a final one at once, the
    others when the run ends. The ledger makes each again, letter by letter, and their totals sum to
    what it says a household owes. A word changed, or one left out, is found."""
    folder = community(
        tmp_path / "server", homes, NAMES, *MARKET_ONLY, "run.interval_minutes=60",
        "run.days=null", f"data.timezone={ZONE}", hour=20,
    )  # fmt: skip
    closed: dict[str, int] = {}

    def watch(message: Message) -> bool:
        t = int(message.metadata.group_id.partition("-")[0])
        kept = kept_statements(tmp_path / NAMES[1])
        if kept and NAMES[1] not in closed:
            closed[NAMES[1]] = t
        if t == LEAVES - 1 and not _leaves(folder.members, NAMES[0]):
            leave(folder.members, NAMES[0])
        if t == INTERVALS - 1:
            end_run(folder.root)
        # The second household hears nothing of the market for an interval, nor its statement.
        return (
            message.metadata.message_type.endswith("fills")
            and t == 4
            and message.metadata.dst_node_id == grid.nodes[1]
        )

    nodes = contexts(tmp_path, homes, NAMES, folder)
    grid = Homes(nodes, watch)
    grid.nodes = list(nodes)  # type: ignore[attr-defined]
    run(folder, grid)
    with opened(folder.run) as ledger:
        name = ledger.attach()
        owed = {who: -money for who, (_, money) in ledger.balances().items()}
        for household in NAMES:
            kept = kept_statements(tmp_path / household)
            assert [month for month, *_ in kept] == ["2023-05", "2023-06"], household
            texts = [text for _, text, *_ in kept]
            assert [json.loads(text)["before"] for text in texts] == ["", digest(texts[0])]
            assert sum(json.loads(text)["total"] for text in texts) == owed[household]
            assert check_kept(ledger, name, texts) == [("2023-05", ""), ("2023-06", "")]
            said = json.loads(texts[0])
            said["total"] -= 1
            changed = json.dumps(said, sort_keys=True, separators=(",", ":"))
            wrong = dict(check_kept(ledger, name, [changed, texts[1]]))
            assert wrong["2023-05"] == "the ledger says otherwise"
            assert wrong["2023-06"] == "does not follow the statement before it"
    # It begins at 20:00. Round 4 settles the last of May, and was not heard; the next one was:
    # seen in that round, or in the one after where it was the last to be told.
    assert closed[NAMES[1]] in (5, 6)


def _leaves(members: Path, name: str) -> bool:
    return bool(json.loads(members.read_text())[name].get("leaving", False))


def test_another_statement_of_a_month_that_is_kept_is_refused(tmp_path: Path) -> None:
    """The same again is kept; another for the same month, or one that follows another, is not; a
    household that has lost its disk takes up whatever comes first."""
    state = State(tmp_path, durable=True)
    assert state.keep_statement("2023-05", "may", "hash of may", "")
    assert state.keep_statement("2023-05", "may", "hash of may", "")
    assert not state.keep_statement("2023-05", "MAY", "hash of MAY", "")
    assert not state.keep_statement("2023-06", "june", "hash of june", "hash of MAY")
    assert state.keep_statement("2023-06", "june", "hash of june", "hash of may")
    state.close()
    with sqlite3.connect(tmp_path / "household.sqlite") as db:
        months = db.execute("SELECT month FROM statements ORDER BY month").fetchall()
    assert months == [("2023-05",), ("2023-06",)]
    other = State(tmp_path / "new", durable=True)
    assert other.keep_statement("2023-06", "june", "hash of june", "hash of may")
    other.close()
