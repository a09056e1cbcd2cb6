"""fedwatt: simulations/commands."""
