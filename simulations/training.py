"""Central training: one model on the pooled readings of all households given to it."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file

from common.config import Settings
from common.data.frame import Household
from common.forecast.forecaster import load_weights, weights_of
from common.forecast.history import history_of
from common.forecast.scalers import Scaler, fit_scaler
from common.forecast.transformer import build_model
from common.forecast.windows import Windows, pool, training_windows
from fl_client.training import Epoch, evaluate, fit
from fl_server.initial import initial_weights

VALIDATION = 0.1


def train_pooled(
    homes: Sequence[Household], settings: Settings, out: Path, *, stride: int = 1
) -> dict[str, Any]:
    """Train ``settings.model`` on the pooled windows and write it to the folder ``out``.

    Each home's scaler is fitted on its training rows only. Returns what ``training.json`` holds:
    the validation loss by stream of the best epoch, and each epoch.
    """
    preset, training = settings.model.preset, settings.training
    if training.threads:
        torch.set_num_threads(training.threads)
    train, validation, scalers = _windows(homes, preset, stride)
    # A run that is given no model starts with the same weights.
    model = build_model(preset)
    load_weights(model, initial_weights(preset, settings.model.init, settings.run.seed))
    epochs = fit(
        model, train, validation, training, seed=settings.run.seed, on_epoch=_report(len(train))
    )
    summary: dict[str, Any] = {
        "preset": preset,
        "households": len(homes),
        "train_windows": len(train),
        "validation": evaluate(model, validation),
        "epochs": [asdict(epoch) for epoch in epochs],
    }
    (out / "scalers").mkdir(parents=True, exist_ok=True)
    save_file(weights_of(model), out / "model.safetensors")
    for name, scaler in scalers.items():
        with (out / "scalers" / f"{name}.npz").open("wb") as file:
            np.savez(file, **scaler.arrays())  # type: ignore[arg-type]
    (out / "training.json").write_text(json.dumps(summary, indent=1) + "\n")
    return summary


def _windows(
    homes: Sequence[Household], preset: str, stride: int
) -> tuple[Windows, Windows, dict[str, Scaler]]:
    early, late, scalers = [], [], {}
    for home in homes:
        history = history_of(home)
        rows = len(history)
        cut = round(rows * (1.0 - VALIDATION))
        scaler = fit_scaler(history, 0, cut)
        scalers[home.name] = scaler
        # Targets end where the span ends, so neither span sees the other's.
        early.append(training_windows(history, scaler, preset, 0, cut).every(stride))
        late.append(training_windows(history, scaler, preset, cut, rows).every(stride))
    return pool(early), pool(late), scalers


def _report(windows: int) -> Any:
    def show(epoch: Epoch) -> None:
        mark = " best" if epoch.best else ""
        print(
            f"epoch {epoch.number}: {windows} windows, train {epoch.train_loss:.4f}, "
            f"validation {epoch.val_loss:.4f}, rate {epoch.learning_rate:.1e}{mark}",
            flush=True,
        )

    return show
