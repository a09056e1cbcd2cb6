"""YAML presets that ship with fedwatt."""
