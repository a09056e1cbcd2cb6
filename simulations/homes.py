"""Every household of a source, with all its readings."""

from pathlib import Path

from common.data import citylearn, store
from common.data.frame import Household
from common.data.source import open_source
from common.errors import InputError
from simulations.progress import track


def load_households(
    spec: str, *, households: int, days: int, seed: int, timezone: str | None
) -> list[Household]:
    """Load the first ``households`` of ``spec`` by name, all their rows; 0: every one there is.

    ``days`` is how much to generate for ``synthetic``. Raises InputError for an unknown source.
    """
    if households < 0:
        raise InputError(f"households = {households}: at least 1, or 0 for all")
    source = open_source(
        spec,
        seed=seed,
        households=households or _count(spec),
        start=None,
        days=1.0,
        history_days=max(1, days - 1),
        timezone=timezone,
    )
    return [source.load(name).half_hours() for name in track(source.names(), "reading")]


def _count(spec: str) -> int:
    if spec == "citylearn":
        return len(citylearn.NAMES)
    if spec == "synthetic":
        return 10
    if "://" in spec:
        raise InputError(f"data source {spec!r}: say how many households")
    path = Path(spec)
    return 1 if path.is_file() else len(store.household_files(path)) if path.exists() else 1
