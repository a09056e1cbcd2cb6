"""Smaller updates: bfloat16 or int8 values, all of them or the k largest, with error feedback.

What int8 and top-k lose in one round is kept by the sender and added to its next update (error
feedback: Seide et al. 2014, "1-bit stochastic gradient descent"; Karimireddy et al. 2019,
arXiv:1901.09847), so no part of an update is lost for good. bfloat16 by itself rounds each value to
1/256 of it at most.
"""

import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from common.errors import InputError

Values = Literal["float32", "bfloat16", "int8"]
Arrays = Mapping[str, NDArray[np.float32]]

_KINDS: tuple[Values, ...] = ("float32", "bfloat16", "int8")
_BYTES = {"float32": 4, "bfloat16": 2, "int8": 1}
_HEAD = struct.Struct("<BBI")  # kind, sparse or not, number of values


class NotFiniteError(ValueError):
    """A training has diverged, and there is nothing to send."""


@dataclass(frozen=True)
class Compression:
    """``values`` says how a number is written, ``share`` which part of them (the largest).

    int8 has one scale per array: its largest magnitude over 127, rounded to nearest.
    """

    values: Values = "float32"
    share: float = 1.0

    @property
    def active(self) -> bool:
        """Whether anything is compressed at all."""
        return self.values != "float32" or self.share < 1.0

    @property
    def feeds_back(self) -> bool:
        """Whether so much is lost that the sender keeps it for its next update."""
        return self.values == "int8" or self.share < 1.0

    def compress(self, delta: Arrays) -> bytes:
        """Bytes of an update; raises NotFiniteError where it holds NaN or infinity."""
        # By name: the order of a dict does not survive every way of storing a model.
        arrays = [np.ravel(delta[name]).astype(np.float32, copy=False) for name in sorted(delta)]
        if not all(np.isfinite(array).all() for array in arrays):
            raise NotFiniteError("the update holds NaN or infinity")
        sizes = [array.size for array in arrays]
        mask = _largest(np.concatenate(arrays), self.share) if self.share < 1.0 else None
        parts = [_HEAD.pack(_KINDS.index(self.values), mask is not None, sum(sizes))]
        if mask is not None:
            positions = zlib.compress(np.packbits(mask).tobytes(), 9)
            parts += [struct.pack("<I", len(positions)), positions]
            arrays = [
                array[chosen]
                for array, chosen in zip(arrays, np.split(mask, np.cumsum(sizes)[:-1]), strict=True)
            ]
        if self.values == "int8":
            scales = _scales(arrays)
            parts.append(scales.tobytes())
            parts += [_to_int8(array, scale) for array, scale in zip(arrays, scales, strict=True)]
        elif self.values == "bfloat16":
            parts.append(_to_bfloat16(arrays))
        else:
            parts += [array.tobytes() for array in arrays]
        return b"".join(parts)

    @staticmethod
    def expand(
        blob: bytes, shapes: Mapping[str, tuple[int, ...]]
    ) -> dict[str, NDArray[np.float32]]:
        """Read the bytes of an update of arrays of these shapes.

        Raises ValueError for bytes that ``compress`` cannot have written.
        """
        ordered = {name: shapes[name] for name in sorted(shapes)}
        sizes = [int(np.prod(shape, dtype=np.int64)) for shape in ordered.values()]
        try:
            flat = _expand(memoryview(blob), sizes)
        except (struct.error, zlib.error, IndexError) as error:
            raise ValueError(f"damaged update: {error}") from None
        parts = np.split(flat, np.cumsum(sizes)[:-1])
        return {
            name: part.reshape(shape)
            for (name, shape), part in zip(ordered.items(), parts, strict=True)
        }


AUTO = "auto"
"""As the model's preset computes: bfloat16 where it trains in that, else whole."""


def parse_compression(text: str) -> Compression:
    """Read ``none``, ``bfloat16``, ``int8``, ``top-k:0.05`` or ``top-k:0.05+int8``.

    Raises InputError.
    """
    values: Values = "float32"
    share = 1.0
    for part in [] if text in ("", "none") else text.split("+"):
        if part == "bfloat16":
            values = "bfloat16"
        elif part == "int8":
            values = "int8"
        elif part.startswith("top-k:"):
            try:
                share = float(part.removeprefix("top-k:"))
            except ValueError:
                share = 0.0
            if not 0.0 < share <= 1.0:
                raise InputError(f"compression {text!r}: top-k takes a share in (0, 1]")
        else:
            raise InputError(
                f"compression {text!r}: expected none, bfloat16, int8 or top-k:SHARE, joined by '+'"
            )
    return Compression(values, share)


def _largest(flat: NDArray[np.float32], share: float) -> NDArray[np.bool_]:
    """Mask of the ceil(share * n) largest magnitudes; equal ones go to the lower position."""
    count = max(1, int(np.ceil(share * flat.size - 1e-9)))
    mask = np.zeros(flat.size, dtype=np.bool_)
    mask[np.argsort(-np.abs(flat), kind="stable")[:count]] = True
    return mask


def _counts(mask: NDArray[np.bool_] | None, sizes: list[int]) -> NDArray[np.int64]:
    """How many values of each array are sent."""
    if mask is None:
        return np.array(sizes, dtype=np.int64)
    ends = np.cumsum(sizes)
    total = np.concatenate([[0], np.cumsum(mask)])
    return np.diff(np.concatenate([[0], total[ends]])).astype(np.int64)


def _scales(arrays: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    peaks = [float(np.abs(array).max(initial=0.0)) for array in arrays]
    return (np.array(peaks) / 127.0).astype(np.float32)


def _to_int8(values: NDArray[np.float32], scale: np.float32) -> bytes:
    codes = values / scale if scale > 0 else np.zeros_like(values)
    return np.rint(codes).astype(np.int8).tobytes()


def _to_bfloat16(arrays: Sequence[NDArray[np.float32]]) -> bytes:
    # Who holds a model has torch, and no other needs it.
    import torch

    narrow = torch.empty(sum(array.size for array in arrays), dtype=torch.bfloat16)
    begin = 0
    for array in arrays:
        end = begin + array.size
        narrow[begin:end].copy_(torch.from_numpy(array))  # to nearest, ties to even
        begin = end
    return narrow.view(torch.int16).numpy().tobytes()


def _expand(data: memoryview, sizes: list[int]) -> NDArray[np.float32]:
    total = sum(sizes)
    code, sparse, count = _HEAD.unpack_from(data)
    at = _HEAD.size
    if code >= len(_KINDS) or sparse > 1 or count != total:
        raise ValueError("the update is of another model")
    mask = None
    if sparse:
        (length,) = struct.unpack_from("<I", data, at)
        at += 4
        # A few bytes may unpack to gigabytes: read no more than the mask needs.
        packed = zlib.decompressobj().decompress(data[at : at + length], (total + 7) // 8)
        mask = np.unpackbits(np.frombuffer(packed, np.uint8), count=total).astype(np.bool_)
        if len(packed) != (total + 7) // 8:
            raise ValueError("the update's positions are incomplete")
        at += length
    counts = _counts(mask, sizes)
    sent = int(counts.sum())
    scales = None
    if _KINDS[code] == "int8":
        scales = np.frombuffer(data[at : at + 4 * len(sizes)], "<f4")
        at += 4 * len(sizes)
        if len(scales) != len(sizes):
            raise ValueError("the update's scales are incomplete")
    body = data[at:]
    if len(body) != sent * _BYTES[_KINDS[code]]:
        raise ValueError("the update has another length than its values")
    if scales is not None:
        kept = np.frombuffer(body, np.int8).astype(np.float32) * np.repeat(scales, counts)
    elif _KINDS[code] == "bfloat16":
        # The upper half of a float32.
        kept = np.left_shift(np.frombuffer(body, "<u2"), 16, dtype=np.uint32).view(np.float32)
    else:
        kept = np.frombuffer(body, "<f4")
    if mask is None:
        return np.asarray(kept, dtype=np.float32)
    flat = np.zeros(total, dtype=np.float32)
    flat[mask] = kept
    return flat
