"""Where households come from: ``citylearn``, ``synthetic``, a folder, a file, or a database URL.

A source is a pure function of the arguments of ``open_source``: every process can open the same
source by itself and load one household of it.
"""

from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd

from common.cadence import HALF_HOUR, Cadence
from common.config import Settings
from common.data import store
from common.data.frame import Household, check_zone
from common.data.span import Source, Span, choose
from common.errors import InputError


def open_source(
    spec: str,
    *,
    seed: int,
    households: int,
    start: date | None,
    days: float | None,
    history_days: int,
    timezone: str | None = None,
    cadence: Cadence = HALF_HOUR,
) -> Source:
    """Open ``spec`` for a run of ``days`` days of the first ``households`` households by name.
    Its intervals are ``cadence`` long; households come as they are stored. ``days`` None: as many
    as there are, which ``lasts`` tells.

    ``start`` is the local day of interval 0; None: ``history_days`` after the first local midnight
    that every household has. ``timezone`` overrides the zone stored with the data.
    Raises InputError for an unknown source, too many households or missing files.
    """
    if timezone is not None:
        check_zone(timezone)
    if households < 1:
        raise InputError(f"households = {households}: at least 1 is needed")
    span = Span(start, days, history_days, timezone, cadence)
    if spec == "citylearn":
        from common.data.built_in import CityLearn

        return CityLearn(span, households)
    if spec == "synthetic":
        # Loading pvlib takes longer than reading a household's file: only this one needs it.
        from common.data.generated import Synthetic

        return Synthetic(span, seed, households)
    if "://" in spec:
        return _Database(span, spec, households)
    path = Path(spec)
    if not path.exists():
        raise InputError(
            f"data source {spec!r}: no such folder; known: citylearn, synthetic, a folder, a URL"
        )
    return _Folder(span, path, households)


def source_of(settings: Settings) -> Source:
    """Open the source that a run's settings name. Raises InputError as ``open_source`` does."""
    run, data = settings.run, settings.data
    return open_source(
        data.source,
        seed=run.seed,
        households=run.households,
        start=run.start,
        days=run.days,
        history_days=run.history_days,
        timezone=data.timezone,
        cadence=settings.cadence,
    )


def lasting(settings: Settings) -> Settings:
    """The same settings for as many days as their source has, where they leave that to it.

    Raises InputError as ``open_source`` does.
    """
    if not settings.endless:
        return settings
    days = source_of(settings).lasts()
    return settings.model_copy(update={"run": settings.run.model_copy(update={"days": days})})


class _Folder:
    one_tariff = False

    def __init__(self, span: Span, path: Path, households: int) -> None:
        self._span = span
        files = [path] if path.is_file() else store.household_files(path)
        spans = {s[0]: (s, f) for f in files for s in [store.read_span(f)]}
        self._names = choose(list(spans), households, str(path))
        self._spans = [spans[n][0] for n in self._names]
        self._files = {n: spans[n][1] for n in self._names}
        self.label = str(path)
        self.real = all(store.read_real(self._files[n]) for n in self._names)

    def names(self) -> list[str]:
        return self._names

    def load(self, name: str) -> Household:
        if name not in self._files:
            raise InputError(f"{self.label} has no household {name!r}")
        return self._span.adjust(store.read_household(self._files[name]))

    def block(self, name: str) -> dict[str, Any]:
        return store.read_block(self._files[name].with_name(f"{name}.yaml"))

    def start(self) -> pd.Timestamp:
        return self._span.start(self._spans)

    def lasts(self) -> float:
        return self._span.lasts(self._spans)


class _Database:
    one_tariff = False

    def __init__(self, span: Span, url: str, households: int) -> None:
        # Only who uses a database pays for loading the drivers.
        from common.data.sql import Readings

        self._span = span
        self._readings = Readings(url)
        self.label = self._readings.label
        spans = {s[0]: s for s in self._readings.spans()}
        self._names = choose(list(spans), households, self.label)
        self._spans = [spans[n] for n in self._names]
        self.real = self._readings.real(self._names)

    def names(self) -> list[str]:
        return self._names

    def load(self, name: str) -> Household:
        return self._span.adjust(self._readings.load(name))

    def block(self, name: str) -> dict[str, Any]:
        return {}

    def start(self) -> pd.Timestamp:
        return self._span.start(self._spans)

    def lasts(self) -> float:
        return self._span.lasts(self._spans)
