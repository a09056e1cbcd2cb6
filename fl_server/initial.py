"""The global model before the first round: fresh from the seed, or trained elsewhere."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from common.errors import InputError
from common.forecast.forecaster import load_weights, weights_of
from common.forecast.transformer import build_model
from common.rng import torch_seed


def initial_weights(preset: str, init: str | None, seed: int) -> dict[str, NDArray[np.float32]]:
    """Weights of ``preset`` drawn from ``seed``, or read from the safetensors file ``init``.

    Raises InputError for a file that is missing or holds another model.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_seed(seed, "", 0, "initial weights"))
        model = build_model(preset)
    if init is not None:
        if not Path(init).is_file():
            raise InputError(f"model.init = {init!r}: no such file")
        try:
            load_weights(model, load_file(init))
        except (SafetensorError, OSError, ValueError) as error:
            raise InputError(f"model.init = {init!r}: {error}") from None
    return weights_of(model)
