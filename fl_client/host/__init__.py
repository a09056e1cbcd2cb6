"""What keeps a household running on its own computer."""
