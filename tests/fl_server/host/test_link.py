"""The SuperLink's guard: nobody speaks in another's name, too much or too often."""

import json
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from flwr.common.constant import SUPERLINK_NODE_ID
from flwr.proto.fleet_pb2 import PullMessagesRequest, PullMessagesResponse, PushMessagesRequest
from flwr.proto.message_pb2 import ObjectTree, PullObjectRequest
from flwr.proto.node_pb2 import Node

from common.flower_release import speaks_http
from fl_client.host.key import make_node_key
from fl_server.host.folder import Deployment, Folder
from fl_server.host.guard import Guard, Limits
from fl_server.host.refusals import Refusals
from fl_server.host.setup import admit_household, init_server
from fl_server.host.tls import make_authority, make_server_certificate
from tests.support.intruder import EXPECTED, Caller, answer, attempts
from tests.support.ports import free_port
from tests.support.superlink import started

TRANSPORTS = ["grpc", "http"] if speaks_http() else ["grpc"]
LIMITS = Limits(message_bytes=10_000, calls_per_s=1.0, bytes_per_hour=36_000)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Calls:
    """A guard, and calls each signed for a moment of its own."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.clock, self.count = Clock(), 0
        self.guard = Guard(limits, self.clock)

    def __call__(self, key: bytes, request: object) -> str | None:
        self.count += 1
        return self.guard.refuse(key, str(self.count), request)

    def hand_out(self, key: bytes, *object_ids: str) -> None:
        trees = [ObjectTree(object_id=one) for one in object_ids]
        self(key, PullMessagesRequest(node=Node(node_id=1)))
        self.guard.hand_out(key, PullMessagesResponse(message_object_trees=trees))


def push(
    caller: int, sender: int, asked: str, size: int = 0, own: str = "f" * 64
) -> PushMessagesRequest:
    request = answer(1, caller, sender, asked, SUPERLINK_NODE_ID)
    request.messages_list[0].metadata.group_id = "x" * size
    request.messages_list[0].metadata.message_id = own
    request.message_object_trees[0].object_id = own
    return request


def test_an_answer_comes_from_whom_was_asked_and_once() -> None:
    """The sender is the authenticated node, asked by that very message; a retry is no second."""
    calls = Calls()
    calls.hand_out(b"a", "asked")
    assert calls(b"a", push(1, 2, "asked")) == "a message in another's name"
    assert calls(b"b", push(2, 2, "asked")) == "an answer to a message it was not sent"
    assert calls(b"a", push(1, 1, "asked")) is None
    assert calls(b"a", push(1, 1, "asked")) is None
    assert calls(b"a", push(1, 1, "asked", own="other")) == "a second answer"


def test_objects_are_for_whom_they_were_sent_to() -> None:
    """An object's id is no key to it, for those whose messages it is not part of."""
    calls = Calls()
    calls.hand_out(b"a", "object")
    request = PullObjectRequest(node=Node(node_id=1), object_id="object")
    assert calls(b"a", request) is None
    assert calls(b"b", request) == "an object it was not sent"


def test_a_call_passes_once() -> None:
    """The same signature again is refused for as long as Flower would accept its time stamp."""
    clock = Clock()
    guard = Guard(LIMITS, clock)
    request = PullMessagesRequest(node=Node(node_id=1))
    assert guard.refuse(b"a", "noon", request) is None
    clock.now = 305.0
    assert guard.refuse(b"a", "noon", request) == "a repeated call"
    assert guard.refuse(b"b", "noon", request) is None


def test_calls_and_bytes_are_bounded_per_key_and_come_back_with_time() -> None:
    """60 calls at once, then one a second; 36 kB an hour, ten bytes a second; others unharmed."""
    calls = Calls()
    pull = PullMessagesRequest(node=Node(node_id=1))
    refused = [calls(b"a", pull) for _ in range(61)]
    assert refused[:60] == [None] * 60
    assert refused[60] == "too many calls"
    assert calls(b"b", pull) is None
    calls.clock.now = 1.0
    assert calls(b"a", pull) is None
    calls.hand_out(b"c", "asked")
    assert calls(b"c", push(3, 3, "asked", 35_000)) is None
    assert calls(b"c", push(3, 3, "asked", 5_000)) == "too many bytes"
    calls.clock.now = 1.0 + 3600
    assert calls(b"c", push(3, 3, "asked", 5_000)) is None


def test_refusals_do_not_fill_the_disk(capsys: pytest.CaptureFixture[str]) -> None:
    """Sixty lines a minute at most; the next one tells how many were left out."""
    clock = Clock()
    refusals = Refusals(clock)
    for _ in range(100):
        refusals.tell("PullMessages", "why", "ipv4:10.0.0.9:1")
    clock.now = 60.0
    refusals.tell("PullMessages", "why", "ipv4:10.0.0.9:1")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert len(lines) == 61
    assert lines[-1]["left_out"] == 40


# ---- a real SuperLink ---------------------------------------------------------------------------


@dataclass
class Link:
    """A SuperLink with TLS on loopback, and two households admitted but not there."""

    folder: Folder
    address: str
    nodes: list[int]
    homes: list[Path]

    def caller(self, key: Path, ca: Path | None = None) -> Caller:
        trusted = (ca or self.folder.tls / "ca.crt").read_bytes()
        return Caller(self.address, trusted, key.read_bytes())

    def log(self) -> str:
        return (self.folder.root / "superlink.log").read_text(errors="replace")


@pytest.fixture(scope="module", params=TRANSPORTS)
def link(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Link]:
    root = tmp_path_factory.mktemp("link")
    ports = {"fleet_port": free_port(), "control_port": free_port(), "page_port": free_port()}
    flat = ["tariff.source=flat"]
    init_server(root / "server", ["127.0.0.1"], None, flat, None, 1, Deployment(**ports))
    folder = Folder(root / "server")
    tight = {"message_mb": 0.2, "requests_per_s": 1.0, "transport": request.param}
    settings = yaml.safe_load(folder.server_file.read_text())
    folder.server_file.write_text(yaml.safe_dump(settings | tight))
    process = started(folder)
    try:
        nodes, homes = [], []
        for name in ("maple-7", "oak-2"):
            homes.append(root / name)
            homes[-1].mkdir()
            nodes.append(admit_household(folder.root, make_node_key(homes[-1], name), name))
        yield Link(folder, f"127.0.0.1:{ports['fleet_port']}", nodes, homes)
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.mark.slow
def test_a_stranger_gets_nowhere(link: Link, tmp_path: Path) -> None:
    """A key that nobody admitted: no registration, no connection, not even in another's place."""
    make_node_key(tmp_path, "stranger")
    stranger, maple = link.caller(tmp_path / "key"), link.caller(link.homes[0] / "key")
    assert "this key is not admitted" in stranger.register()
    assert "this key is not admitted" in stranger.activate()
    assert "this key is not admitted" in stranger.activate(maple.public)
    refused = stranger.heartbeat(link.nodes[0])
    assert "Invalid node ID" in refused or "this key is not admitted" in refused
    stranger.public = maple.public
    assert "Invalid signature" in stranger.activate()
    assert "Invalid signature" in stranger.heartbeat(link.nodes[0])
    assert maple.activate() == "passed"
    assert "has not lapsed" in maple.activate()
    assert maple.heartbeat(link.nodes[0]) == "passed"


@pytest.mark.slow
def test_a_household_speaks_for_itself_alone(link: Link) -> None:
    """Every attempt of an admitted household against another is refused, and told in the log."""
    oak, maple = link.caller(link.homes[1] / "key"), link.caller(link.homes[0] / "key")
    nodes = link.nodes
    found = attempts(oak, maple.public, nodes[1], nodes[0], "a" * 64, "b" * 64, 1)
    # None of these was ever sent: this SuperLink has no run.
    expected = EXPECTED | {"a second order": "an answer to a message it was not sent"}
    for attempt, why in expected.items():
        assert why in found[attempt], attempt
    events = [json.loads(x) for x in link.log().splitlines() if '"call refused"' in x]
    told = {event["why"] for event in events}
    assert set(expected.values()) - {"passed"} <= told
    assert (link.folder.log / "link.jsonl").read_text().count("call refused") == len(events)


@pytest.mark.slow
def test_size_and_rate_are_bounded(link: Link) -> None:
    """A message of more than message_mb, or the 61st call of a minute, does not pass."""
    oak = link.caller(link.homes[1] / "key")
    huge = push(link.nodes[1], link.nodes[1], "a" * 64, size=300_000)
    assert "RESOURCE_EXHAUSTED" in oak.call("PushMessages", huge)
    outcomes = [oak.heartbeat(link.nodes[1]) for _ in range(70)]
    assert outcomes[0] == "passed"
    assert "too many calls" in outcomes[-1]
    # Others are not held back by it.
    assert link.caller(link.homes[0] / "key").heartbeat(link.nodes[0]) == "passed"


@pytest.mark.slow
def test_slow_strangers_hold_nobody_up(link: Link) -> None:
    """150 connections hang: silent, in mid-handshake, or in mid-request after one; a household's
    calls pass meanwhile, and again when all have hung up."""
    host, _, port = link.address.partition(":")
    context = ssl.create_default_context(cafile=link.folder.tls / "ca.crt")
    context.set_alpn_protocols(["h2", "http/1.1"])
    maple = link.caller(link.homes[0] / "key")
    with ExitStack() as stack:
        for number in range(150):
            plug = stack.enter_context(socket.create_connection((host, int(port)), timeout=30))
            if number % 3 == 1:
                plug.sendall(bytes.fromhex("1603010200010001fc0303"))  # of a ClientHello's header
            elif number % 3 == 2:
                held = stack.enter_context(context.wrap_socket(plug, server_hostname=host))
                half = b"PRI * HTTP/2.0\r\n"
                if held.selected_alpn_protocol() != "h2":
                    half = b"POST /v1/fleet/activate-node HTTP/1.1\r\nContent-Length: 99999\r\n"
                held.sendall(half)
        assert maple.heartbeat(link.nodes[0]) == "passed"
        assert link.caller(link.homes[0] / "key").heartbeat(link.nodes[0]) == "passed"
    assert maple.heartbeat(link.nodes[0]) == "passed"


@pytest.mark.slow
def test_another_authority_is_not_believed(link: Link, tmp_path: Path) -> None:
    """A household that trusts another authority does not talk to this coordinator at all."""
    make_authority(tmp_path)
    misled = link.caller(link.homes[0] / "key", tmp_path / "ca.crt")
    assert "UNAVAILABLE" in misled.heartbeat(link.nodes[0])


@pytest.mark.slow
def test_no_key_in_the_log(link: Link) -> None:
    """Whoever reads the SuperLink's log learns no key, neither private nor public."""
    text = link.log()
    assert "call refused" in text
    assert "BEGIN" not in text
    for home in link.homes:
        assert (home / "key.pub").read_text().split()[1] not in text


@pytest.mark.slow
def test_an_expired_certificate_is_not_believed(link: Link) -> None:
    """Presented by the coordinator itself, from its own authority: households do not connect."""
    other = Folder(link.folder.root.with_name("expired"))
    ports = {"fleet_port": free_port(), "control_port": free_port(), "page_port": free_port()}
    flat = ["tariff.source=flat"]
    init_server(other.root, ["127.0.0.1"], None, flat, None, 1, Deployment(**ports))
    make_server_certificate(other.tls, ["127.0.0.1"], days=-0.5)
    process = started(other)
    try:
        address = f"127.0.0.1:{ports['fleet_port']}"
        key = (link.homes[0] / "key").read_bytes()
        found = Caller(address, (other.tls / "ca.crt").read_bytes(), key).heartbeat(1)
        assert "UNAVAILABLE" in found
        # It was the date alone: a renewed certificate is enough.
        make_server_certificate(other.tls, ["127.0.0.1"])
    finally:
        process.terminate()
        process.wait(timeout=30)
    (other.root / "superlink.log").unlink()
    process = started(other)
    try:
        found = Caller(address, (other.tls / "ca.crt").read_bytes(), key).heartbeat(1)
        assert "Invalid node ID" in found
    finally:
        process.terminate()
        process.wait(timeout=30)
