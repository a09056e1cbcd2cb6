"""The deployment benchmark's meter and arithmetic, and what it says to bad input."""

import socket
import threading
from pathlib import Path

import pytest

from simulations.benchmarks.deployment.command import app
from simulations.benchmarks.deployment.relay import Relay
from simulations.benchmarks.deployment.run import Measured
from tests.support.commands import refused


def test_relay_counts_what_goes_through_each_way() -> None:
    """5 bytes one way, 7 the other, over two connections; and they arrive."""
    server = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        for size in (2, 5):
            plug, _ = server.accept()
            with plug:
                assert len(plug.recv(100)) in (2, 3)
                plug.sendall(b"y" * size)

    thread = threading.Thread(target=answer)
    thread.start()
    relay = Relay(("127.0.0.1", server.getsockname()[1]))
    for sent, expected in ((b"xx", 2), (b"xxx", 5)):
        with socket.create_connection(("127.0.0.1", relay.port)) as plug:
            plug.sendall(sent)
            assert len(plug.recv(100)) == expected
    thread.join(timeout=30)
    assert (relay.up, relay.down) == (5, 7)
    relay.close()
    server.close()


def test_a_day_is_polling_and_48_market_rounds_and_8_model_rounds() -> None:
    """10 MB of polling, 48 x 5 kB and 8 x 2 MB down: 26.24 MB; up 20 + 48 x 0.01 + 8 x 1."""
    row = Measured(
        4, 3.0, 0, 0, 0, [], [], 0, [], (10.0, 20.0), (5.0, 10.0), (2.0, 1.0),
    )  # fmt: skip
    assert row.mb_per_day == pytest.approx((26.24, 28.48))


def test_bad_input_is_refused_before_anything_starts(tmp_path: Path) -> None:
    """A size that is no number, a folder in use, a machine too small: one line, nothing written."""
    out = tmp_path / "out"
    for arguments, text in (
        (["--supernodes", "4,many"], "--supernodes 'many'"),
        (["--supernodes", "1000000"], "are free"),
    ):
        assert text in refused(app, "--out", str(out), *arguments)
        assert not out.exists()
    assert "already holds" in refused(app, "--out", str(tmp_path.parent))
