"""What commanded batteries earn in a community, in simulated time: no clock runs too fast here."""

import json
from pathlib import Path

import numpy as np
import pytest

from common.market_rules import MILLI_WH_PER_KWH
from fl_client.control.settings import Control
from fl_server.ledger import COMMUNITY, Kind
from tests.support.commanded_days import share_of_optimum
from tests.support.live import opened, settled
from tests.support.steered import CONTROL, FOLLOWED, INTERVAL, tariff
from tests.support.steered_days import SteeredDays, steered_days

DAYS = 2


def _booked(days: SteeredDays) -> np.ndarray:
    """(kinds, intervals, homes, 2) mWh that the ledger has booked into and out of each home."""
    count = len(next(iter(days.homes.values())).registers)
    booked = np.zeros((len(Kind), count, len(days.homes), 2), np.int64)
    with opened(days.folder.run) as ledger:
        for row in ledger.rows():
            if row.account >= len(COMMUNITY) and row.interval < count:
                told = row.energy_in_milliwh, row.energy_out_milliwh
                booked[row.kind, row.interval, row.account - len(COMMUNITY)] += told
    return booked


def _in_order(days: SteeredDays, intervals: int) -> np.ndarray:
    """Books and batteries are in order; returns the fills (intervals, homes, 2) [kWh]."""
    homes = list(days.homes.values())
    assert all(len(home.registers) == intervals for home in homes)
    assert settled(days.folder.run, len(homes)) == {
        (t, h): 1 for t in range(intervals) for h in range(len(homes))
    }
    with opened(days.folder.run) as ledger:
        assert ledger.verify().ok
        assert sum(money for _, money in ledger.balances().values()) == 0
    booked = _booked(days)
    fills, grid = booked[Kind.FILLS], booked[Kind.SETTLEMENT]
    counted = np.array([[home.counted(t) for home in homes] for t in range(intervals)])
    counted *= MILLI_WH_PER_KWH
    # What was bought and not used is fed in, what was sold and not sent is drawn.
    short = np.maximum(fills - counted, 0)[..., ::-1]
    assert np.abs(grid - (np.maximum(counted - fills, 0) + short)).max() <= 2
    battery = days.battery
    for home in homes:
        for t in range(intervals):
            begin = home.start + INTERVAL * t
            true_kwh = sum(home.home.between(begin, begin + INTERVAL))
            assert np.subtract(*home.counted(t)) == pytest.approx(true_kwh, abs=1e-3)
        assert battery["soc_min"] - 1e-6 <= home.lowest
        assert home.highest <= battery["soc_max"] + 1e-6
        assert home.strongest_kw <= battery["power_kw"] + 1e-9
        # All the time but the first seconds, in which there is no plan.
        assert home.commanded_s >= INTERVAL * intervals - 30
    return fills / MILLI_WH_PER_KWH


def _both_ways(days: SteeredDays, which: str) -> tuple[float, float]:
    """What came and went within one half hour [kWh], and what that costs where registers count it:
    drawn at the retail price and fed in at the other."""
    kwh = np.array(
        [[getattr(one, which).min() for one in home.registers] for home in days.homes.values()]
    )
    lost = tariff(np.arange(kwh.shape[1])) - days.folder.settings(len(kwh)).tariff.feed_in
    return float(kwh.sum()), float((kwh * lost).sum())


@pytest.mark.slow
def test_a_morning_of_steered_homes_is_in_the_books(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two homes, one with PV, trade for three hours: each half hour is settled once, of the energy
    that the meters' registers counted, each way by itself; no money is left over; the batteries
    were commanded all the time and passed no limit."""
    monkeypatch.setenv("TZ", "Europe/London")
    days = steered_days(tmp_path, (True, False), 6, CONTROL, netted=False, hour=10)
    fills = _in_order(days, 6)
    assert fills.sum() > 0.1
    assert sum(one.battery.sum() for home in days.homes.values() for one in home.registers) > 1.0
    both = [one.flow.min() for home in days.homes.values() for one in home.registers]
    assert sum(both) > 0


@pytest.mark.nightly
@pytest.mark.parametrize("control", [CONTROL, FOLLOWED], ids=["setpoints", "followed"])
@pytest.mark.parametrize("netted", [True, False], ids=["netted", "gross"])
def test_two_days_of_steered_homes_earn_what_simulated_ones_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, netted: bool, control: Control
) -> None:
    """Four homes, two with PV: with a meter that nets within the half hour the share of the optimum
    is within two points of a simulation's on the same readings, which has no losses within a half
    hour; and where registers count each way by itself, if inverters hold a power at the grid by
    themselves. With setpoints every ten seconds it is printed."""
    monkeypatch.setenv("TZ", "Europe/London")
    intervals = 48 * DAYS
    out = tmp_path / "community"
    out.mkdir()
    days = steered_days(out, (True, False) * 2, intervals, control, netted=netted)
    fills = _in_order(days, intervals)
    batteries = dict.fromkeys(days.homes, days.battery)
    commanded, computed = share_of_optimum(out, tmp_path, batteries, intervals)
    lines = (tmp_path / "run" / "intervals.jsonl").read_text().splitlines()
    delivered = sum(json.loads(line)["delivered_kwh"] for line in lines)
    both, alone = (_both_ways(days, which) for which in ("flow", "alone"))
    print(
        f"{'netted' if netted else 'gross'}: commanded {commanded:.2%} of the optimum, computed "
        f"{computed:.2%}; bought of neighbours {fills[..., 0].sum():.2f} kWh, computed "
        f"{delivered:.2f} kWh; flowed both ways within half hours {both[0]:.2f} kWh, worth "
        f"{both[1]:.2f}, without batteries {alone[0]:.2f} kWh, worth {alone[1]:.2f}"
    )
    if netted or control is FOLLOWED:
        assert commanded >= computed - 0.02
