"""A mapping out of Home Assistant's energy dashboard, in either of its shapes."""

from fl_client.home.proposal import roles


def test_the_dashboard_names_the_roles():
    """Lists of flows, as until 2025, and one object per connection, as since: import, export, PV,
    and a battery, whose 'from' is what it discharges; what is not set is left out."""
    old = {"energy_sources": [
        {"type": "grid", "flow_from": [{"stat_energy_from": "sensor.t1"},
                                       {"stat_energy_from": "sensor.t2"}],
         "flow_to": [{"stat_energy_to": "sensor.out"}], "cost_adjustment_day": 0.0},
        {"type": "solar", "stat_energy_from": "sensor.sun", "config_entry_solar_forecast": None},
        {"type": "battery", "stat_energy_from": "sensor.down", "stat_energy_to": "sensor.up"},
        {"type": "gas", "stat_energy_from": "sensor.gas"},
    ]}  # fmt: skip
    assert list(roles(old)) == [
        ("import", "sensor.t1"), ("import", "sensor.t2"), ("export", "sensor.out"),
        ("pv", "sensor.sun"), ("discharge", "sensor.down"), ("charge", "sensor.up"),
    ]  # fmt: skip
    new = {"energy_sources": [
        {"type": "grid", "stat_energy_from": "sensor.in", "stat_energy_to": None,
         "stat_rate": "sensor.power"},
    ]}  # fmt: skip
    assert list(roles(new)) == [("import", "sensor.in"), ("power", "sensor.power")]
    assert list(roles({})) == []
