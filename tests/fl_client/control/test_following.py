"""An inverter that holds a power at the grid's connection by itself, second by second."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_client.control.law import Course, wish
from fl_client.control.record import FOLLOW, HAND_BACK, OWN, SETPOINT, SHADOW, STEERING
from tests.support.battery_home import Inverter
from tests.support.planned import kw, kwh, plans
from tests.support.steered import CONTROL, FOLLOWED, Steered

MORNING = 8 * 3600


def _said(home, words):
    return [line for line in home.record.commands(most=1000) if words in line.reason]


@given(course=st.builds(Course, kwh, kwh, kw, kw, st.floats(10, 1800)), plan=plans)
def test_what_is_held_at_the_grid_is_what_the_battery_would_do(course, plan):
    """Held is only what the plan lets the battery do both ways, or in the way it goes already; it
    comes to the power wished at the battery, or to none at the meter where that would flow against
    the interval's sum."""
    found = wish(course, plan, 10.0)
    if found.grid_kw is None:
        return
    flow = course.net_kwh + found.rest_kwh + found.target_kwh
    assert found.grid_kw * flow >= 0
    low, high = plan.bounds()
    battery_kw = found.grid_kw - course.net_kw
    assert low < 0 or battery_kw > 0 or found.kw < 0
    assert high > 0 or battery_kw < 0 or found.kw > 0
    if found.grid_kw != 0:
        assert battery_kw == pytest.approx(found.kw, abs=1e-9)


def _day(folder, control):
    """(kWh counted both ways within half hours, commands sent) of half a day from a morning on."""
    folder.mkdir()
    home = Steered(folder, 1, 1, control=control)
    home.skip(MORNING)
    both = 0.0
    for _ in range(24):
        flows = np.zeros(2)
        for _ in range(1800):
            home.live(1)
            flows += max(home.home.grid_kw, 0.0) / 3600, max(-home.home.grid_kw, 0.0) / 3600
        both += flows.min()
        assert 0.1 - 1e-6 <= home.home.soc <= 0.8 + 1e-6
    return both, [one for one in home.home.commands if one[1] in (SETPOINT, FOLLOW)]


def test_the_meter_runs_one_way(tmp_path):
    """Of the same house what flows both ways within half hours is less than a third of what it is
    with setpoints, and the inverter is told less often."""
    told, sent = _day(tmp_path / "told", CONTROL)
    held, fewer = _day(tmp_path / "held", FOLLOWED)
    assert held < told / 3
    assert len(fewer) < len(sent)
    assert {one[1] for one in fewer} == {SETPOINT, FOLLOW}


def test_an_inverter_that_does_not_hold_it_gets_setpoints(tmp_path):
    """It goes on with the setpoint of before: the meter shows it, the log says it, and the plan
    goes on by setpoints for a quarter of an hour."""
    home = Steered(tmp_path, 1, 1, control=FOLLOWED)
    home.skip(MORNING)
    home.home.fault("no_follow")
    home.home.told_kw = 1.5
    for _ in range(60):
        snapshot = home.live(60)
        if home.record.commands(most=1000)[-1] and _said(home, "setpoints for a while"):
            break
    at = home.home.now
    assert _said(home, "setpoints for a while")
    snapshot = home.live(600)
    assert snapshot.state == STEERING
    assert snapshot.follow_kw is None
    assert not [one for one in home.home.commands if one[0] > at and one[1] == FOLLOW]


@pytest.mark.parametrize("kind", ["lie", "stuck_soc", "silent", "meter_silent", "away"])
def test_whatever_fails_the_house_falls_back(tmp_path, kind):
    """As with setpoints: handed back or left alone within hours, limits kept, and on again when it
    is over."""
    home = Steered(tmp_path, 1, 2, control=FOLLOWED)
    home.skip(MORNING)
    home.live(1200)
    home.home.fault(kind)
    for _ in range(12 * 60):
        snapshot = home.live(60)
        assert 0.1 - 0.01 <= home.home.soc <= 0.8 + 0.01
        if snapshot.state == OWN:
            break
    assert snapshot.state == OWN
    home.home.mend()
    for _ in range(60):
        if home.live(60).state == STEERING:
            break
    assert home.live(60).state == STEERING


FAULTS = ("no_follow", "refuse", "lie", "stuck_soc", "silent", "meter_silent", "away",
          "ignore_mode")  # fmt: skip


def test_no_limit_of_the_store_is_ever_broken(tmp_path):
    """Bounds narrower than the battery's and the plan's, for a day with a fault of half an hour in
    every two: while the battery is commanded the store passes none of them."""
    home = Steered(tmp_path, 7, 1, control=replace(FOLLOWED, soc_min=0.2, soc_max=0.7))
    broken, since, held = [], 0, 0
    for second in range(86000):
        if second % 7200 == 3600:
            home.home.fault(FAULTS[second // 7200 % len(FAULTS)], 1800)
        since = since if home.home.mode == "remote" else second
        low, high = min(home.home.soc, 0.2), max(home.home.soc, 0.7)
        home.live(1)
        held += home.home.follows
        # A battery that has just been taken goes on as it did until a command acts.
        if second - since > 10 and not low - 1e-9 <= home.home.soc <= high + 1e-9:
            broken.append((second, home.home.soc))
    assert broken == []
    assert held > 3600


def test_narrower_limits_of_power_are_kept_by_setpoints(tmp_path):
    """The inverter holds a power with all it has: where the house allows less it is not let."""
    home = Steered(tmp_path, 1, 1, control=replace(FOLLOWED, charge_kw=3.0))
    home.skip(MORNING)
    home.live(7200)
    sent = {one[1] for one in home.home.commands}
    assert SETPOINT in sent
    assert FOLLOW not in sent


def test_a_hand_back_that_is_ignored_is_repeated(tmp_path):
    """The inverter goes on holding what it was told last: handed back again."""
    home = Steered(tmp_path, 1, 1, control=FOLLOWED)
    home.skip(MORNING)
    home.live(1200)
    inverter = home.home
    inverter.command("follow", 1.5)
    home.controller._last_told = FOLLOW, 1.5
    inverter.fault("ignore_mode", 240)
    home.record.set_override(inverter.now, None, "somebody", "")
    since = inverter.now
    home.live(900)
    backs = [one for one in inverter.commands if one[0] >= since and one[1] == HAND_BACK]
    assert len(backs) >= 2


def test_in_shadow_mode_it_is_written_down(tmp_path):
    """What would be held stands in the log, and nothing is sent."""
    home = Steered(tmp_path, 1, 1, control=replace(FOLLOWED, mode=SHADOW))
    home.skip(MORNING)
    home.live(1800)
    logged = home.record.commands(most=1000)
    assert any(one.command == FOLLOW and not one.sent for one in logged)
    assert home.home.commands == []


def test_an_inverter_beyond_its_settings_is_told_the_batterys_power(tmp_path):
    """It holds the grid with more than the settings' power: seen within a minute, and the battery
    itself is told then."""
    home = Steered(tmp_path, 1, 1, control=FOLLOWED, spec=Inverter(power_kw=8.0))
    home.skip(MORNING)
    home.live(1200)
    load = home.home._load
    load[:] = load + 7.0
    home.live(120)
    at = home.home.now
    home.live(600)
    assert _said(home, "setpoints for a while")
    told = [one for one in home.home.commands if one[0] > at]
    assert FOLLOW not in {one[1] for one in told}
    assert abs(home.home.battery_kw) <= 5.0 + 1e-9
