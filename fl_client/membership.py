"""Which household this process speaks for, and where it keeps its things.

A virtual client of a simulation is the household with its partition's number in the data source.
A household on its own host is told its name and folders by its SuperNode (node config).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from flwr.app import Context

from common.config import Settings, from_run_config, run_directory
from common.data.frame import Household
from common.data.source import Source, source_of
from common.errors import InputError


@dataclass(frozen=True)
class Membership:
    """One household's place in a run."""

    name: str
    settings: Settings
    directory: Path
    models: Path

    def load(self) -> Household:
        """Read the household's own data. Raises InputError."""
        return _source(self.settings).load(self.name)


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
    settings = from_run_config(context.run_config)
    partition = _partition(context.node_config)
    names = _source(settings).names()
    if partition >= len(names):
        raise InputError(f"partition {partition}: the run has {len(names)} households")
    home = run_directory(context.run_config, context.run_id) / "households"
    return Membership(names[partition], settings, home / names[partition], home / ".models")
