import ast
import re
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

PAGE = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
SOURCE = ROOT / "src" / "masa_node"

_SECTION = re.compile(r"^### ([\w/]+)/\n(.*?)(?=^##|\Z)", re.MULTILINE | re.DOTALL)
_ROW = re.compile(r"^\| `(\w+\.py)` \|", re.MULTILINE)
_FILE = re.compile(r"`((?:\w+/)+\w+\.py)")
_NAMED = re.compile(r"`((?:\w+/)+\w+\.py): ([^`]+)`")
NAMED = [(found[1], name) for found in _NAMED.finditer(PAGE) for name in found[2].split(", ")]


def test_every_module_has_one_row_and_every_row_its_module() -> None:
    modules = [path for path in SOURCE.rglob("*.py") if path.name != "__init__.py"]
    assert sorted(rows()) == sorted(str(path.relative_to(SOURCE)) for path in modules)


def test_every_file_that_is_named_exists() -> None:
    assert [file for file in _FILE.findall(PAGE) if not (SOURCE / file).is_file()] == []


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_every_name_of_a_file_is_defined_there(file: str, name: str) -> None:
    assert name in definitions(SOURCE / file)


def test_the_way_of_a_request_names_a_place_in_the_code_at_each_step() -> None:
    way = PAGE.partition("## The way of one request\n")[2].partition("\n## ")[0]
    steps = re.split(r"^\d+\. ", way, flags=re.MULTILINE)[1:]
    assert len(steps) == 12
    assert [step for step in steps if not _NAMED.search(step)] == []


def rows() -> list[str]:
    """The modules that have a row, by their path below `masa_node`."""
    found: list[str] = []
    for section in _SECTION.finditer(PAGE):
        folder = "" if section[1] == "masa_node" else f"{section[1]}/"
        found += [f"{folder}{name}" for name in _ROW.findall(section[2])]
    return found


def definitions(path: Path) -> set[str]:
    """What a module defines: its own names, and `Class.name` of what its classes define."""
    found: set[str] = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        found |= _names(node)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{name}" for part in node.body for name in _names(part)}
    return found


def _names(node: ast.stmt) -> set[str]:
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return {node.name}
        case ast.Assign():
            return {target.id for target in node.targets if isinstance(target, ast.Name)}
        case ast.AnnAssign(target=ast.Name(id=name)):
            return {name}
        case _:
            return set()
