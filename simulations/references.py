"""What a run is compared with: no battery, a greedy battery, and perfect-foresight optima.

All of them live through the same load, PV, prices, limits and end value as the run itself.
The optima are linear programmes solved by HiGHS: each house on its own, and the community with
peer-to-peer losses and without a market margin. Costs contain the end value, not wear.

A home draws or feeds in an interval, and charges or discharges. Where prices are positive and
import is dearer than export everywhere, no optimum does both anyway. Where some price makes it pay
(a price below zero, export above import, one member's import price below what another saves) the
programme gets a binary for that interval. Its optimum is known to a gap; where that is not small
after some time, the linear programme's value is given instead, as what it is: a bound.
"""

from dataclasses import dataclass, replace

import highspy
import numpy as np
from scipy import sparse

from common.arrays import Floats, Ints, Mask
from common.energy import battery as bat
from common.energy import connection as con
from common.energy.battery import BatterySpec
from common.energy.connection import ConnectionSpec
from common.energy.tariff import EndValue, end_value, grid_cost

# Times the dearest price: what the programmes pay to leave load unserved.
UNSERVED_PRICE = 100.0
# An optimum with binaries is known this exactly, as a share of it, or it is not called one.
WIDEST_GAP = 1e-3
LOSER = 0.01
"""A household that pays this much [currency] more than alone, without a market, has lost by it."""
# What the solver aims at, and the seconds it has for it.
_GAP = 1e-4
_SECONDS = 300.0
# Flows below this [kWh] are the solver's rounding.
_DUST = 1e-6
_ROUNDS = 4


class NoOptimumError(ValueError):
    """The programme has no solution: what is asked cannot be done. The message says why."""


@dataclass(frozen=True)
class Case:
    """The days to be lived through: load, pv (H, T) kWh; prices per kWh of either sign.

    retail: import prices, (T,) for all or (H, T). feed_in: export prices, one for all, or as
    retail. battery, connection: scalar or (H,). fee: paid per kWh delivered between peers.
    ``end`` defaults to the convention of ``common.energy.tariff.end_value``, with the local days
    that ``days`` (T,) or (H, T) tells apart; None: all one day.
    """

    load: Floats
    pv: Floats
    retail: Floats
    feed_in: float | Floats
    battery: BatterySpec
    connection: ConnectionSpec
    loss: float = 0.05
    hours: float = 0.5
    end: EndValue | None = None
    days: Ints | None = None
    fee: float = 0.0

    @property
    def end_value(self) -> EndValue:
        """The end value in force."""
        return self.end or end_value(self.battery, self.retail, self.feed_in, self.days)

    @property
    def over_time(self) -> ConnectionSpec:
        """The connection with limits that broadcast over (H, T)."""
        limits = (self.connection.import_kwh, self.connection.export_kwh)
        return ConnectionSpec(*(np.reshape(x, (-1, 1)) if np.ndim(x) else x for x in limits))

    @property
    def imported(self) -> Floats:
        """Import prices (H, T)."""
        return np.broadcast_to(self.retail, self.load.shape)

    @property
    def exported(self) -> Floats:
        """Export prices (H, T)."""
        return np.broadcast_to(np.asarray(self.feed_in, dtype=np.float64), self.load.shape)


@dataclass(frozen=True)
class Outcome:
    """cost (H,) per household [currency]; grid_import, grid_export (H, T); soc (H, T+1).

    ``gap``: how far from the optimum it may be, as a share. ``bound``: no optimum, but a cost that
    none can be below. ``delivered`` (T,): what the community trades [kWh]; None without trade.
    """

    cost: Floats
    grid_import: Floats
    grid_export: Floats
    soc: Floats
    gap: float = 0.0
    bound: bool = False
    delivered: Floats | None = None

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
    flow = con.flows(case.load, case.pv, zero, zero, zero, zero, case.over_time, case.hours)
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
    flow = con.flows(case.load, case.pv, charge, discharge, zero, zero, case.over_time, case.hours)
    bill = grid_cost(flow.grid_import, flow.grid_export, case.retail, case.feed_in).sum(axis=1)
    left = case.end_value.value(soc[:, -1] * np.asarray(spec.capacity_kwh))
    return Outcome(bill - left, flow.grid_import, flow.grid_export, soc)


def own_optimum(case: Case) -> Outcome:
    """Each house alone with perfect foresight: one programme per house. Raises NoOptimumError."""
    # Worked out for all houses at once, not again for each of them.
    case = replace(case, end=case.end_value)
    parts = [_solve(_house(case, h), trade=False) for h in range(case.load.shape[0])]
    cost, grid_import, grid_export, soc = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("cost", "grid_import", "grid_export", "soc")
    )
    return Outcome(
        cost,
        grid_import,
        grid_export,
        soc,
        gap=max(part.gap for part in parts),
        bound=any(part.bound for part in parts),
    )


def community_optimum(case: Case, import_cap_kw: float | None = None) -> Outcome:
    """All houses together with perfect foresight, trading with losses and without margin.

    With ``import_cap_kw`` the sum of grid imports stays below the cap. ``cost`` is the total
    spread evenly: money between houses does not change the optimum of the community. Raises
    NoOptimumError if the cap cannot be held.
    """
    return _solve(case, trade=True, import_cap_kw=import_cap_kw)


def _house(case: Case, h: int) -> Case:
    count, one = case.load.shape[0], slice(h, h + 1)

    def own(values: Floats) -> Floats:
        return np.asarray(values[h]) if np.ndim(values) > 1 else values

    spec = case.battery.per_household(count)
    limits = [
        float(np.broadcast_to(np.asarray(value, dtype=np.float64), count)[h])
        for value in (case.connection.import_kwh, case.connection.export_kwh)
    ]
    whole = case.end_value
    reference, shortfall, surplus = (
        np.broadcast_to(np.asarray(part, dtype=np.float64), count)
        for part in (whole.reference_kwh, whole.shortfall_price, whole.surplus_price)
    )
    return replace(
        case,
        load=case.load[one],
        pv=case.pv[one],
        retail=own(case.retail),
        feed_in=own(np.asarray(case.feed_in, dtype=np.float64)),
        battery=BatterySpec(
            **{name: getattr(spec, name)[one] for name in spec.__dataclass_fields__}
        ),
        connection=ConnectionSpec(*limits),
        end=EndValue(reference[one], float(shortfall[h]), float(surplus[h])),
        days=None,
    )


def _tempting(case: Case, trade: bool) -> tuple[Mask, Mask]:
    """Where (T,) some price may make a home draw and feed at once, or charge and discharge."""
    imported, exported = case.imported, case.exported
    below_zero = np.asarray(((imported < 0) | (exported < 0)).any(axis=0))
    both = below_zero | np.asarray((exported > imported).any(axis=0))
    if trade and len(imported) > 1:
        # Energy of one member's tariff is worth more with another, after loss and fee.
        keep = 1.0 - case.loss
        best = np.maximum(imported.max(axis=0), exported.max(axis=0))
        both |= best * keep - case.fee > imported.min(axis=0)
        both |= exported.max(axis=0) * keep - case.fee > exported.min(axis=0)
    return both, below_zero


def _solve(case: Case, *, trade: bool, import_cap_kw: float | None = None) -> Outcome:
    """The optimum, to a gap, or a bound on it. Raises NoOptimumError."""
    direction, cycle = _tempting(case, trade)
    plain = not direction.any() and not cycle.any()
    programme = _Programme(case, trade, import_cap_kw)
    relaxed = programme.solve()
    if plain:
        return programme.outcome(relaxed)
    households = len(case.load)
    wanted = [np.tile(direction, households), np.tile(cycle, households)]
    solution, gap = relaxed, 0.0
    for _ in range(_ROUNDS):
        turning, cycling = programme.both_ways(solution)
        if not turning.any() and not cycling.any():
            return replace(programme.outcome(solution), gap=gap)
        # At first where prices tempt; then also where they do so by what they were elsewhere.
        wanted = [wanted[0] | turning, wanted[1] | cycling]
        found = programme.solve_with(*wanted)
        if found is None or found[1] > WIDEST_GAP:
            break
        solution, gap = found
    return replace(programme.outcome(relaxed), bound=True)


class _Programme:
    """The programme of a case, built once, to be solved with more and more binaries."""

    def __init__(self, case: Case, trade: bool, import_cap_kw: float | None) -> None:
        self.case, self.trade = case, trade
        self.start = np.asarray(
            case.battery.per_household(len(case.load)).soc_initial
        ) * np.asarray(case.battery.per_household(len(case.load)).capacity_kwh)
        (
            self.cost,
            self.lower,
            self.upper,
            self.matrix,
            self.row_low,
            self.row_high,
        ) = _build(case, trade=trade, import_cap_kw=import_cap_kw)

    def solve(self) -> Floats:
        """The linear programme's solution."""
        return _highs(self.cost, self.lower, self.upper, self.matrix, self.row_low, self.row_high)[
            0
        ]

    def solve_with(self, direction: Mask, cycle: Mask) -> tuple[Floats, float] | None:
        """Solution and gap with one direction, and one way of the battery, in these cells (H*T,).

        None where none was found in time.
        """
        case, cells = self.case, self.case.load.size
        columns = self.matrix.shape[1]
        load, pv = case.load.ravel(), case.pv.ravel()
        power = self.upper[:cells]
        imports, exports = self.upper[3 * cells : 4 * cells], self.upper[4 * cells : 5 * cells]
        # The tighter these are, the sooner the solver is done.
        most_in = np.minimum(imports, load + power)
        most_out = np.minimum(exports, pv + power)
        first, second = np.flatnonzero(direction), np.flatnonzero(cycle)
        count = len(first) + len(second)

        def rows(blocks: tuple[int, ...], cell: Ints, most: Floats, at: int, sign: int) -> None:
            index = np.arange(len(cell))
            parts = [(np.ones(len(cell)), index, block * cells + cell) for block in blocks]
            parts.append((-sign * most[cell], index, columns + at + index))
            values, i, j = (np.concatenate(part) for part in zip(*parts, strict=True))
            added.append(sparse.coo_matrix((values, (i, j)), (len(cell), columns + count)))
            high.append(np.zeros(len(cell)) if sign > 0 else most[cell])

        added: list[sparse.spmatrix] = []
        high: list[Floats] = []
        at = len(first)
        rows((3, 7) if self.trade else (3,), first, most_in, 0, 1)
        rows((4, 8) if self.trade else (4,), first, most_out, 0, -1)
        rows((0,), second, power, at, 1)
        rows((1,), second, power, at, -1)
        wide = sparse.hstack([self.matrix, sparse.csc_matrix((self.matrix.shape[0], count))])
        return _highs_whole(
            np.concatenate((self.cost, np.zeros(count))),
            np.concatenate((self.lower, np.zeros(count))),
            np.concatenate((self.upper, np.ones(count))),
            sparse.vstack([wide, *added]).tocsc(),
            np.concatenate((self.row_low, *(np.full(len(part), -np.inf) for part in high))),
            np.concatenate((self.row_high, *high)),
            columns,
        )

    def both_ways(self, solution: Floats) -> tuple[Mask, Mask]:
        """Cells (H*T,) that draw and feed at once, and that charge and discharge at once.

        Not those that only burn what would else be curtailed: they lose nothing by curtailing.
        """
        cells = self.case.load.size

        def block(k: int) -> Floats:
            return solution[k * cells : (k + 1) * cells]

        into, out = block(3), block(4)
        if self.trade:
            into, out = into + block(7), out + block(8)
        eta = np.repeat(
            self.case.battery.per_household(len(self.case.load)).eta, self.case.load.shape[1]
        )
        charge, discharge = block(0), block(1)
        burnt = np.minimum(charge * eta * eta, discharge) * (1.0 / (eta * eta) - 1.0)
        spare = self.case.pv.ravel() - block(5)
        cycling = (np.minimum(charge, discharge) > _DUST) & (burnt > spare + _DUST)
        return np.minimum(into, out) > _DUST, cycling

    def outcome(self, solution: Floats) -> Outcome:
        """What a solution means."""
        case, shape = self.case, self.case.load.shape
        households, cells = shape[0], case.load.size
        capacity = np.asarray(case.battery.per_household(households).capacity_kwh)
        stored, grid_import, grid_export = (
            solution[k * cells : (k + 1) * cells].reshape(shape) for k in (2, 3, 4)
        )
        soc = np.concatenate([self.start[:, None], stored], axis=1)
        soc = np.divide(soc, capacity[:, None], out=np.zeros_like(soc), where=capacity[:, None] > 0)
        bill = grid_cost(grid_import, grid_export, case.retail, case.feed_in).sum(axis=1)
        if self.trade and case.fee:
            bill = bill + case.fee * solution[7 * cells : 8 * cells].reshape(shape).sum(axis=1)
        paid = bill - case.end_value.value(stored[:, -1])
        delivered = None
        if self.trade:
            paid = np.full(households, paid.sum() / households)
            delivered = solution[7 * cells : 8 * cells].reshape(shape).sum(axis=0)
        return Outcome(paid, grid_import, grid_export, soc, delivered=delivered)


def _build(
    case: Case, *, trade: bool, import_cap_kw: float | None = None
) -> tuple[Floats, Floats, Floats, sparse.csc_matrix, Floats, Floats]:
    """Cost, bounds of the columns, and rows of the linear programme.

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
    retail, exported = case.imported.ravel(), case.exported.ravel()
    dearest = float(max(np.abs(retail).max(), np.abs(exported).max()))
    shortfall, surplus = (
        np.broadcast_to(np.asarray(price, dtype=np.float64), households)
        for price in (end.shortfall_price, end.surplus_price)
    )

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
        [none, none, none, retail, -exported]
        + [none, np.full(cells, UNSERVED_PRICE * dearest)]
        + ([np.full(cells, case.fee), none] if trade else [])
        + [shortfall, -surplus]
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

    return (
        cost,
        lower,
        upper,
        sparse.vstack(rows).tocsc(),
        np.concatenate(row_low),
        np.concatenate(row_high),
    )


def _model(
    cost: Floats,
    lower: Floats,
    upper: Floats,
    matrix: sparse.csc_matrix,
    row_low: Floats,
    row_high: Floats,
) -> highspy.HighsLp:
    """Minimise cost @ x with lower <= x <= upper, row_low <= matrix @ x <= row_high."""
    model = highspy.HighsLp()
    model.num_col_, model.num_row_ = matrix.shape[1], matrix.shape[0]
    model.col_cost_, model.col_lower_, model.col_upper_ = cost, lower, upper
    model.row_lower_, model.row_upper_ = row_low, row_high
    model.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    model.a_matrix_.start_ = matrix.indptr
    model.a_matrix_.index_ = matrix.indices
    model.a_matrix_.value_ = matrix.data
    return model


def _highs(*programme: Floats | sparse.csc_matrix) -> tuple[Floats, float]:
    """Solution of a linear programme and its value. Raises NoOptimumError."""
    solver = highspy.Highs()  # type: ignore[no-untyped-call]
    solver.setOptionValue("output_flag", False)
    solver.setOptionValue("threads", 1)
    solver.passModel(_model(*programme))
    solver.run()
    if solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        status = solver.modelStatusToString(solver.getModelStatus())
        raise NoOptimumError(f"the perfect-foresight programme has no optimum: {status}")
    return np.asarray(solver.getSolution().col_value), solver.getInfo().objective_function_value


def _highs_whole(
    cost: Floats,
    lower: Floats,
    upper: Floats,
    matrix: sparse.csc_matrix,
    row_low: Floats,
    row_high: Floats,
    columns: int,
) -> tuple[Floats, float] | None:
    """Solution of a programme whose columns from ``columns`` on are whole, and its relative gap."""
    model = _model(cost, lower, upper, matrix, row_low, row_high)
    model.integrality_ = [highspy.HighsVarType.kContinuous] * columns + [
        highspy.HighsVarType.kInteger
    ] * (len(cost) - columns)
    solver = highspy.Highs()  # type: ignore[no-untyped-call]
    for option, value in (
        ("output_flag", False),
        ("threads", 1),
        ("time_limit", _SECONDS),
        ("mip_rel_gap", _GAP),
        ("random_seed", 0),
    ):
        solver.setOptionValue(option, value)
    solver.passModel(model)
    solver.run()
    info = solver.getInfo()
    if not np.isfinite(info.mip_gap) or info.primal_solution_status != 2:
        return None
    return np.asarray(solver.getSolution().col_value)[:columns], float(info.mip_gap)
