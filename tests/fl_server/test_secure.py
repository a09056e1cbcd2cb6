"""Secure aggregation end to end: real households and a real coordinator, messages by hand."""

import json
import os
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from common.messages import MessageError
from common.secure.grid import mean, words
from common.secure.messages import MASKED, SECURE, Session, request, threshold_of
from fl_client.secure import SecureMember
from fl_server.secure import SecureRoundError
from tests.support.secure_street import RUN, SHAPES, Street, plain, trained, update


@pytest.fixture(autouse=True)
def _identified() -> None:
    """Flower's messages know which task makes them."""
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 1


@pytest.mark.parametrize("phase", ["keys", "shares", "masked", "agree", "unmask"])
def test_every_dropout_below_the_threshold_gives_the_plain_sum(phase: str, tmp_path: Path) -> None:
    """Five households, one lost in each phase in turn: the sum of those that sent, bit for bit.

    t = 2 * 5 // 3 + 1 = 4, so one may drop out. Who drops out after its update was added counts.
    """
    for gone in range(1, 6):
        street = Street(tmp_path / str(gone), 5)
        street.lost = lambda p, label, gone=gone: (p, label) == (phase, gone)
        found = street.round()
        added = [n for n in range(1, 6) if n != gone or phase in ("agree", "unmask")]
        of = 4 if phase == "keys" else 5
        assert (found.total == plain(added, of)).all()
        assert found.nodes == [100 + n for n in added]
        assert (100 + gone in found.faults) == (len(added) < 5 or phase in ("agree", "unmask"))


@pytest.mark.longer
@pytest.mark.parametrize("phase", ["keys", "shares", "masked", "agree", "unmask"])
def test_every_subset_of_ten_up_to_the_threshold(phase: str, tmp_path: Path) -> None:
    """Ten households, t = 7: subsets of up to three lost, in each phase; four end the round.

    Who is lost before it has sent keys is no part of the round: it begins with those that are left.
    All 175 of them nightly, every 25th here.
    """
    street = Street(tmp_path, 10)
    subsets = [gone for size in (1, 2, 3) for gone in combinations(range(1, 11), size)]
    step = 1 if "FEDWATT_NIGHTLY" in os.environ else 25
    for number, gone in enumerate(subsets[::step]):
        street.lost = lambda p, label, gone=gone: p == phase and label in gone
        found = street.round(number)
        added = [n for n in range(1, 11) if n not in gone or phase in ("agree", "unmask")]
        of = len(added) if phase == "keys" else 10
        assert (found.total == plain(added, of)).all()
    if phase == "keys":
        return
    street.lost = lambda p, label: p == phase and label <= 4
    with pytest.raises(SecureRoundError, match="6 of 10 households are left, 7 must be"):
        street.round(1000)


def test_households_killed_before_every_message_give_the_same_sum(tmp_path: Path) -> None:
    """All that a household knows of a session is on its disk before it answers."""
    street = Street(tmp_path, 4)
    street.restart = True
    assert (street.round().total == plain(range(1, 5), 4)).all()


def test_the_mean_is_that_of_the_plain_average(tmp_path: Path) -> None:
    """Weights and metrics are inside the sum: (1*10 + 2*20 + 3*30) / 60 = 14/6."""
    street = Street(tmp_path, 3)
    _, weight, metrics = mean(street.round().total, SHAPES, 2)
    assert weight == 60
    assert metrics == pytest.approx([14 / 6, 0], abs=1e-6)


def test_no_reply_tells_an_update(tmp_path: Path) -> None:
    """Masked words are no household's own, and look like noise: half of their bits are set."""
    street = Street(tmp_path, 3)
    street.round()
    sent = [
        r.array_records[MASKED]["words"].numpy().view("<u8")
        for r in street.seen
        if MASKED in r.array_records
    ]
    assert len(sent) == 3
    for label, one in enumerate(sent, start=1):
        assert not (one == words(*update(label), [label, 0.0], 3)).any()
        bits = np.unpackbits(one.view(np.uint8)).mean()
        assert abs(bits - 0.5) < 0.06  # 1,216 bits: five standard deviations are 0.07


def test_an_update_is_sent_once_a_round(tmp_path: Path) -> None:
    """A coordinator that repeats a round, to subtract two sums, is refused by everyone."""
    street = Street(tmp_path, 4)
    street.round(7)
    for number in (7, 6):
        with pytest.raises(SecureRoundError, match="0 of 0"):
            street.round(number)
    street.round(8)


def test_the_same_session_gets_the_same_bytes(tmp_path: Path) -> None:
    """Asked to train twice, a household sends what it has sent: the mean of two noises tells."""
    street = Street(tmp_path, 3)
    twice: list[bytes] = []

    def spoil(phase: str, label: int, reply: RecordDict) -> RecordDict:
        if phase == "masked" and label == 1:
            again = street.members[1].masked(asked[-1], lambda: trained(2))
            twice.extend(bytes(r.array_records[MASKED]["words"].data) for r in (reply, again))
        return reply

    asked: list[RecordDict] = []
    exchange = street.exchange

    def noting(messages: Iterable[Message]) -> Iterable[Message]:
        for message in messages:
            asked.append(message.content)
            yield from exchange([message])

    street.exchange, street.spoil = noting, spoil  # type: ignore[method-assign]
    street.round()
    assert len(twice) == 2
    assert twice[0] == twice[1]


def test_two_lists_of_survivors_are_not_signed(tmp_path: Path) -> None:
    """A coordinator that tells a household of other survivors than before gets no signature."""
    street = Street(tmp_path, 5)
    street.round(1)
    [file] = (tmp_path / "1" / "secure").glob("00000001-*.json")
    session = Session(RUN, 1, bytes.fromhex(file.stem.partition("-")[2]))
    with pytest.raises(MessageError, match="other survivors"):
        street.members[1].answer(request("agree", session, labels=[1, 2, 3, 4]))
    with pytest.raises(MessageError, match="signature"):
        street.members[1].answer(
            request("unmask", session, labels=[1, 2, 3, 4], signatures=[b"x"] * 4)
        )


def test_a_lying_share_is_found_out(tmp_path: Path) -> None:
    """One household that gives wrong shares spoils nothing while there are enough of the others."""
    street = Street(tmp_path, 10)

    def spoil(phase: str, label: int, reply: RecordDict) -> RecordDict:
        if phase == "unmask" and label == 3:
            reply.config_records[SECURE]["shares"] = [b"\0" * 66] * 10
        return reply

    street.spoil = spoil
    street.lost = lambda p, label: (p, label) == ("masked", 9)
    assert (street.round().total == plain([n for n in range(1, 11) if n != 9], 10)).all()


@pytest.mark.parametrize("key", ["channel", "mask", "identity", "signature"])
def test_keys_that_hold_not_leave_their_sender_out(key: str, tmp_path: Path) -> None:
    """A forged key or signature is its sender's fault; the others go on without it."""
    street = Street(tmp_path, 5)

    def spoil(phase: str, label: int, reply: RecordDict) -> RecordDict:
        if phase == "keys" and label == 2:
            reply.config_records[SECURE][key] = b"\1" * 32
        return reply

    street.spoil = spoil
    found = street.round()
    assert found.nodes == [101, 103, 104, 105]
    assert 102 in found.faults


def test_a_member_with_another_key_is_refused_by_all(tmp_path: Path) -> None:
    """Keys are pinned: a coordinator that puts itself in a member's place is found out."""
    street = Street(tmp_path, 4)
    street.round(1)
    (tmp_path / "2" / "identity.pem").unlink()
    street.members[2] = SecureMember(tmp_path / "2", RUN)
    with pytest.raises(SecureRoundError):
        street.round(2)
    for label in ("1", "2", "3", "4"):
        path = tmp_path / label / "secure" / "members.json"
        kept = json.loads(path.read_text())
        del kept[RUN]["2"]
        path.write_text(json.dumps(kept))
    street.round(3)


def test_a_sum_of_two_is_refused(tmp_path: Path) -> None:
    """Of two, each would know the other's update."""
    with pytest.raises(SecureRoundError, match="3 must be"):
        Street(tmp_path, 2).round()


def test_households_may_ask_for_more_company(tmp_path: Path) -> None:
    """A household that takes part in sums of five at least is not in one of four."""
    street = Street(tmp_path, 4)
    street.members[1] = SecureMember(tmp_path / "1", RUN, 5)
    found = street.round()
    assert found.nodes == [102, 103, 104]
    assert "asks for 5" in found.faults[101]


def test_threshold() -> None:
    """More than two thirds."""
    assert [threshold_of(n) for n in (3, 4, 5, 10, 100)] == [3, 3, 4, 7, 67]
