"""Market mechanisms compared: speed, welfare, fairness, and what a lie is worth."""
