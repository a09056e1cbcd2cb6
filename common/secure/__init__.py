"""What both sides of secure aggregation agree on: the grid, the masks, the shares, the messages."""
