"""What an adapter is, whatever it writes to."""

from typing import Protocol


class Adapter(Protocol):
    """A line to a battery's inverter. That a call returns proves nothing of the battery.

    Every call raises OSError where what it wants could not be sent. Nothing is kept for later: what
    could not be sent now is never sent.
    """

    name: str

    @property
    def trouble(self) -> str:
        """Why nothing can be sent now, "" where it can."""
        ...

    def take(self) -> None:
        """Make the inverter listen to setpoints."""
        ...

    def setpoint(self, kw: float) -> None:
        """Command this power [kW], charging positive."""
        ...

    def follow(self, grid_kw: float) -> None:
        """Command that the inverter holds this power [kW] at the grid's connection by itself,
        import positive."""
        ...

    def hand_back(self) -> None:
        """Give the inverter back to its own self-consumption."""
        ...

    def close(self) -> None:
        """End the connection."""
        ...
