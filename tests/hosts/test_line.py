"""The bad line is as bad as it says: what the tests of hosts rest on."""

import asyncio
import json
import sys
import time
from pathlib import Path

from tests.support.ports import free_port


async def _through(tmp_path: Path, control: dict[str, float], size: int) -> float:
    """Seconds until ``size`` bytes have come back through the proxy; inf where it was reset."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(4096):
            writer.write(chunk)
        writer.close()

    target, port = free_port(), free_port()
    far = await asyncio.start_server(echo, "127.0.0.1", target)
    (tmp_path / "line.json").write_text(json.dumps(control))
    proxy = await asyncio.create_subprocess_exec(
        sys.executable, str(Path(__file__).parent / "proxy.py"),
        str(port), "127.0.0.1", str(target), str(tmp_path / "line.json"),
    )  # fmt: skip
    try:
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                break
            except ConnectionRefusedError:
                await asyncio.sleep(0.05)
        begin = time.monotonic()
        writer.write(b"x" * size)
        try:
            await reader.readexactly(size)
        except (ConnectionError, asyncio.IncompleteReadError):
            return float("inf")
        return time.monotonic() - begin
    finally:
        proxy.kill()
        await proxy.wait()
        far.close()


def test_delay_and_rate(tmp_path: Path) -> None:
    """4000 bytes at 8000 a second, 0.2 s late, both ways: 0.5 s and 0.4 s at the least.

    The chunks come back one by one, so the second way overlaps the first.
    """
    seconds = asyncio.run(_through(tmp_path, {"delay_s": 0.2, "bytes_per_s": 8000}, 4000))
    assert 0.9 <= seconds < 10


def test_resets(tmp_path: Path) -> None:
    """A connection that is certain to be reset is, and does not just hang."""
    found = asyncio.run(_through(tmp_path, {"bytes_per_s": 1000, "reset_per_s": 1.0}, 100_000))
    assert found == float("inf")
