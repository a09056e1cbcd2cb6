"""fedwatt: common/energy."""
