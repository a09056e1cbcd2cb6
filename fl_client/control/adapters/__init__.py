"""How commands reach a battery, one file each."""
