"""The same federated rounds, carried by this project's engines and by others' frameworks."""
