"""fedwatt: simulations."""
