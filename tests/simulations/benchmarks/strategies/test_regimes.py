"""Where the choice of a strategy matters, of rows whose answer is known."""

import numpy as np
import pandas as pd

from simulations.benchmarks.strategies import regimes


def rows_of(scales: dict[tuple[str, str], float], noise: float = 0.0005) -> pd.DataFrame:
    """(strategy, dial) -> a scale of errors that seeds and homes have in common; 5 seeds, 15 homes.
    Under ``attack`` another three homes are malicious in each seed, with errors of their own."""
    rng = np.random.default_rng(8)
    return pd.DataFrame(
        [
            {
                "strategy": name, "dial": dial, "seed": seed, "household": f"H{h}", "round": 3,
                "malicious": dial == "attack" and h // 3 == seed,
                "nrmse": 50.0 if dial == "attack" and h // 3 == seed else
                scale * (1 + h / 10) * (1 + seed / 5) * (1 + noise * rng.standard_normal()),
            }
            for (name, dial), scale in scales.items()
            for seed in range(5)
            for h in range(15)
        ]
    )  # fmt: skip


def test_what_differs_is_named_and_what_does_not_is_not() -> None:
    """In the clean community nobody differs by more than noise; under attack the median is 20 %
    below the base and a third is 30 % above it; the reference is compared with nobody."""
    rows = rows_of(
        {
            ("fedavg", "clean"): 1.0, ("fedmedian", "clean"): 1.0, ("bulyan", "clean"): 1.0,
            ("local-only", "clean"): 0.1,
            ("fedavg", "attack"): 1.5, ("fedmedian", "attack"): 1.2, ("bulyan", "attack"): 1.95,
        }
    )  # fmt: skip
    found = regimes.table(rows)
    assert found is not None
    lines = {line[0]: line[1:] for line in found.lines}
    assert set(lines) == {"clean", "attack"}
    assert lines["clean"][5:7] == ["none", "none"]
    assert lines["attack"][0] == "fedmedian"
    assert lines["attack"][1] == "-20.0 %"
    assert lines["attack"][5:7] == ["fedmedian -20.0 %", "bulyan +30.0 %"]
    assert lines["attack"][3] == "<0.001"
    assert "all 4 pairs" in found.note


def test_who_diverged_is_never_best() -> None:
    """A strategy with a home that has no error stands among the worse, as failed."""
    rows = rows_of(
        {
            ("fedavg", "clean"): 1.0, ("fedadam", "clean"): 0.5, ("ditto", "clean"): 1.02,
            ("fedavg", "mix"): 1.0, ("fedadam", "mix"): 0.5, ("ditto", "mix"): 1.0,
        }
    )  # fmt: skip
    rows.loc[(rows["strategy"] == "fedadam") & (rows["household"] == "H3"), "nrmse"] = np.nan
    found = regimes.table(rows)
    assert found is not None
    lines = {line[0]: line[1:] for line in found.lines}
    assert lines["clean"][0] == "ditto"
    assert lines["clean"][6] == "ditto +2.0 %, fedadam failed 5 of 75"
    assert lines["mix"][6] == "fedadam failed 5 of 75"


def test_nothing_is_said_of_one_dial_or_one_seed() -> None:
    """One dial is the table of strategies; of one seed nothing is sure."""
    rows = rows_of({("fedavg", "clean"): 1.0, ("ditto", "clean"): 2.0})
    assert regimes.table(rows) is None
    more = rows_of({("fedavg", "clean"): 1.0, ("ditto", "clean"): 2.0, ("fedavg", "mix"): 1.0,
                    ("ditto", "mix"): 2.0})  # fmt: skip
    assert regimes.table(more[more["seed"] == 0]) is None
    assert regimes.table(more) is not None
