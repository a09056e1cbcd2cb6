"""Forecasting: features, windows, models, losses, metrics, baselines."""
