"""A bad line: a TCP proxy that delays, throttles and resets connections at random.

    python proxy.py LISTEN_PORT TARGET_HOST TARGET_PORT CONTROL_FILE

The control file holds JSON: {"delay_s": 0.2, "bytes_per_s": 8000, "reset_per_s": 0.05}; it is read
again every second, so that a test can make the line worse or better as it goes. The delay is that
of each way; the rate is that of each connection and way.
"""

import asyncio
import json
import random
import socket
import struct
import sys
import time
from pathlib import Path

_WINDOW = 32  # chunks under way; a slower far end holds the near one back


class Line:
    """The state of the line, as the control file has it."""

    def __init__(self, control: Path) -> None:
        self._control = control
        self.delay_s, self.bytes_per_s, self.reset_per_s = 0.0, 0.0, 0.0
        self.resets = 0

    async def follow(self) -> None:
        """Read the control file every second."""
        while True:
            if self._control.exists():
                vars(self).update(json.loads(self._control.read_text() or "{}"))
            await asyncio.sleep(1.0)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST, as a router does that has lost its table."""
    plug = writer.get_extra_info("socket")
    if plug is not None:
        plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.close()


async def _pump(line: Line, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One way of one connection: chunks leave one by one, each on its way for the delay."""
    under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_WINDOW)

    async def arrive() -> None:
        while True:
            due, chunk = await under_way.get()
            await asyncio.sleep(max(due - time.monotonic(), 0.0))
            if not chunk:
                return
            writer.write(chunk)
            await writer.drain()

    arrivals, this = asyncio.create_task(arrive()), asyncio.current_task()
    assert this is not None
    # Nobody takes what is under way any more: stop reading too.
    arrivals.add_done_callback(
        lambda done: this.cancel() if not done.cancelled() and done.exception() else None
    )
    free = time.monotonic()
    try:
        while not arrivals.done():
            chunk = await reader.read(2048)
            free = max(free, time.monotonic())
            if line.bytes_per_s:
                free += len(chunk) / line.bytes_per_s
            await under_way.put((free + line.delay_s, chunk))
            if not chunk:
                break
        await arrivals
    except (ConnectionError, asyncio.CancelledError):
        arrivals.cancel()
    finally:
        writer.close()


async def main(port: int, host: str, target: int, control: Path) -> None:
    """Serve until killed."""
    line = Line(control)
    follower = asyncio.create_task(line.follow())

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(host, target)
        except OSError:
            _reset(writer)
            return
        pumps = [
            asyncio.create_task(_pump(line, reader, far_writer)),
            asyncio.create_task(_pump(line, far_reader, writer)),
        ]
        while not all(pump.done() for pump in pumps):
            await asyncio.wait(pumps, timeout=1.0)
            if random.random() < line.reset_per_s:
                line.resets += 1
                print(f"reset {line.resets}", flush=True)
                for end in (writer, far_writer):
                    _reset(end)
                break
        for pump in pumps:
            pump.cancel()

    server = await asyncio.start_server(connect, "0.0.0.0", port)
    async with server:
        await server.serve_forever()
    follower.cancel()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), Path(sys.argv[4])))
