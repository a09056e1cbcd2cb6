"""Intervals, what could have been found, and ranks, against published examples."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from simulations.benchmarks.bootstrap import pigeonhole
from simulations.benchmarks.strategies import certainty
from simulations.benchmarks.strategies.power import (
    average_ranks,
    critical_difference,
    effect,
    smallest_effect,
)

# Demsar 2006, table 6: AUC of C4.5, with m, with cf, with both, on 14 data sets. In "voting" the
# last two round to the same and are ranked second and third there.
AUC = np.array([
    [0.763, 0.768, 0.771, 0.798], [0.599, 0.591, 0.590, 0.569], [0.954, 0.971, 0.968, 0.967],
    [0.628, 0.661, 0.654, 0.657], [0.882, 0.888, 0.886, 0.898], [0.936, 0.931, 0.916, 0.931],
    [0.661, 0.668, 0.609, 0.685], [0.583, 0.583, 0.563, 0.625], [0.775, 0.838, 0.866, 0.875],
    [1.000, 1.000, 1.000, 1.000], [0.940, 0.962, 0.965, 0.962], [0.619, 0.666, 0.614, 0.669],
    [0.972, 0.981, 0.9751, 0.975], [0.957, 0.978, 0.946, 0.970],
])  # fmt: skip


def test_ranks_are_those_of_demsars_example() -> None:
    """Section 3.2.2 there: ranks, chi square 9.28, critical difference 1.25.

    He does not correct for ties: three pairs and a row of four, which take (3 x 6 + 60) / (14 x 60)
    of what the ranks of 14 data sets could differ by. With Nemenyi's test at 5 % no pair differs:
    the largest distance is 1.18.
    """
    found = average_ranks(-AUC, ["C4.5", "+m", "+cf", "+m+cf"])
    assert found.ranks == pytest.approx([3.143, 2.000, 2.893, 1.964], abs=5e-4)
    assert found.chi_square * (1 - 78 / 840) == pytest.approx(9.28, abs=5e-3)
    # F of 13 x 10.23 / (42 - 10.23), between the critical values of 3 and 39 degrees at 5 and 1 %.
    assert found.f == pytest.approx(4.185, abs=5e-3)
    assert 0.01 < found.p < 0.05
    assert found.distance == pytest.approx(1.25, abs=5e-3)
    assert found.groups() == [(0, 3)]
    assert critical_difference(4, 14, 0.10) == pytest.approx(1.12, abs=5e-3)


@given(
    hnp.arrays(
        np.int64, st.tuples(st.integers(2, 9), st.integers(2, 6)), elements=st.integers(0, 3)
    )
)
def test_chi_square_is_corrected_for_ties(errors: np.ndarray) -> None:
    """That of Conover's form, from the ranks alone: (k - 1) sum (R_j - n (k + 1) / 2)^2 over the
    sum of the squares of all ranks less n k (k + 1)^2 / 4. A strategy beside its own copy ranks as
    it does, and where all are tied nothing differs."""
    n, k = errors.shape
    names = [f"S{j}" for j in range(k)]
    found = average_ranks(errors.astype(float), names)
    ranks = stats.rankdata(errors, axis=1)
    below = float((ranks**2).sum()) - n * k * (k + 1) ** 2 / 4.0
    above = (k - 1) * float(((ranks.sum(axis=0) - n * (k + 1) / 2.0) ** 2).sum())
    assert found.chi_square == pytest.approx(above / below if below > 1e-9 else 0.0, abs=1e-9)
    assert 0.0 <= found.p <= 1.0


@pytest.mark.parametrize(
    ("k", "q"), [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (8, 3.031), (10, 3.164)]
)
def test_critical_values_are_those_of_demsars_table_5(k: int, q: float) -> None:
    """q_0.05 of the two-tailed Nemenyi test."""
    assert critical_difference(k, 1) / (k * (k + 1) / 6.0) ** 0.5 == pytest.approx(q, abs=2e-3)


def test_the_smallest_effect_is_blooms() -> None:
    """2.8 standard errors at 80 % and 5 % with many degrees of freedom; 2.49 at 70 %."""
    assert smallest_effect(1.0, 10_000) == pytest.approx(2.80, abs=5e-3)
    assert smallest_effect(1.0, 10_000, power=0.7) == pytest.approx(2.48, abs=1e-2)
    # Few seeds: t_0.975 = 2.776 and t_0.8 = 0.941 at 4 degrees.
    assert smallest_effect(2.0, 4) == pytest.approx(2 * (2.776 + 0.941), abs=5e-3)
    assert np.isnan(smallest_effect(1.0, 0))


def test_the_standard_error_counts_seeds_and_homes() -> None:
    """Cells = seed effect + home effect: the error is sqrt(var_s / S + var_h / H).

    A bootstrap over the 2,000 pairs alone would say 0.024 where it is 0.34.
    """
    rng = np.random.default_rng(4)
    seeds, homes = rng.standard_normal(40), rng.standard_normal(50)
    seeds, homes = seeds / seeds.std(), 2 * homes / homes.std()
    found = pigeonhole(seeds[:, None] + homes[None, :], resamples=20_000)
    assert found.error == pytest.approx((1 / 40 + 4 / 50) ** 0.5, rel=0.03)
    assert found.low == pytest.approx(found.value - 1.96 * found.error, abs=0.03)
    assert pigeonhole(np.full((3, 4), 0.5)).error == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("shape", [(1, 30), (30, 1), (1, 1)])
def test_of_one_seed_or_one_home_nothing_is_sure(shape: tuple[int, int]) -> None:
    """However alike the others are: there is a mean, no interval, and no least effect."""
    found = pigeonhole(np.full(shape, -0.5))
    assert found.value == -0.5
    assert np.isnan([found.low, found.high, found.error]).all()
    assert not found.sure
    errors = pd.DataFrame(np.full(shape, 2.0))
    told = effect(errors, errors * 2)
    assert (told.change.value, told.change.sure) == (-0.5, False)
    assert np.isnan(told.found)


@pytest.mark.parametrize("shape", [(2, 5), (2, 11), (3, 11), (5, 11), (5, 15), (10, 15)])
@pytest.mark.parametrize(
    "spreads", [(1, 0, 0.2), (0, 1, 0.2), (1, 1, 1), (1, 1, 0.2), (0.3, 1, 0.1)]
)
def test_intervals_hold_what_they_promise(
    shape: tuple[int, int], spreads: tuple[float, float, float]
) -> None:
    """Whether seeds differ, homes, or both, and however few they are: 95 % of intervals hold the
    truth, 0, and of 500 tables all but 7 % do, which is two standard deviations more. What is sure
    is an interval without 0, so no more than those are called sure of nothing."""
    rng = np.random.default_rng(1)
    rows, columns = shape
    of_seeds, of_homes, rest = spreads
    held = 0
    for _ in range(500):
        cells = (
            of_seeds * rng.standard_normal((rows, 1))
            + of_homes * rng.standard_normal((1, columns))
            + rest * rng.standard_normal(shape)
        )
        found = pigeonhole(cells, resamples=100)
        assert found.sure != (found.low <= 0 <= found.high)
        held += not found.sure
    assert held >= 465


def test_intervals_are_of_use_with_seeds_enough() -> None:
    """10 seeds of 15 homes: 0 is outside where the truth is the least effect that four of five
    comparisons should see, in at least three of five, and the interval holds that truth."""
    rng = np.random.default_rng(2)
    true = smallest_effect((1 / 10 + 1 / 15 + 1 / 150) ** 0.5, 9)
    seen = held = 0
    for _ in range(200):
        cells = (
            true
            + rng.standard_normal((10, 1))
            + rng.standard_normal((1, 15))
            + rng.standard_normal((10, 15))
        )
        found = pigeonhole(cells, resamples=100)
        seen += found.low > 0
        held += found.low <= true <= found.high
    assert seen >= 120
    assert held >= 186


def test_an_effect_is_paired_and_leaves_out_the_pairs_that_are_not_there() -> None:
    """Errors twice as large in one seed cancel: every home's is 10 % above the other's. Of a home
    that is malicious in one seed, the other one counts."""
    other = pd.DataFrame([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0]], index=[0, 1], columns=["A", "B", "C"])
    own = 1.1 * other
    own.loc[1, "C"] = np.nan
    found = effect(own, other)
    assert (found.seeds, found.homes) == (2, 3)
    assert found.change.value == pytest.approx(0.1)
    assert found.change.error == pytest.approx(0.0, abs=1e-12)
    assert found.change.sure
    assert found.better.value == 0.0
    own.loc[0, "C"] = 1.7 * other.loc[0, "C"]
    assert effect(own, other).change.value == pytest.approx((4 * 0.1 + 0.7) / 5)
    own.loc[0, "A"] = np.inf
    assert effect(own, other).failed == 1
    assert np.isnan(effect(own, other).change.value)


@pytest.mark.parametrize("spreads", [(1, 0, 0.2), (0, 1, 0.2), (1, 1, 1)])
def test_intervals_hold_though_homes_are_missing(spreads: tuple[float, float, float]) -> None:
    """As above, with 40 % of the homes of each seed away, others in each."""
    rng = np.random.default_rng(3)
    held = 0
    for _ in range(500):
        cells = (
            spreads[0] * rng.standard_normal((5, 1))
            + spreads[1] * rng.standard_normal((1, 15))
            + spreads[2] * rng.standard_normal((5, 15))
        )
        there = np.argsort(rng.random((5, 15)), axis=1) < 9
        found = pigeonhole(np.where(there, cells, np.nan), there, resamples=100)
        held += found.low <= 0 <= found.high
    assert held >= 465


@pytest.mark.parametrize("shape", [(3, 8), (5, 15)])
def test_the_p_value_says_when_the_interval_leaves_0_out(shape: tuple[int, int]) -> None:
    """Below 5 % where 0 is outside, above where it is inside; 1 of nothing, 0 of what never
    varies."""
    rng = np.random.default_rng(5)
    for _ in range(50):
        found = pigeonhole(rng.standard_normal(shape) + rng.standard_normal((shape[0], 1)) + 0.7)
        assert (found.p < 0.05) == found.sure
    assert pigeonhole(np.zeros(shape)).p == 1.0
    assert pigeonhole(np.full(shape, 0.3)).p < 1e-9


def rows_of(scales: dict[str, float], seeds: int = 3, homes: int = 6) -> pd.DataFrame:
    """Errors scale x (1 + home / 10) (1 + seed / 5) of each strategy at the end of its run."""
    return pd.DataFrame(
        [
            {
                "strategy": name, "dial": "clean", "seed": seed, "household": f"H{h}",
                "round": round_, "malicious": False,
                "nrmse": (scale if round_ else 2.0) * (1 + h / 10) * (1 + seed / 5),
            }
            for name, scale in scales.items()
            for seed in range(seeds)
            for h in range(homes)
            for round_ in (0, 3)
        ]
    )  # fmt: skip


def test_the_table_and_the_picture_say_what_the_rows_hold() -> None:
    """ditto 5 % above fedavg everywhere, fedprox 1 % below, and homes alone above both.

    Ranks 2, 1 and 3 of three in each of six homes; the reference has none. The critical difference
    is 2.343 sqrt(12 / 36) = 1.35: bars over neighbours, none over all.
    """
    rows = rows_of({"fedavg": 1.0, "ditto": 1.05, "fedprox": 0.99, "local-only": 1.2})
    found = certainty.table(rows)
    assert found is not None
    lines = {line[0]: line[1:] for line in found.lines}
    assert lines["ditto"][0] == "+5.00 %"
    assert lines["ditto"][2:4] == ["yes", "0 % (0 to 0)"]
    assert lines["ditto"][5] == "3.00"
    assert lines["fedprox"][0] == "-1.00 %"
    assert lines["fedprox"][3].startswith("100 %")
    assert lines["local-only (reference)"][5] == "\N{EN DASH}"
    ranked = certainty.ranks(rows)
    assert ranked is not None
    assert ranked.groups() == [(0, 1), (1, 2)]
    page = str(certainty.picture(rows))
    assert "1.35, the critical difference" in page
    assert certainty.picture(rows_of({"fedavg": 1.0})) == ""
