"""Every trader: no future, no limit passed, the same alone and in company; faults hold."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.energy import battery as bat
from common.energy.battery import BatterySpec
from common.energy.connection import ConnectionSpec, flows
from common.errors import InputError
from common.market_rules import MarketRules, Orders, admit
from fl_client.trader import KINDS, Situation, Trader, TraderForecast, make_trader
from fl_client.trader.base import (
    BAD_BATTERY,
    BAD_FORECAST,
    BUY,
    FINE,
    HOLD,
    HOLD_REASONS,
    NO_HISTORY,
    NO_PRICE,
    SELL,
    STALE_FORECAST,
    Actual,
)
from fl_client.trader.bid_curve import BidCurve, Options
from fl_client.trader.steps import steps_of
from tests.support.trading import community, situation

TRADERS = [*KINDS, "model", "both"]


def trader_of(kind: str) -> Trader:
    if kind == "model":
        return make_trader("bid-curve", {"scenarios": "model"})
    if kind == "both":
        return make_trader("bid-curve", {"scenarios": "days", "current": "both"})
    return make_trader(kind, {"threshold": 30} if kind.startswith("rule") else {})


def forecast(homes: int, value: float = 0.3, age: int = 0) -> TraderForecast:
    load = np.full((homes, 48), value)
    quantiles = np.stack([load * f for f in (0.5, 1.0, 1.5)], axis=1)
    return TraderForecast(load, np.full((homes, 48), 0.3), quantiles, (0.1, 0.5, 0.9), age)


def one(s: Situation, h: int) -> Situation:
    """The situation of household ``h`` alone."""
    rows = slice(h, h + 1)
    changes: dict[str, Any] = {
        name: np.ascontiguousarray(getattr(s, name)[rows])
        for name in ("past_load", "past_pv", "soc")
    }
    if s.forecast is not None:
        f = s.forecast
        assert f.price is not None
        assert f.quantiles is not None
        changes["forecast"] = replace(
            f, load=f.load[rows], price=f.price[rows], quantiles=f.quantiles[rows]
        )
    return replace(s, **changes)


@pytest.mark.parametrize("kind", TRADERS)
def test_a_household_is_the_same_alone_and_in_company(kind: str) -> None:
    """Orders, score, plan and dispatch of each of five homes: equal to the last bit."""
    trader = trader_of(kind)
    s = situation(5, forecast=forecast(5))
    together = trader.decide(s)
    net = np.linspace(-2, 2, 5)
    zero = np.zeros(5)
    did = trader.dispatch(
        together.plan, Actual(s.soc, net, zero, zero, 0.2, 0.05, s.battery, s.connection)
    )
    for h in range(5):
        alone = trader.decide(one(s, h))
        used = alone.side[0] != HOLD
        steps = int(used.sum())
        assert int((together.side[h] != HOLD).sum()) == steps
        for name in ("side", "quantity_kwh", "price"):
            mine, among = getattr(alone, name)[0], getattr(together, name)[h]
            assert np.array_equal(mine[used], among[together.side[h] != HOLD])
        for name in ("score", "need", "action", "reason"):
            assert getattr(alone, name)[0] == getattr(together, name)[h]
        assert np.array_equal(alone.plan[0], together.plan[h])
        one_did = trader.dispatch(
            alone.plan,
            Actual(s.soc, net, zero, zero, 0.2, 0.05, s.battery, s.connection).among(np.array([h])),
        )
        assert one_did[0] == did[h]


@pytest.mark.parametrize("kind", TRADERS)
@pytest.mark.parametrize("lag", [0, 1])
def test_the_future_changes_no_order(kind: str, lag: int) -> None:
    """Randomising every reading not yet known when t is decided changes no order by a bit."""
    trader = trader_of(kind)
    c = community(3)
    c = replace(c, lag=np.full_like(c.lag, lag))
    t = 30
    known = c.first + t - lag
    rng = np.random.default_rng(0)
    other = replace(
        c,
        load=np.hstack([c.load[:, :known], rng.random((3, c.load.shape[1] - known))]),
        pv=np.hstack([c.pv[:, :known], rng.random((3, c.pv.shape[1] - known))]),
    )
    soc, signals = np.full(3, 0.4), np.full((96, 2), 0.1)
    later = signals.copy()
    later[t:] = 9.0
    first = trader.decide(c.situation(trader, t, soc, signals))
    second = trader.decide(other.situation(trader, t, soc, later))
    assert np.array_equal(first.side, second.side)
    assert np.array_equal(first.price, second.price)
    assert np.array_equal(first.quantity_kwh, second.quantity_kwh)
    assert np.array_equal(first.plan, second.plan, equal_nan=True)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(TRADERS),
    st.integers(0, 1000),
    st.floats(0, 20),
    st.floats(0, 20),
    st.floats(0, 12),
    st.floats(0, 1),
    st.sampled_from([1, 5, 200]),
)
def test_orders_fit_the_connection_and_do_not_cross(
    kind: str, seed: int, imports: float, exports: float, power: float, filled: float, steps: int
) -> None:
    """Whatever the limits: the market refuses no order, not for the connection, not for crossing,
    not for their number; prices lie between feed-in and retail; the curve falls."""
    trader = trader_of(kind)
    s = situation(
        3,
        seed=seed,
        connection=ConnectionSpec(imports, exports),
        battery=BatterySpec(power_kw=power),
        soc=np.full(3, 0.1 + 0.7 * filled),
        rules=MarketRules(max_steps=steps),
        forecast=forecast(3),
    )
    d = trader.decide(s)
    admitted = admit(
        Orders.of_curves(d.side, d.quantity_kwh, d.price, 0),
        MarketRules(max_steps=max(steps, 2)),
        interval=0,
        households=3,
        import_kwh=imports,
        export_kwh=exports,
    )
    assert admitted.refused == 0
    used = d.side != HOLD
    assert np.all(d.price[used] >= s.feed_in)
    assert np.all(d.price[used] <= s.retail[0])
    for h in range(3):
        buys, sells = d.price[h][d.side[h] == BUY], d.price[h][d.side[h] == SELL]
        if kind in ("bid-curve", "model"):
            assert np.all(np.diff(buys) <= 0)
            assert np.all(np.diff(sells) <= 0)  # from the last kWh sent to the first
    assert np.all((d.score >= 0) & (d.score <= 100))


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(TRADERS),
    st.floats(-6, 14),
    st.floats(0, 4),
    st.booleans(),
    st.floats(0, 1),
    st.floats(0, 10),
    st.floats(0, 4),
)
def test_dispatch_passes_no_limit(
    kind: str, net: float, trade: float, buys: bool, filled: float, imports: float, exports: float
) -> None:
    """For any actual net load and fills within the connection: the battery does exactly what is
    asked of it, and it never makes the connection's flow worse than resting would."""
    trader = trader_of(kind)
    connection = ConnectionSpec(imports, exports)
    s = situation(
        1, connection=connection, soc=np.array([0.1 + 0.7 * filled]), forecast=forecast(1)
    )
    bought = np.array([min(trade, imports) if buys else 0.0])
    sold = np.array([0.0 if buys else min(trade, exports)])
    nets = np.array([net])
    action = trader.dispatch(
        trader.decide(s).plan, Actual(s.soc, nets, bought, sold, 0.2, 0.05, s.battery, connection)
    )
    moved = bat.step(s.battery, s.soc, action)
    assert moved.clipped_kwh == pytest.approx(0, abs=1e-9)
    load, pv = np.maximum(nets, 0), np.maximum(-nets, 0)
    did = flows(load, pv, moved.charge_kwh, moved.discharge_kwh, bought, sold, connection)
    rested = flows(load, pv, 0 * load, 0 * load, bought, sold, connection)
    assert did.grid_import + bought <= imports + 1e-9
    assert did.grid_export + sold <= exports + 1e-9
    assert did.unserved <= rested.unserved + 1e-9
    assert did.curtailed <= rested.curtailed + 1e-9


@pytest.mark.parametrize("kind", TRADERS)
@given(
    net=st.floats(-3, 6),
    traded=st.floats(-1, 1),
    filled=st.floats(0, 1),
    allowance=st.floats(0, 4),
    hours=st.sampled_from([0.25, 0.5]),
)
@settings(max_examples=60, deadline=None)
def test_beyond_an_allowance_no_battery_charges(
    kind: str, net: float, traded: float, filled: float, allowance: float, hours: float
) -> None:
    """An allowance is about energy from the grid, beside the fills. It never makes a battery draw
    more; where more is drawn than allowed, the battery does not charge, and one with a plan gives
    all it can, since what it holds is worth less than the scarcity price."""
    trader = trader_of(kind)
    s = situation(1, soc=np.array([0.1 + 0.7 * filled]), forecast=forecast(1))
    plan = trader.decide(s).plan
    nets, bought, sold = (np.array([x]) for x in (net, max(traded, 0), max(-traded, 0)))
    actual = Actual(s.soc, nets, bought, sold, 0.2, 0.05, s.battery, s.connection, hours)
    free = trader.dispatch(plan, actual)
    kept = trader.dispatch(
        plan, replace(actual, allowance=np.array([allowance]), scarcity_price=50.0)
    )
    assert kept <= free + 1e-12
    drawn = net - bought[0] + sold[0] + kept[0]
    if drawn > allowance + 1e-9 and net - bought[0] < s.connection.import_kwh * hours / 0.5:
        down, _ = bat.ac_limits(s.battery, s.soc, hours)
        assert kept[0] <= 1e-12
        if kind in ("bid-curve", "model"):
            assert kept[0] == pytest.approx(-down[0], abs=0.02)
    elif drawn < allowance - 1e-9:
        assert kept == pytest.approx(free, abs=1e-12)


FAULTS: dict[str, tuple[dict[str, Any], int]] = {
    "forecast of nan": ({"forecast": forecast(3, np.nan)}, BAD_FORECAST),
    "stale forecast": ({"forecast": forecast(3, age=49)}, STALE_FORECAST),
    "missing price": ({"retail": np.array([np.nan, 0.2])}, NO_PRICE),
    "no price at all": ({"retail": np.zeros(0)}, NO_PRICE),
    "no history": ({"past_load": np.zeros((3, 0)), "past_pv": np.zeros((3, 0))}, NO_HISTORY),
    "battery state of nan": ({"soc": np.full(3, np.nan)}, BAD_BATTERY),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", ["bid-curve", "model"])
def test_faults_hold_and_say_why(kind: str, fault: str) -> None:
    """No orders, the reason is given, and the plan left behind lets the battery rest in bounds."""
    changes, reason = FAULTS[fault]
    trader = trader_of(kind)
    changes = {"forecast": forecast(3), **changes}
    if fault == "no history":
        changes["forecast"] = None
    s = situation(3, **changes)
    d = trader.decide(s)
    assert not np.any(d.side)
    assert np.all(d.action == HOLD)
    assert [HOLD_REASONS[r] for r in d.reason] == [HOLD_REASONS[reason]] * 3
    soc = np.array([0.1, 0.45, 0.8])
    zero = np.zeros(3)
    did = trader.dispatch(
        d.plan, Actual(soc, np.full(3, 0.5), zero, zero, 0.2, 0.05, s.battery, s.connection)
    )
    assert np.array_equal(did, zero)


def test_a_fault_of_one_household_is_its_own() -> None:
    """nan in one home's forecast: that home holds, the others trade as if nothing had happened."""
    trader = trader_of("model")
    good = forecast(3)
    bad = replace(good, load=good.load.copy())
    bad.load[1, 5] = np.nan
    fine, hurt = (trader.decide(situation(3, forecast=f)) for f in (good, bad))
    assert list(hurt.reason) == [FINE, BAD_FORECAST, FINE]
    assert not np.any(hurt.side[1])
    for h in (0, 2):
        assert np.array_equal(fine.plan[h], hurt.plan[h])


@pytest.mark.parametrize("kind", TRADERS)
@pytest.mark.parametrize(
    "battery",
    [
        {"capacity_kwh": 0.0},
        {"power_kw": 0.0},
        {"soc_min": 0.45, "soc_max": 0.45},
        {"round_trip_efficiency": 1.0},
    ],
)
def test_odd_batteries(kind: str, battery: dict[str, float]) -> None:
    """No battery, no power, no room: the trader still trades its house's own surplus and deficit
    or nothing, with finite prices, and moves nothing that is not there."""
    trader = trader_of(kind)
    spec = BatterySpec(**battery)
    s = situation(2, battery=spec, soc=np.full(2, 0.45), forecast=forecast(2))
    d = trader.decide(s)
    assert np.all(d.reason == FINE)
    assert np.isfinite(d.price).all()
    zero = np.zeros(2)
    net = np.array([1.0, -1.0])
    did = trader.dispatch(d.plan, Actual(s.soc, net, zero, zero, 0.2, 0.05, spec, s.connection))
    assert bat.step(spec, s.soc, did).clipped_kwh == pytest.approx([0, 0], abs=1e-12)


@pytest.mark.parametrize("kind", ["bid-curve", "rule"])
def test_no_market_no_orders(kind: str) -> None:
    """The shadow run plans and never offers."""
    d = trader_of(kind).decide(situation(3, market=False, past_local=None))
    assert not np.any(d.side)


def test_recent_days_may_speak_beside_the_analogous_ones() -> None:
    """``current=both``: the current interval has the scenarios of either set, the plan the same."""
    s = situation(3)
    plan = steps_of(s.slot, 48, s.hours)
    made = [
        BidCurve(Options(scenarios="days", **options))._scenarios(s, 48, plan)
        for options in ({"analogous_days": 0}, {}, {"current": "both"})
    ]
    (recent, persisted), (_, alike), (both, now) = made
    assert np.array_equal(both, recent)
    assert np.array_equal(now, np.hstack((persisted, alike)))


def test_rules_have_opposite_signs() -> None:
    """Price now 0.2, forecast 0.3: the corrected rule buys before the rise, the literal one sells;
    hold and greedy never offer."""
    s = situation(2, soc=np.full(2, 0.4), forecast=forecast(2))
    actions = {kind: trader_of(kind).decide(s).action for kind in KINDS}
    assert np.all(actions["rule"] == BUY)
    assert np.all(actions["rule-literal"] == SELL)
    assert not np.any(actions["hold"])
    assert not np.any(actions["greedy"])


def test_the_threshold_decides() -> None:
    """The same situation with a threshold of 100: nobody acts."""
    s = situation(2, soc=np.full(2, 0.4), forecast=forecast(2))
    d = make_trader("rule", {"threshold": 100}).decide(s)
    assert np.all(d.action == HOLD)
    assert not np.any(d.side)


@pytest.mark.parametrize(
    ("kind", "options", "named"),
    [
        ("nobody", {}, "nobody"),
        ("rule", {"days": 3}, "days"),
        ("rule", {"threshold": 101}, "threshold"),
        ("bid-curve", {"threshold": 5}, "threshold"),
        ("bid-curve", {"days": 0}, "days"),
        ("bid-curve", {"days": 2.5}, "days"),
        ("bid-curve", {"trust": "much"}, "trust"),
        ("bid-curve", {"scenarios": "tea leaves"}, "tea leaves"),
        ("bid-curve", {"current": "tea leaves"}, "trader.options.current"),
    ],
)
def test_wrong_options_are_named(kind: str, options: dict[str, Any], named: str) -> None:
    """One line that names the kind, option or value."""
    with pytest.raises(InputError, match=named):
        make_trader(kind, options)


def test_corrected_days_are_planned_with_and_nan_means_own_days() -> None:
    """A household whose corrections are nan decides to the bit as without any; its neighbour, told
    that it will use far more, asks for more."""
    plain = situation(2)
    trader = make_trader("bid-curve", {})
    net = np.full((2, 14, 48), np.nan)
    net[1] = 3.0
    alone, told = trader.decide(plain), trader.decide(replace(plain, net=net))
    assert told.plan[0].tobytes() == alone.plan[0].tobytes()
    bought = [(d.quantity_kwh * (d.side == BUY)).sum(axis=1) for d in (alone, told)]
    assert bought[1][0] == bought[0][0]
    assert bought[1][1] > bought[0][1]
    days = make_trader("bid-curve", {"scenarios": "days"})
    assert days.decide(replace(plain, net=net)).plan.tobytes() == alone.plan.tobytes()
