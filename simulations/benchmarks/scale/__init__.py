"""How the time and memory of a simulation grow with its number of households."""
