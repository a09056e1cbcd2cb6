"""Federated forecasts beside local, pooled and plain ones."""
