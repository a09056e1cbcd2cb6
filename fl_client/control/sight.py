"""What the meters and the battery have said, as the control of the battery needs it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from fl_client.home.deriving import pieces_of
from fl_client.home.mapping import Channel
from fl_client.home.store import Series, Store

# Power of the grid where no meter tells it: of what its registers moved in so long.
_SPAN_S = 30.0
_AGO_S = 900.0


@dataclass(frozen=True)
class Seen:
    """What is known now; powers kW, import and charging positive; times [s since 1970].

    counted_to: up to then all energies are known. powers_at: the older of the two powers' times,
    battery_at the battery's. soc_at: when ``soc`` was told. permitted: what
    the switch of the house says, None where there is none. oldest: time of the oldest of all.
    """

    counted_to: float
    grid_kw: float
    battery_kw: float
    powers_at: float
    battery_at: float
    soc: float
    soc_at: float
    permitted: bool | None
    oldest: float


class Sight(Protocol):
    """Eyes of the control."""

    def see(self, now: float) -> Seen | str:
        """What is known at ``now`` [s since 1970], or what is missing."""
        ...

    def counted(self, begin: float, end: float) -> tuple[float, float]:
        """(Load less PV, what the battery did) [kWh] between two times, charging positive."""
        ...


class StoreSight:
    """``Sight`` of a household's ``meters.sqlite``; ``channels``: of meters.yaml and control.yaml.

    The battery's energy is that of its own registers, where it has any, else of its power.
    """

    def __init__(self, store: Store, channels: Sequence[Channel]) -> None:
        self._store = store
        roles = {one.role for one in channels}
        self._of = {role: [one for one in channels if one.role == role] for role in roles}
        self._registers = bool({"charge", "discharge"} & roles)

    def see(self, now: float) -> Seen | str:
        """See ``Sight``."""
        for role, words in (
            ("battery", "the battery's power"), ("soc", "its state of charge"),
            ("import", "the meter"),
        ):  # fmt: skip
            if role not in self._of:
                return f"{words} is not mapped: role {role}"
            if self._unheard(role):
                return f"{words} has not been heard yet"
        if self._unheard("switch"):
            return "the switch of the house has not been heard yet"
        ends = [
            self._end(one, now)
            for role in ("import", "export", "charge", "discharge")
            for one in self._of.get(role, [])
        ]
        if not self._registers:
            ends += [self._newest(one)[1] for one in self._of["battery"]]
        battery_kw, battery_at = self._sum("battery")
        grid_kw, grid_at = self._sum("power") if "power" in self._of else self._register_kw(now)
        soc, soc_at = self._mean("soc")
        permitted = None
        if "switch" in self._of:
            permitted = all(self._newest(one)[0] > 0.5 for one in self._of["switch"])
        return Seen(
            min(ends), grid_kw, battery_kw, min(battery_at, grid_at), battery_at, soc, soc_at,
            permitted,
            min(*ends, battery_at, grid_at, soc_at),
        )  # fmt: skip

    def _unheard(self, role: str) -> bool:
        return any(self._store.newest(one.name) is None for one in self._of.get(role, []))

    def heard(self) -> float:
        """When the battery's power was told last [s since 1970], 0 before; cheap to ask."""
        said = [self._store.newest(one.name) for one in self._of.get("battery", [])]
        return min((0.0 if one is None else one.measured for one in said), default=0.0)

    def counted(self, begin: float, end: float) -> tuple[float, float]:
        """See ``Sight``."""
        kwh = {
            role: sum(self._energy(one, begin, end) for one in self._of.get(role, []))
            for role in ("import", "export", "charge", "discharge")
        }
        battery = kwh["charge"] - kwh["discharge"]
        if not self._registers:
            battery = sum(self._integral(one, begin, end) for one in self._of["battery"])
        return kwh["import"] - kwh["export"] - battery, battery

    def _newest(self, channel: Channel) -> tuple[float, float]:
        """(Value, time) that a channel told last; it has told something."""
        said = self._store.newest(channel.name)
        assert said is not None
        return said.value, said.measured

    def _sum(self, role: str) -> tuple[float, float]:
        said = [self._newest(one) for one in self._of[role] if self._store.newest(one.name)]
        return (sum(v for v, _ in said), min(t for _, t in said)) if said else (0.0, 0.0)

    def _mean(self, role: str) -> tuple[float, float]:
        total, at = self._sum(role)
        return total / len(self._of[role]), at

    def _end(self, channel: Channel, now: float) -> float:
        """Up to when a register is known."""
        found = pieces_of(self._store, channel, now - _AGO_S)
        if not len(found.end):
            return self._newest(channel)[1] if self._store.newest(channel.name) else now
        return min(float(found.end[-1]), found.known_until)

    def _energy(self, channel: Channel, begin: float, end: float) -> float:
        found = pieces_of(self._store, channel, begin)
        if not len(found.end):
            return 0.0
        times = np.stack([found.begin, found.end], axis=1).reshape(-1)
        kwh = np.stack([np.zeros(len(found.kwh)), found.kwh], axis=1).reshape(-1).cumsum()
        low, high = np.interp([begin, end], times, kwh)
        return float(high - low)

    def _integral(self, channel: Channel, begin: float, end: float) -> float:
        """Energy [kWh] of a power between two times; a power holds until another is told."""
        series: Series = self._store.series(channel.name, begin, 1)
        if not len(series.measured):
            return 0.0
        edges = np.append(series.measured, max(end, float(series.measured[-1])))
        spans = np.diff(np.clip(edges, begin, end))
        return float((spans * series.value).sum() / 3600)

    def _register_kw(self, now: float) -> tuple[float, float]:
        """Power at the connection of what the registers moved lately."""
        end = min(self._end(one, now) for one in self._of["import"] + self._of.get("export", []))
        kwh = sum(self._energy(one, end - _SPAN_S, end) for one in self._of["import"])
        kwh -= sum(self._energy(one, end - _SPAN_S, end) for one in self._of.get("export", []))
        return kwh * 3600 / _SPAN_S, end
