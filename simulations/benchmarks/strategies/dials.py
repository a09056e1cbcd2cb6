"""The dials: how far a community is from the ideal one. Each is a function of (seed, name, round).

A dial changes the data (volume, sizes, cars, panels, drift, newcomers, climates), who answers
(participation, stragglers, dropouts) and how fast (speeds of homes and lines, on the simulated
clock of ``clock.py``), what malicious households send, or how updates travel (compression,
privacy). A file of dials is YAML: a name, and the values that differ from the clean community:

    ev-half: {ev_share: 0.5}
    sign-flip: {attack: sign-flip, attackers: 0.2}
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError, field_validator, model_validator

from common.compression import parse_compression
from common.config import Count, Fraction, NonNegative, Positive, Section
from common.errors import InputError
from common.named import is_named, named
from common.rng import generator
from common.yaml_text import read_yaml
from simulations.benchmarks.strategies.collusion import COLLUDING

ATTACKS = (
    "none", "sign-flip", "noise", "label-poison", "hour-low", "nan", "collude", "free-rider",
    *COLLUDING,
)  # fmt: skip


class Dial(Section):
    """One setting of all dials; the default is the clean community."""

    volume_skew: NonNegative = Field(
        0.0, description="households keep exp(-skew |z|) of their training days, z normal"
    )
    size_spread: NonNegative = Field(
        0.0, description="standard deviation of the logarithm of a factor on each home's load"
    )
    ev_share: Fraction = Field(0.0, description="share of homes that get a 7 kW charger")
    pv_share: Fraction = Field(
        0.0, description="share of homes whose meter sits behind panels: load less their output"
    )
    drift_share: Fraction = Field(0.0, description="homes whose day moves by drift_hours")
    drift_hours: Annotated[int, Field(ge=0, le=23)] = 6
    drift_round: Count = Field(4, description="first round after the move")
    newcomer_share: Fraction = Field(0.0, description="homes that have just begun to measure")
    newcomer_days: Annotated[int, Field(ge=1, le=28)] = Field(
        7, description="days that they have measured when the held-out days begin [days]"
    )
    climate_share: Fraction = Field(
        0.0, description="homes that are those of the second source of --data A,B"
    )
    participation: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0, description="share of homes asked in each round"
    )
    stragglers: Fraction = Field(0.0, description="share that finishes only part of its steps")
    straggler_work: Fraction = Field(0.25, description="that part")
    stragglers_finish: bool = Field(
        False, description="stragglers do all their steps, at that part of their speed, and late"
    )
    dropouts: Fraction = Field(0.0, description="share of the asked that do not answer")
    step_s: Positive = Field(1.0, description="a training step in a middling home [s]")
    step_spread: NonNegative = Field(
        0.0, description="standard deviation of the logarithm of a factor on a home's step_s"
    )
    line_mbit_per_s: Positive = Field(10.0, description="a middling home's line, each way [Mbit/s]")
    line_spread: NonNegative = Field(0.0, description="as step_spread, of the line")
    unsteadiness: NonNegative = Field(
        0.0, description="as step_spread, of both, drawn anew for each home and round"
    )
    round_s: Positive | None = Field(
        None, description="a synchronous round ends then, without who has not answered [s]"
    )
    wait_share: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0, description="share of the asked that a synchronous round waits for"
    )
    attack: str = Field(
        "none", description=f"{', '.join(ATTACKS)}, or module:function; see docs/extending.md"
    )
    attackers: Fraction = 0.0
    attack_scale: Positive = Field(
        5.0, description="length of a malicious update, in lengths of an honest one"
    )
    attack_hour: Annotated[int, Field(ge=0, le=23)] = Field(
        18, description="the hour that hour-low makes low, and that hour_bias is of [h]"
    )
    change: str | None = Field(
        None, description="module:function that changes a home's load; see docs/extending.md"
    )
    compression: str = "none"
    compression_down: str = "none"
    privacy_clip: Positive | None = None
    privacy_noise: NonNegative = 1.0
    local_steps: Count | None = Field(None, description="steps a round, in place of the run's")
    rounds: Count | None = Field(None, description="rounds, in place of the run's")

    @field_validator("attack")
    @classmethod
    def _known(cls, attack: str) -> str:
        if attack not in ATTACKS and not is_named(attack):
            raise ValueError(f"expected one of {', '.join(ATTACKS)}, or module:function")
        return attack

    @model_validator(mode="after")
    def _who_finishes_moves(self) -> "Dial":
        if self.stragglers_finish and self.straggler_work == 0:
            raise ValueError("stragglers_finish: straggler_work is 0, and nobody at rest finishes")
        return self

    def data_only(self) -> "Dial":
        """The part that changes the homes' readings, which is all a reference depends on."""
        return Dial(**{name: getattr(self, name) for name in _DATA})

    @property
    def of_time(self) -> bool:
        """Whether it says who is how fast, or how long is waited."""
        return bool(self.model_dump(exclude_defaults=True).keys() & set(_CLOCK))

    @property
    def tells_errors(self) -> bool:
        """Whether a coordinator can go by the errors that homes tell: attackers tell what they
        like, and private homes tell none."""
        return self.attack == "none" and self.privacy_clip is None

    @property
    def of_kinds(self) -> bool:
        """Whether homes are of two kinds: newcomers, or of two climates."""
        return self.newcomer_share > 0 or self.climate_share > 0

    def kept_share(self, seed: int, name: str) -> float:
        """Share of the training span that a household has."""
        z = abs(float(generator(seed, name, 0, "volume").standard_normal()))
        return float(2.718281828459045 ** (-self.volume_skew * z))

    def size_factor(self, seed: int, name: str) -> float:
        """Factor on the household's load."""
        z = float(generator(seed, name, 0, "size").standard_normal())
        return float(2.718281828459045 ** (self.size_spread * z))

    def chosen(self, share: float, seed: int, names: Sequence[str], purpose: str) -> set[str]:
        """A share of the households, rounded to a whole number, drawn once."""
        count = round(share * len(names))
        drawn = generator(seed, "", 0, purpose).choice(len(names), count, replace=False)
        return {names[i] for i in drawn}

    def malicious(self, seed: int, names: Sequence[str]) -> set[str]:
        """Who attacks; nobody without an attack."""
        share = 0.0 if self.attack == "none" else self.attackers
        return self.chosen(share, seed, names, "malicious")

    def too_few(self, households: int) -> str:
        """Why so many homes hold too few attackers, if so: one colluder's updates have no spread
        that it could hide in, and what it sends is honest."""
        least = 0 if self.attack == "none" else 2 if self.attack in COLLUDING else 1
        count = round(self.attackers * households)
        if count >= least:
            return ""
        return (
            f"attack = {self.attack} needs {least} attackers, and attackers = {self.attackers} of "
            f"{households} homes is {count}"
        )

    def drifted(self, seed: int, names: Sequence[str]) -> set[str]:
        """Whose day moves in round ``drift_round``."""
        return self.chosen(self.drift_share, seed, names, "drift")

    def newcomers(self, seed: int, names: Sequence[str]) -> set[str]:
        """Who has measured for ``newcomer_days`` only."""
        return self.chosen(self.newcomer_share, seed, names, "newcomer")

    def step_seconds(self, seed: int, name: str, round_: int) -> float:
        """How long a training step takes the household in this round [s]."""
        slow = self.stragglers_finish and self.straggles(seed, name, round_)
        pace = self.step_s / (self.straggler_work if slow else 1.0)
        return pace * self._factor(self.step_spread, seed, name, round_, "step")

    def line_bytes_per_s(self, seed: int, name: str, round_: int) -> float:
        """What its line carries in this round, each way [bytes/s]."""
        factor = self._factor(self.line_spread, seed, name, round_, "line")
        return self.line_mbit_per_s * 1e6 / 8 / factor

    def _factor(self, spread: float, seed: int, name: str, round_: int, purpose: str) -> float:
        """How much slower than a middling home: its own factor, times that of the round."""
        own = float(generator(seed, name, 0, f"speed of {purpose}").standard_normal())
        now = float(generator(seed, name, round_, f"{purpose} of the round").standard_normal())
        return math.exp(spread * own + self.unsteadiness * now)

    def drops(self, seed: int, name: str, round_: int) -> bool:
        """Whether the household does not answer in this round."""
        return float(generator(seed, name, round_, "dropout of answer").random()) < self.dropouts

    def straggles(self, seed: int, name: str, round_: int) -> bool:
        """Whether it finishes only part of its steps."""
        return float(generator(seed, name, round_, "straggler").random()) < self.stragglers


_DATA = (
    "volume_skew",
    "size_spread",
    "ev_share",
    "pv_share",
    "drift_share",
    "drift_hours",
    "drift_round",
    "newcomer_share",
    "newcomer_days",
    "climate_share",
    "rounds",
    "local_steps",
    "change",
)
_CLOCK = (
    "step_s",
    "step_spread",
    "line_mbit_per_s",
    "line_spread",
    "unsteadiness",
    "stragglers",
    "round_s",
    "wait_share",
)
CLEAN = "clean"


def _check_named(path: str, key: str) -> None:
    """Raise InputError unless ``path`` names a function, before any cell comes to need it."""
    if not callable(named(path, key)):
        raise InputError(f"{key} = {path!r}: not a function")


def read_dials(source: Path | Mapping[str, object], where: str = "dials") -> dict[str, Dial]:
    """Dials by name from a YAML file, or from what it holds. Raises InputError naming the key."""
    if isinstance(source, Path):
        where = str(source)
        loaded = read_yaml(source)
    else:
        loaded = dict(source)
    if not isinstance(loaded, dict) or not loaded:
        raise InputError(f"{where}: expected names of dials with their values")
    dials = {}
    for name, values in loaded.items():
        if not str(name).replace("-", "").replace(".", "").replace("_", "").isalnum():
            raise InputError(f"{where}: {name!r}: use letters, digits, '-', '_' and '.'")
        try:
            dial = Dial.model_validate(values or {})
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"]) or "values"
            raise InputError(f"{where}: {name}: {key}: {first['msg']}") from None
        for key in ("attack", "change"):
            value = getattr(dial, key)
            if value is not None and is_named(value):
                _check_named(value, f"{where}: {name}: {key}")
        parse_compression(dial.compression)
        parse_compression(dial.compression_down)
        dials[str(name)] = dial
    return dials
