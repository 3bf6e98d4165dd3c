"""The benchmark says how its Python was built, and takes an optimised one where there is one."""

import platform
import sys
from pathlib import Path

import pytest

from bench.machine.about import describe
from bench.machine.interpreter import Interpreter, best_of, interpreter, read_interpreter, warn_of

# As each says of itself, shortened: pyenv's default, python.org's image, Debian's, one for debugging.
PLAIN = {"version": "3.11.7", "args": "'--enable-shared'", "flags": "-DNDEBUG -g -fwrapv -O3 -Wall", "debian": False}
IMAGE = PLAIN | {"args": "'--enable-optimizations' '--with-lto' '--enable-shared'"}
DEBIANS = PLAIN | {"version": "3.11.2", "flags": "-O3 -g -fwrapv -O2 -Wall", "debian": True}
DEBUG = PLAIN | {"args": "'--with-pydebug' '--enable-optimizations' '--with-lto=no'", "flags": "-Og -Wall"}


def python(version: str, *, pgo: bool) -> Interpreter:
    return Interpreter(f"/python{version}", version, pgo, pgo, "-O3", is_debug=False, is_debians=False)


@pytest.mark.parametrize(
    ("told", "is_optimised", "text"),
    [
        (PLAIN, False, "3.11.7 (PGO OFF, LTO off, -O3)"),
        (IMAGE, True, "3.11.7 (PGO on, LTO on, -O3)"),
        (DEBIANS, True, "3.11.2 (PGO on, LTO on, -O2; by Debian's rules, it does not say so itself)"),
        (DEBUG, False, "3.11.7 (PGO on, LTO off, -Og, a DEBUG build)"),
        (PLAIN | {"flags": ""}, False, "3.11.7 (PGO OFF, LTO off, -O unknown)"),
    ],
)
def test_a_python_is_named_with_how_it_was_built(told: dict[str, object], *, is_optimised: bool, text: str) -> None:
    found = read_interpreter("/python", told)
    assert (found.is_optimised, str(found)) == (is_optimised, text)


def test_an_optimised_one_is_preferred_and_of_those_the_nearest_version() -> None:
    plain, near, far = python("3.11.7", pgo=False), python("3.12.1", pgo=True), python("3.14.0", pgo=True)
    assert best_of([plain, far, near], plain) is near
    assert best_of([near], python("3.11.2", pgo=True)).version == "3.11.2"
    assert best_of([plain], plain) is plain


def test_this_python_is_asked_and_stands_among_the_facts_of_the_machine() -> None:
    found = interpreter(sys.executable)
    assert found is not None
    assert found.version == platform.python_version()
    assert describe(sys.executable)["python"] == str(found)


def test_what_is_no_python_is_none(tmp_path: Path) -> None:
    assert interpreter(str(tmp_path / "none")) is None
    assert interpreter("/bin/false") is None


def test_one_that_is_not_optimised_is_warned_of_loudly(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for told, words in ((PLAIN, "THIS PYTHON IS NOT OPTIMISED: 3.11.7 (PGO OFF"), (IMAGE, "")):
        monkeypatch.setattr(
            "bench.machine.interpreter.interpreter", lambda path, told=told: read_interpreter(path, told)
        )
        warn_of("/python")
        printed = capsys.readouterr().out
        assert words in printed
        assert bool(printed) is bool(words)
