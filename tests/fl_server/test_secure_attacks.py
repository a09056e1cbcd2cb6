"""Attacks on a secure sum: by the coordinator, by a household, by whoever takes a disk."""

import json
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

import fl_client.secure
from common.messages import MessageError
from common.model_messages import ModelReply
from common.secure.messages import (
    AGREE,
    KEYS,
    MASKED,
    SECURE,
    SHARES,
    UNMASK,
    Session,
    record_of,
    request,
)
from fl_client.secure import SecureMember
from fl_server.secure import SecureRoundError
from tests.support.secure_street import RUN, Street, plain, trained


@pytest.fixture(autouse=True)
def _identified() -> None:
    """Flower's messages know which task makes them."""
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 1


class Crook:
    """A coordinator that asks each household for what it likes, phase by phase.

    ``adverts`` by label, and ``sealed[dealer][holder]``, are what households have answered.
    """

    def __init__(self, street: Street, round_: int = 1, run: str = RUN, number: int = 1) -> None:
        self.street, self.session = street, Session(run, round_, bytes([number] * 16))
        self.labels = sorted(street.members)
        self.adverts: dict[int, dict[str, bytes]] = {}
        self.sealed: dict[int, dict[int, bytes]] = {}

    def ask(self, label: int, phase: str, /, **fields: object) -> Mapping[str, object]:
        content = request(phase, self.session, **fields)
        return record_of(self.street.members[label].answer(content))

    def keys(self) -> None:
        for label in self.labels:
            self.adverts[label] = dict(self.ask(label, KEYS, label=label))  # type: ignore[arg-type]

    def shares(self, label: int, members: Sequence[int] | None = None, **other: object) -> None:
        """Show a household these members, all by default; ``other``: fields changed."""
        named = self.labels if members is None else list(members)
        plural = {
            "channels": "channel",
            "masks": "mask",
            "identities": "identity",
            "signatures": "signature",
        }
        fields: dict[str, object] = {
            many: [self.adverts[n][one] for n in named] for many, one in plural.items()
        }
        told = self.ask(label, SHARES, **({"labels": named} | fields | other))["sealed"]
        self.sealed[label] = dict(zip(named, told, strict=True))  # type: ignore[call-overload]

    def masked(
        self,
        label: int,
        partners: Sequence[int] | None = None,
        sealed: Sequence[bytes] | None = None,
    ) -> RecordDict:
        named = self.labels if partners is None else list(partners)
        own = [self.sealed[n][label] for n in named] if sealed is None else list(sealed)
        content = request("masked", self.session, labels=named, sealed=own)
        return self.street.members[label].masked(content, lambda: trained(label))

    def agree(self, label: int, survivors: Sequence[int]) -> bytes:
        return self.ask(label, AGREE, labels=list(survivors))["signature"]  # type: ignore[return-value]

    def unmask(self, label: int, signatures: Mapping[int, bytes]) -> list[bytes]:
        signers = sorted(signatures)
        told = self.ask(label, UNMASK, labels=signers, signatures=[signatures[n] for n in signers])
        return told["shares"]  # type: ignore[return-value]

    def until_masked(self) -> None:
        """Everybody has shared and sent; nothing is odd so far."""
        self.keys()
        for label in self.labels:
            self.shares(label)
        for label in self.labels:
            self.masked(label)


# ---- the coordinator ------------------------------------------------------------------------


def test_members_who_were_shown_other_members_do_not_count_each_others_signatures(
    tmp_path: Path,
) -> None:
    """Thresholds follow from the list of members. Shown a shorter one, some would be content with
    fewer signatures, so that less than a third could bring two lists of survivors about."""
    crook = Crook(Street(tmp_path, 9))
    crook.keys()
    few, all_of_them = [1, 2, 3, 4, 5, 6, 7], crook.labels
    for label in all_of_them:
        crook.shares(label, few if label <= 5 else all_of_them)
    for label in few:
        partners = few
        # Who was shown all holds no shares that go with them of 1 to 5; and the other way round.
        sealed = [crook.sealed[n][label] for n in partners]
        crook.masked(label, partners, sealed)
    signatures = {label: crook.agree(label, few) for label in few}
    for label in few:
        with pytest.raises(MessageError, match="a signature that does not hold"):
            crook.unmask(label, signatures)


def test_a_household_is_shown_one_list_of_members(tmp_path: Path) -> None:
    """Another list in the same session is refused; so is one without itself, or too short."""
    crook = Crook(Street(tmp_path, 5))
    crook.keys()
    crook.shares(1)
    for members, why in (
        ([1, 2, 3, 4], "other households"),
        ([2, 3, 4, 5], "not among"),
        ([1, 2], "asks for 3"),
    ):
        with pytest.raises(MessageError, match=why):
            crook.shares(1, members)


def test_two_lists_at_the_same_moment_get_one_signature(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A household's host answers messages side by side, each in a process of its own: two that
    ask before the other's answer is on disk would both be the first."""
    crook = Crook(Street(tmp_path, 5))
    crook.until_masked()
    save = SecureMember._save

    def slowly(self: SecureMember, *rest: object) -> None:
        time.sleep(0.3)
        save(self, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(SecureMember, "_save", slowly)
    got: list[bytes] = []
    refused: list[str] = []

    def ask(survivors: list[int]) -> None:
        own = SecureMember(tmp_path / "1", RUN)
        try:
            answer = own.answer(request(AGREE, crook.session, labels=survivors))
            got.append(record_of(answer)["signature"])  # type: ignore[arg-type]
        except MessageError as error:
            refused.append(str(error))

    both = [threading.Thread(target=ask, args=(who,)) for who in ([1, 2, 3, 4], [1, 2, 3, 5])]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert len(got) == 1
    assert refused == ["other survivors than before"]


def test_while_it_trains_a_household_answers_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same session asked twice at once gets one update; the other is told that it is busy,
    and so is the session of a coordinator that was started again meanwhile."""
    monkeypatch.setattr(fl_client.secure, "_WAITS_S", 0.05)
    street = Street(tmp_path, 3)
    crook, again = Crook(street), Crook(street, number=2)
    crook.keys()
    for label in crook.labels:
        crook.shares(label)
    trainings = []

    def train() -> ModelReply:
        trainings.append(1)
        with pytest.raises(MessageError, match="busy"):
            crook.masked(1)
        with pytest.raises(MessageError, match="busy"):
            again.ask(1, KEYS, label=1)
        return trained(1)

    sealed = [crook.sealed[n][1] for n in crook.labels]
    content = request("masked", crook.session, labels=crook.labels, sealed=sealed)
    first = street.members[1].masked(content, train)
    words = [bytes(r.array_records[MASKED]["words"].data) for r in (first, crook.masked(1))]
    assert words[0] == words[1]
    assert trainings == [1]


def test_a_round_is_not_asked_for_again_by_way_of_another_run(tmp_path: Path) -> None:
    """Called away to another run and back, a household still knows which rounds are over."""
    street = Street(tmp_path, 3)
    Crook(street, 7).until_masked()
    for label in street.members:
        street.members[label] = SecureMember(tmp_path / str(label), "another run")
    Crook(street, 1, "another run").until_masked()
    for label in street.members:
        street.members[label] = SecureMember(tmp_path / str(label), RUN)
    with pytest.raises(MessageError, match="round 7 is over"):
        Crook(street, 7, number=9).keys()
    with pytest.raises(MessageError, match="has not joined"):
        Crook(street, 2, "another run").keys()


def test_shares_of_another_round_or_household_tell_nothing(tmp_path: Path) -> None:
    """Sealed shares are good for one session, one dealer and one holder: old ones, and those of
    two dealers changed for each other, are not opened."""
    street = Street(tmp_path, 4)
    old = Crook(street, 1)
    old.until_masked()
    crook = Crook(street, 2)
    crook.keys()
    for label in crook.labels:
        crook.shares(label)
    replayed = [old.sealed[n][1] for n in crook.labels]
    swapped = [crook.sealed[n][2] for n in (2, 1, 3, 4)]
    theirs = [crook.sealed[n][4] for n in crook.labels]
    for label, sealed in ((1, replayed), (2, swapped), (3, theirs), (4, None)):
        crook.masked(label, None, sealed)
    signatures = {label: crook.agree(label, crook.labels) for label in crook.labels}
    told = {label: crook.unmask(label, signatures) for label in crook.labels}
    assert told[1] == [b""] * 4
    assert [bool(one) for one in told[2]] == [False, False, True, True]
    assert told[3] == [b""] * 4
    assert all(told[4])


@pytest.mark.parametrize("key", ["channels", "masks", "identities", "signatures"])
def test_keys_are_not_changed_on_the_way(key: str, tmp_path: Path) -> None:
    """Whatever of a member's keys the coordinator puts its own in the place of, or those of a
    round before, its signature does not hold."""
    street = Street(tmp_path, 4)
    old = Crook(street, 1)
    old.until_masked()
    crook = Crook(street, 2)
    crook.keys()
    one = {"identities": "identity"}.get(key, key.removesuffix("s"))
    honest = [crook.adverts[n][one] for n in crook.labels]
    stranger = Crook(Street(tmp_path / "invented", 4))
    stranger.keys()
    for instead in (stranger.adverts[3][one], old.adverts[3][one]):
        if instead == honest[2]:
            continue  # who it is stays the same from round to round
        fields = {key: [*honest[:2], instead, honest[3]]}
        with pytest.raises(MessageError, match="a signature that does not hold"):
            crook.shares(1, None, **fields)
    # All of a stranger's, and rightly signed: another key than the one that was pinned.
    fields = {}
    invented = Crook(Street(tmp_path / "invented", 4), 2)
    invented.keys()
    for many, name in (
        ("channels", "channel"), ("masks", "mask"), ("identities", "identity"),
        ("signatures", "signature"),
    ):  # fmt: skip
        known = [crook.adverts[n][name] for n in crook.labels]
        fields[many] = [*known[:2], invented.adverts[3][name], known[3]]
    with pytest.raises(MessageError, match="member 3 shows another key than before"):
        crook.shares(1, None, **fields)


def test_the_threshold_to_the_household(tmp_path: Path) -> None:
    """Of five, four: a household itself signs no list of three, tells nothing for three
    signatures, and for none of someone who is not on the list. With four it does."""
    crook = Crook(Street(tmp_path, 5))
    crook.until_masked()
    with pytest.raises(MessageError, match="3 survivors, 4 must be left"):
        crook.agree(1, [1, 2, 3])
    with pytest.raises(MessageError, match="not among the survivors"):
        crook.agree(1, [2, 3, 4, 5])
    signatures = {label: crook.agree(label, [1, 2, 3, 4]) for label in (1, 2, 3, 4)}
    three = {label: signatures[label] for label in (1, 2, 3)}
    with pytest.raises(MessageError, match="3 signatures, 4 are needed"):
        crook.unmask(1, three)
    with pytest.raises(MessageError, match="4 are needed"):
        crook.unmask(1, three | {5: signatures[4]})
    with pytest.raises(MessageError, match="labels must rise"):
        crook.ask(1, UNMASK, labels=[1, 2, 3, 3], signatures=[signatures[1]] * 4)
    with pytest.raises(MessageError, match="a signature that does not hold"):
        crook.unmask(1, three | {4: signatures[3]})
    assert all(crook.unmask(1, signatures))


@pytest.mark.parametrize("phase", [SHARES, "masked", AGREE, UNMASK])
def test_one_fewer_than_the_threshold_end_the_round(phase: str, tmp_path: Path) -> None:
    """Of seven, five must be left. Four that are left in any phase make no sum; and before the
    last one, not one of them has told a share."""
    street = Street(tmp_path, 7)
    street.lost = lambda p, label: p == phase and label > 4
    with pytest.raises(SecureRoundError, match="4 of 7 households are left, 5 must be"):
        street.round()
    told = [r for r in street.seen if SECURE in r.config_records and "shares" in record_of(r)]
    assert len(told) == (4 if phase == UNMASK else 0)
    street.lost = lambda p, label: p == phase and label > 5
    assert len(street.round(2).nodes) == (7 if phase in (AGREE, UNMASK) else 5)


def test_no_phase_is_left_out(tmp_path: Path) -> None:
    """A household that was not asked for its shares sends no update, and one that has not signed
    tells nothing."""
    crook = Crook(Street(tmp_path, 3))
    with pytest.raises(MessageError, match="not come so far"):
        crook.ask(1, SHARES, labels=[1, 2, 3])
    crook.keys()
    with pytest.raises(MessageError, match="not come so far"):
        crook.masked(1, None, [b"x"] * 3)
    with pytest.raises(MessageError, match="not come so far"):
        crook.agree(1, [1, 2, 3])
    for label in crook.labels:
        crook.shares(label)
    crook.masked(1)
    with pytest.raises(MessageError, match="not come so far"):
        crook.unmask(1, {})
    with pytest.raises(MessageError, match="none of secure aggregation"):
        crook.ask(1, "sum")


@pytest.mark.parametrize(
    ("partners", "why"),
    [
        ([1, 2, 3], "3 households take part, 4 must"),
        ([2, 3, 4, 5], "own shares have not arrived"),
        ([1, 2, 3, 4, 6], "4 must"),
    ],
)
def test_partners_are_members_and_enough(partners: list[int], why: str, tmp_path: Path) -> None:
    """An update is masked with at least the threshold's number of members' keys."""
    crook = Crook(Street(tmp_path, 5))
    crook.keys()
    for label in crook.labels:
        crook.shares(label)
    with pytest.raises(MessageError, match=why):
        crook.masked(1, partners, [b"x"] * len(partners))
    crook.masked(1)
    with pytest.raises(MessageError, match="other households than before"):
        crook.masked(1, [1, 2, 3, 4])


def test_messages_beyond_all_bounds_are_refused(tmp_path: Path) -> None:
    """Too many members, labels twice or falling, fields that are too long, too few or no bytes."""
    crook = Crook(Street(tmp_path, 3))
    crook.keys()
    good = [crook.adverts[n]["channel"] for n in crook.labels]
    for fields in (
        {"labels": list(range(1, 10_002))},
        {"labels": [1, 2, 2]},
        {"labels": [3, 2, 1]},
        {"labels": [0, 1, 2]},
        {"labels": [1.0, 2.0, 3.0]},
        {"labels": "1, 2, 3"},
        {"channels": [*good[:2], b"x" * 33]},
        {"channels": good[:2]},
        {"channels": ["a", "b", "c"]},
        {"channels": [good[0], good[1], good[1]]},
        {"masks": good},
        {"signatures": [b"x" * 401] * 3},
    ):
        with pytest.raises(MessageError):
            crook.shares(1, None, **fields)
    for label in crook.labels:
        crook.shares(label)
    with pytest.raises(MessageError, match="up to 1024 bytes"):
        crook.masked(1, None, [b"x" * 1025] * 3)
    with pytest.raises(MessageError, match="expected 3"):
        crook.masked(1, None, [b"x"] * 2)
    crook.masked(1)
    crook.agree(1, crook.labels)
    with pytest.raises(MessageError, match="up to 400 bytes"):
        crook.ask(1, UNMASK, labels=[1], signatures=[b"x" * 401])


# ---- a household ----------------------------------------------------------------------------


def spoiled(street: Street, phase: str, who: Iterable[int], **fields: object) -> None:
    """Let these households say this in that phase."""

    def spoil(at: str, label: int, reply: RecordDict) -> RecordDict:
        if at == phase and label in who:
            for key, value in fields.items():
                reply.config_records[SECURE][key] = value  # type: ignore[assignment]
        return reply

    street.spoil = spoil


def test_a_household_that_claims_another_place_is_left_out(tmp_path: Path) -> None:
    """It answers with what another household signed for its own place, or has that one's key."""
    street = Street(tmp_path, 5)
    answers: dict[int, RecordDict] = {}

    def copied(phase: str, label: int, reply: RecordDict) -> RecordDict:
        if phase == KEYS:
            answers[label] = reply
            return answers[2] if label == 3 else reply
        return reply

    street.spoil = copied
    found = street.round()
    assert found.nodes == [101, 102, 104, 105]
    assert found.faults[103] == "a signature that does not hold"
    street = Street(tmp_path / "cloned", 5)
    street.members[4]._identity = street.members[1]._identity
    found = street.round()
    assert found.nodes == [101, 102, 103, 105]
    assert found.faults[104] == "keys of another household"


@pytest.mark.parametrize("key", ["channel", "mask"])
def test_a_key_that_makes_no_secret_harms_its_sender_alone(key: str, tmp_path: Path) -> None:
    """A point of low order, rightly signed: every other household would refuse the round."""
    street = Street(tmp_path, 5)

    def zero(phase: str, label: int, reply: RecordDict) -> RecordDict:
        if phase == KEYS and label == 2:
            record = reply.config_records[SECURE]
            record[key] = bytes(32)
            [file] = (tmp_path / "2" / "secure").glob("00000001-*.json")
            session = Session(RUN, 1, bytes.fromhex(file.stem.partition("-")[2]))
            signed = session.about(b"keys", 2, record["channel"], record["mask"])  # type: ignore[arg-type]
            record["signature"] = street.members[2]._identity.sign(signed)
        return reply

    street.spoil = zero
    found = street.round()
    assert found.nodes == [101, 103, 104, 105]
    assert found.faults[102] == "a key that makes no secret"


@pytest.mark.parametrize(
    "shares", [[b""] * 10, [b"x" * 65] * 10, [b"\xff" * 66] * 10], ids=["none", "short", "large"]
)
def test_shares_that_could_be_none_are_left_out(shares: list[bytes], tmp_path: Path) -> None:
    """Nine of ten are left, two of them tell such: seven shares are enough."""
    street = Street(tmp_path, 10)
    spoiled(street, UNMASK, (1, 10), shares=shares)
    street.lost = lambda phase, label: (phase, label) == ("masked", 9)
    added = [n for n in range(1, 11) if n != 9]
    assert (street.round().total == plain(added, 10)).all()


@pytest.mark.parametrize(
    "shares", [[b"x" * 67] * 5, [b"x" * 66] * 6, [b"x" * 66] * 4, "x", 7],
    ids=["long", "more", "fewer", "text", "number"],
)  # fmt: skip
def test_shares_beyond_all_bounds_are_their_tellers_fault(shares: object, tmp_path: Path) -> None:
    """The others are enough."""
    street = Street(tmp_path, 5)
    spoiled(street, UNMASK, (3,), shares=shares)
    found = street.round()
    assert (found.total == plain(range(1, 6), 5)).all()
    assert found.faults[103].startswith("shares: expected")


def test_a_household_that_deals_wrong_shares_ends_the_round_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it has sealed for others belongs to no secret: there is no sum, and it is told whose."""
    street = Street(tmp_path, 5)
    split, members = fl_client.secure.shares.split, street.members
    answered = SecureMember.answer

    def dealing(self: SecureMember, content: RecordDict) -> RecordDict:
        with monkeypatch.context() as patched:
            if self is members[2]:
                patched.setattr(
                    fl_client.secure.shares, "split",
                    lambda secret, threshold, points: split(secret, len(points), points)[::-1],
                )  # fmt: skip
            return answered(self, content)

    monkeypatch.setattr(SecureMember, "answer", dealing)
    faults: list[Mapping[int, str]] = []
    with pytest.raises(SecureRoundError, match="do not belong together"):
        street.round(1, faults)
    assert faults == [{102: "shares of its secrets that do not belong together"}]
    # Sealed so that nobody can open it: those it did not deal to are too few.
    street = Street(tmp_path / "sealed", 5)
    spoiled(street, SHARES, (2,), sealed=[b"", b"x", b"x" * 12, b"x" * 1024, b"x" * 40])
    monkeypatch.setattr(SecureMember, "answer", answered)
    with pytest.raises(SecureRoundError, match="0 shares of a secret, 4 are needed"):
        street.round(1, faults)
    assert faults[1][102] == "shares of its secrets that do not belong together"


def test_an_answer_of_another_household_or_a_second_one_changes_nothing(tmp_path: Path) -> None:
    """Replies are taken from whom was asked, and once; a stranger's not at all."""
    street = Street(tmp_path, 4)
    exchange = street.exchange

    def twice(messages: Iterable[Message]) -> Iterable[Message]:
        for reply in exchange(messages):
            yield reply
            yield reply
            stranger = Message(reply.content, reply_to=reply) if not reply.has_error() else reply
            stranger.metadata.__dict__["_src_node_id"] = 999
            yield stranger

    street.exchange = twice  # type: ignore[method-assign]
    assert (street.round().total == plain(range(1, 5), 4)).all()


# ---- whoever takes the disk -----------------------------------------------------------------


def test_a_disk_tells_nothing_of_a_round_that_is_over(tmp_path: Path) -> None:
    """Once a household has told its shares, its files hold no secret of that round: not even all
    disks and every message together open it then."""
    street = Street(tmp_path, 3)
    street.round()
    for label in street.members:
        folder = tmp_path / str(label) / "secure"
        [file] = folder.glob("00000001-*")
        kept = json.loads(file.read_text())
        assert not {"own", "mask", "channel", "sealed", "received"} & set(kept)
    session = Session(RUN, 1, bytes.fromhex(file.stem.partition("-")[2]))
    for phase, fields in ((KEYS, {"label": 3}), (SHARES, {"labels": [1, 2, 3]})):
        with pytest.raises(MessageError, match="over"):
            street.members[3].answer(request(phase, session, **fields))
    content = request("masked", session, labels=[1, 2, 3], sealed=[b"x"] * 3)
    with pytest.raises(MessageError, match="over"):
        street.members[3].masked(content, lambda: trained(3))
    assert np.array_equal(street.round(2).total, plain([1, 2, 3], 3))
