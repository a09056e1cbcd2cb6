"""fedwatt: common/forecast."""
