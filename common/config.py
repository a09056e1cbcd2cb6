"""Typed settings, read from YAML presets; an unknown or mistyped key is an error.

``load("demo")`` reads ``configs/demo.yaml``; ``load(path)`` reads a file; ``override`` applies
``section.key=value`` pairs. A preset may name another as its ``base``. Settings are frozen:
whoever needs two numbers gets two numbers, not the settings.
"""

import difflib
import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from datetime import date
from fnmatch import fnmatchcase
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
    ValidationInfo,
    field_validator,
    model_validator,
)

from common.cadence import ENDLESS, HALF_HOUR, Cadence
from common.compression import AUTO, parse_compression
from common.data.prices import PRICE_LIMIT_PER_KWH
from common.energy.battery import BatterySpec
from common.energy.charges import Charges, LocalFee, all_in_fee
from common.energy.connection import ConnectionSpec
from common.errors import InputError
from common.forecast.presets import find_preset
from common.local_rules import filled
from common.yaml_text import parse_yaml, read_yaml

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
NonNegative = Annotated[float, Field(ge=0.0)]
Count = Annotated[int, Field(ge=1)]
Hours = Annotated[float, Field(gt=0.0, le=1e6)]
Price = Annotated[float, Field(ge=-PRICE_LIMIT_PER_KWH, le=PRICE_LIMIT_PER_KWH)]
Charge = Annotated[float, Field(ge=0.0, le=PRICE_LIMIT_PER_KWH)]


RENAMED = {
    "run.checkpoint_every": "run.checkpoint_hours, in hours",
    "fl.every_intervals": "fl.every_hours, in hours",
    "tariff.published_intervals": "tariff.published_hours, in hours",
}
"""Settings that once counted half hours, and what they are called since."""


class Section(BaseModel):
    """Base of every section: frozen, no unknown keys, finite numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Run(Section):
    """What is simulated: how many households, from when, for how long."""

    seed: Annotated[int, Field(ge=0)] = Field(
        0, description="of every random draw: the same seed gives the same bytes [number]"
    )
    households: Count = Field(10, description="how many take part, the first by name [households]")
    days: Annotated[float, Field(gt=0, le=36525)] | None = Field(
        7.0,
        description="length of the run; null: a simulation of all the data there is, a deployment"
        " without end [days]",
    )
    interval_minutes: Literal[1, 5, 10, 15, 30, 60] = Field(
        30,
        description="of metering, market and settlement; 1 is for tests of live homes, models keep"
        " half hours [minutes]",
    )
    start: date | None = Field(
        None, description="first local midnight; null: after history_days of data"
    )
    history_days: Annotated[int, Field(ge=1, le=36525)] = Field(
        56, description="readings before the first interval, to learn from and to plan with [days]"
    )
    reply_deadline_s: Annotated[Positive, Field(le=1e7)] = Field(
        600.0, description="how long a round waits for replies before it goes on without them [s]"
    )
    node_deadline_s: Annotated[Positive, Field(le=1e7)] = Field(
        120.0, description="how long the start waits for the expected number of households [s]"
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
    checkpoint_hours: Hours = Field(24.0, description="between durable checkpoints [h]")
    engine: Literal["auto", "batched", "loop", "flower"] = Field(
        "auto",
        description="batched Ray actors, one process (loop), or Flower's own simulation engine;"
        " auto: loop where it is done before Ray would have started, else batched",
    )
    actors: Annotated[int, Field(ge=0)] = Field(
        0, description="Ray actors of the batched engine; 0: one per core [processes]"
    )
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

    preset: str = Field(
        "slot",
        description="slot, slot-small, slot-wide, full, edge, or module:Factory; see"
        " docs/forecasts.md",
    )
    init: str | None = Field(None, description="safetensors checkpoint to start from")


class Training(Section):
    """Local training; the model's presets may bring their own learning rate."""

    device: str = Field(
        "auto", description="auto (CUDA where there is one), cpu, or a name that torch knows"
    )
    learning_rate: Positive | None = Field(
        None, description="null: the preset's own; 1e-4 for full and edge [per step]"
    )
    weight_decay: NonNegative = Field(
        0.01, description="of AdamW, per step and in units of the learning rate [1]"
    )
    batch_size: Count = Field(32, description="of one training step [windows]")
    clip_norm: Positive = Field(
        1.0, description="longest gradient, longer ones are shortened to it [norm]"
    )
    plateau_patience: Count = Field(
        3,
        description="of fedwatt train without a better loss before the rate falls [epochs]",
    )
    early_stopping: Count = Field(
        5,
        description="of fedwatt train without a better loss before it stops [epochs]",
    )
    max_epochs: Count = Field(
        50, description="at most; fedwatt train, households train fl.local_steps [epochs]"
    )
    optimiser: Literal["adamw", "sgd"] = Field("adamw", description="of local training")
    threads: Annotated[int, Field(ge=0)] = Field(
        1, description="of torch in each process; 0: torch's own choice [threads]"
    )


class Privacy(Section):
    """Client-level differential privacy of model updates; see docs/strategies.md."""

    clip: Positive | None = Field(
        None, description="length each update is clipped to; null: no privacy [norm]"
    )
    noise_multiplier: NonNegative = Field(
        1.0, description="noise of the sum of a round's updates [clip norms]"
    )
    delta: Annotated[float, Field(gt=0, lt=1)] = Field(
        1e-5,
        description="the probability with which the guarantee, epsilon, may fail [probability]",
    )
    seeded_noise: bool = Field(
        False, description="noise from run.seed, which the server knows: for experiments only"
    )


class FL(Section):
    """The federated round."""

    enabled: bool = Field(True, description="whether the households learn together at all")
    strategy: str = Field(
        "fedavg",
        description="fedavg, another name of docs/strategies.md, a Flower strategy's, or"
        " module:Class",
    )
    strategy_options: dict[str, float | int | str | bool] = Field(
        {}, description="keyword arguments of the strategy"
    )
    every_hours: Hours = Field(3.0, description="between two rounds [h]")
    fraction_train: Fraction = Field(
        1.0, description="of the households, drawn anew each round to train [share]"
    )
    fraction_evaluate: Fraction = Field(
        1.0, description="of the households, drawn anew each round to receive and measure [share]"
    )
    local_steps: Count = Field(8, description="of training in each household and round [steps]")
    rate_decay_rounds: Count | None = Field(
        10,
        description="round r trains at 1 / (1 + r / this) of the learning rate, at least at a"
        " sixteenth; null: always at the same [rounds]",
    )
    min_replies: Count = Field(
        1, description="usable updates below which a round leaves the model as it was [households]"
    )
    late_hours: Annotated[Positive, Field(le=1e4)] = Field(
        12.0,
        description="how long an asynchronous strategy waits for a household's update before it"
        " asks for another [h]",
    )
    max_update_mb: Annotated[Positive, Field(le=1e5)] = Field(
        512.0, description="largest update read; larger ones are dropped [MB]"
    )
    compression: str = Field(
        AUTO,
        description="of updates: none, bfloat16, int8, top-k:SHARE, or top-k:SHARE+int8; auto:"
        " bfloat16 where the preset trains in it, else none",
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
    def _readable(cls, text: str, info: ValidationInfo) -> str:
        if (info.field_name, text) != ("compression", AUTO):
            parse_compression(text)
        return text


class Battery(Section):
    """The household battery. Power is measured at the terminals."""

    capacity_kwh: Annotated[NonNegative, Field(le=1e5)] = Field(
        13.5, description="what it holds when full; 0: no battery [kWh]"
    )
    round_trip_efficiency: Annotated[float, Field(gt=0, le=1)] = Field(
        0.9, description="of what goes in that comes out, its root on each way [share]"
    )
    power_kw: Annotated[NonNegative, Field(le=1e5)] = Field(
        5.0, description="most it takes or gives, at the terminals [kW]"
    )
    soc_min: Fraction = Field(0.10, description="lowest state of charge [share]")
    soc_max: Fraction = Field(0.80, description="highest state of charge [share]")
    soc_initial: Fraction = Field(0.45, description="state of charge when the run begins [share]")
    wear_cost_per_kwh: Annotated[NonNegative, Field(le=1e3)] = Field(
        0.0, description="what the trader charges itself for throughput [currency per kWh]"
    )

    @model_validator(mode="after")
    def _ordered(self) -> "Battery":
        if not self.soc_min <= self.soc_initial <= self.soc_max:
            raise ValueError("soc_min <= soc_initial <= soc_max does not hold")
        return self


class Connection(Section):
    """Grid connection limits per half hour, P2P flows included."""

    import_kwh: Annotated[NonNegative, Field(le=1e3)] = Field(
        10.0, description="most that may be drawn, from neighbours too [kWh per half hour]"
    )
    export_kwh: Annotated[NonNegative, Field(le=1e3)] = Field(
        4.0, description="most that may be fed in, to neighbours too [kWh per half hour]"
    )


class LocalTariff(Section):
    """What is charged on energy between members in place of the grid's charges; one for all.

    null: what ``tariff.rules`` say, else nothing.
    """

    network_share: Fraction | None = Field(
        None, description="of tariff.network_fee that is due between members as well [share]"
    )
    network_fee: Price | None = Field(
        None, description="beside that share, before VAT [currency per delivered kWh]"
    )
    levies_share: Fraction | None = Field(
        None, description="of tariff.levies that is due between members as well [share]"
    )
    levies: Price | None = Field(
        None, description="beside that share, before VAT [currency per delivered kWh]"
    )
    vat: Fraction | None = Field(
        None, description="on network fee and levies; not on the energy itself [share]"
    )


class Tariff(Section):
    """What the grid charges and pays."""

    source: Literal["data", "flat", "file", "entsoe", "octopus", "energy-charts", "json"] = Field(
        "data",
        description="data: prices that come with the readings, in a deployment with tariff.csv;"
        " flat: retail at all times; a file or service: see docs/bills.md",
    )
    source_options: dict[str, float | int | str | bool] = Field(
        {}, description="settings of that file or service"
    )
    retail: Price = Field(
        0.30, description="the flat price, and the filler where data has none [currency per kWh]"
    )
    feed_in: Price = Field(
        0.05, description="for exports, where the data has no such prices [currency per kWh]"
    )
    published_hours: Hours = Field(48.0, description="how far ahead retail prices are known [h]")
    markup: Price = Field(
        0.0, description="of the supplier on the energy price, before VAT [currency per kWh]"
    )
    network_fee: Price = Field(
        0.0, description="on what is drawn from the grid, before VAT [currency per kWh]"
    )
    levies: Price = Field(
        0.0, description="on what is drawn from the grid, before VAT [currency per kWh]"
    )
    vat: Fraction | None = Field(
        None,
        description="on energy price, markup, network fee, levies and standing charge; null: what"
        " the rules say, else 0 [share]",
    )
    standing_charge_per_day: Charge = Field(
        0.0, description="for each local day of a member, before VAT [currency]"
    )
    rules: str | None = Field(
        None, description="a country's rules for local energy, a name of docs/bills.md"
    )
    local: LocalTariff = LocalTariff()

    @model_validator(mode="before")
    @classmethod
    def _by_rules(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and isinstance(name := values.get("rules"), str):
            try:
                return filled(values, name)
            except InputError as error:
                raise ValueError(str(error)) from None
        return values

    @model_validator(mode="after")
    def _possible(self) -> "Tariff":
        if not 0 <= self.local_fee <= PRICE_LIMIT_PER_KWH:
            raise ValueError(f"local: a fee of {self.local_fee:g} per kWh: expected 0 or more")
        if self.source_options and self.source in ("data", "flat"):
            raise ValueError(f"source_options: {self.source} prices have none")
        return self

    @property
    def charges(self) -> Charges:
        """What comes on top of the energy price."""
        return Charges(
            self.markup,
            self.network_fee,
            self.levies,
            self.vat or 0.0,
            self.standing_charge_per_day,
        )

    @property
    def local_fee(self) -> float:
        """Network fee and levies on local energy, with the VAT on them [currency per kWh]."""
        return all_in_fee(*self._local)

    @property
    def local_parts(self) -> LocalFee:
        """The same in whole micro, part by part."""
        return LocalFee.of(*self._local)

    @property
    def _local(self) -> tuple[float, float, float]:
        own = self.local
        return (
            (own.network_share or 0.0) * self.network_fee + (own.network_fee or 0.0),
            (own.levies_share or 0.0) * self.levies + (own.levies or 0.0),
            own.vat or 0.0,
        )


class Trader(Section):
    """How a household trades."""

    kind: str = Field(
        "bid-curve",
        description="bid-curve, rule, rule-literal, greedy, hold, or module:Factory; see"
        " docs/trader.md",
    )
    options: dict[str, float | int | str | bool] = Field(
        {}, description="settings of that kind of trader"
    )


class Market(Section):
    """The peer-to-peer market round."""

    mechanism: str = Field(
        "uniform", description="how orders are cleared, a name of docs/market.md or module:function"
    )
    loss: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.05, description="of what is sent that is lost on the way between neighbours [share]"
    )
    min_margin: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.05, description="a trade needs bid x (1 - loss) >= ask + this x |ask| [share]"
    )
    max_steps: Count = Field(200, description="most steps of one household's bid curve [steps]")
    k: Fraction = Field(
        0.5,
        description="where a price lies between the ask (0) and the bid (1) that leave it room"
        " [share]",
    )
    feeder_size: Count | None = Field(
        None, description="on a feeder, in order of name; null: one feeder for all [households]"
    )
    feeder_loss: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.02,
        description="further loss between feeders, which only hierarchical looks at [share]",
    )
    feeder_fee: Annotated[NonNegative, Field(le=1e3)] = Field(
        0.01, description="for what crosses feeders [currency per delivered kWh]"
    )
    import_cap_kw: Annotated[float, Field(gt=0, le=1e7)] | None = Field(
        None,
        description="what the community may draw; shared out as allowances, see docs/trader.md;"
        " null: no cap [kW]",
    )
    cap_reserve: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.1, description="of the import cap that no allowance uses [share]"
    )
    scarcity_price: Annotated[float, Field(gt=0, le=1e3)] | None = Field(
        None,
        description="above the cap; null: 1.2 x the dearest published price [currency per kWh]",
    )
    export_cap_kw: Annotated[float, Field(gt=0, le=1e7)] | None = Field(
        None, description="what the community may feed in; null: no cap [kW]"
    )
    compensate_losers: bool = Field(
        False,
        description="those who gained by the market lift those who lost to what they would have "
        "paid alone, by what each says of itself when the run, or a month of one without end, "
        "closes; see docs/trader.md",
    )


class Settlement(Section):
    """What becomes of an interval whose reading does not come."""

    wait_hours: Annotated[Positive, Field(le=1e5)] = Field(
        48.0, description="how long a reading is waited for before its interval is estimated [h]"
    )


class Ledger(Section):
    """Where settlements are booked."""

    url: str | None = Field(None, description="SQLAlchemy URL; null: ledger.sqlite in the run")


class Home(Section):
    """What belongs to one household; the section's names are those of ``Settings``."""

    battery: Battery = Battery()
    connection: Connection = Connection()
    tariff: Tariff = Tariff()
    trader: Trader = Trader()
    training: Training = Training()

    @property
    def battery_spec(self) -> BatterySpec:
        """The battery as physics takes it."""
        return BatterySpec(**self.battery.model_dump())

    @property
    def connection_spec(self) -> ConnectionSpec:
        """The grid connection as physics takes it."""
        return ConnectionSpec(**self.connection.model_dump())


_LATER: dict[str, tuple[str, ...]] = {
    "tariff": (
        "source_options",
        "markup",
        "network_fee",
        "levies",
        "vat",
        "standing_charge_per_day",
        "rules",
        "local",
    ),
    "fl": ("late_hours",),
}
"""Settings that came after runs were named by a digest: at its default one changes no result, and
no run's name either."""
Block = dict[str, Any]
"""What is set for some households: sections of ``Home``, each with some of its keys."""
HOME_SECTIONS = tuple(Home.model_fields)


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
    settlement: Settlement = Settlement()
    ledger: Ledger = Ledger()
    homes: dict[str, Block] = Field(
        {}, description="by name or glob: battery, connection, tariff, trader, training of a home"
    )
    homes_last: dict[str, Block] = Field(
        {}, description="what --set says of homes: it comes after every other block"
    )

    @model_validator(mode="after")
    def _one_seller(self) -> "Settings":
        # There the grid sells and buys in the auction, and not everything bought is local.
        if self.tariff.local_fee and self.market.export_cap_kw is not None:
            raise ValueError("tariff.local and market.export_cap_kw: not both in one run")
        return self

    @field_validator("homes", "homes_last")
    @classmethod
    def _sound(cls, blocks: dict[str, Block]) -> dict[str, Block]:
        for pattern, block in blocks.items():
            _fit(Home(), [block], pattern)
        return blocks

    def home(self, name: str, own: Mapping[str, Any] | None = None) -> Home:
        """What household ``name`` has.

        The sections of the run, then ``own`` (the block that lies beside its data), then ``homes``
        and at last ``homes_last``, of each the longer globs after the shorter and the exact name
        last. Raises InputError that names the household and the key.
        """
        common = Home.model_construct(**{key: getattr(self, key) for key in HOME_SECTIONS})
        blocks = [] if not own else [own]
        for layer in (self.homes, self.homes_last):
            found = [key for key in layer if key == name or fnmatchcase(name, key)]
            blocks += [layer[key] for key in sorted(found, key=lambda k: (k == name, len(k), k))]
        if not blocks:
            return common
        try:
            home = _fit(common, blocks, f"household {name}")
        except ValueError as error:
            raise InputError(str(error)) from None
        if home.tariff.local != self.tariff.local:
            raise InputError(
                f"household {name}: tariff.local is one for all members: set it for the run, not "
                "for a home"
            )
        return home

    @property
    def battery_spec(self) -> BatterySpec:
        """The battery as physics takes it."""
        return BatterySpec(**self.battery.model_dump())

    @property
    def connection_spec(self) -> ConnectionSpec:
        """The grid connection as physics takes it."""
        return ConnectionSpec(**self.connection.model_dump())

    @model_validator(mode="after")
    def _whole_intervals(self) -> "Settings":
        for key, hours in (
            ("run.checkpoint_hours", self.run.checkpoint_hours),
            ("fl.every_hours", self.fl.every_hours),
            ("tariff.published_hours", self.tariff.published_hours),
        ):
            if not self.cadence.whole(hours):
                raise ValueError(
                    f"{key} = {hours:g} is no whole number of intervals of"
                    f" {self.cadence.minutes} minutes"
                )
        return self

    @property
    def cadence(self) -> Cadence:
        """How long an interval of this run is."""
        return Cadence(self.run.interval_minutes)

    @property
    def intervals(self) -> int:
        """Number of intervals of the run; ENDLESS where nobody has said."""
        if self.run.days is None:
            return ENDLESS
        return max(1, round(self.run.days * self.cadence.per_day))

    @property
    def endless(self) -> bool:
        """Whether the run goes on until it is ended, or the data is."""
        return self.run.days is None

    @property
    def published(self) -> int:
        """For how many intervals from the present one on retail prices are known."""
        return self.cadence.of_hours(self.tariff.published_hours)

    @property
    def round_every(self) -> int:
        """Intervals between two federated rounds."""
        return self.cadence.of_hours(self.fl.every_hours)

    @property
    def checkpoint_every(self) -> int:
        """Intervals between two durable checkpoints."""
        return self.cadence.of_hours(self.run.checkpoint_hours)

    @property
    def update_compression(self) -> str:
        """How households write their updates, where ``fl.compression`` is auto as well: under
        secure aggregation, whose sums need one grid for all, that is none."""
        if self.fl.compression != AUTO:
            return self.fl.compression
        narrow = find_preset(self.model.preset).bfloat16 and not self.fl.secure_aggregation
        return "bfloat16" if narrow else "none"

    def digest(self) -> str:
        """Hash of every setting that shapes a result: one digest, one experiment.

        What only says who computes it is left out: every engine gives the same bytes.
        """
        left_out: dict[str, Any] = {"run": {"engine", "actors", "ray_address"}}
        for name, keys in _LATER.items():
            own = getattr(self, name)
            plain = {
                key for key in keys if getattr(own, key) == type(own).model_fields[key].default
            }
            if plain:
                left_out[name] = left_out.get(name, set()) | plain
        if self.cadence == HALF_HOUR:
            left_out["run"].add("interval_minutes")
        if not self.homes:
            left_out["homes"] = True
            if self.homes_last.keys() <= {"*"}:  # says no more than the sections do
                left_out["homes_last"] = True
        fl = self.fl.model_copy(update={"compression": self.update_compression})
        shaping = self.model_copy(update={"fl": fl}).model_dump_json(exclude=left_out)
        # Runs keep the names they had while these settings counted half hours.
        for key, hours in (
            ("checkpoint_every", self.run.checkpoint_hours),
            ("every_intervals", self.fl.every_hours),
            ("published_intervals", self.tariff.published_hours),
        ):
            now = f'"{key.split("_")[0]}_hours":{json.dumps(hours)}'
            if HALF_HOUR.whole(hours):
                shaping = shaping.replace(now, f'"{key}":{HALF_HOUR.of_hours(hours)}')
        return hashlib.sha256(shaping.encode()).hexdigest()[:16]


def _fit(common: Home, blocks: Sequence[Mapping[str, Any]], where: str) -> Home:
    """``common`` with the blocks over it, one after the other. Raises ValueError, one line."""
    values: dict[str, Any] = {key: getattr(common, key).model_dump() for key in HOME_SECTIONS}
    for block in blocks:
        if not isinstance(block, Mapping):
            raise ValueError(f"{where}: expected sections, got {block!r}")
        for section, own in block.items():
            if section not in HOME_SECTIONS:
                known = ", ".join(HOME_SECTIONS)
                raise ValueError(f"{where}: unknown key {section!r}; known: {known}")
            if section == "battery" and own in (None, "none"):
                own = {"capacity_kwh": 0.0}
            if not isinstance(own, Mapping):
                raise ValueError(f"{where}: {section} = {own!r}: expected keys")
            if (
                section == "tariff"
                and own.get("source", values[section]["source"]) != (values[section]["source"])
            ):
                own = {"source_options": {}, **own}  # they belong to a source
            if section == "tariff" and isinstance(own.get("local"), Mapping):
                own = {**own, "local": {**values[section]["local"], **own["local"]}}
            if section == "trader":
                # Options belong to a kind.
                same = own.get("kind", values[section]["kind"]) == values[section]["kind"]
                kept = values[section]["options"] if same else {}
                own = {**own, "options": {**kept, **own.get("options", {})}}
            values[section] = {**values[section], **own}
    try:
        return Home.model_validate(values)
    except ValidationError as error:
        raise ValueError(str(_explain(error, where, Home))) from None


def _merge(base: dict[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    for key, value in top.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), dict):
            # Options belong to a kind: mixing one kind's options into another's would be an error.
            base[key] = dict(value) if key.endswith("options") else _merge(base[key], value)
        else:
            base[key] = value
    return base


def _read(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Sections of a file and its bases; ``above``: the files that it is a base of."""
    if path.resolve() in above:
        raise InputError(f"config file {path}: is its own base")
    loaded = read_yaml(path)
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise InputError(f"config file {path}: expected sections, got {type(loaded).__name__}")
    base = loaded.pop("base", None)
    if base is None:
        return loaded
    return _merge(_read(_locate(str(base)), (*above, path.resolve())), loaded)


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


def _near(model: type[BaseModel], keys: Sequence[int | str]) -> str:
    """What an unknown key may have meant, in words."""
    *sections, key = map(str, keys)
    for section in sections:
        field = model.model_fields.get(section)
        if field is None or not isinstance(field.annotation, type):
            return ""
        if not issubclass(field.annotation, BaseModel):
            return ""
        model = field.annotation
    near = difflib.get_close_matches(key, model.model_fields)
    return (
        f"; did you mean {', '.join('.'.join([*sections, one]) for one in near)}?" if near else ""
    )


def _explain(error: ValidationError, where: str, model: type[BaseModel]) -> InputError:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"]) or "settings"
    if first["type"] == "extra_forbidden":
        now = RENAMED.get(".".join(str(part) for part in first["loc"][-2:]))
        instead = _near(model, first["loc"]) if now is None else f": it is {now} now"
        return InputError(f"{where}: unknown key {key!r}{instead}")
    why = first["msg"].removeprefix("Value error, ")
    if isinstance(first["input"], Mapping):
        return InputError(f"{where}: {key}: {why}")
    return InputError(f"{where}: {key} = {first['input']!r}: {why}")


def parse(values: Mapping[str, Any], where: str = "config") -> Settings:
    """Validate nested plain values. Raises InputError that names the key."""
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise _explain(error, where, Settings) from None


def load(
    name_or_path: str | None = None, override: Sequence[str] = (), **sections: Mapping[str, Any]
) -> Settings:
    """Read a preset or file, then ``sections`` (from flags), then ``section.key=value`` pairs."""
    values = {} if name_or_path is None else _read(_locate(name_or_path))
    values = _merge(values, {name: dict(section) for name, section in sections.items()})
    for pair in override:
        key, equals, text = pair.partition("=")
        parts = _parts(key.strip())
        if not equals or len(parts) < 2 or '""' in key or ".." in key:
            raise InputError(f"--set {pair!r}: expected section.key=value")
        try:
            value = parse_yaml(text, f"--set {pair!r}")
        except InputError:
            raise InputError(f"--set {pair!r}: the value is not YAML") from None
        if parts[0] in HOME_SECTIONS:
            _place(values, ["homes_last", "*", *parts], value, pair)
        if parts[0] == "homes":
            parts[0] = "homes_last"
        _place(values, parts, value, pair)
    return parse(values, where="config" if name_or_path is None else f"config {name_or_path}")


def _parts(key: str) -> list[str]:
    """The parts of a dotted key; a part in quotation marks may have dots."""
    return [a or b for a, b in re.findall(r'"([^"]*)"|([^."]+)', key)]


def _place(values: dict[str, Any], parts: Sequence[str], value: Any, pair: str) -> None:
    node = values
    for part in parts[:-1]:
        child = node.setdefault(part, {})
        if not isinstance(child, dict):
            raise InputError(f"--set {pair!r}: {part!r} is not a section")
        node = child
    node[parts[-1]] = value


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
    name = str(run_config.get("config") or "default")
    # The preset that spells every default out has set nothing.
    return load(None if name == "default" else name, str(run_config.get("set") or "").split())


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
