"""What is said about rows, against figures worked out by hand or known from the literature."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from simulations.benchmarks.strategies import statistics as stat
from simulations.benchmarks.strategies import tables
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
