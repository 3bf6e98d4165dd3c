from pathlib import Path

import pytest

from tools.check_mirror import ROOT, covered_by, faults


@pytest.fixture
def trees(tmp_path: Path) -> tuple[Path, Path]:
    """Two modules, `a.one` and `a.b.two`, each with its tests."""
    for name in ("src/a/one.py", "src/a/__init__.py", "src/a/b/two.py", "tests/a/test_one.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    write(tmp_path / "tests", "a/b/test_two_late.py")
    return tmp_path / "src", tmp_path / "tests"


def write(tests: Path, name: str, docstring: str = "What it is.") -> None:
    (tests / name).parent.mkdir(parents=True, exist_ok=True)
    (tests / name).write_text(f'"""{docstring}\n"""\n')


def test_the_tree_of_tests_mirrors_src() -> None:
    assert faults(ROOT / "src" / "masa_node", ROOT / "tests") == []


def test_a_test_file_has_the_name_of_its_module_or_begins_with_it(trees: tuple[Path, Path]) -> None:
    assert faults(*trees) == []


def test_a_module_without_tests_is_named(trees: tuple[Path, Path]) -> None:
    src, tests = trees
    (src / "a" / "three.py").write_text("")
    assert faults(src, tests) == ["src/a/three.py: no test file has its name or covers it"]
    write(tests, "a/b/test_two_three.py")
    write(tests, "test_a.py")
    assert len(faults(src, tests)) == 1


def test_a_test_file_may_cover_modules_of_its_folder_and_below(trees: tuple[Path, Path]) -> None:
    src, tests = trees
    (src / "a" / "three.py").write_text("")
    (tests / "a" / "b" / "test_two_late.py").unlink()
    write(tests, "a/test_ends.py", "How it ends.\n\nCovers: `three`,\n`b.two`.")
    assert faults(src, tests) == []


def test_a_test_file_under_another_name_says_what_it_covers(trees: tuple[Path, Path]) -> None:
    src, tests = trees
    write(tests, "a/test_ends.py")
    (fault,) = faults(src, tests)
    assert fault.startswith("tests/a/test_ends.py: named after no module")


def test_what_is_covered_must_be_there(trees: tuple[Path, Path]) -> None:
    src, tests = trees
    write(tests, "a/test_ends.py", "Covers: `one`, `gone`.")
    assert faults(src, tests) == ["tests/a/test_ends.py: it covers `gone`, which is no module"]


def test_folders_by_subject_are_no_mirror(trees: tuple[Path, Path]) -> None:
    src, tests = trees
    write(tests, "security/test_ends.py")
    assert faults(src, tests) == []


def test_words_about_covering_are_no_list(tmp_path: Path) -> None:
    write(tmp_path, "test_x.py", "It covers `a`.\n\nCovers: all of `b`.")
    assert covered_by(tmp_path / "test_x.py") == []
