"""A training step against its own matrix products: ``fedwatt benchmark scale --steps``.

A step cannot be faster than its products. Their number of operations over the rate at which this
core multiplies large matrices is the floor; the same products at their own shapes, one after the
other, say how much of the distance is the shapes' fault. All of it is measured in turn, in one
process, on one thread, and of each the fastest runs count: what else a machine does only adds.
On an accelerator a time ends when its work is done, not when it is queued.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from common.cadence import HALF_HOUR
from common.config import Training
from common.data import synthetic
from common.forecast.device import choose_device
from common.forecast.history import History, history_of
from common.forecast.scalers import fit_scaler
from common.forecast.transformer import blank_model
from common.forecast.windows import Windows, training_windows
from fl_client.training import Hook, local_update

_PRODUCTS = ("mm", "addmm", "bmm", "baddbmm")
_LARGE = {"cpu": 512, "cuda": 4096}
"""Rows and columns that keep a device busy; another kind takes the CPU's."""
_FASTEST = 0.02
"""Share of the runs that count."""


@dataclass(frozen=True)
class StepTime:
    """Of one preset: seconds a step, floating-point operations of its products, and the floors."""

    preset: str
    device: str
    step_s: float
    batch_s: float
    flop: int
    flop_per_s: float
    products_s: float

    @property
    def floor_s(self) -> float:
        """The products at the rate of large ones."""
        return self.flop / self.flop_per_s

    @property
    def over_floor(self) -> float:
        """Step time over that."""
        return self.step_s / self.floor_s

    @property
    def over_products(self) -> float:
        """Step time over that of its products alone, at their own shapes."""
        return self.step_s / self.products_s


def training_home(days: int = 56, seed: int = 0) -> History:
    """A synthetic home with as many days as a run trains on."""
    first = pd.Timestamp("2021-01-04", tz="UTC")
    name = synthetic.names(1)[0]
    return history_of(
        synthetic.generate(name, seed=seed, first=first, intervals=HALF_HOUR.per_day * days)
    )


def windows_of(history: History, preset: str) -> Windows:
    """All training windows of a home."""
    rows = len(history)
    return training_windows(history, fit_scaler(history, 0, rows), preset, 0, rows)


def measure(preset: str, rounds: int = 60, steps: int = 8, *, device: str) -> StepTime:
    """Time steps of ``preset`` on ``device``, in ``rounds`` local updates of ``steps`` each.

    The host's part runs on one thread. Raises InputError for a device that is not there.
    """
    torch.set_num_threads(1)
    where = choose_device(device)
    windows, model = windows_of(training_home(), preset), blank_model(preset)
    training = Training(device=device)

    clock = _Clock(where)
    pick = np.random.default_rng(0)

    def update() -> None:
        local_update(model, windows, training, steps=steps, seed=0, hooks=[clock])

    update()
    with FlopCounterMode(display=False) as counter:
        local_update(model, windows, training, steps=1, seed=0)
    with Products() as products:
        local_update(model, windows, training, steps=1, seed=0)
    edge = _LARGE.get(where.type, _LARGE["cpu"])
    large = torch.randn(edge, edge, device=where)
    clock.seconds.clear()
    turns: dict[str, list[float]] = {}
    for _ in range(rounds):
        update()
        for name, run in (
            ("batch", lambda: next(windows.draws(training.batch_size, 1, pick))),
            ("products", products.again),
            ("large", lambda: large @ large),
        ):
            begin = _now(where)
            run()
            turns.setdefault(name, []).append(_now(where) - begin)
    best = {name: _fastest(times) for name, times in turns.items()}
    return StepTime(
        preset,
        str(where),
        _fastest(clock.seconds),
        best["batch"],
        counter.get_total_flops(),
        2 * edge**3 / best["large"],
        best["products"],
    )


class _Clock(Hook):
    """Seconds from the end of one step to that of the next."""

    def __init__(self, device: torch.device) -> None:
        self.seconds: list[float] = []
        self._device = device
        self._last: float | None = None

    def begin(self, model: torch.nn.Module) -> None:
        self._last = None

    def stepped(self, model: torch.nn.Module) -> None:
        now = _now(self._device)
        if self._last is not None:
            self.seconds.append(now - self._last)
        self._last = now


class Products(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the matrix products of what runs inside, to make them ``again`` with random factors."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.factors: list[tuple[torch.Tensor, torch.Tensor]] = []

    def __torch_dispatch__(
        self,
        function: Any,
        types: Sequence[type],
        arguments: tuple[Any, ...] = (),
        keywords: dict[str, Any] | None = None,
    ) -> object:
        """Note the two factors' shapes and go on."""
        if str(function).split(".")[1] in _PRODUCTS:
            one, other = [a for a in arguments if isinstance(a, torch.Tensor)][-2:]
            self.factors.append((torch.randn_like(one), torch.randn_like(other)))
        return function(*arguments, **(keywords or {}))

    def again(self) -> None:
        """Make the same products, one after the other."""
        for one, other in self.factors:
            one @ other


def _now(device: torch.device) -> float:
    """Seconds, once the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _fastest(times: Sequence[float]) -> float:
    kept = max(1, round(len(times) * _FASTEST))
    return float(np.sort(times)[:kept].mean())
