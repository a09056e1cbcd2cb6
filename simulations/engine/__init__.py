"""Ways to carry the same two apps: Flower's own engine, batched Ray actors, one process."""
