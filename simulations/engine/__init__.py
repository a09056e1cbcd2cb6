"""fedwatt: simulations/engine."""
