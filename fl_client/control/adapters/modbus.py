"""Commands by Modbus TCP: registers written in an inverter, or in the gateway in front of it.

An inverter that answers has taken the value into a register, no more. Nothing hands back in place
of a process that was killed but the inverter's own watchdog. Use its volatile registers: those of
settings wear out.
"""

import math

from pymodbus.client import ModbusTcpClient
from pymodbus.exceptions import ModbusException

from common.errors import InputError
from fl_client.control.adapters.by_orders import ByOrders
from fl_client.control.settings import Control, Order
from fl_client.home import address as addresses

_TIMEOUT_S = 3.0
_PORT = 502


class ModbusAdapter(ByOrders):
    """``Adapter`` to registers of ``control``; connects when it is asked, and again.

    Raises InputError for a value that its register cannot hold.
    """

    def __init__(self, control: Control) -> None:
        url = addresses.server(control.server, ("tcp",), "server")
        host, port = url.hostname or "127.0.0.1", url.port or _PORT
        super().__init__(control)
        self.name = f"modbus {host}:{port}"
        self._client = ModbusTcpClient(host, port=port, timeout=_TIMEOUT_S, retries=1)
        for order in (*control.take, *control.hand_back):
            self._words(order, order.value)

    @property
    def trouble(self) -> str:
        """See ``Adapter``: the line is tried anew by every command."""
        return ""

    def close(self) -> None:
        """See ``Adapter``."""
        self._client.close()  # type: ignore[no-untyped-call]

    def _words(self, order: Order, value: str | float) -> list[int]:
        kind = self._client.DATATYPE[order.type.upper()]
        exact = _number(order, value)
        number = exact if order.type.startswith("float") else round(exact)
        try:
            return self._client.convert_to_registers(
                number, kind, "little" if order.little else "big"
            )
        except Exception:
            # Of whatever kind: struct's error, or the library's own.
            raise InputError(
                f"register {order.address}: {number} is no {order.type}; see type"
            ) from None

    def _send(self, order: Order, value: str | float) -> None:
        try:
            words = self._words(order, value)
            if not self._client.connect():  # type: ignore[no-untyped-call]
                raise OSError("nobody answers there")
            said = self._client.write_registers(
                int(order.address), words, device_id=self._control.device
            )
            if said.isError():
                raise OSError(f"register {order.address} is refused: {said}")
        except InputError as error:
            raise OSError(f"{self.name}: {error}") from None
        except (OSError, ModbusException) as error:
            self._client.close()  # type: ignore[no-untyped-call]
            raise OSError(f"{self.name}: {' '.join(str(error).split())}") from None


def _number(order: Order, value: str | float) -> float:
    try:
        found = float(value)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise InputError(f"register {order.address}: {value!r} is no number")
    return found
