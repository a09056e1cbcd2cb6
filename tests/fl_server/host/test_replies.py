"""Replies that are not all there yet, or not readable, hold nobody up."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.server.superlink.linkstate.sql_linkstate import SqlLinkState
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from flwr.supercore.state.schema.corestate_models import ObjectPushSession, ObjectPushSessionRoot
from flwr.supercore.state.schema.linkstate_models import MessageRes
from sqlalchemy.orm import Session

from fl_server.host.replies import hand_out_whole_replies, survive_unreadable_replies
from simulations.engine.loop import server_context

TABLES = (MessageRes, ObjectPushSession, ObjectPushSessionRoot)


class State:
    """The tables of Flower's link that say which replies are still being sent."""

    def __init__(self) -> None:
        self.engine = sa.create_engine("sqlite://")
        for table in TABLES:
            table.__table__.create(self.engine)

    @contextmanager
    def session(self) -> Iterator[Session]:
        with Session(self.engine) as session:
            yield session

    def reply(self, asked: str, pending: int) -> None:
        now = datetime.now(UTC)
        with Session(self.engine) as session:
            session.add(
                MessageRes(
                    message_id=f"reply to {asked}", group_id="", run_id=1, src_node_id=2,
                    dst_node_id=1, reply_to_message_id=asked, created_at=0.0, delivered_at="",
                    ttl=1.0, message_type="query", content=b"", error=b"",
                )
            )  # fmt: skip
            session.add(
                ObjectPushSession(session_id=asked, run_id=1, expires_at=now, pending_count=pending)
            )
            session.add(ObjectPushSessionRoot(session_id=asked, root_object_id=f"reply to {asked}"))
            session.commit()


def test_a_reply_still_being_sent_is_none_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """The coordinator is given those that are all there, and does not wait for the others."""
    given: list[set[str]] = []
    monkeypatch.setattr(
        SqlLinkState, "get_message_res", lambda self, ids, run_id: given.append(ids) or []
    )
    hand_out_whole_replies()
    state = State()
    state.reply("whole", 0)
    state.reply("half", 2)
    SqlLinkState.get_message_res(state, {"whole", "half", "unanswered"}, 1)  # type: ignore[arg-type]
    assert given == [{"whole", "unanswered"}]


def test_an_unreadable_reply_is_an_error_of_nobody() -> None:
    """Sound replies are read as ever; garbage, and what is no message, become error replies."""
    server_context(1, {})
    survive_unreadable_replies()
    survive_unreadable_replies()
    inflate = vars(importlib.import_module("flwr.superlink.grid.http_grid"))[
        "inflate_object_from_contents"
    ]
    content = RecordDict({"config": ConfigRecord({"a": 1})})
    message = Message(content, 5, "query")
    objects = get_all_nested_objects(message)
    contents = {name: one.deflate() for name, one in objects.items()}
    read = inflate(message.object_id, dict(contents))
    assert read.content.config_records["config"]["a"] == 1
    record = {name: one for name, one in contents.items() if name != message.object_id}
    for root, bad in (
        (message.object_id, {message.object_id: b"\xff\xfe"}),
        (message.object_id, {message.object_id: contents[message.object_id]}),
        (content.object_id, record),
    ):
        told = inflate(root, dict(bad))
        assert told.has_error()
        assert told.metadata.src_node_id == 1
