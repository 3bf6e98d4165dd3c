import ast
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[2] / "src"


@pytest.mark.parametrize("module", sorted(SOURCES.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCES)))
def test_no_new_error_is_raised_in_except_star(module: Path) -> None:
    """Python before 3.11.4, which Debian 12 has, wraps it in a group that nobody catches."""
    text = module.read_text("utf-8")
    handlers = [
        handler
        for tried in (ast.walk(ast.parse(text)) if "except*" in text else ())  # as `make format` writes it
        if isinstance(tried, ast.TryStar)
        for handler in tried.handlers
    ]
    raised = [node for handler in handlers for node in ast.walk(handler) if isinstance(node, ast.Raise) and node.exc]
    assert [node.lineno for node in raised] == []


MOST_MODULES = 15  # what a reader can see at a glance; beyond it there is a group in them that has a name


@pytest.mark.parametrize(
    "folder", sorted({path.parent for path in SOURCES.rglob("*.py")}), ids=lambda path: str(path.relative_to(SOURCES))
)
def test_no_folder_holds_more_modules_than_one_sees_at_a_glance(folder: Path) -> None:
    modules = {path.name for path in folder.glob("*.py")} - {"__init__.py", "__main__.py"}
    assert len(modules) <= MOST_MODULES, sorted(modules)
