"""``fedwatt train`` and ``fedwatt benchmark forecasts`` as their users meet them."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from typer.testing import CliRunner

from common.config import load
from common.errors import InputError
from common.forecast.scalers import scaler_from_arrays
from simulations.benchmarks.forecasts import command as benchmark_forecasts
from simulations.commands import train
from simulations.homes import load_households
from simulations.training import train_pooled

SMALL = ["--households", "2", "--days", "24", "--stride", "16", "--set", "training.max_epochs=2"]


def _train(*arguments: str) -> None:
    result = CliRunner().invoke(train.app, list(arguments))
    if result.exception is not None:
        raise result.exception


def test_train_writes_a_model_that_a_run_can_start_from(tmp_path: Path) -> None:
    """Two runs of one seed write the same weights; ``model.init`` reads them back."""
    for name in ("a", "b"):
        _train("--data", "synthetic", *SMALL, "--out", str(tmp_path / name))
    first, second = (load_file(tmp_path / n / "model.safetensors") for n in ("a", "b"))
    assert first.keys() == second.keys()
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name])
    made = json.loads((tmp_path / "a" / "training.json").read_text())
    best = min(epoch["val_loss"] for epoch in made["epochs"])
    assert made["validation"]["loss"] == pytest.approx(best, rel=1e-5)
    with np.load(tmp_path / "a" / "scalers" / "H0001.npz") as arrays:
        scaler_from_arrays(dict(arrays))
    start = f"model.init={tmp_path / 'a' / 'model.safetensors'}"
    _train("--data", "synthetic", *SMALL, "--out", str(tmp_path / "c"), "--set", start)
    again = json.loads((tmp_path / "c" / "training.json").read_text())
    assert again["epochs"][0]["train_loss"] < made["epochs"][0]["train_loss"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--data", "/no/such/folder"], "/no/such/folder"),
        (["--data", "synthetic", "--set", "model.preset=huge"], "huge"),
        (["--data", "synthetic", "--set", "training.batch=3"], "batch"),
        (["--data", "synthetic", "--households", "-1"], "-1"),
        (["--data", "synthetic", "--households", "1", "--days", "1"], "too short"),
        (["--data", "synthetic", "--set", "model.init=/no/model"], "/no/model"),
    ],
)
def test_bad_input_is_named_and_nothing_is_written(
    arguments: list[str], named: str, tmp_path: Path
) -> None:
    """InputError names the value; the output folder does not appear."""
    with pytest.raises(InputError, match=named):
        _train(*SMALL[:4], *arguments, "--out", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    """--out of a run that exists is refused before any work."""
    (tmp_path / "kept").write_text("x")
    with pytest.raises(InputError, match="--out"):
        _train("--data", "synthetic", "--out", str(tmp_path))
    result = CliRunner().invoke(benchmark_forecasts.app, ["--out", str(tmp_path)])
    assert isinstance(result.exception, InputError)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_unknown_rows_and_shares_of_a_benchmark_are_named(tmp_path: Path) -> None:
    """--rows and --fraction are checked before data is read."""
    for arguments, named in ((["--rows", "magic"], "magic"), (["--fraction", "0"], "fraction")):
        result = CliRunner().invoke(
            benchmark_forecasts.app, [*arguments, "--out", str(tmp_path / "out")]
        )
        assert isinstance(result.exception, InputError)
        assert named in str(result.exception)


def test_training_reads_no_row_of_the_validation_span(tmp_path: Path) -> None:
    """With other readings in the last tenth, the first epoch's weights update is the same.

    The scaler and the training loss of epoch 1 come from the earlier rows alone.
    """
    settings = load(None, ["training.max_epochs=1", "model.preset=edge"])
    made = []
    for name, change in (("a", 0.0), ("b", 3.0)):
        homes = load_households("synthetic", households=1, days=24, seed=0, timezone=None)
        rows = len(homes[0].frame)
        homes[0].frame.iloc[round(rows * 0.9) :, :9] += change
        made.append(train_pooled(homes, settings, tmp_path / name, stride=8))
    assert made[0]["epochs"][0]["train_loss"] == made[1]["epochs"][0]["train_loss"]
    assert made[0]["epochs"][0]["val_loss"] != made[1]["epochs"][0]["val_loss"]
    first, second = (load_file(tmp_path / n / "model.safetensors") for n in ("a", "b"))
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name])
