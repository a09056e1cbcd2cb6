"""The way down, made smaller: households that hold the last model are sent its change only.

A new model reaches a household twice a round, once to forecast with and once to train from.
The second time is saved by naming the round it came in; the first time it is sent as a compressed
change of the model before. What compression loses stays with the server and is sent later (error
feedback on both ways: Tang et al. 2019, "DoubleSqueeze", arXiv:1905.05957).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from numpy.typing import NDArray

from common.compression import Compression
from common.messages import ARRAYS, CONFIG, decode_arrays, encode_arrays
from common.model_messages import COMPRESSED, HELD_ROUND, KEEP_MODEL, packed
from fl_server.roster import Roster

Weights = dict[str, NDArray[np.float32]]


@dataclass
class _State:
    """The model of round ``version``, who holds it, and what it still lacks."""

    version: int = -1
    held: Weights = field(default_factory=dict)
    lacking: Weights = field(default_factory=dict)
    holders: set[str] = field(default_factory=set)


class Downlink:
    """Keeps track of what households hold. ``state`` has to survive a restart."""

    def __init__(self, compression: Compression) -> None:
        self._compression = compression
        self.state = _State()
        self._change: ArrayRecord | None = None

    def advance(self, round_: int, arrays: ArrayRecord) -> ArrayRecord:
        """Take the new model of a round; returns the model that households will hold.

        A round that is broadcast again is the same model, sent whole.
        """
        state = self.state
        self._change = None
        if state.version == round_:
            state.holders = set()
            return encode_arrays(state.held)
        new = decode_arrays(arrays)
        if not state.held:
            state.held = new
            state.lacking = {name: np.zeros_like(value) for name, value in new.items()}
        else:
            delta = {n: (new[n] - state.held[n]) + state.lacking[n] for n in new}
            blob = self._compression.compress(delta)
            read = Compression.expand(blob, {name: value.shape for name, value in delta.items()})
            self._change = packed(blob)
            state.held = {n: state.held[n] + read[n] for n in new}
            state.lacking = {n: delta[n] - read[n] for n in new}
        self._base, state.version = state.version, round_
        return encode_arrays(state.held)

    def shorten(
        self, messages: Iterable[Message], arrays: ArrayRecord, roster: Roster, *, training: bool
    ) -> list[Message]:
        """Leave out what the receiver holds already; messages with other arrays stay whole."""
        sent = list(messages)
        for message in sent:
            content = message.content
            config = ConfigRecord(dict(content.config_records[CONFIG]))
            config[KEEP_MODEL] = not training
            rest = {name: r for name, r in content.items() if name not in (ARRAYS, CONFIG)}
            shared = content.array_records[ARRAYS] is arrays
            knows = roster.name(message.metadata.dst_node_id) in self.state.holders
            if shared and knows and training:
                config[HELD_ROUND] = self.state.version
            elif shared and knows and self._change is not None:
                config[HELD_ROUND] = self._base
                rest[COMPRESSED] = self._change
            else:
                rest[ARRAYS] = content.array_records[ARRAYS]
            message.content = RecordDict({**rest, CONFIG: config})
        return sent

    def received(self, names: Iterable[str]) -> None:
        """Note who holds the newest model."""
        self.state.holders = set(names)
