"""A street of households in a secure sum: real members, messages by hand, no training."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from flwr.app import ConfigRecord, Error, Message, MessageType, RecordDict

from common.messages import NUM_EXAMPLES, MessageError
from common.model_messages import ModelReply
from common.secure.grid import words
from common.secure.messages import record_of
from fl_client.secure import SecureMember
from fl_server.secure import SecureRound, SecureSum

SHAPES = {"a": (3, 4), "b": (5,)}
SIZE = 12 + 5 + 1 + 2
RUN = "a run"


def update(label: int) -> tuple[dict[str, np.ndarray], int]:
    """What the household of this label has trained, and its weight."""
    rng = np.random.default_rng(label)
    arrays = {name: rng.normal(0, 1, shape).astype(np.float32) for name, shape in SHAPES.items()}
    return arrays, 10 * label


def trained(label: int) -> ModelReply:
    """The same as a training's result; its loss is the label."""
    arrays, weight = update(label)
    return ModelReply({NUM_EXAMPLES: weight, "train_loss": float(label)}, arrays)


class Street:
    """Households 1 to n and the way to them; ``lost(phase, label)`` says whose reply is lost."""

    def __init__(self, folder: Path, count: int) -> None:
        self.members = {
            label: SecureMember(folder / str(label), RUN) for label in range(1, count + 1)
        }
        self.labels = {100 + label: label for label in self.members}
        self.lost: Callable[[str, int], bool] = lambda phase, label: False
        self.spoil: Callable[[str, int, RecordDict], RecordDict] = lambda phase, label, reply: reply
        self.seen: list[RecordDict] = []
        self.restart = False
        self._folder = folder

    def exchange(self, messages: Iterable[Message]) -> Iterable[Message]:
        for message in messages:
            label = self.labels[message.metadata.dst_node_id]
            phase = str(record_of(message.content)["phase"])
            if self.restart:
                # Killed and started anew before each message: its files are all it has.
                self.members[label] = SecureMember(self._folder / str(label), RUN)
            try:
                if phase == "masked":
                    reply = self.members[label].masked(message.content, partial(trained, label))
                else:
                    reply = self.members[label].answer(message.content)
            except MessageError as error:
                yield answer(message, None, str(error))
                continue
            if not self.lost(phase, label):
                reply = self.spoil(phase, label, reply)
                self.seen.append(reply)
                yield answer(message, reply)

    def round(self, number: int = 1, faults: list[Mapping[int, str]] | None = None) -> SecureSum:
        """A whole round; what is known of its faults, however it ends, is added to ``faults``."""
        train = {
            node: Message(RecordDict({"x": ConfigRecord({"y": 1})}), node, MessageType.TRAIN)
            for node in self.labels
        }
        session = SecureRound(RUN, number, self.labels, self.exchange)
        try:
            return session.run(train, SIZE)
        finally:
            if faults is not None:
                faults.append(session.faults)


def answer(message: Message, content: RecordDict | None, why: str = "") -> Message:
    reply = (
        Message(content, reply_to=message)
        if content is not None
        else Message(Error(0, why), reply_to=message)
    )
    return reply


def plain(labels: Iterable[int], of: int) -> np.ndarray:
    """The sum of these households' words, without any masks."""
    return sum((words(*update(n), [n, 0.0], of) for n in labels), np.zeros(SIZE, np.uint64))
