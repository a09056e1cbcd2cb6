"""A run under a community import cap: allowances are kept, paid for, and told in the summary."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from common.config import Settings
from fl_server.coordinator import Coordinator
from fl_server.ledger import COMMUNITY, Kind, Ledger
from fl_server.run_files import INTERVALS, read_lines
from simulations.report import write_report
from simulations.simulate import simulate, stored_settings
from tests.support.reading import intervals, ledger_rows, summary
from tests.support.runs import small

Run = Callable[[Settings], Path]

NAMES = ("H0001", "H0002", "H0003")
CAP_KW = 2.0
OPTIONS = ("fl.enabled=false", "battery.capacity_kwh=5")
CAPPED = (*OPTIONS, f"market.import_cap_kw={CAP_KW}")


@pytest.fixture(scope="module")
def capped(homes: Path, run: Run) -> Path:
    return run(small(homes, *CAPPED))


def drawn_kw(directory: Path) -> NDArray[np.float64]:
    """What the community drew from the grid in each interval, by the households' own files."""
    return 2 * np.sum([[r["grid_import"] for r in intervals(directory, n)] for n in NAMES], axis=0)


def test_the_cap_is_held_better_than_without_one(capped: Path, homes: Path, run: Run) -> None:
    """Batteries that were free to charge passed it more often, and by more."""
    free = drawn_kw(run(small(homes, *OPTIONS)))
    held = drawn_kw(capped)
    assert (held > CAP_KW).sum() < (free > CAP_KW).sum()
    assert held.max() < free.max()
    assert summary(capped)["energy"]["p2p_delivered_kwh"] > 0


def test_the_summary_counts_what_the_meters_saw(capped: Path) -> None:
    """Intervals above the cap and by how much, recomputed from the households' own files; the
    optimum under the cap is no better than the one without."""
    cap, drawn = summary(capped)["cap"], drawn_kw(capped)
    above = drawn[drawn > CAP_KW + 1e-5] - CAP_KW
    assert len(above)
    assert cap["intervals_above"] == len(above)
    assert cap["share_above"] == pytest.approx(len(above) / len(drawn))
    assert cap["mean_above_kw"] == pytest.approx(above.mean(), abs=1e-4)
    assert cap["highest_above_kw"] == pytest.approx(above.max(), abs=1e-4)
    assert cap["intervals_scarce"] > 0
    cost = summary(capped)["cost"]
    assert cap["capped_optimum"] is None or cap["capped_optimum"] >= cost["community_optimum"]
    text = write_report(capped).read_text()
    assert "Community cap" in text
    assert "Half hours above the cap" in text


def test_a_run_without_a_cap_tells_of_none(finished: Path) -> None:
    """No section in the summary, no column in the log."""
    assert "cap" not in summary(finished)
    assert not any("cap" in key for line in read_lines(finished / INTERVALS) for key in line)


def test_surcharges_come_back_in_equal_parts(capped: Path) -> None:
    """What each household owes is what its own file says and its surcharges, less an equal part
    of all of them; surcharges fall in intervals above the cap only."""
    settings = stored_settings(capped)
    with Ledger(f"sqlite:///{capped / 'ledger.sqlite'}") as ledger:
        assert ledger.attach() == settings.digest()
        assert ledger.verify().error is None
        balances = ledger.balances()
        charged = [r for r in ledger.rows() if r.kind == Kind.SURCHARGE]
    assert charged
    assert sum(energy for energy, _ in balances.values()) == 0
    assert sum(money for _, money in balances.values()) == 0
    lines = read_lines(capped / INTERVALS)
    total = sum(float(line["surcharged"]) for line in lines)  # type: ignore[arg-type]
    assert total * 1e6 == pytest.approx(sum(r.money_out_micro for r in charged))
    above = {line["interval"] for line in lines if float(line["above_cap_kwh"]) > 0}  # type: ignore[arg-type]
    assert {r.interval for r in charged} <= above
    for h, name in enumerate(NAMES):
        paid = sum(r.money_out_micro for r in charged if r.account == len(COMMUNITY) + h) / 1e6
        own = sum(r["cost"] for r in intervals(capped, name)) + paid - total / len(NAMES)
        assert -balances[name][1] / 1e6 == pytest.approx(own, abs=48 * 4e-6)


def test_a_run_that_ends_early_goes_on_to_the_same_bytes(
    capped: Path, homes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ended in interval 31, after a checkpoint at 24, it resumes with its open allowances."""
    interval = Coordinator.interval

    def ends(self: Coordinator, t: int) -> None:
        if t == 31:
            raise KeyboardInterrupt
        interval(self, t)

    settings = small(homes, *CAPPED)
    with monkeypatch.context() as patch:
        patch.setattr(Coordinator, "interval", ends)
        with pytest.raises(KeyboardInterrupt):
            simulate(settings, tmp_path)
    simulate(settings, tmp_path)
    assert ledger_rows(tmp_path) == ledger_rows(capped)
    for name in NAMES:
        assert intervals(tmp_path, name) == intervals(capped, name)


@pytest.mark.parametrize("mechanism", ["mid-market", "hierarchical", "muda"])
def test_other_mechanisms_hold_a_cap_as_well(
    mechanism: str, homes: Path, run: Run, tmp_path: Path
) -> None:
    """Their books balance, and what is drawn beyond the cap is drawn beyond an allowance."""
    directory = run(small(homes, *CAPPED, f"market.mechanism={mechanism}", "run.references=none"))
    assert summary(directory)["checks"]["money_residual_max"] == 0
    assert summary(directory)["cap"]["capped_optimum"] is None
    for line in read_lines(directory / INTERVALS):
        assert float(line["above_cap_kwh"]) <= float(line["beyond_allowance_kwh"])  # type: ignore[arg-type]
