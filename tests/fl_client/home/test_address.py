"""Addresses: somebody could be called there, or one line says why not."""

import socket
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InputError
from fl_client.home.address import server, topic


@given(
    st.one_of(
        st.text(max_size=80),
        st.text("abz09.-:[]@/%? \u00b2\u0663\u2100", max_size=30),
        st.builds("{}:{}".format, st.text("ab.-", max_size=70), st.integers(-1, 70_000)),
    )
)
def test_what_is_let_by_can_be_looked_up(rest: str) -> None:
    """The library that is given host and port raises OSError at most; a refusal is one line that
    begins with the key."""
    said = ""
    try:
        parts = server(f"mqtt://{rest}", ("mqtt", "mqtts"), "source")
        assert parts.hostname
        assert parts.port is None or 0 < parts.port < 1 << 16
        with suppress(OSError):
            # By number alone: nobody is asked.
            socket.getaddrinfo(parts.hostname, parts.port, flags=socket.AI_NUMERICHOST)
    except InputError as error:
        said = str(error)
    assert said == "" or said.startswith("source ")
    assert len(said.splitlines()) <= 1


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("mqtt://broker.lan", "broker.lan", None),
        ("mqtts://broker.lan.:8883", "broker.lan.", 8883),
        ("mqtt://me@10.0.0.1:1", "10.0.0.1", 1),
        ("mqtt://[2001:db8::7]:1883", "2001:db8::7", 1883),
        ("mqtt://my_broker/", "my_broker", None),
    ],
)
def test_addresses_of_homes(url: str, host: str, port: int | None) -> None:
    """Names, numbers of both kinds, a user."""
    parts = server(url, ("mqtt", "mqtts"), "source")
    assert (parts.hostname, parts.port) == (host, port)


@pytest.mark.parametrize("url", ["http://me:secret@[::1", "http://me:secret@x:0", "me:secret@x"])
def test_a_refusal_tells_no_password(url: str) -> None:
    """Whatever is wrong with the rest."""
    with pytest.raises(InputError) as error:
        server(url, ("http", "https"), "source")
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("name", ["a/#", "+", "a\nb", "x" * 65536, "\u00e4" * 33000])
def test_what_is_no_topic(name: str) -> None:
    """One topic that a broker takes, or one line."""
    with pytest.raises(InputError, match=r"^topic: ") as error:
        topic(name, "topic")
    assert len(str(error.value)) < 200
    assert topic("dsmr/\u00e4 b/1", "topic") == "dsmr/\u00e4 b/1"
