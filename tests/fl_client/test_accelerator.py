"""Training and whole runs on CUDA, where there is one: what the CPU does, to rounding."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from common.config import Settings, Training
from common.forecast.scalers import fit_scaler
from common.forecast.transformer import blank_model
from common.forecast.windows import training_windows
from fl_client.training import evaluate, local_update
from fl_server.ledger import Ledger
from tests.support.homes import home
from tests.support.runs import small

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


@pytest.mark.parametrize("preset", ["edge", "slot", "slot-small"])
def test_an_update_is_the_same_to_rounding_and_repeats(preset: str) -> None:
    """Two steps on CUDA end where two on the CPU do; twice the same seed, the same bytes."""
    history = home(12)
    windows = training_windows(history, fit_scaler(history, 0, 500), preset, 0, 500)
    ends, losses = [], []
    for device in ("cpu", "cuda", "cuda"):
        model = blank_model(preset)
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        local_update(model, windows, Training(device=device), steps=2, seed=1, household="A")
        losses.append(evaluate(model, windows)["loss"])
        ends.append(torch.cat([p.detach().cpu().flatten() for p in model.parameters()]))
    assert torch.equal(ends[1], ends[2])
    # AdamW's first steps are the gradient's sign times the rate: tiny gradients may flip.
    assert torch.quantile((ends[0] - ends[1]).abs(), 0.99) < 1e-3
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


@pytest.mark.parametrize("preset", ["slot", "full"])
def test_a_run_trades_and_learns(preset: str, homes: Path, run: Callable[[Settings], Path]) -> None:
    """A day of three homes on CUDA, two model rounds: the ledger sums up, and the model moved."""
    settings = small(homes, f"model.preset={preset}", "training.device=cuda")
    out = run(settings)
    reports = json.loads((out / "reports.json").read_text())
    with Ledger(f"sqlite:///{out / 'ledger.sqlite'}") as ledger:
        ledger.open_run(settings.digest(), sorted(reports["joined"]), start=reports["start"])
        verdict = ledger.verify()
    assert verdict.ok
    assert verdict.rows > 0
    rounds = [json.loads(line) for line in (out / "rounds.jsonl").read_text().splitlines()]
    assert [r for r in rounds if np.isfinite(r.get("train_loss", np.nan))]
    [model] = sorted((out / "model").glob("*.safetensors"))[-1:]
    assert all(np.isfinite(w.astype(np.float32)).all() for w in load_file(model).values())
