"""Which engine ``auto`` takes: the loop, unless Ray's start is soon repaid by more cores."""

from typing import Literal

from common.config import Settings

# CPU seconds on one core, measured: docs/scale.md. They decide who computes, never what.
_STEP_S = {"slot": 0.014, "slot-small": 0.007, "edge": 0.015, "full": 0.6}
_UNKNOWN_STEP_S = 0.02
_EVALUATION_S = 0.01
"""Keeping and measuring a new model, of a household."""
_LOOP_INTERVAL_S, _BATCHED_INTERVAL_S = 0.9e-3, 0.25e-3
"""A market round, of a household."""
_RAY_START_S = 9.0
"""Ray, and the imports of its actors."""


def choose_engine(settings: Settings, cores: int) -> Literal["batched", "loop"]:
    """Return what should be done sooner; ``batched`` where Ray was asked for by other settings."""
    if settings.run.ray_address is not None or settings.run.actors:
        return "batched"
    fl, households = settings.fl, settings.run.households
    learning = 0.0
    if fl.enabled:
        steps = (
            fl.fraction_train * fl.local_steps * _STEP_S.get(settings.model.preset, _UNKNOWN_STEP_S)
        )
        rounds = settings.intervals // settings.round_every
        learning = households * rounds * (steps + fl.fraction_evaluate * _EVALUATION_S)
    intervals = households * settings.intervals
    loop_s = learning + intervals * _LOOP_INTERVAL_S
    batched_s = (learning + intervals * _BATCHED_INTERVAL_S) / min(cores, households)
    return "loop" if loop_s <= batched_s + _RAY_START_S else "batched"
