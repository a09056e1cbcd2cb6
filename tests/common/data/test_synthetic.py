import numpy as np
import pandas as pd
import pytest

from common.data.frame import APPLIANCES, local_midnight
from common.data.synthetic import Community, generate
from common.data.weather import LONDON, SEVILLE, prices

FIRST = local_midnight("2024-03-20", "Europe/London")
DAY = 48


def make(name="H0001", seed=3, first=FIRST, days=20, **community):
    return generate(
        name, seed=seed, first=first, intervals=days * DAY, community=Community(**community)
    )


def test_a_home_is_a_pure_function_of_its_seed_and_name():
    """Same arguments, same bytes; another seed or name, another home."""
    assert make().frame.equals(make().frame)
    assert not make().frame["misc"].equals(make(seed=4).frame["misc"])
    assert not make().frame["misc"].equals(make(name="H0002").frame["misc"])


@pytest.mark.parametrize("skip", [3, 12])
def test_windows_that_overlap_agree(skip):
    """A longer history does not change the days that were there before, clock change included."""
    whole = make(pv=1, ev=1, ac=1).frame
    later = make(first=FIRST + pd.Timedelta(days=skip), days=20 - skip, pv=1, ev=1, ac=1).frame
    pd.testing.assert_frame_equal(whole.iloc[skip * DAY :], later, check_freq=False, atol=1e-9)


def test_ownership_decides_what_is_drawn():
    """No car, no panels and no cooling where the shares are 0; all of them where they are 1."""
    without = make(pv=0, ev=0, ac=0).frame
    assert without[["pv", "ev_charging", "ac"]].to_numpy().max() == 0
    summer = local_midnight("2024-07-10", "Europe/Madrid")
    owner = make(first=summer, site=SEVILLE, pv=1, ev=1, ac=1).frame
    assert (owner[["pv", "ev_charging", "ac"]].sum() > 0).all()


def test_panels_are_dark_at_night_and_cooling_follows_heat():
    """PV needs irradiance; air conditioning runs in hotter half hours than those without it."""
    summer = local_midnight("2024-07-10", "Europe/Madrid")
    homes = [make(f"H{i}", 3, summer, site=SEVILLE, pv=1, ac=1).frame for i in range(5)]
    assert all(h["pv"][h["solar_irradiance"] == 0].max() == 0 for h in homes)
    joint = pd.concat(homes)
    running = joint["ac"] > 0
    hot, mild = joint["temperature"][running].mean(), joint["temperature"][~running].mean()
    assert hot > mild + 3


def test_neighbours_share_weather_and_tariff_but_not_habits():
    """Weather and price are the community's; loads of two homes are not copies."""
    one, two = make().frame, make("H0002").frame
    for shared in ("temperature", "solar_irradiance", "price"):
        assert one[shared].equals(two[shared])
    loads = [h[list(APPLIANCES)].sum(axis=1) for h in (one, two)]
    assert abs(np.corrcoef(loads)[0, 1]) < 0.8


def test_the_tariff_has_a_daily_cycle_on_the_local_clock():
    """Nights are cheapest and workday evenings dearest, in local time on both sides of a change."""
    for day in ("2024-01-15", "2024-07-15"):
        first = local_midnight(day, LONDON.timezone)
        cost = prices(LONDON, 0, first, DAY)
        assert cost[:14].max() < cost[14:32].min() <= cost[14:32].max() < cost[32:40].min()
