"""Aggregation strategies under dials, attacks, compression and privacy."""
