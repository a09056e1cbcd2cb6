"""EnergyTransformer: a day of 24 features in, six streams out (presets ``full`` and ``edge``)."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from common.forecast.features import FEATURES
from common.forecast.presets import Preset, find_preset
from common.forecast.slot_transformer import SlotTransformer
from common.forecast.streams import SLOTS, STREAMS, horizon_of

DROPOUT = 0.1


def sinusoids(length: int, width: int) -> Tensor:
    """Return the (length, width) position code of Vaswani et al. 2017, section 3.5."""
    position = torch.arange(length, dtype=torch.float32)[:, None]
    rate = 10000.0 ** (-torch.arange(0, width, 2, dtype=torch.float32) / width)
    code = torch.zeros(length, width)
    code[:, 0::2] = torch.sin(position * rate)
    code[:, 1::2] = torch.cos(position * rate)
    return code


class EnergyTransformer(nn.Module):
    """Linear, positions, encoder; the last position feeds one two-layer head per stream."""

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        width = preset.width
        self.embed = nn.Linear(len(FEATURES), width)
        self.register_buffer("position", sinusoids(SLOTS, width), persistent=False)
        layer = nn.TransformerEncoderLayer(
            width, preset.heads, preset.feedforward, DROPOUT, batch_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, preset.layers, enable_nested_tensor=False)
        self.heads = nn.ModuleDict(
            {
                stream: nn.Sequential(
                    nn.Linear(width, preset.head),
                    nn.ReLU(),
                    nn.Linear(preset.head, horizon_of(stream)),
                )
                for stream in STREAMS
            }
        )

    def forward(self, inputs: Mapping[str, Tensor] | Tensor) -> dict[str, Tensor]:
        """(B, 48, 24) scaled features, bare or as ``window`` -> six (B, horizon), scaled."""
        window = inputs if isinstance(inputs, Tensor) else inputs["window"]
        tokens = self.embed(window) + self.position  # (B, 48, width)
        last = self.encoder(tokens)[:, -1]  # (B, width)
        return {stream: head(last).float() for stream, head in self.heads.items()}


def build_model(preset: str) -> nn.Module:
    """Build a preset's model with fresh weights from torch's generator.

    Every model maps a dict of inputs to a dict of streams, (B, steps) each, in the household's
    units (``common.forecast.inputs.target_units``). Raises InputError for an unknown preset.
    """
    chosen = find_preset(preset)
    if chosen.build is not None:
        made: nn.Module = chosen.build(chosen)
        return made
    if chosen.family == "slot":
        return SlotTransformer(chosen)
    return EnergyTransformer(chosen)


def blank_model(preset: str) -> nn.Module:
    """Build a preset's model to load weights into; torch's generator stays as it was.

    Not on torch's ``meta`` device, which costs no memory: initialising there imports torch's
    compiler, for seconds. Raises InputError for an unknown preset.
    """
    with torch.random.fork_rng(devices=[]):
        return build_model(preset)
