"""The coordinator's post: a market message to each household by its index, and what came back.

In a simulation nothing is lost and nobody listens. On a network a message carries a random name
that only its addressee has seen, and dies with its round.
"""

import secrets
from collections.abc import Callable, Iterable, Iterator

from flwr.app import Message, MessageType, RecordDict

from common.errors import RunError
from common.messages import brief, content_bytes
from fl_server.exchange import exchange
from fl_server.roster import Roster

# A message outlives its round by so long, or a slow link would lose what is in time.
_TTL_MARGIN_S = 10.0


class Mailbox:
    """Market messages to the households of ``roster``, and their replies.

    ``patience`` gives the seconds to wait for replies and is asked at every round. ``network``:
    messages travel; ``bytes_down`` and ``bytes_up`` then count the content of what was sent and
    what came back. ``lossless``: a household that does not answer, or answers with an error, is
    an error of the run before anything is booked; a simulation would else end well with figures
    of other households than asked for.
    """

    def __init__(
        self,
        roster: Roster,
        patience: Callable[[], float],
        *,
        network: bool = False,
        lossless: bool = False,
    ) -> None:
        self.roster = roster
        self.patience = patience
        self.bytes_down = self.bytes_up = 0
        self._network, self._lossless = network, lossless

    def ask(
        self,
        action: str,
        t: int,
        contents: Iterable[tuple[int, RecordDict]],
        patience_s: float | None = None,
    ) -> Iterator[tuple[int, Message]]:
        """Send each household its content of interval ``t``; yield (household, reply) as they come.

        Stops when all have answered or ``patience_s`` seconds (None: ``patience``) are over.
        Replies of nodes that are no household's are left out; errors are handed on. Raises
        RunError where nothing may be lost and something is.
        """
        wait = self.patience() if patience_s is None else patience_s
        messages = [self._message(action, t, h, content, wait) for h, content in contents]
        silent = {message.metadata.dst_node_id for message in messages}
        for reply in exchange(self.roster, messages, wait):
            h = self.roster.index(reply.metadata.src_node_id)
            if h is None:
                continue
            if self._lossless and reply.has_error():
                said = brief(str(reply.error.reason))
                raise RunError(f"household {self.roster.names[h]}, interval {t}: {said}")
            silent.discard(reply.metadata.src_node_id)
            if self._network and not reply.has_error():
                self.bytes_up += content_bytes(reply.content)
            yield h, reply
        if self._lossless and silent:
            names = ", ".join(sorted(map(self.roster.name, silent)))
            raise RunError(f"interval {t}: no answer of {names} within {wait:g} s")

    def _message(self, action: str, t: int, h: int, content: RecordDict, wait: float) -> Message:
        node, kind = self.roster.node_ids[h], f"{MessageType.QUERY}.{action}"
        assert node is not None, "a message to a household that has left"
        if not self._network:
            return Message(content, node, kind, group_id=str(t))
        self.bytes_down += content_bytes(content)
        # Whoever answers must have been sent the message: nobody else can name it.
        group = f"{t}-{secrets.token_hex(16)}"
        return Message(content, node, kind, ttl=wait + _TTL_MARGIN_S, group_id=group)
