"""Who imports whom in this repository, read from the source; the rules that hold between them.

    python -m tests.support.imports [ROOT]

counts the files, arrows and circles of a checkout. A tree is a mapping of module name to source,
so that a test can change one line of it and see a rule fail.
"""

import ast
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Tree = Mapping[str, str]
Arrow = tuple[str, str]

PACKAGES = ("common", "configs", "fl_client", "fl_server", "simulations")
MAY_IMPORT = {
    "configs": {"configs"},
    "common": {"common", "configs"},
    "fl_client": {"fl_client", "common"},
    "fl_server": {"fl_server", "common"},
    "simulations": {"simulations", "fl_client", "fl_server", "common", "configs"},
}


def read_tree(root: Path, packages: tuple[str, ...] = PACKAGES) -> dict[str, str]:
    """The modules of a checkout; a package goes by its own name."""
    return {
        ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): (
            file.read_text()
        )
        for package in packages
        for file in sorted((root / package).rglob("*.py"))
    }


class Names(NamedTuple):
    """What a source names: modules imported, (module, name) pairs, texts, texts after "-m"."""

    modules: frozenset[str]
    pairs: frozenset[tuple[str, str]]
    texts: frozenset[str]
    started: frozenset[str]


@cache
def _names(source: str) -> Names:
    nodes = list(ast.walk(ast.parse(source)))
    froms = [node for node in nodes if isinstance(node, ast.ImportFrom)]
    assert all(node.level == 0 for node in froms), "a relative import would hide an arrow"
    rows = [node.elts for node in nodes if isinstance(node, ast.List | ast.Tuple)]
    started = [b for row in rows for a, b in pairwise(row) if getattr(a, "value", "") == "-m"]
    return Names(
        frozenset(a.name for node in nodes if isinstance(node, ast.Import) for a in node.names),
        frozenset((node.module or "", a.name) for node in froms for a in node.names),
        frozenset(_dotted(node for node in nodes if node not in started)),
        frozenset(_dotted(started)),
    )


def _dotted(nodes: Iterable[ast.AST]) -> Iterator[str]:
    for node in nodes:
        value = getattr(node, "value", "") if isinstance(node, ast.Constant) else ""
        if isinstance(value, str) and "." in value:
            yield value


def imports(tree: Tree, module: str) -> set[str]:
    """Full names that a module imports, wherever in it the import stands; and those of commands
    that it loads by name when they are called.
    """
    names = _names(tree[module])
    pairs = {f"{a}.{b}" if f"{a}.{b}" in tree else a for a, b in names.pairs}
    # What a test calls by name is no part of what it needs.
    called = set() if module.startswith("tests") else names.texts & tree.keys()
    return names.modules | pairs | called


def starts(tree: Tree, module: str) -> set[str]:
    """Modules that a module starts as a process of their own, with ``-m``."""
    return set(_names(tree[module]).started & tree.keys())


def arrows(tree: Tree) -> set[Arrow]:
    """Pairs (importing, imported) of modules of the tree."""
    return {
        (module, name)
        for module in tree
        for name in imports(tree, module)
        if name in tree and name != module
    }


def circles(tree: Tree) -> list[list[str]]:
    """Groups of modules each of which imports every other one in the end."""
    names = sorted(tree)
    place = {name: i for i, name in enumerate(names)}
    pairs = np.array([(place[a], place[b]) for a, b in arrows(tree)]).reshape(-1, 2)
    ones = np.ones(len(pairs))
    graph = coo_array((ones, (pairs[:, 0], pairs[:, 1])), shape=(len(names), len(names)))
    _, group = connected_components(graph, directed=True, connection="strong")
    groups = [[n for n, g in zip(names, group, strict=True) if g == k] for k in set(group.tolist())]
    return sorted(members for members in groups if len(members) > 1)


def crossings(tree: Tree) -> list[str]:
    """Imports, and starts of processes, of a package that another one must not know."""
    return sorted(
        f"{module} imports {name}"
        for module in tree
        for name in imports(tree, module) | starts(tree, module)
        if (top := name.partition(".")[0]) in {*PACKAGES, "tests"}
        and top not in MAY_IMPORT[module.partition(".")[0]]
    )


def host_imports(tree: Tree) -> list[str]:
    """Imports of ``SIDE.host`` by its own side, ``SIDE.app`` and the host itself excepted."""
    return sorted(
        f"{module} imports {name}"
        for module in tree
        for name in imports(tree, module)
        if (side := module.partition(".")[0]) in ("fl_client", "fl_server")
        and name.startswith(f"{side}.host")
        and module != f"{side}.app"
        and not module.startswith(f"{side}.host")
    )


def record_keys(tree: Tree) -> list[str]:
    """Records made or read by plain string keys outside the message files."""
    return sorted(
        f"{module}:{node.lineno}"
        for module, source in tree.items()
        if module.startswith(("fl_client", "fl_server", "simulations"))
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", "") in ("ConfigRecord", "MetricRecord", "ArrayRecord")
        and any(isinstance(argument, ast.Dict) and _plain(argument) for argument in node.args)
    )


def _plain(made: ast.Dict) -> bool:
    return any(isinstance(key, ast.Constant) for key in made.keys)


def borrowed_tests(tree: Tree) -> list[str]:
    """Tests that import another test module or a conftest, or a helper of another folder."""

    def bad(module: str, name: str) -> bool:
        last = name.rpartition(".")[2]
        if last == "conftest" or last.startswith("test_"):
            return True
        folder = name.rpartition(".")[0]
        return not name.startswith("tests.support") and module.rpartition(".")[0] != folder

    return sorted(f"{a} imports {b}" for a, b in arrows(tree) if bad(a, b))


def strange_folders(tests: Tree, product: Tree) -> list[str]:
    """Folders of tests that stand for no package or module of the product."""
    folders = {name.rpartition(".")[0] for name in tests if ".test_" in name}
    wanted = {folder.removeprefix("tests").removeprefix(".") for folder in folders}
    return sorted(
        folder for folder in wanted if folder not in ("", "hosts", "docs") and folder not in product
    )


def _counts(root: Path) -> Iterator[str]:
    packages = tuple(p for p in PACKAGES if (root / p).is_dir())
    tree = read_tree(root, packages)
    found = circles(tree)
    yield f"{len(tree)} files, {len(arrows(tree))} arrows, {len(found)} circles"
    yield from (f"  circle: {', '.join(members)}" for members in found)
    for package in packages:
        inside = [m for m in tree if m.partition(".")[0] == package]
        lines = sum(tree[m].count("\n") for m in inside)
        yield f"  {package}: {len(inside)} files, {lines} lines"


if __name__ == "__main__":
    print("\n".join(_counts(Path(sys.argv[1] if sys.argv[1:] else "."))))
