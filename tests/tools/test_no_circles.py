"""Imports go one way: no module of the project imports, at its top, one that imports it, not even for its types."""

import ast
import functools
import graphlib
from pathlib import Path

SOURCES = Path(__file__).parents[2] / "src"
ROOT = "masa_node"


def imported_at_the_top(tree: ast.Module) -> set[str]:
    """Full names, of modules or of what is in them. `if TYPE_CHECKING:` counts; what functions import does not."""
    found: set[str] = set()
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting += ast.iter_child_nodes(node)
    return found


@functools.cache
def imports() -> dict[str, set[str]]:
    """The project's modules, and which of them each imports."""
    paths = {".".join(path.relative_to(SOURCES).with_suffix("").parts): path for path in SOURCES.rglob("*.py")}
    trees = {name.removesuffix(".__init__"): ast.parse(path.read_text("utf-8")) for name, path in paths.items()}
    return {name: (imported_at_the_top(tree) & trees.keys()) - {name} for name, tree in trees.items()}


def test_no_two_modules_import_each_other_however_far_around() -> None:
    graphlib.TopologicalSorter(imports()).prepare()  # raises CycleError, which names the circle


def test_nothing_in_the_package_imports_its_root() -> None:
    assert [name for name, others in imports().items() if ROOT in others and name != "masa_node.__main__"] == []
