"""The model presets, described without importing torch."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

from common.errors import InputError
from common.named import is_named, made


@dataclass(frozen=True)
class Preset:
    """Size and habits of one model.

    ``family`` says what it reads: ``window`` the last day's 24 features, scaled and centred by the
    household's scaler; ``slot`` the last ``lookback`` half hours of load, price and temperature
    in the household's units, which it sorts by slot of the day itself.
    """

    name: str
    family: Literal["window", "slot"]
    width: int
    layers: int
    heads: int
    feedforward: int
    head: int
    lookback: int
    learning_rate: float
    inference_batch: int
    """Households forecast at once; short batches are padded to it, so results never depend on
    how many there are."""
    bfloat16: bool
    """Train and forecast under bfloat16 autocast where the device computes it natively."""
    build: Callable[["Preset"], Any] | None = None
    """Makes the torch module of a preset of one's own, with fresh weights from torch's generator;
    None: the family's."""


PRESETS = {
    preset.name: preset
    for preset in (
        Preset("full", "window", 512, 6, 8, 2048, 1024, 48, 1e-4, 1, True),
        Preset("edge", "window", 64, 2, 4, 256, 128, 48, 1e-4, 8, False),
        Preset("slot", "slot", 64, 2, 4, 256, 32, 28 * 48, 1e-3, 8, False),
        Preset("slot-small", "slot", 32, 1, 2, 64, 16, 28 * 48, 3e-3, 8, False),
    )
}


def find_preset(name: str) -> Preset:
    """Return the preset of this name, or the one that ``module:Factory`` makes.

    Raises InputError that lists the known ones, or says what is wrong with the factory.
    """
    if is_named(name):
        return _of_factory(name)
    if name not in PRESETS:
        known = ", ".join(sorted(PRESETS))
        raise InputError(f"model.preset = {name!r}: expected one of {known}, or module:Factory")
    return PRESETS[name]


@lru_cache(maxsize=16)
def _of_factory(path: str) -> Preset:
    preset = made(path, "model.preset")
    if not isinstance(preset, Preset) or preset.build is None:
        raise InputError(
            f"model.preset = {path!r}: makes no common.forecast.presets.Preset with a build"
        )
    return replace(preset, name=path)  # by which others find it again
