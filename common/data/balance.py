"""What a home consumed, from whatever flows its meters show."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from common.arrays import Floats, Mask
from common.cadence import HALF_HOUR, Cadence
from common.data.frame import APPLIANCES
from common.data.readings import FLOWS
from common.data.resample import fill_gaps
from common.errors import InputError

# Sums of rounded meters may fall below zero by this much; it is clipped.
_ROUNDING_KWH = 0.05
# A few rows of nonsense are gaps; more say that a role or a sign is wrong.
_CONTRADICTIONS = 0.02
# A meter of consumption and the flows around it agree to this share, or one is something else.
_AGREE = 0.1


@dataclass(frozen=True)
class Measured:
    """Half hours of one channel: (n,) kWh, and where it is known."""

    kwh: Floats
    known: Mask


@dataclass(frozen=True)
class Balance:
    """``columns``: appliances and pv, gaps filled; ``gap``: (n,) where the consumption was."""

    columns: dict[str, Floats]
    gap: Mask
    contradictions: int


def balance(what: str, flows: Mapping[str, Measured], cadence: Cadence = HALF_HOUR) -> Balance:
    """Return the nine appliances and pv.

    ``flows``: channel -> (n,) rows of ``cadence``, ``consumption`` or ``import`` or appliances
    among them. ``what``: file and household, for messages. Consumption that follows from
    several flows is a gap wherever one of them is. Raises InputError where the flows contradict
    each other.
    """
    size = len(next(iter(flows.values())).kwh)
    main, pv, contradictions = _main(what, flows, size, cadence)

    def filled(flow: Measured) -> Floats:
        return fill_gaps(flow.kwh, flow.known, cadence.per_day)

    parts = {a: filled(flows[a]) for a in APPLIANCES if a in flows}
    columns = {} if pv is None else {"pv": filled(pv)}
    if main is None:
        gap = ~np.logical_and.reduce([flows[a].known for a in parts])
        return Balance({**parts, **columns}, gap, contradictions)
    total = filled(main)
    named = sum(parts.values(), np.zeros(size))
    # Sub-meters and main meter disagree a little; the main meter decides.
    scale = np.where(named > total, total / np.maximum(named, 1e-12), 1.0)
    scaled = {a: v * scale for a, v in parts.items()}
    rest = np.clip(total - named * scale, 0.0, None)
    return Balance(
        {**scaled, "misc": scaled.get("misc", 0.0) + rest, **columns}, ~main.known, contradictions
    )


def _main(
    what: str, flows: Mapping[str, Measured], size: int, cadence: Cadence
) -> tuple[Measured | None, Measured | None, int]:
    """Return the whole home's consumption, the generation, and the contradictions."""
    pv = flows.get("pv")
    around = {c: flows[c] for c in FLOWS if c in flows and c != "consumption"}
    if "consumption" in flows:
        if "import" in around:
            _agree(what, flows["consumption"], around)
        return flows["consumption"], pv, 0
    if "import" not in around:
        return None, pv, 0
    if set(around) == {"import"}:
        return flows["import"], pv, 0
    if set(around) == {"import", "export"}:
        # Without a generation meter only net flows are known: they are kept as they are.
        return flows["import"], flows["export"], 0
    total, known = _sum(around, size)
    low = known & (total < -_ROUNDING_KWH)
    count = int(low.sum())
    if count > max(1, _CONTRADICTIONS * int(known.sum())):
        worst = int(np.argmin(np.where(known, total, 0.0)))
        raise InputError(
            f"{what}: {_formula(around)} gives a consumption of {total[worst]:g} kWh in one "
            f"{cadence.noun}, and less than nothing in {count} of {int(known.sum())}: is a role or "
            "a sign wrong, or an inverter missing?"
        )
    return Measured(np.clip(total, 0.0, None), known & ~low), pv, count


def _sum(around: Mapping[str, Measured], size: int) -> tuple[Floats, Mask]:
    total, known = np.zeros(size), np.ones(size, dtype=np.bool_)
    for channel, flow in around.items():
        total = total - flow.kwh if channel in ("export", "charge") else total + flow.kwh
        known = known & flow.known
    return total, known


def _formula(around: Mapping[str, Measured]) -> str:
    plus = [c for c in around if c not in ("export", "charge")]
    minus = [c for c in around if c in ("export", "charge")]
    return " - ".join([" + ".join(plus), *minus])


def _agree(what: str, consumption: Measured, around: Mapping[str, Measured]) -> None:
    """Refuse a consumption that has nothing to do with the flows given beside it."""
    total, known = _sum(around, len(consumption.kwh))
    known = known & consumption.known
    used, flown = float(consumption.kwh[known].sum()), float(total[known].sum())
    if abs(used - flown) > _AGREE * max(used, abs(flown), 1.0):
        raise InputError(
            f"{what}: consumption is {used:.3f} kWh, {_formula(around)} beside it {flown:.3f}: "
            "they are not of one home; leave one of them out (two registers of one meter are two "
            "imports)"
        )
