"""The one list of last layers, against the models there are."""

from itertools import chain

from common.forecast.presets import PRESETS
from common.forecast.transformer import blank_model
from fl_server.strategy.personal import FedPer

PERSONAL = FedPer().layers
NAMES = {preset: set(blank_model(preset).state_dict()) for preset in PRESETS if preset != "full"}


def test_every_preset_has_layers_of_both_kinds() -> None:
    """Some arrays of each stay at home, and some are shared."""
    for preset, names in NAMES.items():
        personal = {name for name in names if name.startswith(PERSONAL)}
        assert personal, preset
        assert personal < names, preset


def test_no_layer_has_been_renamed_away() -> None:
    """Each prefix of the list begins an array of some model: a renamed one would be shared, and
    nobody would notice."""
    everything = set(chain.from_iterable(NAMES.values()))
    for prefix in PERSONAL:
        assert any(name.startswith(prefix) for name in everything), prefix
