"""Is the tree of tests the mirror of src? `python -m tools.check_mirror` names what is missing, and exits with 1.

A module `src/masa_node/a/b.py` has its tests in `tests/a/test_b.py` or `tests/a/test_b_<subject>.py`. A test file that
tests several modules, or one under another name, says so with a line in its docstring, dotted from its own folder:

    Covers: `frames`, `iroh.endpoint`.

A test file that is named after no module has such a line. The folders of `BY_SUBJECT` are no mirror.
"""

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BY_SUBJECT = frozenset({"security", "real", "docs", "tools", "fakes", "typing", "recipes"})
NO_CODE_OF_THEIR_OWN = frozenset({"__init__.py", "__main__.py"})
ONLY_A_VALUE = frozenset({Path("version.py")})

_COVERS = re.compile(r"^Covers: ((?:`[\w.]+`(?:,\s+)?)+)\.$", re.MULTILINE)


def covered_by(test: Path) -> list[str]:
    """The modules that this test file says it covers, dotted from its folder."""
    docstring = ast.get_docstring(ast.parse(test.read_text("utf-8"))) or ""
    return [name for line in _COVERS.findall(docstring) for name in re.findall(r"[\w.]+", line)]


def modules_of(src: Path) -> set[Path]:
    """Every module, from src/masa_node on."""
    return {path.relative_to(src) for path in src.rglob("*.py") if path.name not in NO_CODE_OF_THEIR_OWN} - ONLY_A_VALUE


def tests_of(tests: Path) -> list[Path]:
    """Every test file that has to mirror src, from tests on."""
    found = sorted(path.relative_to(tests) for path in tests.rglob("test_*.py"))
    return [path for path in found if len(path.parts) > 1 and path.parts[0] not in BY_SUBJECT]


def named_after(test: Path, modules: set[Path]) -> set[Path]:
    """The modules whose name this test file has."""
    stem = test.stem.removeprefix("test_")
    parts = stem.split("_")
    names = {"_".join(parts[:end]) for end in range(1, len(parts) + 1)}
    return {test.with_name(f"{name}.py") for name in names} & modules


def faults(src: Path, tests: Path) -> list[str]:
    """What keeps the one tree from being the mirror of the other, each in a line."""
    modules = modules_of(src)
    tested: set[Path] = set()
    found: list[str] = []
    for test in tests_of(tests):
        covered = {name: test.parent / f"{name.replace('.', '/')}.py" for name in covered_by(tests / test)}
        wrong = set(covered) - _known(covered, modules)
        found += [f"tests/{test}: it covers `{name}`, which is no module" for name in wrong]
        own = named_after(test, modules)
        if not own and not covered:
            found.append(f'tests/{test}: named after no module, and without a line "Covers: `module`."')
        tested |= own | set(covered.values())
    return found + [f"{src.name}/{path}: no test file has its name or covers it" for path in sorted(modules - tested)]


def _known(covered: dict[str, Path], modules: set[Path]) -> set[str]:
    return {name for name, path in covered.items() if path in modules}


def main() -> None:
    """See the module."""
    found = faults(ROOT / "src" / "masa_node", ROOT / "tests")
    sys.exit("\n".join([*found, "See tools/check_mirror.py."]) if found else 0)


if __name__ == "__main__":
    main()
