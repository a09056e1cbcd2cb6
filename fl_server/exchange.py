"""Send messages and hand on each reply as it arrives, until all are there or time is up."""

import time
from collections.abc import Iterable, Iterator

from flwr.app import Message
from flwr.serverapp import Grid

# A poll must not slow a round of ten households down, nor load a link for the minutes of training.
_SHORTEST_POLL_S = 0.002
_LONGEST_POLL_S = 0.25


def exchange(
    grid: Grid,
    messages: Iterable[Message],
    deadline_s: float,
    owed: dict[str, int] | None = None,
) -> Iterator[Message]:
    """Yield replies as they arrive; stop when all have, or after ``deadline_s`` seconds.

    Nothing is collected here, so the caller holds as many replies as it wants to. ``owed``: by id,
    the node that has not answered an earlier message. Such answers are handed on as well, but not
    waited for while there are new messages; afterwards it holds what is still owed, new or old.
    """
    # Flower's HTTP grid reads the messages twice: an iterator would be empty the second time.
    messages = list(messages)
    pushed = grid.push_messages(messages)
    # A message that a grid could not take has no id, and gets no reply.
    asked = {
        message_id: message.metadata.dst_node_id
        for message_id, message in zip(pushed, messages, strict=False)
        if message_id
    }
    del messages
    wanted = set(asked)
    if owed is not None:
        owed.update(asked)
        asked = dict(owed)
        wanted = wanted or set(owed)
    waiting = set(asked)
    end = time.monotonic() + deadline_s
    pause = _SHORTEST_POLL_S
    while wanted:
        arrived = list(grid.pull_messages(waiting))
        for reply in arrived:
            to = reply.metadata.reply_to_message_id
            waiting.discard(to)
            wanted.discard(to)
            if owed is not None:
                owed.pop(to, None)
            # Whoever was asked answers, and nobody for another.
            if reply.has_error() or asked.get(to) == reply.metadata.src_node_id:
                yield reply
        if arrived:
            pause = _SHORTEST_POLL_S
            continue
        if time.monotonic() >= end:
            return
        time.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_POLL_S)
