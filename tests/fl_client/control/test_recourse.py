"""The plan's recourse as control uses it: the trader's own, cut by limits; and how it is handed
over."""

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.energy.battery import BatterySpec
from common.energy.connection import ConnectionSpec
from fl_client.control.limits import Limits, Soc
from fl_client.control.plans import Plans
from fl_client.control.recourse import Fill, PlannedRecourse
from fl_client.control.steering import STEERING, Steering, read_steering
from fl_client.state import State
from fl_client.trader import make_trader
from fl_client.trader.base import Actual

BATTERY = {"capacity_kwh": 13.5, "round_trip_efficiency": 0.9, "power_kw": 5.0, "soc_min": 0.1,
           "soc_max": 0.8, "soc_initial": 0.45, "wear_cost_per_kwh": 0.0}  # fmt: skip
WIDE = Limits(5.0, 5.0, 0.1, 0.8, 13.5, 0.9**0.5, 20.0, 8.0)


def _steering(slope, bend):
    store = np.linspace(0.0, 9.45, 32)
    plan = slope * store - bend * store**2  # concave
    return Steering(
        "run", 7, 0.0, 1800.0, "bid-curve", {}, tuple(plan.tolist()), BATTERY,
        asdict(ConnectionSpec()), 0.3, 0.05, 0.4, 0.02, 0.3,
    )  # fmt: skip


plans = st.builds(_steering, st.floats(0, 0.6), st.floats(0, 0.02))
fills = st.builds(Fill, st.floats(0, 2), st.just(0.0)) | st.builds(
    Fill, st.just(0.0), st.floats(0, 2)
)
kwh = st.floats(-3, 3)


@given(steering=plans, fill=fills, soc=st.floats(0.12, 0.78), net=kwh)
def test_it_is_the_traders_own_dispatch(steering, fill, soc, net):
    """With limits as wide as the battery's own: to the last bit what the trader answers."""
    recourse = PlannedRecourse(steering, fill, Soc(soc, soc), WIDE)
    actual = Actual(
        np.array([soc]), np.array([net]), np.array([fill.bought]), np.array([fill.sold]), 0.3,
        0.05, BatterySpec(**BATTERY), ConnectionSpec(), shortfall=0.4, unused=0.02,
    )  # fmt: skip
    wanted = make_trader("bid-curve", {}).dispatch(np.array([steering.plan]), actual)
    assert recourse.target(net) == pytest.approx(float(wanted[0]), abs=1e-12)


@given(steering=plans, fill=fills, soc=st.floats(0.05, 0.95), doubt=st.floats(0, 0.01), nets=st
       .tuples(kwh, kwh))  # fmt: skip
def test_more_use_never_charges_more_and_limits_hold(steering, fill, soc, doubt, nets):
    """It falls as the net load rises; power, and the store wherever it may be, stay within."""
    narrow = Limits(2.0, 3.0, 0.2, 0.7, 13.5, 0.9**0.5, 20.0, 8.0)
    steering = replace(steering, connection=asdict(ConnectionSpec(50.0, 50.0)))
    recourse = PlannedRecourse(steering, fill, Soc(soc - doubt, soc + doubt), narrow)
    less, more = (recourse.target(net) for net in sorted(nets))
    assert more <= less + 1e-9
    low, high = recourse.bounds()
    for target in (less, more):
        assert low - 1e-9 <= target <= high + 1e-9
        assert -1.5 <= target <= 1.0
        assert soc + doubt + max(target, 0.0) * narrow.eta / 13.5 <= max(0.7, soc + doubt) + 1e-9
        assert soc - doubt + min(target, 0.0) / narrow.eta / 13.5 >= min(0.2, soc - doubt) - 1e-9


def test_without_compiled_code_it_is_the_same():
    """The process that steers runs the plain functions: the same numbers to the last bit."""
    code = (
        "from tests.fl_client.control.test_recourse import *\n"
        "from tests.fl_client.control.test_recourse import _steering\n"
        "r = [PlannedRecourse(_steering(s / 10, 0.01), Fill(sold=0.3), Soc(0.44, 0.45), WIDE)"
        " for s in range(6)]\n"
        "print([one.target(net / 7).hex() for one in r for net in range(-12, 13)])"
    )
    found = []
    for plain in ("0", "1"):
        env = os.environ | {"NUMBA_DISABLE_JIT": plain}
        run = subprocess.run(
            [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=300
        )
        assert run.returncode == 0, run.stderr
        found.append(run.stdout)
    assert found[0] == found[1]
    assert len(set(found[0].split(","))) > 20


def test_a_plan_is_handed_over_whole_or_not_at_all(tmp_path):
    """The same numbers come out, nan and all; a torn file, or another release's, is no plan."""
    assert read_steering(tmp_path) is None
    one = replace(_steering(0.2, 0.01), retail=float("nan"))
    one.write(tmp_path)
    found = read_steering(tmp_path)
    assert found.plan == one.plan
    assert np.isnan(found.retail)
    text = (tmp_path / STEERING).read_text()
    for wrong in (text[:40], text.replace('"run"', '"ran"'), "[]", '{"plan": [1]}', ""):
        (tmp_path / STEERING).write_text(wrong)
        assert read_steering(tmp_path) is None
    for key, values in {
        "run": (None, 3), "t": ("1", None), "start": (None, "soon", np.nan, np.inf),
        "seconds": (0, -1800.0, np.nan), "plan": (None, [], "abc", 3, [None], [np.inf]),
        "battery": (None, {}, {**one.battery, "capacity_kwh": 0.0}, {"capacity_kwh": "much"}),
        "connection": ({"import_kwh": np.nan}, None), "usual_kw": (np.nan, None, "much"),
        "options": (None, []), "retail": (np.inf, None), "trader": (None,),
    }.items():  # fmt: skip
        for value in values:
            (tmp_path / STEERING).write_text(json.dumps(json.loads(text) | {key: value}))
            assert read_steering(tmp_path) is None, (key, value)


def test_fills_are_those_announced_for_this_run(tmp_path):
    """Of the same run and interval, as the household keeps them; under a cap with its allowance."""
    plans = Plans(tmp_path)
    assert plans.now() is None
    _steering(0.2, 0.01).write(tmp_path)
    assert plans.now()[1] == Fill()
    state = State(tmp_path, durable=False)
    state.begin({"run": "run", "household": "maple", "start": ""}, 0)
    state.announce(6, (9, 9, 9, 9))
    assert plans.now()[1] == Fill()
    state.announce(7, (250_000, 0, 1, 0), (1_500_000, 600_000))
    assert plans.now()[1] == Fill(0.25, 0.0, 1.5, 0.6)
    with closing(sqlite3.connect(tmp_path / "household.sqlite")) as db:
        db.execute("ALTER TABLE announced RENAME TO away")
        assert Plans(tmp_path).now()[1] == Fill()
        assert plans.now()[1] == Fill(0.25, 0.0, 1.5, 0.6), "unreadable for a moment"
        db.execute("ALTER TABLE away RENAME TO announced")
    state.begin({"run": "other", "household": "maple", "start": ""}, 0)
    assert plans.now()[1] == Fill()
