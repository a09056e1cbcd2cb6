"""The coordinator: market and model rounds, settlement, ledger; the Flower server's side."""
