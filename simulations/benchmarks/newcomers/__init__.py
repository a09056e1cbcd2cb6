"""Homes that have just joined: what others learned is worth, by how much they have measured."""
