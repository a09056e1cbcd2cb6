"""A house with meters: what it used and made, what its registers showed, and what can go wrong.

Physics tick by tick (10 s), of a seed: load, PV, a battery that covers its own house. The truth of
every interval is known, whatever the meter says. Faults of the meter are applied to its messages.
"""

from dataclasses import dataclass, replace

import numpy as np

TICK_S = 10
FAULTS = (
    "meter_offline", "meter_silent", "register_reset", "register_jump", "register_glitch", "skew",
    "duplicate", "disorder", "late", "restart",
)  # fmt: skip
_CAPACITY, _POWER_KW, _ETA = 13.5, 5.0, 0.9**0.5
ENERGIES = ("import", "export", "pv", "charge", "discharge")


@dataclass(frozen=True)
class Message:
    """What the meters of a house say at once. ``due``, ``stamp`` [s since 1970]; energies [kWh]."""

    due: float
    stamp: float
    registers: tuple[float, ...]
    soc: float
    power_w: float

    def body(self):
        """As a JSON object."""
        named = dict(zip((f"{name}_kwh" for name in ENERGIES), self.registers, strict=True))
        return {"time": iso(self.stamp), "soc": round(100 * self.soc), "power_w": self.power_w,
                **named}  # fmt: skip


def iso(seconds):
    return np.datetime_as_string(np.datetime64(round(seconds), "s")) + "Z"


class House:
    """``hours`` of a home from ``begin`` [s since 1970] on; with PV and battery or without."""

    def __init__(self, seed, begin, hours, *, solar=True):
        draw = np.random.default_rng(seed)
        ticks = hours * 3600 // TICK_S
        self.begin, self.ticks = begin, ticks
        minute = 60 // TICK_S
        hour = (begin / 3600 + np.arange(ticks) * TICK_S / 3600) % 24
        busy = np.exp(draw.normal(0, 0.7, ticks // minute)).repeat(minute)
        load = (0.25 + 0.6 * np.exp(-(((hour - 19) / 2.5) ** 2))) * busy * draw.uniform(0.7, 1.5)
        cloud = draw.uniform(0.5, 1.0, ticks // minute).repeat(minute)
        pv = 4.0 * np.maximum(np.sin((hour - 6) / 12 * np.pi), 0.0) * cloud * solar
        flows = np.zeros((len(ENERGIES), ticks))
        self.soc, soc = np.zeros(ticks), 0.45
        for i in range(ticks):
            wanted = load[i] - pv[i] if solar else 0.0
            kw = min(max(wanted, -_POWER_KW), _POWER_KW)
            kwh = kw * TICK_S / 3600
            kwh = min(kwh, max(soc - 0.05, 0) * _CAPACITY * _ETA)
            kwh = max(kwh, -max(1.0 - soc, 0) * _CAPACITY / _ETA)
            soc += (max(-kwh, 0) * _ETA - max(kwh, 0) / _ETA) / _CAPACITY
            self.soc[i] = soc
            net = (load[i] - pv[i]) * TICK_S / 3600 - kwh
            flows[:, i] = (
                max(net, 0),
                max(-net, 0),
                pv[i] * TICK_S / 3600,
                max(-kwh, 0),
                max(kwh, 0),
            )
        self.used = np.concatenate([np.zeros((len(ENERGIES), 1)), np.cumsum(flows, axis=1)], axis=1)

    def at(self, role, seconds):
        """Energy [kWh] counted since the beginning."""
        times = self.begin + TICK_S * np.arange(self.ticks + 1)
        return np.interp(seconds, times, self.used[ENERGIES.index(role)])

    def between(self, role, begin, end):
        """Energy [kWh] of a stretch of time."""
        return float(self.at(role, end) - self.at(role, begin))

    def messages(self, every=TICK_S, resolution=0.001, faults=()):
        """What the meters say, in the order in which it arrives.

        ``faults``: (kind, first second, seconds) since the beginning.
        """
        offset = np.full(len(ENERGIES), 1000.0)
        reset_at = np.zeros(len(ENERGIES))
        told, held, parked = [], [], None
        jumped, was_reset, glitched = set(), set(), set()
        for second in range(every, self.ticks * TICK_S + 1, every):
            on = {kind for kind, at, length in faults if at <= second < at + length}
            for number, (kind, at, _) in enumerate(faults):
                if kind == "register_jump" and second >= at and number not in jumped:
                    jumped.add(number)
                    offset[0] += 100.0
                if kind == "register_reset" and second >= at and number not in was_reset:
                    was_reset.add(number)
                    reset_at = self.used[:, second // TICK_S].copy()
                    offset[:] = 0.0
            now = self.begin + second
            shown = self.used[:, second // TICK_S] - reset_at + offset
            shown = np.floor(shown / resolution + 1e-6) * resolution
            for number, (kind, at, _) in enumerate(faults):
                if kind == "register_glitch" and second >= at and number not in glitched:
                    glitched.add(number)
                    shown = np.zeros(len(ENERGIES))
            net = self.used[0, second // TICK_S] - self.used[0, max(second - every, 0) // TICK_S]
            net -= self.used[1, second // TICK_S] - self.used[1, max(second - every, 0) // TICK_S]
            one = Message(
                now, now + (90 if "skew" in on else 0), tuple(np.round(shown, 6).tolist()),
                float(self.soc[second // TICK_S - 1]), round(net * 3600e3 / every),
            )  # fmt: skip
            if on & {"meter_offline", "meter_silent", "restart"}:
                continue
            if "late" in on:
                held.append(one)
                continue
            if held:
                told += [replace(old, due=now) for old in held]
                held = []
            if "disorder" in on and parked is None:
                parked = one
                continue
            told.append(one)
            if "duplicate" in on:
                told.append(one)
            if parked is not None:
                told.append(replace(parked, due=now))
                parked = None
        return told + [replace(old, due=self.begin + self.ticks * TICK_S) for old in held]


def every_fault(seed, first_s, span_s):
    """(kind, first second, seconds) of each kind of fault, at a random time in a span, an hour at
    most."""
    draw = np.random.default_rng(seed)
    return tuple(
        (kind, int(first_s + draw.uniform(0, span_s)), int(draw.uniform(60, 3600)))
        for kind in FAULTS
    )


def changes(messages, role, hold_s=60.0, apart_s=0.05):
    """(time, value, held) (n,) each: what Home Assistant tells of a register, by time of arrival.

    Changes alone, of several at once ``apart_s`` one after the other; the value is repeated every
    ``hold_s`` whether the meter speaks or not.
    """
    number, rows = ENERGIES.index(role), []
    arrived = messages[0].due - apart_s
    hold, value = messages[0].due + 0.1 * hold_s, None
    for one in messages:
        while hold <= one.due:
            rows.append((hold, value, True))
            hold += hold_s
        arrived = max(one.due, arrived + apart_s)
        if one.registers[number] != value:
            value = one.registers[number]
            rows.append((arrived, value, False))
    time, values, held = (np.array(column) for column in zip(*sorted(rows), strict=True))
    return time, values, held


def untold(house, role, messages, begin, faults, arrivals=False):
    """Energy [kWh] that flowed while a register changed its level, between what was told before
    and after, two minutes more on both sides: nobody can know it.

    ``arrivals``: what was held back is told at once, and so is the level before and after.
    """
    lost = 0.0
    for kind, at, _ in faults:
        if kind == "register_reset" or (kind == "register_jump" and role == "import"):
            before = max((one.stamp for one in messages if one.stamp < begin + at), default=begin)
            after = min(
                one.due if arrivals else one.stamp
                for one in messages if one.stamp >= begin + at
            )  # fmt: skip
            lost += house.between(role, before - 120, after + 120)
    return lost
