"""Household data: the canonical frame, file formats, import, databases, built-in homes."""
