"""The coordinator's side of secure aggregation: it learns the sum of a round and nothing of a part.

See ``fl_client.secure`` for the protocol. Households that fall silent in any phase are left out as
long as a threshold is left; with fewer the round ends without a result.
"""

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
from flwr.app import Message, MessageType, RecordDict

from common.messages import MessageError, content_bytes, read_reply
from common.secure import masks, shares
from common.secure.grid import Words
from common.secure.messages import (
    AGREE,
    KEY_MOST,
    KEYS,
    LEAST_HOUSEHOLDS,
    SEALED_MOST,
    SECURE,
    SESSION_BYTES,
    SHARES,
    UNMASK,
    Advert,
    Session,
    bytes_of,
    many_bytes,
    record_of,
    request,
    threshold_of,
    verify,
    words_of,
)

T = TypeVar("T")
Exchange = Callable[[list[Message]], Iterable[Message]]


class SecureRoundError(RuntimeError):
    """A round of secure aggregation that ended without a sum; the model stays as it was."""


@dataclass
class SecureSum:
    """The sum of a round and the nodes in it. ``faults``: who was left out and why, by node."""

    total: Words
    nodes: list[int]
    faults: dict[int, str]


class SecureRound:
    """One session: ``labels`` by node asked; ``exchange`` sends messages and yields the replies."""

    def __init__(
        self, run: str, round_: int, labels: Mapping[int, int], exchange: Exchange
    ) -> None:
        self._session = Session(run, round_, secrets.token_bytes(SESSION_BYTES))
        self._label_of = dict(labels)
        self._node_of = {label: node for node, label in labels.items()}
        self._exchange = exchange
        self.faults: dict[int, str] = {}
        self.bytes_up = self.bytes_down = 0

    def run(self, train: Mapping[int, Message], size: int) -> SecureSum:
        """Carry the session out; ``train`` are the training messages by node, ``size`` the words.

        Raises SecureRoundError where fewer households than the threshold are left in a phase.
        """
        adverts = self._adverts()
        everyone = sorted(adverts)
        self._enough(everyone, len(everyone))
        threshold = threshold_of(len(everyone))
        sealed = self._sealed(adverts)
        partners = sorted(sealed)
        self._enough(partners, len(everyone))
        total, survivors = self._masked(train, partners, sealed, everyone, size)
        self._enough(survivors, len(everyone))
        signatures = self._signatures(adverts, survivors)
        self._enough(sorted(signatures), len(everyone))
        told = self._told(signatures, partners)
        self._enough(sorted(told), len(everyone))
        for i, label in enumerate(partners):
            parts = {of: parts[i] for of, parts in told.items() if shares.whole(parts[i])}
            if label in survivors:
                secret = self._recovered(label, parts, threshold, None)
                key = masks.own_key(secret, self._session.about(b"own mask"))
                total -= masks.expand(key, size)
            else:
                secret = self._recovered(label, parts, threshold, adverts[label].mask)
                self._take_out(total, secret, label, adverts, survivors)
        nodes = [self._node_of[label] for label in survivors]
        return SecureSum(total, nodes, self.faults)

    def _recovered(
        self, label: int, parts: Mapping[int, bytes], threshold: int, public: bytes | None
    ) -> bytes:
        try:
            return _recovered(parts, threshold, public)
        except SecureRoundError:
            # Those who told them are many, and who dealt them is one.
            self._fault(label, "shares of its secrets that do not belong together")
            raise

    def _take_out(
        self,
        total: Words,
        secret: bytes,
        label: int,
        adverts: Mapping[int, Advert],
        survivors: Sequence[int],
    ) -> None:
        """Take out the masks that survivors share with ``label``, which sent nothing."""
        for other in survivors:
            key = masks.agree(secret, adverts[other].mask, self._session.about(b"mask"))
            pair = masks.expand(key, len(total))
            # The survivor has added it where its own label is the lower one.
            if other < label:
                total -= pair
            else:
                total += pair

    # ---- the phases ---------------------------------------------------------------------------

    def _adverts(self) -> dict[int, Advert]:
        asked = {
            label: request(KEYS, self._session, label=label) for label in sorted(self._node_of)
        }
        session = self._session

        def read(label: int, content: RecordDict) -> Advert:
            record = record_of(content)
            key = masks.KEY_BYTES
            advert = Advert(
                bytes_of(record, "channel", key),
                bytes_of(record, "mask", key),
                bytes_of(record, "identity", KEY_MOST),
                bytes_of(record, "signature", KEY_MOST),
            )
            signed = session.about(b"keys", label, advert.channel, advert.mask)
            verify(advert.identity, advert.signature, signed)
            for one in (advert.channel, advert.mask):
                # Every household would refuse the round for a key that makes no secret with it.
                if not masks.usable(one):
                    raise MessageError("a key that makes no secret")
            return advert

        adverts = self._ask(asked, read)
        # One key for two would make every household refuse the round.
        seen: set[bytes] = set()
        for label in sorted(adverts):
            advert = adverts[label]
            mine = {advert.channel, advert.mask, advert.identity}
            if len(mine) < 3 or mine & seen:
                self._fault(label, "keys of another household")
                del adverts[label]
            seen |= mine
        return adverts

    def _sealed(self, adverts: Mapping[int, Advert]) -> dict[int, list[bytes]]:
        labels = sorted(adverts)
        content = request(
            SHARES,
            self._session,
            labels=labels,
            channels=[adverts[n].channel for n in labels],
            masks=[adverts[n].mask for n in labels],
            identities=[adverts[n].identity for n in labels],
            signatures=[adverts[n].signature for n in labels],
        )
        return self._ask(
            dict.fromkeys(labels, content),
            lambda _, c: many_bytes(record_of(c), "sealed", len(labels), SEALED_MOST),
        )

    def _masked(
        self,
        train: Mapping[int, Message],
        partners: Sequence[int],
        sealed: Mapping[int, list[bytes]],
        everyone: Sequence[int],
        size: int,
    ) -> tuple[Words, list[int]]:
        messages = []
        for label in partners:
            place = everyone.index(label)
            whole = train[self._node_of[label]]
            own = [sealed[other][place] for other in partners]
            more = request("masked", self._session, labels=list(partners), sealed=own)
            messages.append(
                Message(
                    # Messages of one round share their content: it is not written into.
                    RecordDict({**whole.content, **more}),
                    whole.metadata.dst_node_id,
                    whole.metadata.message_type,
                    ttl=whole.metadata.ttl,
                    group_id=whole.metadata.group_id,
                )
            )
        total = np.zeros(size, np.uint64)
        arrived: list[int] = []

        def read(_: int, content: RecordDict) -> Words:
            return words_of(content, size)

        # Added up as they arrive: one model of memory however many reply.
        for label, update in self._replies(messages, partners, read):
            total += update
            arrived.append(label)
        return total, sorted(arrived)

    def _signatures(
        self, adverts: Mapping[int, Advert], survivors: Sequence[int]
    ) -> dict[int, bytes]:
        content = request(AGREE, self._session, labels=list(survivors))
        members = {n: (one.channel, one.mask, one.identity) for n, one in adverts.items()}
        text = self._session.agreed(members, survivors)

        def read(label: int, content: RecordDict) -> bytes:
            signature = bytes_of(record_of(content), "signature", KEY_MOST)
            verify(adverts[label].identity, signature, text)
            return signature

        return self._ask(dict.fromkeys(survivors, content), read)

    def _told(
        self, signatures: Mapping[int, bytes], partners: Sequence[int]
    ) -> dict[int, list[bytes]]:
        signers = sorted(signatures)
        content = request(
            UNMASK,
            self._session,
            labels=signers,
            signatures=[signatures[label] for label in signers],
        )
        return self._ask(
            dict.fromkeys(signers, content),
            lambda _, c: many_bytes(record_of(c), "shares", len(partners), shares.SHARE_BYTES),
        )

    # ---- messages -----------------------------------------------------------------------------

    def _ask(
        self, asked: Mapping[int, RecordDict], read: Callable[[int, RecordDict], T]
    ) -> dict[int, T]:
        """Send each label its content; returns what those who answered rightly have said."""
        kind = f"{MessageType.QUERY}.{SECURE}"
        group = str(self._session.round)
        messages = [
            Message(content, self._node_of[label], kind, group_id=group)
            for label, content in sorted(asked.items())
        ]
        return dict(self._replies(messages, sorted(asked), read))

    def _replies(
        self, messages: list[Message], labels: Sequence[int], read: Callable[[int, RecordDict], T]
    ) -> Iterator[tuple[int, T]]:
        self.bytes_down += sum(content_bytes(message.content) for message in messages)
        waiting = set(labels)
        for message in self._exchange(messages):
            label = self._label_of.get(message.metadata.src_node_id)
            if label not in waiting:
                continue
            assert label is not None
            waiting.discard(label)
            if not message.has_error():
                self.bytes_up += content_bytes(message.content)
            try:
                yield label, read_reply(message, partial(read, label))
            except MessageError as error:
                self._fault(label, str(error))
        for label in waiting:
            self._fault(label, "no reply")

    def _fault(self, label: int, why: str) -> None:
        self.faults.setdefault(self._node_of[label], why)

    def _enough(self, left: Sequence[int], of: int) -> None:
        least = max(threshold_of(of), LEAST_HOUSEHOLDS)
        if len(left) < least:
            raise SecureRoundError(f"{len(left)} of {of} households are left, {least} must be")


def _recovered(parts: Mapping[int, bytes], threshold: int, public: bytes | None) -> bytes:
    """The secret that these shares, by label, are of; ``public`` is its public key where known.

    Raises SecureRoundError where no set of shares gives it: too few, or lies among them.
    """
    labels = sorted(parts)
    if len(labels) < threshold:
        raise SecureRoundError(f"{len(labels)} shares of a secret, {threshold} are needed")
    for wrong in (None, *labels):
        # A wrong share spoils every sum it is in: leave one out in turn.
        chosen = [label for label in labels if label != wrong][: threshold + 1]
        if len(chosen) < threshold:
            continue
        try:
            secret = shares.combine({label: parts[label] for label in chosen[:threshold]})
            if len(chosen) > threshold:
                # Any other set of as many must give the same.
                again = shares.combine({label: parts[label] for label in chosen[1:]})
                if again != secret:
                    continue
            if public is None or masks.public_of(secret) == public:
                return secret
        except ValueError:
            continue
    raise SecureRoundError("shares that do not belong together")
