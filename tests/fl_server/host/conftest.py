"""The homes that simulations are tested on."""

from tests.simulations.conftest import homes

__all__ = ["homes"]
