"""docs/architecture.md: its drawing is the imports, and its paths lead through code there is."""

import ast
import re
from pathlib import Path

import pytest

from tests.support.imports import Tree, arrows, read_tree

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text()
TREE = read_tree(ROOT)
DRAWN = {
    tuple(pair)
    for pair in re.findall(r"^    ([\w.]+) --> ([\w.]+)$", PAGE.split("```mermaid")[1], flags=re.M)
}
PARTS = sorted({part for pair in DRAWN for part in pair}, key=len, reverse=True)
STEPS = re.findall(r"^\| (\d) \| `([\w/.]+)` `([\w.]+)` \|", PAGE, flags=re.M)


def part(module: str) -> str | None:
    """The innermost part of the drawing that a module is in."""
    return next((p for p in PARTS if module == p or module.startswith(f"{p}.")), None)


def between_parts(tree: Tree) -> set[tuple[str, str]]:
    """Arrows from part to part; those of ``common`` and ``configs`` are not drawn."""
    pairs = {(part(a), part(b)) for a, b in arrows(tree)}
    return {(a, b) for a, b in pairs if a and b and a != b}


def test_the_drawing_is_the_imports() -> None:
    """Every arrow of the page is in the code, and every one of the code on the page."""
    assert between_parts(TREE) == DRAWN


def test_the_drawing_would_be_found_wrong() -> None:
    """One import that is not drawn, and the two differ by it."""
    line = "\nfrom fl_client.host.status import client_status\n"
    other = {**TREE, "fl_client.session": TREE["fl_client.session"] + line}
    assert between_parts(other) - DRAWN == {("fl_client", "fl_client.host")}


@pytest.mark.parametrize("step", STEPS, ids=lambda step: f"{step[1]}:{step[2]}")
def test_steps_are_there(step: tuple[str, str, str]) -> None:
    """The file has the class or function of the step, under the name the page gives."""
    _, file, name = step
    scope: ast.AST = ast.parse((ROOT / file).read_text())
    for one in name.split("."):
        found = [
            node
            for node in ast.iter_child_nodes(scope)
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == one
        ]
        assert found, f"{file} has no {name}"
        scope = found[0]


def test_both_paths_are_short() -> None:
    """Two paths, of eight files each at most."""
    starts = [i for i, (number, _, _) in enumerate(STEPS) if number == "1"]
    paths = [STEPS[a:b] for a, b in zip(starts, [*starts[1:], len(STEPS)], strict=True)]
    assert len(paths) == 2
    for path in paths:
        assert len({file for _, file, _ in path}) <= 8
