"""llama.cpp is the same for users, the demo and the tests, and no other package comes with it."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def test_the_extra_and_what_is_locked_are_one() -> None:
    extra = PROJECT["project"]["optional-dependencies"]["llm"]
    assert extra == PROJECT["dependency-groups"]["llm"]
    (name,) = (re.split("[<>=]", requirement)[0] for requirement in extra)
    locked = (ROOT / "requirements" / "llm.txt").read_text("utf-8")
    assert re.findall(r"^([\w-]+)==", locked, re.MULTILINE) == [name]
    assert "--hash=sha256:" in locked


def test_the_others_do_without_it_as_there_are_machines_that_have_to() -> None:
    for page in ("run.txt", "test.txt", "dev.txt"):
        assert "xllamacpp" not in (ROOT / "requirements" / page).read_text("utf-8")


def test_ci_fails_instead_of_skipping() -> None:
    commands = (ROOT / ".ci" / "run").read_text("utf-8").splitlines()
    assert commands.index("export MASA_REAL_REQUIRED=1") < next(
        number for number, line in enumerate(commands) if line.startswith("make test")
    )
