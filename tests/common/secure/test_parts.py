"""The parts of secure aggregation, against published vectors and by hand."""

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.messages import MessageError
from common.secure import masks, shares
from common.secure.grid import mean, words
from common.secure.messages import labels_of, threshold_of
from fl_server.strategy.fixed_point import WeightedSum


def test_keys_are_those_of_rfc_7748() -> None:
    """X25519, RFC 7748 section 6.1: both public keys from their secrets."""
    alice = bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
    bob = bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")
    assert masks.public_of(alice).hex() == (
        "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
    )
    assert masks.public_of(bob).hex() == (
        "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"
    )
    both = {
        masks.agree(alice, masks.public_of(bob), b"x"),
        masks.agree(bob, masks.public_of(alice), b"x"),
    }
    assert len(both) == 1
    assert masks.agree(alice, masks.public_of(bob), b"y") not in both


def test_masks_are_the_key_stream_of_aes_256_in_counter_mode() -> None:
    """NIST SP 800-38A, F.1.5 gives AES-256 of single blocks; block 0 of the stream is AES(0^128).

    For the all-zero key that block is dc95c078a2408989ad48a21492842087 (FIPS 197 validation list).
    """
    first = masks.expand(bytes(32), 2)
    assert first.astype("<u8").tobytes().hex() == "dc95c078a2408989ad48a21492842087"
    assert (masks.expand(bytes(32), 1000)[:2] == first).all()


def test_shares_by_hand() -> None:
    """f(x) = 5 + 2x + x^2: f(1) = 8, f(2) = 13, f(3) = 20; any three points give 5."""
    secret = (5).to_bytes(32, "big")
    made = shares.split(secret, 3, [1, 2, 3], [2, 1])
    assert [int.from_bytes(one, "big") for one in made] == [8, 13, 20]
    assert shares.combine(dict(zip([1, 2, 3], made, strict=True))) == secret


@given(st.binary(min_size=32, max_size=32), st.integers(1, 9), st.integers(0, 5), st.randoms())
def test_any_threshold_of_shares_tells_the_secret_and_fewer_do_not(
    secret: bytes, threshold: int, spare: int, random: object
) -> None:
    """t of any t + spare shares give the secret; t - 1 give another number, or none."""
    points = list(range(1, threshold + spare + 1))
    made = dict(zip(points, shares.split(secret, threshold, points), strict=True))
    chosen = random.sample(points, threshold)  # type: ignore[attr-defined]
    assert shares.combine({x: made[x] for x in chosen}) == secret
    if threshold > 1:
        with contextlib.suppress(ValueError):
            assert shares.combine({x: made[x] for x in chosen[1:]}) != secret


@given(st.integers(0, 2**32), st.integers(1, 6))
def test_sums_on_the_grid_are_those_of_the_plain_average(seed: int, count: int) -> None:
    """The mean of summed words equals ``WeightedSum`` of the same models, bit for bit."""
    rng = np.random.default_rng(seed)
    plain, total = WeightedSum(), None
    for _ in range(count):
        arrays = {
            "a": rng.normal(0, 1, (3, 2)).astype(np.float32),
            "b": rng.normal(0, 1e-4, 5).astype(np.float32),
        }
        weight = int(rng.integers(1, 5000))
        plain.add(arrays, weight)
        made = words(arrays, weight, [2.0], count)
        total = made if total is None else total + made
    assert total is not None
    found, weight, metrics = mean(total, {"a": (3, 2), "b": (5,)}, 1)
    expected = plain.mean()
    assert all((found[name] == expected[name]).all() for name in expected)
    assert weight == plain.weight
    assert metrics == [2.0]


def test_what_could_leave_the_range_is_refused() -> None:
    """A sum of ten models of weight 10^6 and magnitude 10^4 would pass 2^62; NaN is no model."""
    with pytest.raises(OverflowError):
        words({"a": np.full(1, 1e4, np.float32)}, 10**6, [], 10)
    with pytest.raises(ValueError, match="finite"):
        words({"a": np.full(1, np.nan, np.float32)}, 1, [], 10)


def test_a_share_opens_for_its_household_and_session_alone() -> None:
    """Another key or another purpose opens nothing."""
    key = bytes(range(32))
    sealed = masks.seal(key, b"share", bytes(12), b"from 1 to 2")
    assert masks.unseal(key, sealed, b"from 1 to 2") == b"share"
    for other, about in ((key, b"from 2 to 1"), (bytes(32), b"from 1 to 2")):
        with pytest.raises(ValueError, match="not sealed"):
            masks.unseal(other, sealed, about)


def test_two_lists_of_survivors_never_both_get_their_signatures() -> None:
    """With t > 2n/3, two sets of t honest signers share one, who signs one list alone."""
    for n in range(3, 200):
        assert 2 * threshold_of(n) > n
        assert threshold_of(n) <= n


@pytest.mark.parametrize("labels", [[], [0, 1], [2, 1], [1, 1], [True], ["1"], [1.0], None, [-3]])
def test_labels_of_another_form_are_refused(labels: object) -> None:
    """Rising whole numbers from 1 on, and nothing else."""
    with pytest.raises(MessageError):
        labels_of({"labels": labels})
