"""What a run is compared with: no battery, a greedy battery, and perfect-foresight optima.

All of them live through the same load, PV, tariff, limits and end value as the run itself.
The optima are linear programmes solved by HiGHS: each house on its own, and the community with
peer-to-peer losses and without a market margin. Costs contain the end value, not wear.
"""

from dataclasses import dataclass

import highspy
import numpy as np
from scipy import sparse

from common.arrays import Floats
from common.energy import battery as bat
from common.energy import connection as con
from common.energy.battery import BatterySpec
from common.energy.connection import ConnectionSpec
from common.energy.tariff import EndValue, end_value, grid_cost

# Times the highest retail price: what the programmes pay to leave load unserved.
UNSERVED_PRICE = 100.0
LOSER = 0.01
"""A household that pays this much [currency] more than alone, without a market, has lost by it."""


@dataclass(frozen=True)
class Case:
    """The days to be lived through: load, pv (H, T) kWh; retail (T,); feed_in per kWh.

    ``end`` defaults to the convention of ``common.energy.tariff.end_value``.
    """

    load: Floats
    pv: Floats
    retail: Floats
    feed_in: float
    battery: BatterySpec
    connection: ConnectionSpec
    loss: float = 0.05
    hours: float = 0.5
    end: EndValue | None = None

    @property
    def end_value(self) -> EndValue:
        """The end value in force."""
        return self.end or end_value(self.battery, self.retail, self.feed_in)


@dataclass(frozen=True)
class Outcome:
    """cost (H,) per household [currency]; grid_import, grid_export (H, T); soc (H, T+1)."""

    cost: Floats
    grid_import: Floats
    grid_export: Floats
    soc: Floats

    @property
    def total(self) -> float:
        """Cost of the community."""
        return float(self.cost.sum())

    def peak_kw(self, hours: float = 0.5) -> float:
        """Highest import of the community [kW]."""
        return float(self.grid_import.sum(axis=0).max() / hours)


def no_battery_no_trade(case: Case) -> Outcome:
    """Every house draws its net load from the grid; the battery rests."""
    zero = np.zeros(case.load.shape)
    flow = con.flows(case.load, case.pv, zero, zero, zero, zero, case.connection, case.hours)
    bill = grid_cost(flow.grid_import, flow.grid_export, case.retail, case.feed_in)
    soc = np.broadcast_to(
        np.asarray(case.battery.soc_initial, dtype=np.float64).reshape(-1, 1),
        (case.load.shape[0], case.load.shape[1] + 1),
    )
    return Outcome(bill.sum(axis=1), flow.grid_import, flow.grid_export, soc)


def greedy_battery(case: Case) -> Outcome:
    """Every battery takes its own house's surplus and serves its deficit at once; no trade."""
    households, intervals = case.load.shape
    spec = case.battery.per_household(households)
    soc = np.empty((households, intervals + 1))
    soc[:, 0] = spec.soc_initial
    charge, discharge = np.zeros(case.load.shape), np.zeros(case.load.shape)
    for t in range(intervals):
        step = bat.step(spec, soc[:, t], case.pv[:, t] - case.load[:, t], case.hours)
        soc[:, t + 1], charge[:, t], discharge[:, t] = step[:3]
    zero = np.zeros(case.load.shape)
    flow = con.flows(case.load, case.pv, charge, discharge, zero, zero, case.connection, case.hours)
    bill = grid_cost(flow.grid_import, flow.grid_export, case.retail, case.feed_in).sum(axis=1)
    left = case.end_value.value(soc[:, -1] * np.asarray(spec.capacity_kwh))
    return Outcome(bill - left, flow.grid_import, flow.grid_export, soc)


def own_optimum(case: Case) -> Outcome:
    """Each house alone with perfect foresight: one linear programme per house."""
    parts = [_solve(_house(case, h), trade=False) for h in range(case.load.shape[0])]
    return Outcome(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("cost", "grid_import", "grid_export", "soc")
        )
    )


def community_optimum(case: Case, import_cap_kw: float | None = None) -> Outcome:
    """All houses together with perfect foresight, trading with losses and without margin.

    With ``import_cap_kw`` the sum of grid imports stays below the cap. ``cost`` is the total
    spread evenly: money between houses does not change the optimum of the community. Raises
    ValueError if the cap cannot be held.
    """
    return _solve(case, trade=True, import_cap_kw=import_cap_kw)


def _house(case: Case, h: int) -> Case:
    spec = case.battery.per_household(case.load.shape[0])
    limits = [
        float(np.broadcast_to(np.asarray(value, dtype=np.float64), case.load.shape[0])[h])
        for value in (case.connection.import_kwh, case.connection.export_kwh)
    ]
    one = slice(h, h + 1)
    whole = case.end_value
    reference = np.broadcast_to(np.asarray(whole.reference_kwh, float), case.load.shape[0])[one]
    return Case(
        case.load[one],
        case.pv[one],
        case.retail,
        case.feed_in,
        BatterySpec(**{name: getattr(spec, name)[one] for name in spec.__dataclass_fields__}),
        ConnectionSpec(*limits),
        case.loss,
        case.hours,
        EndValue(reference, whole.shortfall_price, whole.surplus_price),
    )


def _solve(case: Case, *, trade: bool, import_cap_kw: float | None = None) -> Outcome:
    """Build and solve the programme.

    Columns, one block of H*T each: charge, discharge, stored (at the end of the interval),
    import, export, curtailed, unserved, and with trade bought, sold; then H shortfalls and H
    surpluses. Unserved load is possible only where load exceeds pv by more than the import
    limit, and so dear that it comes last.
    """
    households, intervals = case.load.shape
    cells = households * intervals
    spec = case.battery.per_household(households)
    import_limit, export_limit = (
        np.repeat(np.broadcast_to(limit, households), intervals)
        for limit in case.connection.limits(case.hours)
    )
    power = np.repeat(np.asarray(spec.power_kw) * case.hours, intervals)
    capacity = np.asarray(spec.capacity_kwh)
    eta = np.repeat(spec.eta, intervals)
    start = np.asarray(spec.soc_initial) * capacity
    end = case.end_value
    load, pv = case.load.ravel(), case.pv.ravel()
    retail = np.tile(case.retail, households)

    blocks = 9 if trade else 7
    none = np.zeros(cells)
    lower = np.concatenate(
        [none, none, np.repeat(np.asarray(spec.soc_min) * capacity, intervals)]
        + [none] * (blocks - 3)
        + [np.zeros(2 * households)]
    )
    upper = np.concatenate(
        [power, power, np.repeat(np.asarray(spec.soc_max) * capacity, intervals)]
        + [import_limit, export_limit, pv, np.maximum(load - pv - import_limit, 0.0)]
        + ([import_limit, export_limit] if trade else [])
        + [np.full(2 * households, np.inf)]
    )
    cost = np.concatenate(
        [none, none, none, retail, np.full(cells, -case.feed_in)]
        + [none, np.full(cells, UNSERVED_PRICE * float(case.retail.max()))]
        + [none] * (blocks - 7)
        + [np.full(households, end.shortfall_price), np.full(households, -end.surplus_price)]
    )

    eye = sparse.identity(cells, format="csr")
    zero = sparse.csr_matrix((cells, cells))
    tail = sparse.csr_matrix((cells, 2 * households))
    # stored_t - stored_{t-1} - eta charge + discharge / eta = start at t = 0, else 0
    previous = sparse.kron(
        sparse.identity(households), sparse.diags([1.0], [-1], shape=(intervals, intervals))
    )
    store = [-sparse.diags(eta), sparse.diags(1 / eta), eye - previous]
    first = np.zeros((households, intervals))
    first[:, 0] = start
    # load - unserved + charge + export + curtailed + sold = pv + discharge + import + bought
    balance = [eye, -eye, zero, -eye, eye, eye, -eye] + ([-eye, eye] if trade else [])
    rows: list[sparse.spmatrix] = [
        sparse.hstack([*store, *[zero] * (blocks - 3), tail]),
        sparse.hstack([*balance, tail]),
    ]
    row_low: list[Floats] = [first.ravel(), pv - load]
    row_high: list[Floats] = [first.ravel(), pv - load]
    # stored_T + shortfall - surplus = reference
    last = sparse.csr_matrix(
        (
            np.ones(households),
            (np.arange(households), np.arange(1, households + 1) * intervals - 1),
        ),
        shape=(households, cells),
    )
    blank = sparse.csr_matrix((households, cells))
    one = sparse.identity(households)
    rows.append(sparse.hstack([blank, blank, last, *[blank] * (blocks - 3), one, -one]))
    reference = np.broadcast_to(np.asarray(end.reference_kwh, dtype=np.float64), households)
    row_low.append(reference)
    row_high.append(reference)

    per_interval = sparse.kron(np.ones((1, households)), sparse.identity(intervals))
    empty = sparse.csr_matrix((intervals, cells))
    short_tail = sparse.csr_matrix((intervals, 2 * households))
    if trade:
        # What is delivered is what was sent less the loss; P2P shares the connection.
        rows.append(
            sparse.hstack([*[empty] * 7, per_interval, -(1 - case.loss) * per_interval, short_tail])
        )
        row_low.append(np.zeros(intervals))
        row_high.append(np.zeros(intervals))
        rows.append(sparse.hstack([*[zero] * 3, eye, *[zero] * 3, eye, zero, tail]))
        rows.append(sparse.hstack([*[zero] * 4, eye, *[zero] * 3, eye, tail]))
        row_low += [np.full(cells, -np.inf)] * 2
        row_high += [import_limit, export_limit]
    if import_cap_kw is not None:
        rows.append(
            sparse.hstack([*[empty] * 3, per_interval, *[empty] * (blocks - 4), short_tail])
        )
        row_low.append(np.full(intervals, -np.inf))
        row_high.append(np.full(intervals, import_cap_kw * case.hours))

    solution = _highs(
        cost,
        lower,
        upper,
        sparse.vstack(rows).tocsc(),
        np.concatenate(row_low),
        np.concatenate(row_high),
    )
    shape = (households, intervals)
    stored, grid_import, grid_export = (
        solution[k * cells : (k + 1) * cells].reshape(shape) for k in (2, 3, 4)
    )
    soc = np.concatenate([start[:, None], stored], axis=1)
    soc = np.divide(soc, capacity[:, None], out=np.zeros_like(soc), where=capacity[:, None] > 0)
    bill = grid_cost(grid_import, grid_export, case.retail, case.feed_in).sum(axis=1)
    paid = bill - end.value(stored[:, -1])
    if trade:
        paid = np.full(households, paid.sum() / households)
    return Outcome(paid, grid_import, grid_export, soc)


def _highs(
    cost: Floats,
    lower: Floats,
    upper: Floats,
    matrix: sparse.csc_matrix,
    row_low: Floats,
    row_high: Floats,
) -> Floats:
    """Minimise cost @ x with lower <= x <= upper, row_low <= matrix @ x <= row_high."""
    model = highspy.HighsLp()
    model.num_col_, model.num_row_ = matrix.shape[1], matrix.shape[0]
    model.col_cost_, model.col_lower_, model.col_upper_ = cost, lower, upper
    model.row_lower_, model.row_upper_ = row_low, row_high
    model.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    model.a_matrix_.start_ = matrix.indptr
    model.a_matrix_.index_ = matrix.indices
    model.a_matrix_.value_ = matrix.data
    solver = highspy.Highs()  # type: ignore[no-untyped-call]
    solver.setOptionValue("output_flag", False)
    solver.setOptionValue("threads", 1)
    solver.passModel(model)
    solver.run()
    if solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        status = solver.modelStatusToString(solver.getModelStatus())
        raise ValueError(f"the perfect-foresight programme has no optimum: {status}")
    return np.asarray(solver.getSolution().col_value)
