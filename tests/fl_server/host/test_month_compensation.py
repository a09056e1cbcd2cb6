"""Members of a run without end who compensate each other, month by month."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from flwr.app import Message

from common.cadence import HALF_HOUR
from common.energy.tariff import end_value
from fl_client.host.books import kept_statements
from fl_server.checkpoint import Checkpoint
from fl_server.host.folder import Folder
from fl_server.host.setup import end_run
from fl_server.ledger import COMMUNITY, Kind, Ledger
from fl_server.market.compensation import compensate
from fl_server.month_compensation import MonthCompensation
from fl_server.months import Calendar, check_kept
from tests.support.community import Homes, community, contexts, run, run_though_it_dies
from tests.support.live import MARKET_ONLY, NAMES, opened, rows
from tests.support.runs import write_homes

# It begins on the last day of May, by the hour.
MAY, INTERVALS = 24, 34
RULE = (
    *MARKET_ONLY, "run.interval_minutes=60", "run.days=null", "data.timezone=Europe/London",
    "market.mechanism=mid-market", "market.compensate_losers=true",
)  # fmt: skip


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("homes")
    write_homes(folder, NAMES, first="2023-05-22", zone="Europe/London")
    return folder


def begun(root: Path, homes: Path, *more: str) -> Folder:
    return community(root / "server", homes, NAMES, *RULE, *more, hour=0)


def until_the_end(
    folder: Folder, also: Callable[[Message, int], bool] = lambda message, t: False
) -> Callable[[Message], bool]:
    def watch(message: Message) -> bool:
        t = int(message.metadata.group_id.partition("-")[0])
        if t == INTERVALS - 1:
            end_run(folder.root)
        return also(message, t)

    return watch


@pytest.fixture(scope="module")
def whole(homes: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Folder]:
    """A run from beginning to end in which nothing goes wrong."""
    root = tmp_path_factory.mktemp("whole")
    folder = begun(root, homes)
    run(folder, Homes(contexts(root, homes, NAMES, folder), until_the_end(folder)))
    return root, folder


def moved(ledger: Ledger) -> dict[int, list[int]]:
    """By interval: what each household received of a compensation [micro]."""
    found: dict[int, list[int]] = {}
    for row in ledger.rows():
        if row.kind == Kind.COMPENSATION:
            of = found.setdefault(row.interval, [0] * len(NAMES))
            of[row.account - len(COMMUNITY)] += row.money_in_micro - row.money_out_micro
    return found


def gain(home: Path, folder: Folder, first: int, end: int) -> int:
    """What a household has gained [micro] by its own rows, its store's change included."""
    with sqlite3.connect(home / "state" / "household.sqlite") as db:
        names = ("retail", "feed_in", "cost", "shadow_cost", "soc", "shadow_soc")
        columns = ", ".join(names)
        table = np.array(db.execute(f"SELECT {columns} FROM intervals ORDER BY t").fetchall())
    settings = folder.settings(len(NAMES))
    spec = settings.home("").battery_spec
    log = dict(zip(names, table[first:end].T, strict=True))
    before = np.full(2, spec.soc_initial) if first == 0 else table[first - 1, 4:]
    worth = end_value(spec, log["retail"], log["feed_in"])
    value = []
    for was, soc in zip(before, (log["soc"], log["shadow_soc"]), strict=True):
        change = (soc[-1] - was) * spec.capacity_kwh
        value.append(change * (worth.shortfall_price if change < 0 else worth.surplus_price))
    return round(1e6 * ((log["shadow_cost"].sum() - value[1]) - (log["cost"].sum() - value[0])))


def test_each_month_is_compensated_once_by_what_it_brought(whole: tuple[Path, Folder]) -> None:
    """A month's losers receive what they lost in it, by the households' own books; so do those of
    the month in which the run ends, and nothing more. Statements hold it, and the hashes agree."""
    root, folder = whole
    with opened(folder.run) as ledger:
        assert ledger.verify().ok
        found = moved(ledger)
        assert sorted(found) == [MAY - 1, INTERVALS - 1]
        for first, end in ((0, MAY), (MAY, INTERVALS)):
            gains = np.array([gain(root / name, folder, first, end) for name in NAMES])
            # Sums of floats against sums of whole micros.
            assert np.abs(found[end - 1] - compensate(gains)).max() <= end - first
            assert sum(found[end - 1]) == 0
        assert max(found[MAY - 1]) > 1000
        for h, name in enumerate(NAMES):
            texts = [text for _, text, *_ in kept_statements(root / name)]
            assert check_kept(ledger, ledger.attach(), texts) == [("2023-05", ""), ("2023-06", "")]
            lines = [json.loads(text)["lines"] for text in texts]
            assert [-one.get("compensation", [0, 0])[1] for one in lines] == [
                found[end - 1][h] for end in (MAY, INTERVALS)
            ]


def test_a_coordinator_that_dies_compensates_once(
    whole: tuple[Path, Folder], homes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before the transaction that has May's compensation in it, and again after it: the
    ledger is that of the run in which nobody was, row by row."""
    folder = begun(tmp_path, homes)
    grid = Homes(contexts(tmp_path, homes, NAMES, folder), until_the_end(folder))
    run_though_it_dies(
        folder, grid, lambda t, *rest: rest[3] is not None and t < INTERVALS, monkeypatch
    )
    assert rows(folder.run) == rows(whole[1].run)


def test_who_does_not_answer_is_waited_for(
    whole: tuple[Path, Folder], homes: Path, tmp_path: Path
) -> None:
    """One that is away when the month is asked for is compensated as if it had been there; one
    that keeps its metrics to itself neither gives nor receives, and nobody waits for it."""
    folder = begun(tmp_path, homes)
    nodes = contexts(tmp_path, homes, NAMES, folder)
    away = next(iter(nodes))

    def spoiled(message: Message, t: int) -> bool:
        return message.metadata.dst_node_id == away and MAY + 1 <= t <= MAY + 3

    run(folder, Homes(nodes, until_the_end(folder, spoiled)))
    with opened(folder.run) as ledger, opened(whole[1].run) as other:
        assert moved(ledger)[MAY - 1] == moved(other)[MAY - 1]
    silent = tmp_path / "silent"
    for name in NAMES:
        (silent / name).mkdir(parents=True)
    (silent / NAMES[1] / "settings.yaml").write_text(yaml.safe_dump({"run": {"metrics": "none"}}))
    folder = begun(silent, homes)
    run(folder, Homes(contexts(silent, homes, NAMES, folder), until_the_end(folder)))
    with opened(folder.run) as ledger:
        found = moved(ledger)
        assert sorted(found) == [MAY - 1, INTERVALS - 1]
        assert all(of[1] == 0 for of in found.values())


def test_without_the_rule_nothing_is_asked(homes: Path, tmp_path: Path) -> None:
    """No request names a month, and no reply tells anything of one."""
    folder = begun(tmp_path, homes, "market.compensate_losers=false")
    grid = Homes(contexts(tmp_path, homes, NAMES, folder), until_the_end(folder))
    run(folder, grid)
    configs = [one for sent in grid.sent for one in sent.content.config_records.values()]
    assert configs
    assert not any("month" in config for config in configs)
    with opened(folder.run) as ledger:
        assert moved(ledger) == {}


def test_months_of_a_release_before_stay_closed() -> None:
    """A run that was begun without it compensates from the month on in which it goes on."""
    calendar = Calendar(pd.Timestamp("2023-05-10T00:00Z"), HALF_HOUR, "Europe/London")
    t = 48 * 40
    kept = json.loads(Checkpoint(t, [t - 1]).to_json())
    for name in ("compensated", "month_asked", "month_told"):
        del kept[name]
    state = Checkpoint.from_json(json.dumps(kept))
    # Nothing is read of them before a month is over.
    months = MonthCompensation(state, None, calendar, None, wait=96)  # type: ignore[arg-type]
    # By the first of June, at midnight in London.
    assert state.compensated == 48 * 22 - 2
    assert months.asked(t) is None
