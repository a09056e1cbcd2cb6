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


def read(compression: Compression, **delta: np.ndarray) -> dict[str, np.ndarray]:
    """What comes of an update on the other side."""
    shapes = {name: array.shape for name, array in delta.items()}
    return Compression.expand(compression.compress(delta), shapes)


@given(arrays, arrays, st.sampled_from(KINDS))
def test_what_is_read_hangs_on_no_order(a: np.ndarray, b: np.ndarray, kind: str) -> None:
    """Bit for bit the same in whatever order the receiver lists the arrays: error feedback rests on
    it."""
    compression = parse_compression(kind)
    one = read(compression, z=a, a=b)
    other = Compression.expand(compression.compress({"a": b, "z": a}), {"a": b.shape, "z": a.shape})
    for name, array in one.items():
        assert array.shape == {"z": a, "a": b}[name].shape
        assert array.tobytes() == other[name].tobytes()


@given(arrays)
def test_int8_is_within_half_a_step(a: np.ndarray) -> None:
    """The step is the largest magnitude over 127."""
    back = read(Compression("int8"), a=a)
    step = float(np.abs(a).max()) / 127
    assert float(np.abs(back["a"] - a).max()) <= step * 0.5001 + 1e-30


@given(arrays)
def test_bfloat16_is_within_half_a_place(a: np.ndarray) -> None:
    """Eight binary places: a relative error of at most 2^-8, the float's own grain aside."""
    back = read(Compression("bfloat16"), a=a)
    assert (np.abs(back["a"] - a) <= np.abs(a) * 2.0**-8 + 1e-38).all()


@given(arrays)
def test_bfloat16_is_the_upper_half_of_a_float(a: np.ndarray) -> None:
    """Two bytes a value: the nearest of the numbers whose lower sixteen bits are zero, and of two
    equally near ones the even."""
    bits = np.ravel(a).view(np.uint32).astype(np.uint64)
    upper = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    blob = Compression("bfloat16").compress({"a": a})
    assert blob[-2 * a.size :] == upper.astype("<u2").tobytes()


@given(arrays)
def test_top_k_keeps_the_largest(a: np.ndarray) -> None:
    """ceil(n / 10) values come back unchanged; none left out is larger than any kept."""
    back = read(parse_compression("top-k:0.1"), a=a)
    kept = back["a"] != 0
    np.testing.assert_array_equal(back["a"][kept], a[kept])
    count = int(np.ceil(a.size * 0.1 - 1e-9))
    assert kept.sum() <= count
    if kept.any():
        assert np.abs(a[~kept]).max(initial=0.0) <= np.abs(a[kept]).min()


def test_int8_takes_under_a_quarter() -> None:
    """One byte a value and four an array: at least 3.9 times fewer than float32."""
    rng = np.random.default_rng(0)
    delta = {f"w{i}": rng.normal(size=500).astype(np.float32) for i in range(30)}
    blob = Compression("int8").compress(delta)
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
    blob = bytearray(parse_compression(kind).compress(delta))
    for _ in range(data.draw(st.integers(1, 4))):
        blob[data.draw(st.integers(0, len(blob) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(blob[: data.draw(st.integers(0, len(blob)))])
    try:
        back = Compression.expand(cut, {"a": (40,), "b": (3, 3)})
    except ValueError:
        return
    assert {n: v.shape for n, v in back.items()} == {"a": (40,), "b": (3, 3)}
