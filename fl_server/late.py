"""Who owes an update, and from which model: what an asynchronous strategy needs to wait for nobody.

A synchronous round forgets who has not answered in time. Here the message stays open: the household
is asked for nothing else, and its answer is taken in the round in which it comes.
"""

import time
from collections.abc import Sequence

from flwr.app import Message


class Late:
    """Messages that are open. ``patience_s``: after which a household is asked anew, and an answer
    to the old message counts no more."""

    def __init__(self, patience_s: float) -> None:
        self.patience_s = patience_s
        self.owed: dict[str, int] = {}
        """Message id -> node; ``fl_server.exchange`` adds and removes."""
        self._round: dict[int, int] = {}
        self._since: dict[int, float] = {}

    def owing(self) -> dict[int, int]:
        """Node -> the round whose model it is at work on."""
        return {node: self._round[node] for node in self.owed.values()}

    def round_of(self, node: int) -> int:
        """The round in which a node was asked last: it has one open message at most."""
        return self._round[node]

    def ask(self, round_: int, messages: Sequence[Message]) -> None:
        """Note who is about to be sent the model of a round."""
        for message in messages:
            node = message.metadata.dst_node_id
            self._round[node], self._since[node] = round_, time.monotonic()

    def give_up(self) -> int:
        """Close the messages that have been open for too long; returns how many."""
        oldest = time.monotonic() - self.patience_s
        gone = [one for one, node in self.owed.items() if self._since[node] < oldest]
        for message_id in gone:
            del self.owed[message_id]
        return len(gone)
