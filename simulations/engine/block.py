"""A block of households in one process: what an actor of the batched engine runs.

The same ClientApp answers, in batched steps where it offers them, one message at a time elsewhere.
"""

import os
from collections.abc import Sequence

from flwr.app import Context, Error, Message
from flwr.common.constant import ErrorCode

from common.config import run_directory
from common.messages import IntervalRequest
from fl_client.app import app
from fl_client.batch import COMPLETE, INTERVAL_TYPE, JOIN_TYPE, STEPS
from fl_client.session import HERE
from simulations.engine import journal
from simulations.engine.loop import RunConfig, answer, client_context, server_context, stamp
from simulations.engine.parcel import Model, pack, unpack


class Block:
    """Households ``first`` to ``last`` - 1 of a run of ``count``.

    What it knows survives it: a block made anew for the same households reads their files and its
    journal, and goes on where the old one stopped.
    """

    def __init__(
        self, run_id: int, run_config: RunConfig, first: int, last: int, count: int
    ) -> None:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        server_context(run_id, run_config)
        made = [client_context(run_id, i, count, run_config) for i in range(first, last)]
        self._contexts = {context.node_id: context for context in made}
        journals = run_directory(run_config, run_id) / "households" / ".journals"
        self._journal = journal.Journal(journals / f"{first}-{last}")
        self._awake = False

    def answer(self, body: bytes, *models: Model) -> tuple[bytes, list[Model]]:
        """Answer a parcel of messages, all of one type, with a parcel of replies."""
        messages = unpack(body, [model.record() for model in models])
        kind = messages[0].metadata.message_type
        if kind == JOIN_TYPE:
            # A run begins, or goes on from its checkpoint: whatever came after that is void.
            self._journal.clear()
        elif not self._awake:
            self._wake()
        self._awake = True
        if kind == INTERVAL_TYPE:
            self._journal.append(journal.written(messages))
        replies = self._answers(messages, kind)
        if kind == INTERVAL_TYPE and self._saved():
            self._journal.clear()
        back, records = pack(replies)
        return back, [Model.of(record) for record in records]

    def _answers(self, messages: Sequence[Message], kind: str) -> list[Message]:
        contexts = [self._contexts[message.metadata.dst_node_id] for message in messages]
        step = STEPS.get(kind)
        if step is None or (kind in COMPLETE and len(messages) < len(self._contexts)):
            return [answer(app, m, context) for m, context in zip(messages, contexts, strict=True)]
        try:
            replies = step(messages, contexts)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            code = ErrorCode.CLIENT_APP_RAISED_EXCEPTION
            replies = [Message(Error(code=code, reason=reason), reply_to=m) for m in messages]
        return [stamp(reply) for reply in replies]

    def _wake(self) -> None:
        """Take up the work of a block that died."""
        try:
            group = HERE.open(self._all()).group
        except KeyError:  # it had not joined yet
            return
        in_files = group.log.decided
        for body in self._journal.read():
            messages = [stamp(message) for message in journal.read(body)]
            # What the files tell stays: a newer model may have come since, and decide otherwise.
            if IntervalRequest.decode(messages[0].content).t > in_files:
                self._answers(messages, INTERVAL_TYPE)

    def _all(self) -> list[Context]:
        return list(self._contexts.values())

    def _saved(self) -> bool:
        """Whether the households' files tell all."""
        found, _ = HERE.place(self._all()[0])
        if len(found.group.names) == len(self._contexts):
            return found.group.log.saved
        return all(HERE.place(context)[0].group.log.saved for context in self._all())
