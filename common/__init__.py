"""fedwatt: common."""
