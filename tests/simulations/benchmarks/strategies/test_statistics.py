"""What is said about rows, against figures worked out by hand or known from the literature."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from simulations.benchmarks.strategies import certainty, tables
from simulations.benchmarks.strategies import statistics as stat
from simulations.benchmarks.strategies.dials import Dial


def rows(errors: dict[tuple[str, str], list[list[float]]], malicious: str = "") -> pd.DataFrame:
    """(strategy, dial) -> per seed, per home final errors; before training all are at 1."""
    lines = []
    for (strategy, dial), seeds in errors.items():
        for seed, homes in enumerate(seeds):
            for home, error in enumerate(homes):
                for round_, value in ((0, 1.0), (1, (1.0 + error) / 2), (2, error)):
                    lines.append(
                        {
                            "strategy": strategy,
                            "dial": dial,
                            "seed": seed,
                            "household": f"H{home}",
                            "round": round_,
                            "malicious": dial != "clean" and f"H{home}" == malicious,
                            "nrmse": value,
                            "bytes_up": 100 * round_,
                            "bytes_down": 200 * round_ + 100,
                            "simulated_s": 5.0 * round_,
                        }
                    )
    return pd.DataFrame(lines)


def test_the_interval_is_students() -> None:
    """1, 2, 3, 4: mean 2.5, standard deviation 1.29099, t(0.975, 3) = 3.18245: ± 2.05426."""
    mean = stat.mean_of([1.0, 2.0, 3.0, 4.0])
    assert mean.value == 2.5
    assert mean.half == pytest.approx(2.05426, abs=1e-5)
    assert np.isnan(stat.mean_of([1.0]).half)


def test_holm() -> None:
    """p = 0.01, 0.04, 0.03, 0.005 -> 0.03, 0.06, 0.06, 0.02 (4 x 0.005, 3 x 0.01, 2 x 0.03, then
    no smaller than the one before); nan is no test."""
    assert stat.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    found = stat.holm([0.04, float("nan"), 0.03])
    assert found[0] == pytest.approx(0.06)
    assert np.isnan(found[1])


def test_differences_are_paired_by_seed() -> None:
    """Errors 0.50, 0.60, 0.70 against 0.52, 0.63, 0.72: the pairs differ far less than the
    seeds do, and the t test is that of the pairs."""
    table = rows({("b", "clean"): [[0.5], [0.6], [0.7]], ("a", "clean"): [[0.52], [0.63], [0.72]]})
    found = stat.difference(table, ("a", "clean"), ("b", "clean"))
    assert found.change.value == pytest.approx(np.mean([0.04, 0.05, 0.02 / 0.7]))
    assert found.p == pytest.approx(stats.ttest_rel([0.52, 0.63, 0.72], [0.5, 0.6, 0.7]).pvalue)
    assert found.p < 0.05


def test_only_honest_homes_count_on_both_sides() -> None:
    """H1 is malicious under attack: it is left out of the clean side as well."""
    table = rows(
        {("a", "attack"): [[0.5, 9.0], [0.5, 9.0]], ("a", "clean"): [[0.4, 0.1], [0.4, 0.1]]}, "H1"
    )
    found = stat.difference(table, ("a", "attack"), ("a", "clean"))
    assert found.own.value == pytest.approx(0.5)
    assert found.change.value == pytest.approx(0.25)


def test_bytes_to_a_target() -> None:
    """From 1 to 0.5 over two rounds: 90 % of the gain, 0.55, is reached in round 2, with 200 up
    and 500 down; a strategy that ends at 0.6 never gets there."""
    table = rows({("a", "clean"): [[0.5]], ("b", "clean"): [[0.6]]})
    goals = stat.targets(table, "a", "clean", 0.9)
    assert goals == {0: pytest.approx(0.55)}
    found = stat.to_target(table, ["clean"], goals).set_index("strategy")
    assert found.loc["a", ["rounds", "bytes_up", "bytes_down", "bytes"]].tolist() == [
        2.0,
        200.0,
        500.0,
        700.0,
    ]
    assert found.loc["b", ["rounds", "bytes"]].isna().all()


def test_seconds_to_a_target_of_the_same_data() -> None:
    """FedAvg ends at 0.5 in the clean community, so its target is 0.55, reached in round 2, at
    10 s, and so it is on slow homes. On other data it ends at 0.05 and is at 0.525 in round 1, at
    5 s, which is no target there: that is 0.145, reached in round 2."""
    table = rows(
        {("fedavg", "clean"): [[0.5]], ("fedavg", "slow"): [[0.5]], ("fedavg", "other"): [[0.05]]}
    ).assign(staleness=np.nan, dropped=0)
    dials = {"slow": Dial(round_s=1.0), "other": Dial(round_s=1.0, size_spread=0.5)}
    found = tables.clock(table, dials)
    assert found is not None
    assert {line[0]: line[4] for line in found.lines} == dict.fromkeys(
        ("clean", "slow", "other"), "10.0 (1/1)"
    )


def test_fairness_counts_homes_worse_off_than_alone() -> None:
    """Of two homes and two seeds, one pair is worse than local-only: a quarter."""
    table = rows(
        {
            ("a", "clean"): [[0.5, 0.7], [0.5, 0.5]],
            ("local-only", "clean"): [[0.6, 0.6], [0.6, 0.6]],
        }
    )
    found = stat.fairness(table, "clean").set_index("strategy")
    assert found.loc["a", "worse"] == 0.25
    assert found.loc["a", "worst"] == pytest.approx(0.6)
    assert np.isnan(found.loc["local-only", "worse"])


@given(
    st.lists(st.floats(0.1, 5.0), min_size=6, max_size=6),
    st.integers(0, 1),
    st.integers(0, 2),
    st.sampled_from([np.nan, np.inf]),
)
def test_a_home_that_diverged_never_makes_its_strategy_look_better(
    errors: list[float], seed: int, home: int, lost: float
) -> None:
    """Whatever the errors of the others, a strategy that lost one home in one seed stands last, in
    order and in rank; no change, test or interval is given of it; and the table counts the seed."""
    own = [errors[:3], errors[3:]]
    own[seed][home] = lost
    table = rows(
        {
            ("fedavg", "clean"): [[5.1, 5.2, 9.0], [5.3, 5.2, 9.5]],
            ("b", "clean"): [[6.0, 6.0, 10.0], [6.0, 6.0, 10.0]],
            ("lost", "clean"): own,
        }
    )
    assert stat.strategies_of(table, "clean")[-1] == "lost"
    found = stat.difference(table, ("lost", "clean"), ("fedavg", "clean"))
    assert str(found.own) == tables.percent(found.change) == "failed 1 of 2"
    assert np.isnan([found.own.value, found.change.value, found.p]).all()
    assert found.seeds == 1
    spread = stat.fairness(table, "clean").set_index("strategy")
    assert spread.loc["lost", "failed"] == 1
    assert np.isnan(spread.loc["lost", "p90"])
    goals = dict.fromkeys((0, 1), 8.0)
    reached = stat.to_target(table, ["clean"], goals)
    ends = reached[(reached["strategy"] == "lost") & (reached["seed"] == seed)]
    assert not (ends["rounds"] == 2.0).any(), "the round in which it has no error"
    ranked = certainty.ranks(table)
    assert ranked is not None
    place = dict(zip(ranked.names, ranked.ranks, strict=True))
    without = certainty.ranks(table[table["household"] != f"H{home}"])
    assert without is not None
    assert place["lost"] > dict(zip(without.names, without.ranks, strict=True))["lost"] - 1e-9
    sure = certainty.table(table)
    assert sure is not None
    line = next(one for one in sure.lines if one[0] == "lost")
    assert line[1:4] == ["failed 1 of 6", "\N{EN DASH}", "no"]


def test_of_a_strategy_without_any_error_nothing_is_claimed() -> None:
    """Every home of every seed diverged: no table prints nan, and none says that it is sure."""
    nothing = [[np.nan] * 3] * 2
    table = rows(
        {("fedavg", "clean"): [[1.0, 2.0, 3.0]] * 2, ("lost", "clean"): nothing}
    ).assign(mae=1.0, mase=1.0, bias=0.0, messages=6, share_of_optimum=np.nan, kept_round=2,
             rounds_run=2)  # fmt: skip
    costs = pd.DataFrame(
        [{"strategy": s, "dial": "clean", "cpu_s": 1.0, "wall_s": 1.0, "peak_mb": 1.0}
         for s in ("fedavg", "lost")]
    )  # fmt: skip
    found = [tables.overview(table, costs), tables.fairness(table), certainty.table(table)]
    for one in found:
        assert one is not None
        text = one.markdown()
        assert "nan" not in text
        assert "failed" in next(line for line in text.splitlines() if line.startswith("| lost"))


def test_a_share_that_was_not_measured_has_not_failed() -> None:
    """Without money in any seed there is a dash; with money in some, what is missing is told."""
    assert tables.share(stat.mean_of([np.nan, np.nan])) == "\N{EN DASH}"
    assert tables.share(stat.mean_of([0.9, np.nan])) == "failed 1 of 2"


def test_a_strategy_breaks_at_the_least_share_that_hurts_or_ruins_it() -> None:
    """FedAvg's error rises by 4, 6 and 80 %: it breaks at 20 %; another stands 40 %; one that
    diverges at 10 % breaks there. An attack by one share alone says nothing of shares."""
    shares = {f"alie-{s}": Dial(attack="alie", attackers=s / 100) for s in (40, 10, 20)}
    dials = {"clean": Dial(), **shares, "nan-20": Dial(attack="nan", attackers=0.2)}
    errors = {
        "fedavg": {"alie-10": 1.04, "alie-20": 1.06, "alie-40": 1.8},
        "stands": {"alie-10": 1.0, "alie-20": 1.02, "alie-40": 1.04},
        "diverges": {"alie-10": np.nan, "alie-20": 1.0, "alie-40": 1.0},
    }
    table = rows(
        {
            (strategy, dial): [[0.5 * own.get(dial, 1.0)] * 2] * 3
            for strategy, own in errors.items()
            for dial in dials
        }
    )
    grid = tables.attacks(table, dials)
    assert grid is not None
    found = tables.breaks(grid, dials)
    assert found is not None
    assert list(found.columns) == ["strategy", "alie"]
    assert dict(found.lines) == {"fedavg": "20%", "stands": "not at 40%", "diverges": "10%"}


def test_what_an_attack_costs_is_told_of_honest_hours_and_of_all_money() -> None:
    """The hour's error is that of the honest homes, and of the clean community where that was
    measured at the same hour; a seed without money has failed."""
    table = rows(
        {("fedavg", dial): [[0.5, 0.5]] * 2 for dial in ("clean", "low")}, malicious="H1"
    ).assign(hour_bias=0.1, share_of_optimum=0.9)
    low = table["dial"] == "low"
    table.loc[low & ~table["malicious"], "hour_bias"] = -0.3
    table.loc[low & table["malicious"], "hour_bias"] = 9.0
    dials = {"clean": Dial(), "low": Dial(attack="hour-low", attackers=0.5)}
    found = tables.hour(table, dials)
    assert found is not None
    assert found.lines == [["fedavg", "+10.0 ± 0.0 %", "-30.0 ± 0.0 %"]]
    other = tables.hour(table, dials | {"low": Dial(attack="hour-low", attack_hour=7)})
    assert other is not None
    assert other.lines == [["fedavg", "\N{EN DASH}", "-30.0 ± 0.0 %"]]
    table.loc[low & (table["seed"] == 1), "share_of_optimum"] = np.nan
    money = tables.attacked_money(table, dials)
    assert money is not None
    assert money.lines == [["fedavg", "90.0 ± 0.0 %", "failed 1 of 2"]]
