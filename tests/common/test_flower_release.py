"""Flower's private parts are where this project believes them to be, and known to one module."""

import ast
from pathlib import Path

import flwr
import pytest

from common import flower_release
from common.errors import InputError
from common.flower_release import NODE_CONNECTION, PRIVATE, TESTED, Private, speaks_http

ROOT = Path(__file__).parents[2]


HERE = [private for private in PRIVATE if speaks_http() or not private.over_http]


@pytest.mark.parametrize("private", HERE, ids=lambda p: p.path)
def test_each_private_name_exists(private: Private) -> None:
    """A name that went would be replaced by nothing, in silence."""
    assert private.missing() == []


def test_a_supernode_speaks_http_where_it_is_said_to() -> None:
    """The version tells the same as the SuperNode's own code."""
    assert (NODE_CONNECTION.missing() == []) == speaks_http()


def test_every_private_part_is_listed() -> None:
    """Each ``Private`` of the module is in the list that the test above walks."""
    assert {p for p in vars(flower_release).values() if isinstance(p, Private)} == set(PRIVATE)


def test_a_name_that_went_is_one_line() -> None:
    """Used all the same, it names what is missing and which release has it."""
    with pytest.raises(InputError, match=r"no flwr\.serverapp\.Gone\.it: 1\.39\.x or 1\.42\.x is"):
        Private("flwr.serverapp", ("Grid", "Gone.it")).load()
    with pytest.raises(InputError, match=r"no flwr\.gone"):
        Private("flwr.gone", ()).load()


def test_another_release_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line with the version found and those needed; each of these is accepted."""
    for version in ("1.40.0", "1.43.0", "1.4.0"):
        monkeypatch.setattr(flwr, "__version__", version)
        with pytest.raises(InputError, match=rf"flwr {version}: the guard needs 1\.39\.x or 1"):
            flower_release.check_release("the guard")
    for version in TESTED:
        monkeypatch.setattr(flwr, "__version__", f"{version}7")
        flower_release.check_release("the guard")


def test_no_other_module_reaches_into_flower_by_name() -> None:
    """``import_module("flwr...")`` and imports of _names of flwr stand in one module."""
    found = []
    for package in ("common", "fl_client", "fl_server", "simulations"):
        for file in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                by_name = (
                    isinstance(node, ast.Call)
                    and getattr(node.func, "attr", "") == "import_module"
                    and isinstance(node.args[0], ast.Constant)
                    and str(node.args[0].value).startswith("flwr")
                )
                hidden = (
                    isinstance(node, ast.ImportFrom)
                    and (node.module or "").startswith("flwr")
                    and any(alias.name.startswith("_") for alias in node.names)
                )
                if by_name or hidden:
                    found.append(file.relative_to(ROOT).as_posix())
    assert found == []
