"""Whole runs under secure aggregation."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from common.errors import InputError
from simulations.simulate import simulate
from tests.support.reading import ledger_rows, model
from tests.support.runs import small


def run(homes: Path, out: Path, *more: str) -> Path:
    out.mkdir()
    settings = small(homes, "run.days=0.25", "run.engine=loop", "fl.local_steps=2", *more)
    simulate(settings, out)
    return out


def weights(folder: Path) -> dict[str, np.ndarray]:
    return load_file(folder / "model" / "final.safetensors")


def test_a_secure_run_learns_the_model_of_the_plain_one(homes: Path, tmp_path: Path) -> None:
    """Same households, same seed: model and ledger of the plain FedAvg, to the last bit."""
    plain = run(homes, tmp_path / "plain")
    secure = run(homes, tmp_path / "secure", "fl.secure_aggregation=true")
    assert model(secure) == model(plain)
    # The run's name, and so the hashes, tell of the setting.
    assert [row[:-1] for row in ledger_rows(secure)] == [row[:-1] for row in ledger_rows(plain)]
    [line] = [json.loads(text) for text in (secure / "rounds.jsonl").read_text().splitlines()][:1]
    assert line["replies"] == 3
    assert line["dropped"] == 0
    assert line["train_loss"] > 0


def test_the_server_spends_no_more_epsilon_than_the_models(homes: Path, tmp_path: Path) -> None:
    """With noise, the sum is all that the server sees of a household."""
    more = ("fl.secure_aggregation=true", "fl.privacy.clip=1", "fl.privacy.noise_multiplier=1")
    secure = run(homes, tmp_path / "secure", *more)
    lines = [json.loads(text) for text in (secure / "rounds.jsonl").read_text().splitlines()]
    assert lines[-1]["privacy"]["epsilon"] == lines[-1]["privacy"]["epsilon_server"] > 0


@pytest.mark.parametrize("strategy", ["fedadam", "fedper"])
def test_strategies_of_the_mean_work_on_the_sum(strategy: str, homes: Path, tmp_path: Path) -> None:
    """They are given the mean alone, and make of it what they make of the updates."""
    plain = run(homes, tmp_path / "plain", f"fl.strategy={strategy}")
    secure = run(
        homes, tmp_path / "secure", f"fl.strategy={strategy}", "fl.secure_aggregation=true"
    )
    for name, found in weights(secure).items():
        # Flower adds floats up where the sum is exact: a rounded digit, not another model.
        assert np.abs(found - weights(plain)[name]).max() < 1e-5
    assert (model(secure) == model(plain)) == (strategy != "fedadam")


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ("fl.strategy=fedmedian", "looks at each update"),
        ("fl.strategy=scaffold", "looks at each update"),
        ("fl.strategy=fednova", "looks at each update"),
        ("fl.strategy=clustered", "looks at each update"),
        ("fl.compression=int8", "one grid"),
    ],
)
def test_what_must_look_at_single_updates_is_refused(
    setting: str, why: str, homes: Path, tmp_path: Path
) -> None:
    """One line, before anything runs."""
    with pytest.raises(InputError, match=why):
        run(homes, tmp_path / "run", "fl.secure_aggregation=true", setting)
