"""Typed settings, read from YAML presets; an unknown or mistyped key is an error.

``load("demo")`` reads ``configs/demo.yaml``; ``load(path)`` reads a file; ``override`` applies
``section.key=value`` pairs. A preset may name another as its ``base``. Settings are frozen:
whoever needs two numbers gets two numbers, not the settings.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from datetime import date
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from common.compression import parse_compression
from common.energy.battery import BatterySpec
from common.energy.connection import ConnectionSpec
from common.errors import InputError

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
NonNegative = Annotated[float, Field(ge=0.0)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """Base of every section: frozen, no unknown keys, finite numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Run(Section):
    """What is simulated: how many households, from when, for how long."""

    seed: Annotated[int, Field(ge=0)] = 0
    households: Count = 10
    days: Annotated[float, Field(gt=0)] = 7.0
    start: date | None = Field(
        None, description="first local midnight; null: after history_days of data"
    )
    history_days: Annotated[int, Field(ge=1)] = 56
    reply_deadline_s: Positive = Field(
        600.0, description="how long a round waits for replies before it goes on without them"
    )
    node_deadline_s: Positive = Field(
        120.0, description="how long the start waits for the expected number of households"
    )
    shadow: bool = Field(
        True, description="also run every household without a market, to count who loses by it"
    )
    metrics: Literal["all", "none"] = Field(
        "all", description="what a household tells of itself when the run closes"
    )
    references: Literal["auto", "all", "none"] = Field(
        "auto", description="perfect-foresight optima; auto leaves out the largest runs"
    )
    checkpoint_every: Count = Field(48, description="intervals between durable checkpoints")
    engine: Literal["auto", "batched", "loop", "flower"] = Field(
        "auto",
        description="batched Ray actors, one process (loop), or Flower's own simulation engine;"
        " auto: loop where it is done before Ray would have started, else batched",
    )
    actors: Annotated[int, Field(ge=0)] = Field(0, description="Ray actors; 0: one per core")
    ray_address: str | None = Field(
        None, description="Ray cluster of the batched engine; null: this machine alone"
    )


class Data(Section):
    """Where household data comes from."""

    source: str = Field("citylearn", description="citylearn, synthetic, a folder or a URL")
    timezone: str | None = Field(None, description="overrides the time zone stored with the data")
    fallback: Literal["synthetic"] | None = Field(
        None, description="used where citylearn cannot be fetched; the summary says so"
    )


class Model(Section):
    """Which forecaster."""

    preset: str = "slot"
    init: str | None = Field(None, description="safetensors checkpoint to start from")


class Training(Section):
    """Local training; the model's presets may bring their own learning rate."""

    device: str = "auto"
    learning_rate: Positive | None = Field(
        None, description="null: the preset's own; 1e-4 for full and edge"
    )
    weight_decay: NonNegative = 0.01
    batch_size: Count = 32
    clip_norm: Positive = 1.0
    plateau_patience: Count = 3
    early_stopping: Count = 5
    max_epochs: Count = 50
    optimiser: Literal["adamw", "sgd"] = "adamw"
    threads: Annotated[int, Field(ge=0)] = Field(1, description="torch threads per process")


class Privacy(Section):
    """Client-level differential privacy of model updates; see docs/strategies.md."""

    clip: Positive | None = Field(
        None, description="norm each update is clipped to; null: no privacy"
    )
    noise_multiplier: NonNegative = Field(
        1.0, description="noise of the sum of a round's updates, in units of the clip norm"
    )
    delta: Annotated[float, Field(gt=0, lt=1)] = 1e-5
    seeded_noise: bool = Field(
        False, description="noise from run.seed, which the server knows: for experiments only"
    )


class FL(Section):
    """The federated round."""

    enabled: bool = True
    strategy: str = Field("fedavg", description="fedavg, a Flower strategy's name, or module:Class")
    strategy_options: dict[str, float | int | str | bool] = {}
    every_intervals: Count = 6
    fraction_train: Fraction = 1.0
    fraction_evaluate: Fraction = 1.0
    local_steps: Count = 8
    rate_decay_rounds: Count | None = Field(
        10,
        description="round r trains at 1 / (1 + r / this) of the learning rate, at least at a"
        " sixteenth; null: always at the same",
    )
    min_replies: Count = Field(
        1, description="usable updates below which a round leaves the model as it was"
    )
    max_update_mb: Positive = 512.0
    compression: str = Field(
        "none", description="of updates: bfloat16, int8, top-k:SHARE, or top-k:SHARE+int8"
    )
    compression_down: str = Field(
        "none", description="of the global model: the same; with top-k or int8 its changes are sent"
    )
    privacy: Privacy = Privacy()
    secure_aggregation: bool = Field(
        False, description="the coordinator learns the sum of a round's updates and none of them"
    )

    @field_validator("compression", "compression_down")
    @classmethod
    def _readable(cls, text: str) -> str:
        parse_compression(text)
        return text


class Battery(Section):
    """The household battery. Power is measured at the terminals."""

    capacity_kwh: NonNegative = 13.5
    round_trip_efficiency: Annotated[float, Field(gt=0, le=1)] = 0.9
    power_kw: NonNegative = 5.0
    soc_min: Fraction = 0.10
    soc_max: Fraction = 0.80
    soc_initial: Fraction = 0.45
    wear_cost_per_kwh: NonNegative = Field(
        0.0, description="what the trader charges itself per kWh of throughput"
    )

    @model_validator(mode="after")
    def _ordered(self) -> "Battery":
        if not self.soc_min <= self.soc_initial <= self.soc_max:
            raise ValueError("soc_min <= soc_initial <= soc_max does not hold")
        return self


class Connection(Section):
    """Grid connection limits per half hour, P2P flows included."""

    import_kwh: NonNegative = 10.0
    export_kwh: NonNegative = 4.0


class Tariff(Section):
    """What the grid charges and pays."""

    source: Literal["data", "flat"] = "data"
    retail: Positive = Field(0.30, description="the flat price, and the filler where data has none")
    feed_in: NonNegative = 0.05
    published_intervals: Count = Field(96, description="how far ahead retail prices are known")


class Trader(Section):
    """How a household trades."""

    kind: str = "bid-curve"
    options: dict[str, float | int | str | bool] = {}


class Market(Section):
    """The peer-to-peer market round."""

    mechanism: str = "uniform"
    loss: Annotated[float, Field(ge=0, lt=1)] = 0.05
    min_margin: NonNegative = 0.05
    max_steps: Count = 200
    k: Fraction = Field(
        0.5, description="where a price lies between the ask (0) and the bid (1) that leave it room"
    )
    feeder_size: Count | None = Field(
        None, description="households per feeder, in order of name; null: one feeder for all"
    )
    feeder_loss: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.02, description="further share lost between feeders; only hierarchical looks at feeders"
    )
    feeder_fee: NonNegative = Field(
        0.01, description="currency per delivered kWh that crosses feeders"
    )
    import_cap_kw: Positive | None = Field(
        None,
        description="what the community may draw; shared out as allowances, see docs/trader.md",
    )
    cap_reserve: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.1, description="share of the import cap that no allowance uses"
    )
    scarcity_price: Positive | None = Field(
        None, description="per kWh above the cap; null: 1.2 x the dearest published price"
    )
    export_cap_kw: Positive | None = None
    compensate_losers: bool = Field(
        False,
        description="those who gained by the market lift those who lost to what they would have "
        "paid alone, by what each says of itself when the run closes; see docs/trader.md",
    )


class Ledger(Section):
    """Where settlements are booked."""

    url: str | None = Field(None, description="SQLAlchemy URL; null: ledger.sqlite in the run")


class Settings(Section):
    """Everything a run is made of."""

    run: Run = Run()
    data: Data = Data()
    model: Model = Model()
    training: Training = Training()
    fl: FL = FL()
    battery: Battery = Battery()
    connection: Connection = Connection()
    tariff: Tariff = Tariff()
    trader: Trader = Trader()
    market: Market = Market()
    ledger: Ledger = Ledger()

    @property
    def battery_spec(self) -> BatterySpec:
        """The battery as physics takes it."""
        return BatterySpec(**self.battery.model_dump())

    @property
    def connection_spec(self) -> ConnectionSpec:
        """The grid connection as physics takes it."""
        return ConnectionSpec(**self.connection.model_dump())

    @property
    def intervals(self) -> int:
        """Number of half-hour intervals."""
        return max(1, round(self.run.days * 48))

    def digest(self) -> str:
        """Hash of every setting that shapes a result: one digest, one experiment.

        What only says who computes it is left out: every engine gives the same bytes.
        """
        shaping = self.model_dump_json(exclude={"run": {"engine", "actors", "ray_address"}})
        return hashlib.sha256(shaping.encode()).hexdigest()[:16]


def _merge(base: dict[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    for key, value in top.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), dict):
            # Options belong to a kind: mixing one kind's options into another's would be an error.
            base[key] = dict(value) if key.endswith("options") else _merge(base[key], value)
        else:
            base[key] = value
    return base


def _read(path: Path) -> dict[str, Any]:
    try:
        loaded = yaml.safe_load(path.read_text())
    except OSError as error:
        raise InputError(f"config file {path}: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise InputError(f"config file {path}: not YAML: {' '.join(str(error).split())}") from None
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise InputError(f"config file {path}: expected sections, got {type(loaded).__name__}")
    base = loaded.pop("base", None)
    return loaded if base is None else _merge(_read(_locate(str(base))), loaded)


def presets() -> list[str]:
    """Names of the presets that ship with the package."""
    return sorted(p.name[:-5] for p in files("configs").iterdir() if p.name.endswith(".yaml"))


def _locate(name_or_path: str) -> Path:
    if name_or_path in presets():
        return Path(str(files("configs").joinpath(f"{name_or_path}.yaml")))
    path = Path(name_or_path)
    if not path.is_file():
        raise InputError(
            f"config {name_or_path!r}: no such file or preset ({', '.join(presets())})"
        )
    return path


def _explain(error: ValidationError, where: str) -> InputError:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"]) or "settings"
    if first["type"] == "extra_forbidden":
        return InputError(f"{where}: unknown key {key!r}")
    return InputError(f"{where}: {key} = {first['input']!r}: {first['msg']}")


def parse(values: Mapping[str, Any], where: str = "config") -> Settings:
    """Validate nested plain values. Raises InputError that names the key."""
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise _explain(error, where) from None


def load(
    name_or_path: str | None = None, override: Sequence[str] = (), **sections: Mapping[str, Any]
) -> Settings:
    """Read a preset or file, then ``sections`` (from flags), then ``section.key=value`` pairs."""
    values = {} if name_or_path is None else _read(_locate(name_or_path))
    values = _merge(values, {name: dict(section) for name, section in sections.items()})
    for pair in override:
        key, equals, text = pair.partition("=")
        parts = key.strip().split(".")
        if not equals or len(parts) < 2 or not all(parts):
            raise InputError(f"--set {pair!r}: expected section.key=value")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            raise InputError(f"--set {pair!r}: the value is not YAML") from None
        node = values
        for part in parts[:-1]:
            child = node.setdefault(part, {})
            if not isinstance(child, dict):
                raise InputError(f"--set {pair!r}: {part!r} is not a section")
            node = child
        node[parts[-1]] = value
    return parse(values, where="config" if name_or_path is None else f"config {name_or_path}")


def cache_root() -> Path:
    """Folder for what fedwatt keeps outside runs: $FEDWATT_CACHE or ~/.cache/fedwatt."""
    return Path(os.environ.get("FEDWATT_CACHE") or Path.home() / ".cache" / "fedwatt")


@lru_cache(maxsize=16)
def _from_json(text: str) -> Settings:
    return parse(json.loads(text), where="run config")


def from_run_config(run_config: Mapping[str, object]) -> Settings:
    """Settings of a Flower run: whole, as JSON under ``settings``, or a preset and overrides.

    ``flwr run . --run-config 'config="demo" set="run.days=1 trader.kind=hold"'`` uses the latter.
    """
    text = run_config.get("settings")
    if text:
        return _from_json(str(text))
    return load(
        str(run_config.get("config") or "default"), str(run_config.get("set") or "").split()
    )


def for_nodes(settings: Settings, nodes: int) -> Settings:
    """The settings for a run on so many nodes: each a household, unless households were set."""
    if "households" in settings.run.model_fields_set:
        return settings
    # Not by model_copy(update=...), which checks nothing.
    values = settings.model_dump(mode="json")
    values["run"]["households"] = nodes
    return parse(values)


def run_directory(run_config: Mapping[str, object], flower_run: int) -> Path:
    """Folder of a Flower run: ``out`` of its run config, or one named after Flower's run id."""
    out = run_config.get("out")
    return Path(str(out)) if out else cache_root() / "runs" / str(flower_run)


def dump(settings: Settings) -> str:
    """Settings as YAML; ``load`` of the result gives the same settings."""
    return yaml.safe_dump(json.loads(settings.model_dump_json()), sort_keys=False)
