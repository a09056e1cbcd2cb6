"""One vector or many tensors, the steps are those of torch's own optimisers."""

import subprocess
import sys
from typing import Literal

import pytest
import torch
from torch import nn

from fl_client.optimiser import Optimiser


def _model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))


def _loss(model: nn.Module) -> torch.Tensor:
    return (model(torch.arange(12.0).view(4, 3)) - 1.0).square().mean()


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_steps_are_torchs_own(kind: Literal["adamw", "sgd"], whole: bool) -> None:
    """Six clipped steps, the rate halved after three, against torch.optim's classes."""
    model, reference = _model(), _model()
    own = Optimiser(
        list(model.parameters()), kind, rate=0.05, decay=0.1, clip_norm=0.5, whole=whole
    )
    made = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[kind]
    theirs = made(reference.parameters(), lr=0.05, weight_decay=0.1)
    for step in range(6):
        if step == 3:
            own.rate = theirs.param_groups[0]["lr"] = 0.025
        own.zero()
        _loss(model).backward()
        own.step()
        theirs.zero_grad()
        _loss(reference).backward()
        nn.utils.clip_grad_norm_(reference.parameters(), 0.5)
        theirs.step()
    for one, other in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


def test_a_parameter_without_gradient_is_left_alone() -> None:
    """Neither decay nor momentum moves it, before and after it has had gradients."""
    model = _model()
    own = Optimiser(
        list(model.parameters()), "adamw", rate=0.1, decay=0.1, clip_norm=1.0, whole=False
    )
    for rests in (True, False, True):
        own.zero()
        _loss(model).backward()
        before = model[0].weight.detach().clone()
        if rests:
            model[0].weight.grad = None
        own.step()
        assert torch.equal(model[0].weight, before) == rests


def test_training_does_not_import_torchs_compiler() -> None:
    """Its import takes seconds, in every process that trains."""
    code = (
        "import sys, torch; from torch import nn; from fl_client.optimiser import Optimiser\n"
        "m = nn.Linear(2, 2); o = Optimiser(list(m.parameters()), 'adamw', rate=0.1, decay=0.1,"
        " clip_norm=1.0, whole=True)\n"
        "o.zero(); m(torch.ones(1, 2)).sum().backward(); o.step()\n"
        "assert 'torch._dynamo' not in sys.modules, 'torch._dynamo'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
