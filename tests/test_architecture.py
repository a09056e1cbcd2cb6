"""The plan of the house: what may know of what. Each rule is shown to fail by one changed line."""

from pathlib import Path

import pytest

from tests.support.imports import (
    PACKAGES,
    Tree,
    borrowed_tests,
    circles,
    crossings,
    host_imports,
    read_tree,
    record_keys,
    starts,
    strange_folders,
)

ROOT = Path(__file__).resolve().parents[1]
PRODUCT = read_tree(ROOT)
TESTS = read_tree(ROOT, ("tests",))


def changed(tree: Tree, module: str, line: str) -> Tree:
    """The tree with one more line at the end of a module."""
    assert module in tree
    return {**tree, module: f"{tree[module]}\n{line}\n"}


def test_no_package_imports_what_it_must_not_know() -> None:
    """common knows nobody; client and server never know each other, nor simulations; nobody the
    tests."""
    assert crossings(PRODUCT) == []


@pytest.mark.parametrize(
    ("module", "line", "found"),
    [
        ("common.rng", "import fl_client.app as a", "fl_client.app"),
        ("common.rng", "def f():\n    from fl_server.ledger import Ledger", "fl_server.ledger"),
        ("fl_client.session", "from fl_server import ledger", "fl_server.ledger"),
        ("fl_client.host.keeper", "from simulations.cli import main", "simulations.cli"),
        ("fl_server.rounds", "if 1:\n    import fl_client.state", "fl_client.state"),
        ("fl_server.rounds", "x = import_module('fl_client.state')", "fl_client.state"),
        ("fl_client.host.folder", "c = ['-m', 'fl_server.host.superlink']",
         "fl_server.host.superlink"),
        ("simulations.cli", "from tests.support import runs", "tests.support"),
    ],
)  # fmt: skip
def test_a_crossing_is_found(module: str, line: str, found: str) -> None:
    """Every spelling of an import, and a process started by name."""
    assert crossings(changed(PRODUCT, module, line)) == [f"{module} imports {found}"]


def test_what_keeps_a_side_running_is_no_part_of_it() -> None:
    """``fl_client`` and ``fl_server`` work without their ``host``: only ``app`` knows it."""
    assert host_imports(PRODUCT) == []
    for side, module in (("fl_client", "session"), ("fl_server", "rounds")):
        line = f"def f():\n    import {side}.host.status"
        assert host_imports(changed(PRODUCT, f"{side}.{module}", line)) == [
            f"{side}.{module} imports {side}.host.status"
        ]
        assert host_imports(changed(PRODUCT, f"{side}.app", line)) == []


def test_no_imports_go_in_a_circle() -> None:
    """Not even through an import inside a function."""
    assert circles(PRODUCT) == []


@pytest.mark.parametrize(
    ("module", "line", "members"),
    [
        ("common.rng", "from common.config import Settings\n", ["common.config", "common.rng"]),
        ("common.data.span", "def f():\n    import common.data.source",
         ["common.data.source", "common.data.span"]),
    ],
)  # fmt: skip
def test_a_circle_is_found(module: str, line: str, members: list[str]) -> None:
    """An import back, at the top or inside a function, closes a circle."""
    other = next(m for m in members if m != module)
    tree = changed(changed(PRODUCT, module, line), other, f"import {module}")
    [found] = circles(tree)
    assert set(members) <= set(found)


def test_a_process_started_by_name_is_no_import() -> None:
    """A household's folder starts its node, which reads the folder: two processes, no circle."""
    assert "fl_client.host.node" in starts(PRODUCT, "fl_client.host.folder")


def test_record_keys_are_known_to_the_message_files() -> None:
    """Both sides speak through common's messages: neither makes a record of keys of its own."""
    assert record_keys(PRODUCT) == []
    line = "x = RecordDict({'config': ConfigRecord({'kept': True})})"
    assert len(record_keys(changed(PRODUCT, "fl_client.app", line))) == 1


def test_tests_stand_alone() -> None:
    """What several tests need is in tests/support: no test imports another, or a conftest."""
    assert borrowed_tests(TESTS) == []
    for line in (
        "from tests.fl_server.host.test_live import test_parity_with_a_simulation",
        "from tests.conftest import pytest_plugins",
        "import tests.hosts.network",
    ):
        assert len(borrowed_tests(changed(TESTS, "tests.common.test_rng", line))) == 1


def test_tests_mirror_the_product() -> None:
    """Every folder of tests stands for a package or a module of the product."""
    assert strange_folders(TESTS, PRODUCT) == []
    assert strange_folders({**TESTS, "tests.fl_server.odd.test_x": ""}, PRODUCT) == [
        "fl_server.odd"
    ]


@pytest.mark.parametrize("package", PACKAGES)
def test_the_product_does_not_reach_outside_the_checkout(package: str) -> None:
    """No module, preset or script names a folder beside the checkout."""
    for file in (ROOT / package).rglob("*"):
        if file.suffix in {".py", ".yaml", ".css", ".js", ".sql"}:
            assert "../shared" not in file.read_text(), file
