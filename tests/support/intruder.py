"""A household's calls made by hand, with any key and any content: what an intruder can try.

    python -m tests.support.intruder ADDRESS CA KEY VICTIM_KEY NODE VICTIM_NODE MINE THEIRS RUN

It speaks as the coordinator does, gRPC or HTTP.

KEY: the private key it calls with; VICTIM_KEY: a public key it has found. MINE, THEIRS: ids of
messages sent to it and to the victim, as one knows them who reads both hosts' logs. Prints
what became of each attempt, as JSON.
"""

import hashlib
import http.client
import json
import re
import ssl
import sys
import time
from base64 import b64encode
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]
from cryptography.hazmat.primitives import serialization
from flwr.common.constant import (
    PUBLIC_KEY_HEADER,
    SIGNATURE_HEADER,
    SUPERLINK_NODE_ID,
    TIMESTAMP_HEADER,
)
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    PushMessagesRequest,
    RegisterNodeFleetRequest,
)
from flwr.proto.fleet_pb2_grpc import FleetStub
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.message_pb2 import (
    ConfirmMessageReceivedRequest,
    Message,
    Metadata,
    ObjectTree,
    PullObjectRequest,
    PushObjectRequest,
)
from flwr.proto.node_pb2 import Node
from flwr.proto.recorddict_pb2 import RecordDict
from flwr.supercore.date import now
from flwr.supercore.primitives.asymmetric import public_key_to_bytes, sign_message
from flwr.supercore.runtime_version_compatibility import RuntimeVersionMetadata

from fl_client.host.probe import spoken

Signed = list[tuple[str, Any]]


class Caller:
    """Calls the Fleet API with a key of its own."""

    def __init__(self, address: str, ca: bytes, key: bytes) -> None:
        self.key: Any = serialization.load_ssh_private_key(key, None)
        self.public = public_key_to_bytes(self.key.public_key())
        self._address, self._ca = address, ca
        self._http = _speaks_http(address, ca)
        self._channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(ca))
        self._stub: Any = FleetStub(self._channel)

    def close(self) -> None:
        """Hang up."""
        self._channel.close()

    def signed(self, stamp: str | None = None, key: Any = None) -> Signed:
        """Headers of one call; ``stamp`` of another time, signed by another ``key``."""
        stamp = stamp or now().isoformat()
        headers: Signed = [
            (PUBLIC_KEY_HEADER, self.public),
            (TIMESTAMP_HEADER, stamp),
            (SIGNATURE_HEADER, sign_message(key or self.key, stamp.encode())),
        ]
        version = RuntimeVersionMetadata.from_local_component("SuperNode")
        return list(version.append_to_grpc_metadata(headers))

    def call(self, name: str, request: Any, headers: Signed | None = None) -> str:
        """Make a call; returns "passed", or why it did not."""
        signed = self.signed() if headers is None else headers
        if self._http:
            return self._post(name, request.SerializeToString(), signed)
        try:
            getattr(self._stub, name)(request, metadata=signed, timeout=30)
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"
        return "passed"

    def _post(self, name: str, body: bytes, signed: Signed) -> str:
        """The same over HTTP; refusals begin with the name that gRPC has for them."""
        headers = {
            key.removesuffix("-bin"): b64encode(value).decode() if key.endswith("-bin") else value
            for key, value in signed
        } | {"Content-Type": "application/protobuf"}
        context = ssl.create_default_context(cadata=self._ca.decode())
        line = http.client.HTTPSConnection(self._address, context=context, timeout=30)
        path = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower()
        try:
            line.request("POST", f"/v1/fleet/{path}", body, headers)
            answer = line.getresponse()
            said = answer.read().decode("utf-8", "replace")
        except OSError as error:
            return f"UNAVAILABLE: {error}"
        finally:
            line.close()
        if answer.status == 200:
            return "passed"
        names = {413: "RESOURCE_EXHAUSTED"}
        return f"{names.get(answer.status, answer.status)}: {said}"

    def activate(self, public: bytes | None = None, headers: Signed | None = None) -> str:
        """Come online; with another's public key, in its place."""
        request = ActivateNodeRequest(public_key=public or self.public, heartbeat_interval=30)
        return self.call("ActivateNode", request, headers)

    def heartbeat(self, node: int, headers: Signed | None = None) -> str:
        """Say that a node is there."""
        request = SendNodeHeartbeatRequest(node=Node(node_id=node), heartbeat_interval=30)
        return self.call("SendNodeHeartbeat", request, headers)

    def register(self) -> str:
        """Ask to be admitted without the coordinator's doing."""
        return self.call("RegisterNode", RegisterNodeFleetRequest(public_key=self.public))


def _speaks_http(address: str, ca: bytes) -> bool:
    try:
        return spoken(address, ca) == "http"
    except OSError:  # not believed; the call will say so
        return False


def answer(run: int, caller: int, sender: int, asked: str, addressee: int) -> PushMessagesRequest:
    """An answer to message ``asked``, pushed by node ``caller`` in the name of ``sender``."""
    metadata = Metadata(
        run_id=run, message_id="f" * 64, src_node_id=sender, dst_node_id=addressee,
        reply_to_message_id=asked, created_at=time.time(), ttl=60.0, message_type="query.interval",
    )  # fmt: skip
    return PushMessagesRequest(
        node=Node(node_id=caller),
        messages_list=[Message(metadata=metadata, content=RecordDict())],
        message_object_trees=[ObjectTree(object_id="f" * 64)],
        clientapp_runtime_list=[0.1],
    )


def forged(run: int, sender: int, asked: str) -> bytes:
    """A message as the coordinator would read it: its sender is what it says."""
    metadata = Metadata(
        run_id=run, src_node_id=sender, dst_node_id=SUPERLINK_NODE_ID,
        reply_to_message_id=asked, created_at=time.time(), ttl=60.0, message_type="query.interval",
    )  # fmt: skip
    body = Message(metadata=metadata).SerializeToString()
    return f"Message  {len(body)}".encode() + b"\0" + body


def attempts(
    caller: Caller, victim: bytes, own: int, other: int, mine: str, theirs: str, run: int
) -> dict[str, str]:
    """What an admitted household can try against another; returns what became of it.

    ``own``, ``other``: node ids. ``mine``: a message it was sent and has answered; ``theirs``: one
    that the other was sent.
    """

    def push(sender: int, asked: str, addressee: int = SUPERLINK_NODE_ID) -> str:
        return caller.call("PushMessages", answer(run, own, sender, asked, addressee))

    def put(content: bytes) -> str:
        request = PushObjectRequest(
            node=node,
            run_id=run,
            object_id=hashlib.sha256(content).hexdigest(),
            object_content=content,
        )
        return caller.call("PushObject", request)

    node, recorded = Node(node_id=own), caller.signed()
    return {
        "an order in the other's name": push(other, theirs),
        "an order in answer to the other's request": push(own, theirs),
        "an order that is the other's inside": put(forged(run, other, mine)),
        "an order that answers the other's request inside": put(forged(run, own, theirs)),
        "no order at all": put(b"\xff\xfe"),
        "a second order": push(own, mine),
        "a request of its own to the other": push(own, "", other),
        "the other's node": caller.heartbeat(other),
        "the other's connection": caller.activate(victim),
        "the other's request": caller.call(
            "PullObject", PullObjectRequest(node=node, run_id=run, object_id=theirs)
        ),
        "the other's receipt": caller.call(
            "ConfirmMessageReceived",
            ConfirmMessageReceivedRequest(node=node, run_id=run, message_object_id=theirs),
        ),
        "a call": caller.heartbeat(own, recorded),
        "the same call, recorded": caller.heartbeat(own, recorded),
        "an old call": caller.heartbeat(own, caller.signed("2026-01-01T00:00:00+00:00")),
    }


EXPECTED = {
    "an order in the other's name": "a message in another's name",
    "an order in answer to the other's request": "an answer to a message it was not sent",
    "an order that is the other's inside": "a message in another's name",
    "an order that answers the other's request inside": "an answer to a message it was not sent",
    "no order at all": "an unreadable object",
    "a second order": "a second answer",
    "a request of its own to the other": "a message to another household",
    "the other's node": "Invalid node ID",
    "the other's connection": "a node of another's key",
    "the other's request": "an object it was not sent",
    "the other's receipt": "an object it was not sent",
    "a call": "passed",
    "the same call, recorded": "a repeated call",
    "an old call": "Invalid timestamp",
}
"""What must become of each attempt."""


def main(address: str, ca: str, key: str, victim: str, *ids: str) -> None:
    """Try everything; ids: own node, other's node, message of one's own, the other's, run."""
    caller = Caller(address, Path(ca).read_bytes(), Path(key).read_bytes())
    public: Any = serialization.load_ssh_public_key(Path(victim).read_bytes())
    own, other, mine, theirs, run = ids
    found = attempts(
        caller, public_key_to_bytes(public), int(own), int(other), mine, theirs, int(run)
    )
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
