"""The pinned environment can be had by everybody whom pyproject.toml lets in."""

import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[1]


def test_the_pins_are_for_the_oldest_python_too() -> None:
    """No pinned release wants a newer Python than the project, a patch release newer included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    oldest = project["requires-python"].removeprefix(">=") + ".0"
    read, newer = 0, {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        name, pinned, version = line.partition("==")
        if line.startswith("#") or not pinned:
            continue
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue
        if found.version.partition("+")[0] != version:
            continue  # another environment: make test-oldest, test-latest, test-flower
        read += 1
        wanted = found.metadata["Requires-Python"] or ""
        if not SpecifierSet(wanted).contains(oldest):
            newer[line] = wanted
    assert read > 0
    assert newer == {}
