"""What keeps the coordinator running on its own computer."""
