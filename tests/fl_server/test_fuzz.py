"""Whatever a household sends, it is at worst that household's fault, in that round.

Real replies are spoilt thousands of times; every one is read by the coordinator's own loops. No
exception leaves them. What was refused changes nothing that the others get: the round is, to the
last bit, one in which the household was silent, or had sent the accepted part alone. 250 replies of
each kind here, 10,000 nightly (FEDWATT_NIGHTLY).
"""

import os
import random
from collections import Counter

import numpy as np
import pytest
from flwr.app import Message, RecordDict
from hypothesis import given, settings
from hypothesis import strategies as st

from common.messages import IntervalReply, Joined, Kept, MessageError, read_reply
from simulations.engine.loop import server_context
from tests.support.fuzz import (
    NASTY,
    Outcome,
    Recorded,
    market_round,
    model_round,
    mutated,
    recorded,
)
from tests.support.runs import small

T = 24
ROUND = 2
EVERY = 12
LIAR = 1
TIMES = 10_000 if os.environ.get("FEDWATT_NIGHTLY") else 250

VALUES = st.one_of(
    st.sampled_from(NASTY),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(max_size=40),
    st.binary(max_size=80),
)


@pytest.fixture(scope="module")
def real(homes, tmp_path_factory) -> Recorded:  # type: ignore[no-untyped-def]
    """A day of three homes, the last household's replies among them."""
    out = tmp_path_factory.mktemp("real") / "run"
    out.mkdir()
    chosen = small(
        homes, "run.days=0.55", f"fl.every_hours={EVERY / 2}", "market.compensate_losers=true",
        "model.preset=slot",
    )  # fmt: skip
    made = recorded(chosen, out, T, ROUND)
    server_context(1, {})
    return made


def _tried(one) -> None:  # type: ignore[no-untyped-def]
    """Try a property so often; print and check how many replies were refused."""
    seen: Counter[str] = Counter()

    @settings(max_examples=TIMES, deadline=None, database=None)
    @given(seed=st.integers(0, 2**62), value=VALUES)
    def property_(seed: int, value: object) -> None:
        seen[one(random.Random(seed), value)] += 1

    property_()
    tried = sum(seen.values())
    print(f"\n{tried} replies tried: {dict(sorted(seen.items()))}, exceptions 0")
    assert tried >= TIMES
    # Spoilt replies that still make sense prove nothing of reading.
    assert seen["valid"] <= tried / 2


def _same(a: Outcome, b: Outcome) -> None:
    assert a.booked == b.booked
    np.testing.assert_array_equal(np.array(a.signals), np.array(b.signals))
    assert a.fills == b.fills


def _without(reply: IntervalReply, reasons: tuple[str, ...]) -> RecordDict:
    """The reply with the orders alone that were not refused."""
    numbers = {int(why.split("order ")[1].split(":")[0]) for why in reasons}
    kept = [i for i in range(len(reply.orders)) if i not in numbers]
    return IntervalReply(reply.t, reply.readings, reply.orders[kept], reply.report).encode()


@pytest.mark.parametrize("kind", ["market", "closing"])
def test_market_replies(real: Recorded, kind: str) -> None:
    """Fills, settlements, prices and compensation of a round with a spoilt reply in it."""
    t = T if kind == "market" else real.coordinator._settings.intervals
    honest = real.market if kind == "market" else real.closing
    silent = market_round(real, t, {**honest, LIAR: None})
    assert LIAR in silent.faults

    def one(rng: random.Random, value: object) -> str:
        spoilt = mutated(honest[LIAR], rng, value)
        if spoilt is None:
            return "no message"
        outcome = market_round(real, t, {**honest, LIAR: spoilt})
        assert set(outcome.faults) <= {LIAR}
        if LIAR in outcome.faults:
            assert len(outcome.faults[LIAR]) <= 300
            _same(outcome, silent)
            return "refused"
        if outcome.refused.get(LIAR):
            part = _without(IntervalReply.decode(spoilt), outcome.refused[LIAR])
            _same(outcome, market_round(real, t, {**honest, LIAR: part}))
            return "refused in part"
        return "valid"

    _tried(one)


def test_train_replies(real: Recorded) -> None:
    """The model, and what later changes are measured by."""
    nodes = sorted(real.train)
    liar = nodes[LIAR]
    after = ROUND * EVERY - 1
    silent = model_round(real, ROUND, after, {**real.train, liar: None}, real.evaluate)

    def one(rng: random.Random, value: object) -> str:
        spoilt = mutated(real.train[liar], rng, value)
        if spoilt is None:
            return "no message"
        learnt = model_round(real, ROUND, after, {**real.train, liar: spoilt}, real.evaluate)
        assert learnt.failed is None
        if learnt.accepted == len(nodes):
            return "valid"
        assert learnt.model == silent.model
        assert learnt.medians == silent.medians
        assert learnt.train == silent.train
        return "refused"

    _tried(one)


def test_evaluate_replies(real: Recorded) -> None:
    """The model is there already; the losses are those of the others."""
    nodes = sorted(real.evaluate)
    liar = nodes[LIAR]
    after = ROUND * EVERY - 1
    none: dict[int, RecordDict | None] = {}
    silent = model_round(real, ROUND, after, none, {**real.evaluate, liar: None})

    def one(rng: random.Random, value: object) -> str:
        spoilt = mutated(real.evaluate[liar], rng, value)
        if spoilt is None:
            return "no message"
        learnt = model_round(real, ROUND, after, none, {**real.evaluate, liar: spoilt})
        assert learnt.model == silent.model
        if learnt.unreached == 0:
            return "valid"
        assert learnt.evaluate == silent.evaluate
        return "refused"

    _tried(one)


@pytest.mark.parametrize(
    ("honest", "reader"),
    [
        (Joined("B01", 3, True, "somewhere", 5), Joined.decode),
        (Kept(True), Kept.decode),
    ],
    ids=["join", "announcement"],
)
def test_answers_to_joining_and_announcements(honest, reader) -> None:  # type: ignore[no-untyped-def]
    """Read, or refused in one short line."""
    server_context(1, {})
    request = Message(RecordDict(), 9, "query.join")

    def one(rng: random.Random, value: object) -> str:
        spoilt = mutated(honest.encode(), rng, value)
        if spoilt is None:
            return "no message"
        try:
            read = read_reply(Message(spoilt, reply_to=request), reader)
        except MessageError as error:
            said = str(error)
        else:
            assert type(read) is type(honest)
            return "valid"
        assert len(said) <= 300
        assert said.isprintable()
        return "refused"

    _tried(one)
