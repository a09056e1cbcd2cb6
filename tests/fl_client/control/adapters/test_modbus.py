"""Commands by Modbus TCP, to the library's own simulator."""

import asyncio
import threading

import pytest
from pymodbus.client import ModbusTcpClient
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from common.errors import InputError
from fl_client.control.adapters import open_adapter
from fl_client.control.settings import Control, Order
from tests.support.ports import free_port


class Inverter:
    """A device with registers 0 to 99, number 3, on a port of its own."""

    def __init__(self):
        self.port = free_port()
        self._loop = asyncio.new_event_loop()
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        assert self._up.wait(10)

    def _serve(self):
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._live())

    async def _live(self):
        registers = SimData(0, count=100, values=0, datatype=DataType.REGISTERS)
        self._server = ModbusTcpServer(
            SimDevice(id=3, simdata=[registers]), address=("127.0.0.1", self.port)
        )
        self._over = asyncio.Event()
        await self._server.serve_forever(background=True)
        self._up.set()
        await self._over.wait()
        await self._server.shutdown()

    def close(self):
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(10)

    def read(self, address, kind="INT16", order="big"):
        with ModbusTcpClient("127.0.0.1", port=self.port) as client:
            form = client.DATATYPE[kind]
            words = client.read_holding_registers(address, count=form.value[1], device_id=3)
            return client.convert_from_registers(words.registers, form, order)


@pytest.fixture
def inverter():
    made = Inverter()
    yield made
    made.close()


REST = Order("10", "0")


def _open(port, setpoint, device=3, hand_back=REST):
    control = Control(
        mode="command",
        adapter="modbus",
        server=f"tcp://127.0.0.1:{port}",
        device=device,
        setpoint=setpoint,
        take=(Order("10", "4"), Order("11", "70000", type="uint32")),
        hand_back=(hand_back,),
    )
    return open_adapter(control, {}, "maple")


@pytest.mark.parametrize(
    ("order", "kind", "words", "shown"),
    [
        (Order("20", factor=-1000.0), "INT16", "big", -1234),
        (Order("20", factor=1000.0, type="int32"), "INT32", "big", 1234),
        (Order("20", factor=1000.0, type="int32", little=True), "INT32", "little", 1234),
        (Order("20", factor=-1.0, type="float32"), "FLOAT32", "big", pytest.approx(-1.234)),
    ],
)
def test_registers_hold_what_is_commanded(inverter, order, kind, words, shown):
    """Sign, unit, type and order of words, in the device that is named."""
    adapter = _open(inverter.port, order)
    adapter.take()
    adapter.setpoint(1.234)
    assert (inverter.read(10), inverter.read(11, "UINT32")) == (4, 70000)
    assert inverter.read(20, kind, words) == shown
    adapter.hand_back()
    assert inverter.read(10) == 0
    adapter.close()


def test_a_refusal_and_a_dead_line_are_errors(inverter):
    """A register or device that is not there, an inverter that is gone, and then is back."""
    adapter = _open(inverter.port, Order("500"))
    with pytest.raises(OSError, match="register 500 is refused"):
        adapter.setpoint(1.0)
    adapter.hand_back()  # the line is made anew
    stranger = _open(inverter.port, Order("20"), device=9)
    with pytest.raises(OSError, match="modbus 127"):
        stranger.setpoint(1.0)
    stranger.close()
    gone = _open(free_port(), Order("20"))
    with pytest.raises(OSError, match="nobody answers there"):
        gone.hand_back()
    adapter.close()


def test_what_a_register_cannot_hold_is_refused_before_anything_runs(inverter):
    """A word, a number that is too large; a setpoint beyond it is an error and never wraps."""
    with pytest.raises(InputError, match="'auto' is no number"):
        _open(inverter.port, Order("20"), hand_back=Order("10", "auto"))
    with pytest.raises(InputError, match="is no int16"):
        _open(inverter.port, Order("20"), hand_back=Order("10", "70000"))
    adapter = _open(inverter.port, Order("20", factor=1e6))
    with pytest.raises(OSError, match="is no int16"):
        adapter.setpoint(1.0)
    assert inverter.read(20) == 0
