"""Names of the user's own code: loaded where they may be, refused in one line where not."""

from collections.abc import Iterator

import pytest

from common.errors import InputError
from common.named import allow_only, is_named, made, named, require


@pytest.fixture(autouse=True)
def _any_again() -> Iterator[None]:
    yield
    allow_only(None)


def test_a_name_is_found_and_a_factory_called() -> None:
    """``module:Name`` is the attribute of the module; options go to it by name."""
    assert is_named("a:b")
    assert not is_named("slot")
    assert named("math:pi", "key") == pytest.approx(3.14159, abs=1e-5)
    assert made("fractions:Fraction", "key", numerator=1, denominator=2) == 0.5


@pytest.mark.parametrize("path", ["nowhere:x", "math:nothing", ":x", "math:", "a b:c"])
def test_what_is_not_there_is_one_line(path: str) -> None:
    """With the setting and the name in it."""
    with pytest.raises(InputError, match=r"some\.key") as caught:
        named(path, "some.key")
    assert path in str(caught.value)
    assert "\n" not in str(caught.value)
    assert ("PYTHONPATH" in str(caught.value)) == (path in ("nowhere:x", "a b:c"))
    with pytest.raises(InputError, match=r"k = 'math:sqrt': TypeError"):
        made("math:sqrt", "k", x=1)
    with pytest.raises(InputError, match="has no 'decide'"):
        require(object(), "m:f", "k", "decide")


def test_a_process_may_be_bound_to_names() -> None:
    """A household's process loads what its own settings name and nothing else, not even what
    Python itself brings along."""
    allow_only({"math:pi"})
    assert named("math:pi", "key") > 3
    for path in ("os:system", "math:e", "subprocess:run"):
        with pytest.raises(InputError, match=r"not named in this home's settings\.yaml"):
            named(path, "trader.kind")
    allow_only(set())
    with pytest.raises(InputError, match=r"settings\.yaml"):
        named("math:pi", "key")
