"""Messages: what one side says is what the other reads, and nonsense is refused."""

from dataclasses import replace

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from common.messages import (
    ARRAYS,
    CONFIG,
    NUM_EXAMPLES,
    Announcement,
    IntervalReply,
    IntervalRequest,
    Join,
    Joined,
    MessageError,
    decode_arrays,
    read_reply,
    view_arrays,
)
from tests.support.updates import encode_update

ROWS = hnp.arrays(np.int64, st.tuples(st.integers(0, 5), st.just(3)))


@given(ROWS, ROWS, st.integers(0, 10**6))
def test_a_reply_survives_the_journey(readings: np.ndarray, orders: np.ndarray, t: int) -> None:
    """Every integer arrives as it was sent, empty arrays included."""
    again = IntervalReply.decode(IntervalReply(t, readings, orders, {"a": 0.5}).encode())
    assert again.t == t
    np.testing.assert_array_equal(again.readings, readings)
    np.testing.assert_array_equal(again.orders, orders)
    assert again.report == {"a": 0.5}


def request() -> IntervalRequest:
    return IntervalRequest(
        run="r",
        t=3,
        retail=np.array([0.2, 0.3]),
        feed_in=np.array([0.05, -0.01]),
        terms=(-0.01, 0.3, 0.3, -0.02),
        fills=np.arange(10).reshape(2, 5),
        undelivered=np.array([[0.3, 0.05], [0.4, -0.1]]),
        signals_from=1,
        signals=np.array([[0.1, np.nan], [0.2, 0.1]]),
        refused=("too many",),
    )


def test_a_request_survives_the_journey() -> None:
    """Not-a-number signals included."""
    sent, again = request(), IntervalRequest.decode(request().encode())
    for name, value in vars(sent).items():
        np.testing.assert_array_equal(np.asarray(getattr(again, name)), np.asarray(value))


def test_a_capped_request_survives_the_journey() -> None:
    """Share, scarcity price and allowances; without a cap none of them is in the message."""
    allowances = np.arange(6).reshape(2, 3)
    sent = replace(request(), share=7, scarcity=9, allowances=allowances)
    again = IntervalRequest.decode(sent.encode())
    assert (again.share, again.scarcity) == (7, 9)
    np.testing.assert_array_equal(again.allowances, allowances)
    free = request().encode().config_records[CONFIG]
    assert not {"share", "scarcity", "allowances"} & set(free)


@pytest.mark.parametrize("allowance", [None, (5, 6)])
def test_an_announcement_survives_the_journey(allowance: tuple[int, int] | None) -> None:
    """With an allowance and without."""
    told = Announcement("r", 3, (1, 2, 3, 4), allowance)
    assert Announcement.decode(told.encode()) == told


def test_joining_survives_the_journey() -> None:
    """Both directions."""
    join = Join("r", "2016-10-01T07:00:00+00:00", 48, 0, True)
    assert Join.decode(join.encode()) == join
    joined = Joined("B01", 3, True, "somewhere")
    assert Joined.decode(joined.encode()) == joined


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("orders", b"12345"),
        ("orders", "text"),
        ("readings", b"\x00" * 16),
        ("t", "three"),
        ("report", "[1]"),
        ("report", '{"a": "b"}'),
        ("report", "{"),
        ("report", "[" * 99_999),
        ("report", "{" + " " * 100_000 + "}"),
        ("report", '{"cost": ' + "9" * 400 + "}"),
        ("report", '{"cost": NaN}'),
        ("report", '{"cost": 1e999}'),
        ("report", '{"cost": "5"}'),
        ("report", '{"<b>": 5}'),
        ("report", "{" + ", ".join(f'"a{i}": 1' for i in range(201)) + "}"),
    ],
)
def test_a_malformed_reply_is_refused(key: str, value: object) -> None:
    """One error type, whatever is wrong; nothing else escapes."""
    content = IntervalReply(1, np.zeros((0, 3), np.int64)).encode()
    content.config_records[CONFIG][key] = value  # type: ignore[assignment]
    with pytest.raises(MessageError, match=key):
        IntervalReply.decode(content)


def test_an_empty_record_is_refused() -> None:
    """A message without a config record is no reply."""
    with pytest.raises(MessageError, match=CONFIG):
        IntervalReply.decode(RecordDict())


def test_another_protocol_is_refused() -> None:
    """A household of another version says so instead of guessing."""
    content = Join("r", "", 1, 0, True).encode()
    content.config_records[CONFIG]["protocol"] = 99
    with pytest.raises(MessageError, match="99"):
        Join.decode(content)


def test_weights_are_viewed_without_a_copy_and_equal() -> None:
    """The view is read-only and equal to what numpy itself reads."""
    sent = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones((), np.float32)}
    record = encode_update(sent, {NUM_EXAMPLES: 1})[ARRAYS]
    assert isinstance(record, ArrayRecord)
    views, copies = view_arrays(record), decode_arrays(record)
    for name, array in sent.items():
        np.testing.assert_array_equal(views[name], array)
        np.testing.assert_array_equal(copies[name], array)
        assert not views[name].flags.writeable


def _npy(header: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + bytes(4)


@pytest.mark.parametrize(
    "array",
    [
        Array("float32", (1,), "numpy.ndarray", b"nonsense"),
        Array("float32", (1,), "other", b""),
        Array(np.asfortranarray(np.ones((2, 3), np.float32))),
        Array(np.ones(3, np.dtype(">f4"))),
        Array(np.ones(3, np.float64)),
        Array(np.ones(3, np.float16)),
        Array(np.ones(3, np.longdouble)),
        Array("float32", (1,), "numpy.ndarray", _npy("{'descr': (((")),
        Array("float32", (1,), "numpy.ndarray", _npy("-" * 900)),
        Array("float32", (1,), "numpy.ndarray", _npy("'''")),
        Array("float32", (1,), "numpy.ndarray", _npy("{'descr': ('<f4',), 'shape': (1,)}")),
        Array("float32", (9,), "numpy.ndarray", Array(np.ones(9, np.float32)).data[:-1]),
    ],
)
def test_bytes_that_are_no_plain_array_are_refused(array: Array) -> None:
    """A household cannot make the coordinator read what it did not expect."""
    with pytest.raises(ValueError):
        view_arrays(ArrayRecord({"x": array}))


def test_config_records_hold_only_plain_values() -> None:
    """What goes out is config alone: no array and no metric leaves with a market reply."""
    content = IntervalReply(1, np.zeros((0, 3), np.int64)).encode()
    assert list(content) == [CONFIG]
    assert isinstance(content[CONFIG], ConfigRecord)


@pytest.fixture
def identity() -> None:
    """Messages carry the identity of who makes them."""
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 1


@pytest.mark.usefixtures("identity")
@pytest.mark.parametrize(
    "raised", [RecursionError("deep"), KeyError("x"), MemoryError("\x1b" * 999)]
)
def test_whatever_reading_a_reply_raises_is_a_fault_of_one_short_line(raised: Exception) -> None:
    """No parser's exception leaves the reader, and its text cannot fill or forge a log."""

    def decode(_: RecordDict) -> None:
        raise raised

    with pytest.raises(MessageError) as found:
        read_reply(Message(RecordDict(), 1, "query"), decode)
    text = str(found.value)
    assert text.startswith(f"unreadable: {type(raised).__name__}")
    assert len(text) <= 300
    assert text.isprintable()


@pytest.mark.usefixtures("identity")
def test_an_error_reply_is_a_message_error() -> None:
    """What a household calls its error is told in one line, whatever characters it sends."""
    request = Message(RecordDict(), 1, "query")
    reply = Message(Error(1, "broken\nup \ud800 \u202e" + "x" * 10_000), reply_to=request)
    with pytest.raises(MessageError, match=r"^broken up .{0,30}x*$") as found:
        read_reply(reply, lambda content: content)
    assert str(found.value).isascii()


@pytest.mark.parametrize(("key", "value"), [("source", "x" * 1001), ("filled_values", -1)])
def test_an_absurd_answer_to_joining_is_refused(key: str, value: str | int) -> None:
    """A household's words about itself go into files of the run: they are short and sensible."""
    content = Joined("B01", 3, True, "somewhere").encode()
    content.config_records[CONFIG][key] = value
    with pytest.raises(MessageError, match=key):
        Joined.decode(content)
