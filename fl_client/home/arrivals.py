"""A home's readings as a run sees them: rows that are there, and rows that are still to come."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from common.arrays import Floats, Ints, Mask
from common.cadence import HALF_HOUR, Cadence
from common.data.frame import COLUMNS, IDLE_BATTERY, Household, check_zone
from common.data.regrid import regrid
from common.data.resample import fill_gaps
from common.errors import InputError
from common.market_rules import MILLI_WH_PER_KWH
from fl_client.home.mapping import ENERGIES, MAPPING, read_mapping
from fl_client.home.store import Store

_DAY_S = 86400.0


class Rows(NamedTuple):
    """(n,) intervals from a time on; nan where not all meters have spoken yet.

    ``load``, ``pv`` [kWh]: what the home uses and makes as seen from its connection, their
    difference being import less export, whatever its own battery does; of a home whose battery the
    plan commands: without it. ``imported``, ``exported`` [mWh] as the registers at the connection
    counted them, -1 where unknown. ``doubtful``: not measured at its own boundaries. ``charge``,
    ``discharge`` [kWh] of its battery, 0 without one. ``received_s``: when the newest of all these
    was received [s since 1970], nan where there is none.
    """

    load: Floats
    pv: Floats
    imported: Ints
    exported: Ints
    doubtful: Ints
    charge: Floats
    discharge: Floats
    received_s: float = np.nan

    @property
    def known(self) -> int:
        """How many leading rows lie before the newest that is known."""
        there = np.flatnonzero(np.isfinite(self.load))
        return int(there[-1]) + 1 if len(there) else 0


class Arrivals:
    """The readings in the store of the household in folder ``home``. Raises InputError.

    The mapping's roles make up the home: a row is known when each of its meters has spoken. A home
    without a meter for export exports nothing, and so on.
    """

    def __init__(self, home: Path, *, commanded: bool = False) -> None:
        channels = read_mapping(home / "meters.yaml")
        self._path, self._commanded = home / "meters.sqlite", commanded
        self._levels = [one.name for one in channels if one.role == "soc"]
        self.roles = [role for role in ENERGIES if any(one.role == role for one in channels)]
        if "import" not in self.roles:
            raise InputError(f"{home / 'meters.yaml'}: a home that trades needs a meter of import")

    def needs_battery(self) -> None:
        """Raise InputError where the battery is not measured."""
        for role, measured in (
            ("charge", "charge" in self.roles),
            ("discharge", "discharge" in self.roles),
            ("soc", bool(self._levels)),
        ):
            if not measured:
                raise InputError(
                    f"{self._path.with_name(MAPPING)}: no {role}; a battery that is steered, or "
                    "would be, needs charge, discharge and soc (docs/control.md)"
                )

    def soc(self, end: float | None = None) -> float:
        """State of charge that was told last, before ``end`` [s]; nan where none was in a day."""
        if not (self._levels and self._path.exists()):
            return np.nan
        store = Store(self._path)
        try:
            if end is None:
                said = [store.newest(name) for name in self._levels]
                values = [one.value for one in said if one is not None]
            else:
                told = [store.series(name, end - _DAY_S) for name in self._levels]
                values = [s.value[s.measured <= end][-1] for s in told if (s.measured <= end).any()]
        finally:
            store.close()
        return float(np.mean(values)) if len(values) == len(self._levels) else np.nan

    def span(self) -> tuple[int, int] | None:
        """First and last interval [s since 1970] of which all meters have told."""
        if not self._path.exists():
            return None
        store = Store(self._path)
        try:
            spans = [store.span(role, HALF_HOUR.minutes) for role in self.roles]
        finally:
            store.close()
        told = [span for span in spans if span is not None]
        if len(told) < len(self.roles):
            return None
        return max(first for first, _ in told), min(last for _, last in told)

    def rows(
        self, first: int, count: int, cadence: Cadence = HALF_HOUR, known_at: float | None = None
    ) -> Rows:
        """``count`` intervals from ``first`` [s since 1970] on, as known at ``known_at`` [s].

        A half hour begins at ``first``. Shorter intervals from before a run asked for them are
        even parts of their half hours, and hours the sums of theirs.
        """
        energy = {role: np.full(count, np.nan) for role in self.roles}
        doubtful = np.zeros(count, np.int64)
        received_s = np.nan
        if self._path.exists():
            store = Store(self._path)
            try:
                for role in self.roles:
                    energy[role], unsure, newest_s = _energy(
                        store, role, first, count, cadence, known_at
                    )
                    doubtful |= unsure
                    received_s = np.fmax(received_s, newest_s)
            finally:
                store.close()
        known = np.all([np.isfinite(kwh) for kwh in energy.values()], axis=0)
        nothing = np.where(known, 0.0, np.nan)
        net = energy["import"] - energy.get("export", nothing)
        charge, discharge = (
            np.where(known, energy.get(role, nothing), np.nan) for role in ("charge", "discharge")
        )
        if self._commanded:
            net = net + discharge - charge
        made = np.where(known, energy.get("pv", nothing), np.nan)
        used = np.where(known, np.maximum(net + made, 0.0), np.nan)
        made = used - np.where(known, net, np.nan)
        imported = _milliwh(energy["import"], known)
        exported = _milliwh(energy.get("export", nothing), known)
        return Rows(used, made, imported, exported, doubtful, charge, discharge, float(received_s))


def _energy(
    store: Store, role: str, first: int, count: int, cadence: Cadence, known_at: float | None
) -> tuple[Floats, Ints, float]:
    """(count,) energies [kWh] of a role, where they were not measured at their boundaries, and when
    the newest was received [s]."""
    kwh, unsure, half_hours_s = _stored(
        store, role, first, cadence.half_hours(count), HALF_HOUR, known_at
    )
    if cadence == HALF_HOUR:
        return kwh, unsure, half_hours_s
    told = [regrid(kwh, HALF_HOUR.minutes, cadence.minutes, 0, "energy")[:count]]
    told.append(
        regrid(unsure.astype(np.float64), HALF_HOUR.minutes, cadence.minutes, 0, "level")[:count]
    )
    made, doubt = (np.append(one, np.full(count - len(one), np.nan)) for one in told)
    if cadence.minutes > HALF_HOUR.minutes:
        return made, (doubt > 0).astype(np.int64), half_hours_s
    own, unsure, own_s = _stored(store, role, first, count, cadence, known_at)
    there = np.isfinite(own)
    newest_s = float(np.fmax(half_hours_s, own_s))
    return np.where(there, own, made), np.where(there, unsure, np.isfinite(made)), newest_s


def _stored(
    store: Store, role: str, first: int, count: int, cadence: Cadence, known_at: float | None
) -> tuple[Floats, Ints, float]:
    """The same of intervals that are kept as such; nan where there are none."""
    kwh, unsure, length = np.full(count, np.nan), np.zeros(count, np.int64), cadence.seconds
    received_s = np.nan
    for one in store.intervals(role, cadence.minutes, first, first + count * length, known_at):
        place = (one.start - first) // length
        kwh[place], unsure[place] = one.kwh, one.kind != "measured"
        received_s = np.fmax(received_s, one.received)
    return kwh, unsure, float(received_s)


def _milliwh(kwh: Floats, known: Mask) -> Ints:
    """Whole mWh, -1 where unknown."""
    whole = np.rint(np.where(known, kwh, 0.0) * MILLI_WH_PER_KWH).astype(np.int64)
    return np.where(known, whole, -1)


def history(arrivals: Arrivals, name: str, timezone: str, retail: float) -> Household:
    """What the meters have told so far as a household. Raises InputError where that is nothing.

    ``retail``: the price per kWh of a past that nobody has told; there is no weather.
    """
    span = arrivals.span()
    if span is None:
        raise InputError(
            f"household {name}: its meters have told nothing yet; see fedwatt client meters"
        )
    first, last = span
    rows = arrivals.rows(first, (last - first) // HALF_HOUR.seconds + 1)
    there = np.isfinite(rows.load)
    index = pd.date_range(
        pd.Timestamp(first, unit="s", tz="UTC"), periods=len(there), freq=HALF_HOUR.step
    )
    frame = pd.DataFrame(0.0, index=index, columns=list(COLUMNS))
    frame["misc"] = fill_gaps(np.nan_to_num(rows.load), there)
    frame["pv"] = fill_gaps(np.nan_to_num(rows.pv), there)
    frame["price"] = retail
    for sensor, value in IDLE_BATTERY.items():
        frame[sensor] = value
    return Household(
        name, frame, timezone, source="meters", filled_values=int((~there).sum()),
        filled_rows=~there,
    )  # fmt: skip


def local_zone() -> str:
    """Time zone of this computer, as /etc/localtime or TZ names it; UTC where neither does."""
    named = os.environ.get("TZ", "").lstrip(":")
    if not named:
        named = os.path.realpath("/etc/localtime").partition("zoneinfo/")[2]
    try:
        return check_zone(named or "UTC")
    except InputError:
        return "UTC"
