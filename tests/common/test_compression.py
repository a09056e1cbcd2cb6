"""Compression of updates: what comes back, how many bytes it takes, and what it refuses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from common.compression import Compression, parse_compression
from common.errors import InputError

KINDS = ["none", "bfloat16", "int8", "top-k:0.1", "top-k:0.1+int8", "top-k:0.3+bfloat16"]

arrays = hnp.arrays(
    np.float32, hnp.array_shapes(max_dims=2, max_side=20), elements=st.floats(-1e3, 1e3, width=32)
)


@given(arrays, arrays, st.sampled_from(KINDS))
def test_what_is_read_is_what_the_sender_thinks_is_read(
    a: np.ndarray, b: np.ndarray, kind: str
) -> None:
    """Bit for bit, whatever order the receiver lists the arrays in: error feedback rests on it."""
    blob, read = parse_compression(kind).compress({"z": a, "a": b})
    back = Compression.expand(blob, {"a": b.shape, "z": a.shape})
    for name, array in back.items():
        assert array.tobytes() == read[name].tobytes()


@given(arrays)
def test_int8_is_within_half_a_step(a: np.ndarray) -> None:
    """The step is the largest magnitude over 127."""
    _, read = Compression("int8").compress({"a": a})
    step = float(np.abs(a).max()) / 127
    assert float(np.abs(read["a"] - a).max()) <= step * 0.5001 + 1e-30


@given(arrays)
def test_bfloat16_is_within_half_a_place(a: np.ndarray) -> None:
    """Eight binary places: a relative error of at most 2^-8, the float's own grain aside."""
    _, read = Compression("bfloat16").compress({"a": a})
    assert (np.abs(read["a"] - a) <= np.abs(a) * 2.0**-8 + 1e-38).all()


@given(arrays)
def test_top_k_keeps_the_largest(a: np.ndarray) -> None:
    """ceil(n / 10) values come back unchanged; none left out is larger than any kept."""
    _, read = parse_compression("top-k:0.1").compress({"a": a})
    kept = read["a"] != 0
    np.testing.assert_array_equal(read["a"][kept], a[kept])
    count = int(np.ceil(a.size * 0.1 - 1e-9))
    assert kept.sum() <= count
    if kept.any():
        assert np.abs(a[~kept]).max(initial=0.0) <= np.abs(a[kept]).min()


def test_int8_takes_under_a_quarter() -> None:
    """One byte a value and four an array: at least 3.9 times fewer than float32."""
    rng = np.random.default_rng(0)
    delta = {f"w{i}": rng.normal(size=500).astype(np.float32) for i in range(30)}
    blob, _ = Compression("int8").compress(delta)
    assert 30 * 500 * 4 / len(blob) > 3.9


@pytest.mark.parametrize("text", ["int4", "top-k:", "top-k:0", "top-k:1.5", "int8+", "top-k:x"])
def test_unknown_kinds_are_refused(text: str) -> None:
    """The text is in the message."""
    with pytest.raises(InputError, match="compression"):
        parse_compression(text)


def test_nan_is_not_compressed() -> None:
    """It would spoil the scale and the feedback for good."""
    with pytest.raises(ValueError, match="NaN"):
        Compression("int8").compress({"a": np.array([1.0, np.nan], np.float32)})


@given(st.data())
def test_damaged_bytes_are_refused_or_harmless(data: st.DataObject) -> None:
    """Cut, changed or foreign bytes raise ValueError or give arrays of the right shape."""
    kind = data.draw(st.sampled_from(KINDS))
    delta = {"a": np.arange(40, dtype=np.float32), "b": np.ones((3, 3), np.float32)}
    blob = bytearray(parse_compression(kind).compress(delta)[0])
    for _ in range(data.draw(st.integers(1, 4))):
        blob[data.draw(st.integers(0, len(blob) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(blob[: data.draw(st.integers(0, len(blob)))])
    try:
        back = Compression.expand(cut, {"a": (40,), "b": (3, 3)})
    except ValueError:
        return
    assert {n: v.shape for n, v in back.items()} == {"a": (40,), "b": (3, 3)}
