"""Net load of the next day, corrected by models that were taught in different ways."""
