"""Traders side by side on the same days: the market loop without messages and without training."""
