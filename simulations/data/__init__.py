"""What is measured and drawn of household data."""
