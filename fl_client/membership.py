"""Which household this process speaks for, and where it keeps its things.

A virtual client of a simulation is the household with its partition's number in the data source.
A household on its own host is told its name and folders by its own SuperNode (node config, set by
``fedwatt-client start``), and may overrule the run's settings where they speak of its own battery
or trader. Its tariff and connection are the operator's to enter: money and plausibility bounds hang
on them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from flwr.app import Context

from common.config import (
    HOME_SECTIONS,
    Block,
    Home,
    Settings,
    for_nodes,
    from_run_config,
    parse,
    run_directory,
)
from common.data.frame import Household
from common.data.source import source_of
from common.data.span import Source
from common.errors import InputError
from common.named import is_named
from common.yaml_text import read_yaml
from fl_client.control.record import COMMAND, SHADOW
from fl_client.control.settings import CONTROL, read_control
from fl_client.control.steering import Steered
from fl_client.home.arrivals import Arrivals, history, local_zone
from fl_client.home.asked import ask

METERS = "meters"
"""The data source of a household whose readings arrive; ``HOME/meters.yaml`` says from where."""
OWN_SECTIONS = frozenset({"battery", "trader", "training", "run", "model"})
_OWN_KEYS = {"run": frozenset({"metrics", "shadow"}), "model": frozenset({"preset"})}


@dataclass(frozen=True)
class Membership:
    """One household's place in a run.

    ``durable``: a deployment, not a simulation. ``pinned``: this process alone answers for it.
    ``arrivals``: its live meters, where it has them. ``steered``: its battery, where the plan
    drives it, or would.
    """

    name: str
    settings: Settings
    directory: Path
    models: Path
    durable: bool = False
    pinned: bool = False
    arrivals: Arrivals | None = None
    steered: Steered | None = None

    def load(self) -> Household:
        """Read the household's own data. Raises InputError."""
        if self.arrivals is not None:
            zone = self.settings.data.timezone or local_zone()
            return history(self.arrivals, self.name, zone, self.settings.tariff.retail)
        source = _source(self.settings)
        if self.durable and self.name not in source.names():
            raise InputError(f"household {self.name}: not in its data source")
        return source.load(self.name)

    @property
    def home(self) -> Home:
        """What belongs to the household. Raises InputError."""
        # A household on its own host says so in its folder, and the operator in the run's settings.
        return self.settings.home(self.name, None if self.durable else self._block)

    @property
    def _block(self) -> Block:
        return _source(self.settings).block(self.name)


def _source(settings: Settings) -> Source:
    return _opened(settings.model_dump_json())


@lru_cache(maxsize=4)
def _opened(text: str) -> Source:
    settings = Settings.model_validate_json(text)
    return source_of(settings)


def _partition(node_config: Mapping[str, object]) -> int:
    partition = node_config.get("partition-id")
    if not isinstance(partition, int):
        raise InputError("node config: neither a partition-id nor a household name")
    return partition


def membership(context: Context) -> Membership:
    """Return the household of this client. Raises InputError for a partition without one."""
    if "household" in context.node_config:
        return _own_host(context.node_config, from_run_config(context.run_config))
    run = tuple(sorted(context.run_config.items()))
    node = tuple(sorted(context.node_config.items()))
    return _virtual(run, node, context.run_id)


@lru_cache(maxsize=1 << 16)
def _virtual(
    run: tuple[tuple[str, object], ...], node: tuple[tuple[str, object], ...], run_id: int
) -> Membership:
    run_config, node_config = dict(run), dict(node)
    settings = from_run_config(run_config)
    partition = _partition(node_config)
    nodes = node_config.get("num-partitions")
    if isinstance(nodes, int):
        settings = for_nodes(settings, nodes)
    names = _source(settings).names()
    if partition >= len(names):
        raise InputError(f"partition {partition}: the run has {len(names)} households")
    name, home = names[partition], run_directory(run_config, run_id) / "households"
    pinned = bool(node_config.get("pinned", False))
    return Membership(name, settings, home / name, home / ".models", pinned=pinned)


def _own_host(node_config: Mapping[str, object], settings: Settings) -> Membership:
    name, home = str(node_config["household"]), Path(str(node_config["state"]))
    values = settings.model_dump(mode="json")
    own = own_settings(home.parent / "settings.yaml")
    for section, kept in own.items():
        values[section] = values[section] | kept
    # What the coordinator has set for all is a default here: the household knows what it has.
    for layer in ("homes", "homes_last"):
        values[layer] = {
            which: {section: keys for section, keys in block.items() if section not in own}
            for which, block in values[layer].items()
        }
    preset, agreed = values["model"]["preset"], settings.model.preset
    if preset != agreed:
        raise InputError(f"settings.yaml: model.preset = {preset!r}: in this run it is {agreed!r}")
    spec = str(node_config["data"])
    if spec == METERS:
        return _live(name, home, values)
    values["data"]["source"] = spec
    if spec not in ("citylearn", "synthetic"):
        # Its own folder, file or view of a database holds this household and nobody else.
        values["run"]["households"] = 1
    return Membership(name, parse(values), home, home / "models", durable=True)


def _live(name: str, home: Path, values: dict[str, Any]) -> Membership:
    """A household whose readings arrive. Raises InputError."""
    control = read_control(home.parent)
    commanded = control.mode == COMMAND
    live = Arrivals(home.parent, commanded=commanded)
    steered = None
    if control.mode in (SHADOW, COMMAND):
        live.needs_battery()
        battery = parse(values).home(name).battery_spec
        if not float(battery.capacity_kwh) > 0:
            raise InputError(
                f"{home.parent / CONTROL}: mode {control.mode}, but this household has no battery: "
                "say its battery: in settings.yaml"
            )
        steered = Steered(battery, commanded)
    if not commanded:
        # Its battery works by itself: the home trades with its net load as it is.
        values["battery"]["capacity_kwh"] = 0.0
    settings = parse(values)
    ask(home.parent, settings.cadence)
    return Membership(
        name, settings, home, home / "models", durable=True, arrivals=live, steered=steered
    )


def own_code(path: Path) -> set[str]:
    """Code (``module:Name``) that the household's settings.yaml names: no other is run there."""
    values = [value for own in own_settings(path).values() for value in own.values()]
    return {value for value in values if isinstance(value, str) and is_named(value)}


def own_settings(path: Path) -> dict[str, dict[str, object]]:
    """Sections that a household sets for itself. Raises InputError for others."""
    if not path.exists():
        return {}
    loaded = read_yaml(path) or {}
    if not isinstance(loaded, dict) or not all(isinstance(own, dict) for own in loaded.values()):
        raise InputError(f"{path}: expected sections with keys")
    for section, own in loaded.items():
        if section in HOME_SECTIONS and section not in OWN_SECTIONS:
            raise InputError(
                f"{path}: a household does not set {section!r} by itself: the operator enters it "
                f"in the run's settings, under homes: {{NAME: {{{section}: ...}}}}"
            )
        if section not in OWN_SECTIONS:
            raise InputError(f"{path}: a household does not set {section!r} by itself")
        unknown = set(own) - _OWN_KEYS.get(section, set(own))
        if unknown:
            raise InputError(f"{path}: a household does not set {section}.{min(unknown)} by itself")
    return loaded
