"""Values that people do not mean, in the place of any value of a YAML file."""

import math
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

from common.errors import InputError

URLS = tuple(
    f"{scheme}://{rest}"
    for scheme in ("mqtt", "http", "tcp", "postgresql", "ftp")
    for rest in (
        "[::1", "::1]", "[::1]", "[::1]:x", "[v9.x]", "", ":1883", "/", "x:99999", "x:0", "x:-1",
        "x:\u0663", "x:\u00b2", "x:1:2", "a..b", "x" * 64, "x" * 300, "a b", "me:secret@[::1",
        "me:secret@\u2100", "me:secret@x", "@x", "\u2100", "x:", "x/\u00e4", "x?{since}",
    )
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    math.nan, math.inf, -math.inf, 1e308, 5e-324, -0.0, 1.7, 1e12, -1, 0, 2**63, 10**249, True,
    None, "\u00b2", "\u0663", "3", "", " ", "a\n\n b", "a\nb", "\x7f", "#", "a/+/b", "x" * 70_000,
    date(2026, 1, 1), [], [[]], {}, {"a": 1}, {"a"}, b"hello", *URLS,
)  # fmt: skip


def changed(plain: Any) -> Iterator[Any]:
    """What a file holds, with each of its values in turn any of VALUES."""
    if not isinstance(plain, dict | list):
        yield from VALUES
        return
    for key, inner in plain.items() if isinstance(plain, dict) else enumerate(plain):
        for other in changed(inner):
            copy = plain.copy()
            copy[key] = other
            yield copy


def read_or_refused(read: Callable[[], Any], path: Path) -> Any:
    """What ``read`` makes of a file; None where it refuses it in one line that begins with it."""
    try:
        return read()
    except InputError as error:
        said = str(error)
    assert said.startswith(f"{path}: ")
    assert len(said.splitlines()) == 1
    assert len(said) < len(str(path)) + 1000
    return None
