"""Replies as Flower's link hands them to the coordinator: whole, or not yet; readable, or an error.

Flower announces a reply before its content has arrived, and the coordinator would then wait for it,
up to three minutes, with everybody else's replies in its hands. And one that cannot be read ends
the whole run. Private: written for the release that ``link.py`` checks.
"""

from typing import Any

import sqlalchemy as sa
from flwr.app import Error, Message, Metadata
from flwr.app.message import make_message
from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode
from flwr.supercore.constant import SYSTEM_MESSAGE_TYPE
from flwr.supercore.date import now
from flwr.supercore.state.schema.corestate_models import (
    ObjectPushSession,
    ObjectPushSessionRoot,
)
from flwr.supercore.state.schema.linkstate_models import MessageRes

from common.flower_release import HTTP_GRID, LINK_STATE


def hand_out_whole_replies() -> None:
    """In the SuperLink: a reply that is still being sent is none yet."""
    link_state = LINK_STATE.load()
    state = link_state.SqlLinkState
    get = state.get_message_res

    def get_whole(self: Any, message_ids: set[str], run_id: int) -> list[Message]:
        underway = (
            sa.select(MessageRes.reply_to_message_id)
            .join(
                ObjectPushSessionRoot,
                ObjectPushSessionRoot.root_object_id == MessageRes.message_id,
            )
            .join(
                ObjectPushSession, ObjectPushSession.session_id == ObjectPushSessionRoot.session_id
            )
            .where(
                ObjectPushSession.pending_count > 0,
                MessageRes.reply_to_message_id.in_(message_ids),
            )
        )
        with self.session() as session:
            incomplete = set(session.scalars(underway))
        replies: list[Message] = get(self, set(message_ids) - incomplete, run_id)
        return replies

    state.get_message_res = get_whole


def survive_unreadable_replies() -> None:
    """In the ServerApp: a reply that is no message becomes an error reply of nobody."""
    grid = vars(HTTP_GRID.load())
    inflate = grid["inflate_object_from_contents"]
    if inflate is _inflate_or_error:
        return
    _flowers.append(inflate)
    grid["inflate_object_from_contents"] = _inflate_or_error


_flowers: list[Any] = []


def _inflate_or_error(object_id: str, contents: dict[str, bytes]) -> Message:
    # Whatever a household has put together must not end the round of all others.
    try:
        message = _flowers[0](object_id, contents)
        if isinstance(message, Message):
            return message
        reason = f"a reply that is a {type(message).__name__}"
    except Exception as error:
        reason = f"an unreadable reply: {type(error).__name__}"
    metadata = Metadata(
        run_id=0,
        message_id="",
        src_node_id=SUPERLINK_NODE_ID,
        dst_node_id=SUPERLINK_NODE_ID,
        reply_to_message_id="",
        group_id="",
        created_at=now().timestamp(),
        ttl=0,
        message_type=SYSTEM_MESSAGE_TYPE,
    )
    return make_message(metadata, error=Error(ErrorCode.MESSAGE_UNAVAILABLE, reason))
