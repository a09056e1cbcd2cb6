"""The import rules: what may know of what."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("common", "fl_client", "fl_server", "simulations")
MAY_IMPORT = {
    "common": {"common", "configs"},
    "fl_client": {"fl_client", "common"},
    "fl_server": {"fl_server", "common"},
    "simulations": {"simulations", "fl_client", "fl_server", "common", "configs"},
}


def imported(source: str) -> set[str]:
    """Top-level names a module imports, wherever in it the import stands."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports would hide a crossing"
            names.add((node.module or "").split(".")[0])
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "import_module":
            first = node.args[0]
            if isinstance(first, ast.Constant):
                names.add(str(first.value).split(".")[0])
    return names


@pytest.mark.parametrize("package", PACKAGES)
def test_no_package_imports_what_it_must_not_know(package: str) -> None:
    """common knows nobody; client and server never know each other."""
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    crossings = {
        f"{file.relative_to(ROOT)} imports {name}"
        for file in files
        for name in imported(file.read_text()) & ({*PACKAGES, "tests"} - MAY_IMPORT[package])
    }
    assert not crossings


def test_a_crossing_would_be_found() -> None:
    """The check is able to fail: both spellings of an import are seen."""
    assert "fl_server" in imported("def f():\n    from fl_server.ledger import Ledger")
    assert "fl_client" in imported("import fl_client.app as a")


def test_record_keys_are_known_to_one_file() -> None:
    """Only common/messages.py builds records of plain keys for the interval protocol."""
    users = [
        file.relative_to(ROOT).as_posix()
        for package in ("fl_client", "fl_server")
        for file in (ROOT / package).rglob("*.py")
        if 'signals_from"' in file.read_text() or "'signals_from'" in file.read_text()
    ]
    assert users == []


def test_the_product_does_not_reach_outside_the_checkout() -> None:
    """No module, preset or Makefile names a folder beside the checkout."""
    for package in (*PACKAGES, "configs"):
        for file in (ROOT / package).rglob("*"):
            if file.suffix in {".py", ".yaml", ".css", ".js", ".sql"}:
                assert "../shared" not in file.read_text(), file
