"""The model presets, described without importing torch."""

from dataclasses import dataclass
from typing import Literal

from common.errors import InputError


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
    """Return the preset of this name. Raises InputError that lists the known ones."""
    if name not in PRESETS:
        raise InputError(f"model.preset = {name!r}: expected one of {', '.join(sorted(PRESETS))}")
    return PRESETS[name]
