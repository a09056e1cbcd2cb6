from collections.abc import Iterable
from typing import cast

import pytest
from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from fl_server.exchange import exchange
from simulations.engine.loop import server_context


class StrictGrid:
    """Reads messages twice, as Flower's HTTP grid does; everybody answers at once."""

    def __init__(self) -> None:
        self.pushed: list[Message] = []

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        if not messages:
            return []
        checked = len(list(messages))
        self.pushed = list(messages)
        if len(self.pushed) != checked:
            raise ValueError("`messages_list` must not be empty")
        for number, message in enumerate(self.pushed):
            message.metadata.__dict__["_message_id"] = str(number)
        return [message.metadata.message_id for message in self.pushed]

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        return [
            Message(RecordDict(), reply_to=message)
            for message in self.pushed
            if message.metadata.message_id in set(message_ids)
        ]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_every_message_gets_its_reply_and_none_gets_none(count: int) -> None:
    """Messages may come from a generator; a round with nobody to ask is over at once."""
    server_context(1, {})  # messages carry the identity of the ServerApp
    grid = StrictGrid()
    messages = (Message(RecordDict(), number, "query") for number in range(1, count + 1))
    replies = list(exchange(cast(Grid, grid), messages, 1.0))
    assert len(replies) == len(grid.pushed) == count
