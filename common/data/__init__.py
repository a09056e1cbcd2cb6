"""fedwatt: common/data."""
