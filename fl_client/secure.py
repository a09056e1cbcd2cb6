"""A household's side of secure aggregation: what it sends is useless alone, and true in a sum.

Bonawitz et al. 2017, "Practical Secure Aggregation for Privacy-Preserving Machine Learning", the
version against a coordinator that lies: every household masks its update with one mask of its own
and one for each other household, which cancels in the sum. Shares of the secrets behind the masks
lie with the others, so that those who drop out can be made up for. Each question is answered once:
a repeated one gets the same answer, another one of the same session none. A round in which this
household has sent a masked update is over for it, whatever session asks again: two sums that
differ by one household would tell its update. Its host answers several messages at once, so each
waits for the one before: two that are first at the same moment would both be answered.
"""

import fcntl
import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import RecordDict

from common.errors import InputError
from common.files import write_secret
from common.messages import NUM_EXAMPLES, MessageError
from common.model_messages import ModelReply
from common.secure import masks, shares
from common.secure.grid import Words, words
from common.secure.messages import (
    AGREE,
    KEY_MOST,
    KEYS,
    LEAST_HOUSEHOLDS,
    METRICS,
    SEALED_MOST,
    SHARES,
    UNMASK,
    Advert,
    Session,
    known,
    labels_of,
    many_bytes,
    masked,
    number_of,
    record_of,
    reply,
    session_of,
    sign,
    threshold_of,
    verify,
)
from fl_client.secure_state import FOLDER, SENT, SESSIONS

Kept = dict[str, Any]
_WAITS_S = 5.0
_SECRETS = ("channel", "mask", "own", "sealed", "received")
"""What of a session is deleted once its shares have been told."""


@dataclass(frozen=True)
class Identity:
    """The key that a household is known by."""

    key: ec.EllipticCurvePrivateKey

    @classmethod
    def of(cls, directory: Path) -> "Identity":
        """The key of the household's node, or one made for it where there is no node key.

        A deployed household has the key that it was admitted with beside its state folder; a
        virtual one gets one of its own. Raises InputError for a file that is no such key.
        """
        for path in (directory.parent / "key", directory / "identity.pem"):
            if path.is_file():
                try:
                    key = serialization.load_ssh_private_key(path.read_bytes(), None)
                except (ValueError, UnsupportedAlgorithm):
                    raise InputError(f"{path}: not a household's key") from None
                if not isinstance(key, ec.EllipticCurvePrivateKey):
                    raise InputError(f"{path}: not an elliptic-curve key")
                return cls(key)
        key = ec.generate_private_key(ec.SECP256R1())
        text = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.OpenSSH,
            serialization.NoEncryption(),
        )
        directory.mkdir(parents=True, exist_ok=True)
        write_secret(directory / "identity.pem", text)
        return cls(key)

    @property
    def public(self) -> bytes:
        """The public key, in DER."""
        return self.key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def sign(self, text: bytes) -> bytes:
        """A signature that ``verify`` accepts."""
        return sign(self.key, text)


class SecureMember:
    """One household in the sessions of one run. ``directory``: its own state folder.

    ``run``: the one it has joined. It takes part in no sum of fewer than ``least_households``.

    All it knows of a session is one file there, written before it answers, so that a killed
    process answers as the one before. Raises MessageError for what it does not answer.
    """

    def __init__(self, directory: Path, run: str, least_households: int = LEAST_HOUSEHOLDS) -> None:
        self._directory, self._run = directory / FOLDER, run
        self._least = max(least_households, LEAST_HOUSEHOLDS)
        self._identity = Identity.of(directory)

    def answer(self, content: RecordDict) -> RecordDict:
        """Answer a short message."""
        record = record_of(content)
        phase = record.get("phase")
        session = self._session(record)
        answers = {
            KEYS: self._keys,
            SHARES: self._shares,
            AGREE: self._agree,
            UNMASK: self._unmask,
        }
        if phase not in answers:
            raise MessageError(f"phase {phase!r}: none of secure aggregation")
        with self._alone():
            return answers[str(phase)](session, record)

    def _session(self, record: Mapping[str, object]) -> Session:
        session = session_of(record)
        if session.run != self._run:
            # Under another run's name a round could be asked for twice.
            raise MessageError("secure aggregation of a run that this household has not joined")
        return session

    # ---- the phases ---------------------------------------------------------------------------

    def _keys(self, session: Session, record: Mapping[str, object]) -> RecordDict:
        label = number_of(record, "label", 1, 1 << 31)
        self._refuse_old(session)
        kept = self._load(session)
        if "told" in kept:
            raise MessageError("this session is over here")
        if not kept:
            kept = {
                "label": label,
                "channel": secrets.token_bytes(masks.KEY_BYTES).hex(),
                "mask": secrets.token_bytes(masks.KEY_BYTES).hex(),
                "own": secrets.token_bytes(masks.KEY_BYTES).hex(),
                "nonce": 0,
            }
            self._forget_before(session)
            self._save(session, kept)
        if kept["label"] != label:
            raise MessageError("another label than before")
        advert = self._advert(session, kept)
        return reply(**vars(advert))

    def _advert(self, session: Session, kept: Kept) -> Advert:
        channel = masks.public_of(_hex(kept["channel"]))
        mask = masks.public_of(_hex(kept["mask"]))
        signed = session.about(b"keys", int(kept["label"]), channel, mask)
        return Advert(channel, mask, self._identity.public, self._identity.sign(signed))

    def _shares(self, session: Session, record: Mapping[str, object]) -> RecordDict:
        kept = self._begun(session, "channel")
        labels = labels_of(record)
        count, own = len(labels), int(kept["label"])
        channels = many_bytes(record, "channels", count, masks.KEY_BYTES)
        mask_keys = many_bytes(record, "masks", count, masks.KEY_BYTES)
        identities = many_bytes(record, "identities", count, KEY_MOST)
        signatures = many_bytes(record, "signatures", count, KEY_MOST)
        threshold = threshold_of(count)
        if count < self._least:
            raise MessageError(f"a sum of {count} households; this one asks for {self._least}")
        if own not in labels:
            raise MessageError("this household is not among those that take part")
        if len(set(identities)) != count or len({*channels, *mask_keys}) != 2 * count:
            raise MessageError("one key for more than one household")
        for label, channel, mask, identity, signature in zip(
            labels, channels, mask_keys, identities, signatures, strict=True
        ):
            verify(identity, signature, session.about(b"keys", label, channel, mask))
        place = labels.index(own)
        if channels[place] != masks.public_of(_hex(kept["channel"])) or (
            identities[place] != self._identity.public
        ):
            raise MessageError("other keys than this household's own")
        self._pin(session, dict(zip(labels, identities, strict=True)))
        asked = {
            "labels": labels,
            "channels": [one.hex() for one in channels],
            "masks": [one.hex() for one in mask_keys],
            "identities": [one.hex() for one in identities],
        }
        if "sealed" in kept:
            if any(kept[key] != value for key, value in asked.items()):
                raise MessageError("other households than before")
        else:
            # Sealed once, for a nonce must not be used again for another text.
            parts = [
                shares.split(_hex(kept[secret]), threshold, labels) for secret in ("own", "mask")
            ]
            sealed = []
            for i, label in enumerate(labels):
                key = self._channel(session, kept, channels[i])
                about = session.about(b"shares", own, label)
                text = parts[0][i] + parts[1][i]
                sealed.append(masks.seal(key, text, secrets.token_bytes(12), about).hex())
            kept |= {**asked, "sealed": sealed, "threshold": threshold}
            self._save(session, kept)
        return reply(sealed=[bytes.fromhex(one) for one in kept["sealed"]])

    def masked(self, content: RecordDict, train: Callable[[], ModelReply]) -> RecordDict:
        """The answer to a training message: what ``train`` has made, with its masks on.

        A session that asks again is given the same bytes: with another noise under the same masks
        the mean of many answers would be free of noise.
        """
        record = record_of(content)
        session = self._session(record)
        with self._alone():
            return self._masked(session, record, train)

    def _masked(
        self, session: Session, record: Mapping[str, object], train: Callable[[], ModelReply]
    ) -> RecordDict:
        self._refuse_old(session)
        kept = self._begun(session, "sealed")
        labels = labels_of(record)
        sealed = many_bytes(record, "sealed", len(labels), SEALED_MOST)
        if not known(labels, kept["labels"]) or len(labels) < kept["threshold"]:
            raise MessageError(f"{len(labels)} households take part, {kept['threshold']} must")
        own = int(kept["label"])
        if own not in labels:
            raise MessageError("this household's own shares have not arrived")
        if kept.get("partners", labels) != labels:
            raise MessageError("other households than before")
        sent = self._path(session).with_suffix(".masked")
        if sent.is_file():
            return masked(np.frombuffer(sent.read_bytes(), "<u8"))
        update = train()
        if update.weights is None:
            raise MessageError("a compressed update cannot be masked")
        weight = int(update.metrics[NUM_EXAMPLES])
        metrics = [float(update.metrics.get(key, 0.0)) for key in METRICS]
        total = words(update.weights, weight, metrics, len(kept["labels"]))
        kept |= {"partners": labels, "received": [one.hex() for one in sealed]}
        self._save(session, kept)
        # From here on the round is over for this household, in whatever session.
        self._note_sent(session)
        total = total + masks.expand(self._own_mask(session, kept), len(total))
        total = self._with_pairs(session, kept, total)
        write_secret(sent, total.astype("<u8").tobytes())
        return masked(total)

    def _with_pairs(self, session: Session, kept: Kept, total: Words) -> Words:
        own = int(kept["label"])
        for label in kept["partners"]:
            if label == own:
                continue
            i = kept["labels"].index(label)
            public = bytes.fromhex(kept["masks"][i])
            try:
                key = masks.agree(_hex(kept["mask"]), public, session.about(b"mask"))
            except ValueError:
                raise MessageError("a mask key that makes no secret") from None
            pair = masks.expand(key, len(total))
            total = total + pair if own < label else total - pair
        return total

    def _agree(self, session: Session, record: Mapping[str, object]) -> RecordDict:
        kept = self._begun(session, "partners")
        survivors = labels_of(record)
        least = max(int(kept["threshold"]), self._least)
        if not known(survivors, kept["partners"]) or len(survivors) < least:
            raise MessageError(f"{len(survivors)} survivors, {least} must be left")
        if int(kept["label"]) not in survivors:
            raise MessageError("this household has sent its update, and is not among the survivors")
        if kept.setdefault("survivors", survivors) != survivors:
            raise MessageError("other survivors than before")
        self._save(session, kept)
        return reply(signature=self._identity.sign(_agreed(session, kept)))

    def _unmask(self, session: Session, record: Mapping[str, object]) -> RecordDict:
        kept = self._begun(session, "survivors")
        signers = labels_of(record)
        signatures = many_bytes(record, "signatures", len(signers), KEY_MOST)
        survivors = kept["survivors"]
        if not known(signers, survivors) or len(signers) < kept["threshold"]:
            raise MessageError(f"{len(signers)} signatures, {kept['threshold']} are needed")
        text = _agreed(session, kept)
        for label, signature in zip(signers, signatures, strict=True):
            identity = bytes.fromhex(kept["identities"][kept["labels"].index(label)])
            verify(identity, signature, text)
        if "told" not in kept:
            kept["told"] = [one.hex() for one in self._shares_told(session, kept)]
            # Whoever takes this disk from now on learns nothing of the round.
            for key in _SECRETS:
                del kept[key]
            self._save(session, kept)
            self._path(session).with_suffix(".masked").unlink(missing_ok=True)
        return reply(shares=[bytes.fromhex(one) for one in kept["told"]])

    def _shares_told(self, session: Session, kept: Kept) -> list[bytes]:
        """For each partner the share that goes with what became of it."""
        survivors, told = kept["survivors"], []
        for label, sealed in zip(kept["partners"], kept["received"], strict=True):
            i = kept["labels"].index(label)
            key = self._channel(session, kept, bytes.fromhex(kept["channels"][i]))
            about = session.about(b"shares", label, int(kept["label"]))
            try:
                text = masks.unseal(key, bytes.fromhex(sealed), about)
            except ValueError:
                # Whoever sealed it wrongly harms itself alone: others hold its shares as well.
                told.append(b"")
                continue
            if len(text) != 2 * shares.SHARE_BYTES:
                told.append(b"")
                continue
            half = shares.SHARE_BYTES
            # Never both: with both, the update of that household could be laid bare.
            told.append(text[:half] if label in survivors else text[half:])
        return told

    # ---- what it knows ------------------------------------------------------------------------

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Answer nothing else meanwhile, in whatever process.

        Raises MessageError where another message takes long: a training. Those that waited for it
        would take the places of the household's market messages.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        with (self._directory / "lock").open("w") as lock:
            end = time.monotonic() + _WAITS_S
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > end:
                        raise MessageError("busy with another message of a secure sum") from None
                    time.sleep(0.02)
            yield

    def _channel(self, session: Session, kept: Kept, public: bytes) -> bytes:
        try:
            return masks.agree(_hex(kept["channel"]), public, session.about(b"channel"))
        except ValueError:
            raise MessageError("a channel key that makes no secret") from None

    def _own_mask(self, session: Session, kept: Kept) -> bytes:
        return masks.own_key(_hex(kept["own"]), session.about(b"own mask"))

    def _path(self, session: Session) -> Path:
        return self._directory / f"{session.round:08d}-{session.number.hex()}.json"

    def _load(self, session: Session) -> Kept:
        path = self._path(session)
        if not path.is_file():
            return {}
        try:
            loaded: Kept = json.loads(path.read_text())
        except json.JSONDecodeError:
            raise MessageError("what was known of this session is lost") from None
        if loaded.pop("run") != session.run:
            raise MessageError("a session of another run")
        return loaded

    def _begun(self, session: Session, key: str) -> Kept:
        kept = self._load(session)
        if key not in kept:
            over = "is over" if "told" in kept else "has not come so far"
            raise MessageError(f"a session that {over} here")
        return kept

    def _save(self, session: Session, kept: Kept) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"run": session.run, **kept}).encode()
        write_secret(self._path(session), text)

    def _forget_before(self, session: Session) -> None:
        """Secrets of earlier rounds are of no use any more, except to a thief."""
        if self._directory.is_dir():
            for file in self._directory.glob(SESSIONS):
                if int(file.name[:8]) < session.round:
                    file.unlink(missing_ok=True)

    def _refuse_old(self, session: Session) -> None:
        sent = self._sent().get(session.run)
        if sent is None or session.round > int(sent["round"]):
            return
        if session.number.hex() != sent["session"]:
            raise MessageError(f"round {session.round} is over here: its update has been sent")

    def _note_sent(self, session: Session) -> None:
        # Of every run: one that is left and joined again goes on where it was.
        told = {"round": session.round, "session": session.number.hex()}
        text = json.dumps(self._sent() | {session.run: told})
        write_secret(self._directory / SENT, text.encode())

    def _sent(self) -> dict[str, Kept]:
        """By run, the newest round that an update was sent in."""
        path = self._directory / SENT
        found: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
        return found

    # ---- whom it knows ------------------------------------------------------------------------

    def _pin(self, session: Session, identities: Mapping[int, bytes]) -> None:
        """Remember each member's key the first time, and refuse another one from then on."""
        path = self._directory / "members.json"
        pinned = json.loads(path.read_text()) if path.is_file() else {}
        of_run = pinned.setdefault(session.run, {})
        for label, identity in identities.items():
            if of_run.setdefault(str(label), identity.hex()) != identity.hex():
                raise MessageError(
                    f"member {label} shows another key than before: if it has renewed it, delete "
                    "its line in secure/members.json"
                )
        write_secret(path, (json.dumps(pinned, indent=1) + "\n").encode())


def _agreed(session: Session, kept: Kept) -> bytes:
    keys = zip(kept["channels"], kept["masks"], kept["identities"], strict=True)
    adverts = {
        label: (_hex(channel), _hex(mask), _hex(identity))
        for label, (channel, mask, identity) in zip(kept["labels"], keys, strict=True)
    }
    return session.agreed(adverts, kept["survivors"])


def _hex(value: object) -> bytes:
    return bytes.fromhex(str(value))
