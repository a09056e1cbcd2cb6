"""Intervals, what could have been found, and ranks, against published examples."""

import numpy as np
import pandas as pd
import pytest

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
    """Section 3.2.2 there: ranks, chi square 9.28, F 3.69 above 2.85, critical difference 1.25.

    With Nemenyi's test at 5 % no pair differs: the largest distance is 1.18.
    """
    found = average_ranks(-AUC, ["C4.5", "+m", "+cf", "+m+cf"])
    assert found.ranks == pytest.approx([3.143, 2.000, 2.893, 1.964], abs=5e-4)
    assert found.chi_square == pytest.approx(9.28, abs=5e-3)
    assert found.f == pytest.approx(3.69, abs=5e-3)
    assert 0.01 < found.p < 0.05
    assert found.distance == pytest.approx(1.25, abs=5e-3)
    assert found.groups() == [(0, 3)]
    assert critical_difference(4, 14, 0.10) == pytest.approx(1.12, abs=5e-3)


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
    one = pigeonhole(rng.standard_normal((1, 30)))
    assert one.low < one.value < one.high


def test_intervals_hold_what_they_promise() -> None:
    """Of 200 tables of 12 seeds and 15 homes at least 92 % of intervals hold the truth, 0."""
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(200):
        cells = (
            rng.standard_normal((12, 1))
            + rng.standard_normal((1, 15))
            + rng.standard_normal((12, 15))
        )
        found = pigeonhole(cells, resamples=400)
        held += found.low <= 0 <= found.high
    assert 184 <= held <= 200


def test_an_effect_is_paired_and_leaves_out_who_is_not_always_there() -> None:
    """Errors twice as large in one seed cancel: every home's is 10 % above the other's."""
    other = pd.DataFrame([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0]], index=[0, 1], columns=["A", "B", "C"])
    own = 1.1 * other
    own.loc[1, "C"] = np.nan
    found = effect(own, other)
    assert (found.seeds, found.homes) == (2, 2)
    assert found.change.value == pytest.approx(0.1)
    assert found.change.error == pytest.approx(0.0, abs=1e-12)
    assert found.change.sure
    assert found.better.value == 0.0


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
