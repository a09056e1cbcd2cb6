"""A household: it settles, forecasts, trades and trains; the side of every Flower client."""
