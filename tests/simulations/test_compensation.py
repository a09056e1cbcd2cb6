"""Runs in which a household loses by the market: afterwards none does, and the books balance."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from common.config import Settings
from fl_server.coordinator import Answers, Coordinator
from fl_server.ledger import Kind, Ledger
from simulations.commands.ledger import verify
from simulations.commands.simulate import _print
from simulations.report import write_report
from simulations.simulate import simulate
from tests.support.reading import ledger_rows, summary
from tests.support.runs import small

Run = Callable[[Settings], Path]

# Halfway prices come cheap to who has nothing to sell at them.
LOSING = ("fl.enabled=false", "run.references=none", "market.mechanism=mid-market")
RULE = "market.compensate_losers=true"


@pytest.fixture(scope="module")
def plain(homes: Path, run: Run) -> Path:
    return run(small(homes, *LOSING))


@pytest.fixture(scope="module")
def fair(homes: Path, run: Run) -> Path:
    return run(small(homes, *LOSING, RULE))


def test_nobody_loses_with_the_rule(
    plain: Path, fair: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One household loses without it. With it none does, what it lost came from those who gained,
    the community pays the same, and the books balance to the micro."""
    before, after = summary(plain), summary(fair)
    assert before["cost"]["losers"] == 1
    assert after["cost"]["losers"] == 0
    assert after["cost"]["losers_before_compensation"] == 1
    assert after["cost"]["community"] == pytest.approx(before["cost"]["community"], abs=1e-9)
    assert after["checks"]["money_residual_max"] == 0
    moved = {row["name"]: row["compensation"] for row in after["households_detail"]}
    assert after["cost"]["compensated"] == pytest.approx(sum(m for m in moved.values() if m > 0))
    assert round(sum(moved.values()) * 1e6) == 0
    for was, row in zip(before["households_detail"], after["households_detail"], strict=True):
        gain = was["shadow"] - was["cost"]
        assert row["shadow"] == was["shadow"]
        assert row["cost"] == pytest.approx(was["cost"] - moved[row["name"]], abs=1e-9)
        assert row["cost"] <= row["shadow"] + 2e-6
        assert (moved[row["name"]] > 0) == (gain < 0)
    verify(str(fair))
    assert "correct" in capsys.readouterr().out


def test_only_the_closing_differs(plain: Path, fair: Path) -> None:
    """All entries but the last are those of the run without the rule, figure by figure."""
    figures = [row[1:-1] for row in ledger_rows(fair)]
    assert [row for row in figures if row[2] != Kind.COMPENSATION] == [
        row[1:-1] for row in ledger_rows(plain)
    ]
    assert {row[1] for row in figures if row[2] == Kind.COMPENSATION} == {47}


def test_the_rule_is_told_where_it_is_on(
    plain: Path, fair: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Summary, printed lines and report say who lost before and what was moved; without the rule
    they say nothing of it."""
    assert not {"compensated", "losers_before_compensation"} & set(summary(plain)["cost"])
    assert all("compensation" not in row for row in summary(plain)["households_detail"])
    shown = {}
    for directory in (plain, fair):
        capsys.readouterr()
        _print(json.loads((directory / "summary.json").read_text()))
        shown[directory] = capsys.readouterr().out + write_report(directory).read_text()
    alone = sum(row["shadow"] for row in summary(fair)["households_detail"])
    assert f"traders, no market {alone:12.2f}" in shown[fair]
    amount = f"{summary(fair)['cost']['compensated']:.2f}"
    assert f"{amount} from those who gained by the market; before it 1 lost" in shown[fair]
    assert f"1 did before those who gained gave them {amount}" in shown[fair]
    assert "Compensation received" in shown[fair]
    for text in ("gained by the market;", "gave them", "Compensation received"):
        assert text not in shown[plain]


def test_where_losses_exceed_gains_all_gains_are_given(homes: Path, run: Run) -> None:
    """Under a tight cap one household loses more than the others gain: it still loses, less by
    just their gains, which are all gone."""
    capped = ("market.import_cap_kw=2", "battery.capacity_kwh=5")
    found = summary(run(small(homes, *LOSING[:2], *capped, RULE)))
    assert found["cost"]["losers"] == found["cost"]["losers_before_compensation"] == 1
    assert found["cost"]["compensated"] > 0.1
    assert found["checks"]["money_residual_max"] == 0
    for row in found["households_detail"]:
        if row["compensation"] < 0:
            assert row["cost"] == pytest.approx(row["shadow"], abs=2e-6)
        else:
            assert row["cost"] > row["shadow"]


@pytest.mark.parametrize("ends", [31, 48], ids=["half way", "when it was closed"])
def test_a_resumed_run_compensates_once(
    ends: int, fair: Path, homes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ended half way, or after its last entry and before its reports were kept: the same ledger."""
    interval, close = Coordinator.interval, Coordinator.close

    def ends_half_way(self: Coordinator, t: int) -> None:
        if t == ends:
            raise KeyboardInterrupt
        interval(self, t)

    def ends_closed(self: Coordinator, answers: Answers, t: int) -> None:
        close(self, answers, t)
        raise KeyboardInterrupt

    settings = small(homes, *LOSING, RULE)
    with monkeypatch.context() as patch:
        patch.setattr(Coordinator, "interval", ends_half_way)
        patch.setattr(Coordinator, "close", ends_closed)
        with pytest.raises(KeyboardInterrupt):
            simulate(settings, tmp_path)
    with Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}") as ledger:
        ledger.attach()
        assert bool(ledger.compensated()) == (ends == 48)
    simulate(settings, tmp_path)
    assert ledger_rows(tmp_path) == ledger_rows(fair)
    simulate(settings, tmp_path)
    assert ledger_rows(tmp_path) == ledger_rows(fair)


def test_a_household_that_told_nothing_takes_no_part(homes: Path, run: Run) -> None:
    """Without shadow runs nobody knows what it would have paid: the rule moves nothing."""
    found = summary(run(small(homes, *LOSING, RULE, "run.shadow=false")))
    assert found["cost"]["compensated"] == 0
    assert found["cost"]["losers"] is None
