"""An adapter that writes to its inverter by the orders of ``control.yaml``, one after the other."""

from abc import ABC, abstractmethod

from fl_client.control.settings import Control, Order


class ByOrders(ABC):
    """What every ``Adapter`` does with its orders; a line says how one is sent."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def take(self) -> None:
        """See ``Adapter``."""
        for order in self._control.take:
            self._send(order, order.value)

    def setpoint(self, kw: float) -> None:
        """See ``Adapter``."""
        order = self._control.setpoint
        assert order is not None
        self._send(order, kw * order.factor)

    def follow(self, grid_kw: float) -> None:
        """See ``Adapter``."""
        order = self._control.follow
        assert order is not None
        self._send(order, grid_kw * order.factor)

    def hand_back(self) -> None:
        """See ``Adapter``."""
        for order in self._control.hand_back:
            self._send(order, order.value)

    @abstractmethod
    def _send(self, order: Order, value: str | float) -> None:
        """Send one value, a setpoint's as a number. Raises OSError where it cannot be sent."""
