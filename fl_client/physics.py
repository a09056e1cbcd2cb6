"""What really happens in homes while an interval runs: battery, connection, meter, and the bill.

Array-first: H households at once, one household is H = 1, and each gets the same bits either way.
"""

from dataclasses import replace

import numpy as np

from common.arrays import Floats, Ints
from common.energy.ageing import age
from common.energy.battery import BatterySpec, step
from common.energy.connection import ConnectionSpec, Flows, flows
from common.energy.tariff import grid_cost
from common.market_rules import MICRO, MILLI_WH_PER_KWH, meter_milliwh
from fl_client.log import Log
from fl_client.prices import PublicPrices
from fl_client.steered import SteeredBatteries
from fl_client.trader.base import Actual
from fl_client.traders import Traders

NO_CAP = (-1, 0)
"""An allowance of interval t, where there is no cap: (mWh from the grid, scarcity price)."""


class Physics:
    """The devices of H households. It writes what they did into ``log`` and reads no other future
    than the rows of the interval it settles.

    load, pv (H, R) [kWh per interval of ``hours``], ``origin`` being the row of interval 0.
    ``shadowed``: the same households are also lived through without a market, as what trading is
    compared with.
    """

    def __init__(
        self,
        battery: BatterySpec,
        connection: ConnectionSpec,
        traders: Traders,
        *,
        log: Log,
        prices: PublicPrices,
        load: Floats,
        pv: Floats,
        origin: int,
        shadowed: bool,
        steered: SteeredBatteries,
        hours: float = 0.5,
    ) -> None:
        self._steered = steered
        self.battery, self.connection = battery, connection
        self.shadowed, self._hours = shadowed, hours
        self._traders = traders
        self._log, self._prices = log, prices
        self._load, self._pv, self._origin = load, pv, origin

    def before(self, t: int) -> dict[str, Floats]:
        """Battery state (H,) at the start of ``t``: soc, soh, cycles, shadow_soc, unaided_soc.

        While the interval before is not settled it is the newest that is known.
        """
        t = min(t, self._log.settled + 1)
        # Before it was in a household has no battery that the run would know of.
        if t > self._log.begins:
            found = {n: self._log[n][:, t - 1] for n in ("soc", "soh", "cycles", "shadow_soc")}
            unaided = self._log["unaided_soc"][:, t - 1]
            # Where that is not kept, or was not by a release before, it is as the shadow is.
            known = np.isfinite(unaided)
            return found | {"unaided_soc": np.where(known, unaided, found["shadow_soc"])}
        start = np.full(len(self._load), self.battery.soc_initial, dtype=np.float64)
        return {
            "soc": start,
            "soh": np.ones_like(start),
            "cycles": np.zeros_like(start),
            "shadow_soc": start.copy(),
            "unaided_soc": start.copy(),
        }

    def soc_known(self, t: int) -> Floats:
        """State of charge (H,) that the decision of ``t`` goes by: that before it, or as told."""
        return self._steered.told(self.before(t)["soc"])

    def settle(self, t: int, fills: Ints, allowed: Ints, undelivered: Floats) -> None:
        """Run the battery on what was really used and made during t; the grid takes the rest.

        fills (H, 4): bought, sold [mWh], paid, received [1e-6]. allowed (H, 2), under a cap: mWh
        from the grid, what more of it may cost [1e-6 per kWh]; NO_CAP where there is none.
        undelivered (H, 2): what a shortfall costs and unused energy earns per kWh; nan where the
        household has no fills of t.
        """
        log, prices, row = self._log, self._prices, self._origin + t
        load, pv = self._load[:, row], self._pv[:, row]
        before = self.before(t)
        actual = Actual(
            soc=before["soc"],
            net_load=load - pv,
            bought=fills[:, 0] / MILLI_WH_PER_KWH,
            sold=fills[:, 1] / MILLI_WH_PER_KWH,
            retail=prices.retail[:, t],
            feed_in=prices.feed_in[:, t],
            shortfall=np.where(np.isnan(undelivered[:, 0]), prices.retail[:, t], undelivered[:, 0]),
            unused=np.where(np.isnan(undelivered[:, 1]), prices.feed_in[:, t], undelivered[:, 1]),
            battery=self.battery,
            connection=self.connection,
            hours=self._hours,
        )
        moved = step(self.battery, actual.soc, self._dispatch(actual, allowed), self._hours)
        moved = self._steered.measured(t, moved)
        flow = self._flows(load, pv, moved.charge_kwh, moved.discharge_kwh, actual)
        health, cycles = age(self.battery, before["soh"], before["cycles"], actual.soc, moved)
        log["load"][:, t], log["pv"][:, t] = load, pv
        log["charge"][:, t], log["discharge"][:, t] = moved.charge_kwh, moved.discharge_kwh
        log["bought"][:, t], log["sold"][:, t] = actual.bought, actual.sold
        for name, value in flow._asdict().items():
            log[name][:, t] = value
        log["soc"][:, t], log["soh"][:, t], log["cycles"][:, t] = moved.soc, health, cycles
        log["retail"][:, t], log["feed_in"][:, t] = actual.retail, actual.feed_in
        log["local_buy"][:, t], log["local_sell"][:, t] = prices.signals[t]
        log["cost"][:, t] = _grid_bill(flow, actual) + (fills[:, 2] - fills[:, 3]) / MICRO
        if self.shadowed:
            self._settle_shadow(t, "shadow", self._log.shadow_plan, before, actual)
            if self._log.durable:
                self._settle_shadow(t, "unaided", self._log.unaided_plan, before, actual)
        log.settled = t

    def metered(self, h: int, intervals: Ints) -> Ints:
        """(K, 3) rows (interval, import, export) [mWh] of the meter at the connection of ``h``:
        those of ``intervals`` that are settled.
        """
        log = self._log
        known = intervals[(intervals >= log.begins) & (intervals <= log.settled)]
        flow = Flows(*(log[name][h, known] for name in Flows._fields))
        imported, exported = flow.meter(log["bought"][h, known], log["sold"][h, known])
        return np.stack([known, meter_milliwh(imported), meter_milliwh(exported)], axis=1)

    def _flows(
        self, load: Floats, pv: Floats, charge: Floats, discharge: Floats, actual: Actual
    ) -> Flows:
        return flows(
            load, pv, charge, discharge, actual.bought, actual.sold, self.connection, self._hours
        )

    def _dispatch(self, actual: Actual, allowed: Ints) -> Floats:
        """The batteries' actions (H,), each within its household's allowance."""
        plan = self._log.plan
        if (allowed[:, 0] < 0).all():
            return self._traders.dispatch(plan, actual)
        action = np.empty(len(actual.soc))
        # All have heard the same price, except who was away when it was told.
        for scarcity in np.unique(allowed[:, 1]).tolist():
            pick = np.flatnonzero(allowed[:, 1] == scarcity)
            kwh = allowed[pick, 0] / MILLI_WH_PER_KWH
            some = replace(
                actual.among(pick),
                allowance=np.where(kwh < 0, np.inf, kwh),
                scarcity_price=scarcity / MICRO,
            )
            action[pick] = self._traders.among(pick).dispatch(plan[pick], some)
        return action

    def _settle_shadow(
        self, t: int, name: str, plan: Floats, before: dict[str, Floats], actual: Actual
    ) -> None:
        """The same households without a market: what trading is compared with.

        ``name``: of the life led by ``plan`` (H, G): shadow, or unaided by a shared model as well.
        """
        row = self._origin + t
        load, pv = self._load[:, row], self._pv[:, row]
        none, soc = np.zeros(len(load)), before[f"{name}_soc"]
        alone = replace(actual, soc=soc, bought=none, sold=none)
        moved = step(self.battery, soc, self._traders.dispatch(plan, alone), self._hours)
        flow = self._flows(load, pv, moved.charge_kwh, moved.discharge_kwh, alone)
        self._log[f"{name}_soc"][:, t] = moved.soc
        self._log[f"{name}_cost"][:, t] = grid_cost(
            flow.grid_import, flow.grid_export, actual.retail, actual.feed_in
        )


def _grid_bill(flow: Flows, actual: Actual) -> Floats:
    """What the households owe the grid (H,), a shortfall or an unused kWh at its own price.

    Where the seller was paid more than a shortfall costs, its bill is higher than this.
    """
    bill = grid_cost(flow.grid_import, flow.grid_export, actual.retail, actual.feed_in)
    if actual.shortfall is None or actual.unused is None:
        return bill
    imported, exported = flow.meter(actual.bought, actual.sold)
    missing = np.maximum(actual.sold - exported, 0.0)
    left = np.maximum(actual.bought - imported, 0.0)
    bill = bill + missing * (actual.shortfall - actual.retail)
    return np.asarray(bill + left * (actual.feed_in - actual.unused))
