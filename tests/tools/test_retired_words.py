"""What tools/retired_words.txt names is said nowhere any more."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
READ = {".py", ".md", ".json", ".toml", ".txt", ".sol", ".vy"}
PYTHON_ONLY = "py: "
MAY_TELL_OF_IT = ROOT / "docs" / "decisions"
SAMPLES = (
    "The next door takes it.",
    "who is no asker",
    "def answer(ask: Ask) -> None:",
    "A room knows only those below it.",
    "shifted, sifted",
    "a LaneMap of lanes",
    "one of weaker standing",
    "dialed anew",
    "nothing is known as yet",
    "All others failed; all the same, it goes on.",
    "refused for the want of a slot",
    "a blank line breaks it (REAL-WORLD: clients)",
    "A peer who floods this node loses his own.",
    "so that those who wait for it get it",
    "Who serves what.",
    "Who may be asked.",
    "held: HeldBody | None = None",
    "for told in lines:",
    "Ports that are known beforehand.",
    "a guest that this node invited",
    "4 asks are still under way",
)
NOT_MEANT = (
    "there is no room for it",
    "makes the room of one link",
    "outdoors",
    "notwithstanding",
    "The office lately",
    "people who wait",
    "whoever reads a part",
    "this is told to peers; what was shown is kept",
    "one task asks for it",
)


def words(suffix: str) -> list[re.Pattern[str]]:
    """Those retired in files of this suffix."""
    lines = (ROOT / "tools" / "retired_words.txt").read_text("utf-8").splitlines()
    rules = [line.partition("  # ")[0] for line in lines if line and not line.startswith("#")]
    meant = [rule for rule in rules if suffix == ".py" or not rule.startswith(PYTHON_ONLY)]
    return [re.compile(rule.removeprefix(PYTHON_ONLY)) for rule in meant]


def pages() -> Iterator[Path]:
    yield from (ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"))
    for folder in ("src", "docs"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in READ and MAY_TELL_OF_IT not in path.parents:
                yield path


def found_in(text: str, suffix: str = ".py") -> list[str]:
    """The lines that hold a retired word, each with its number."""
    retired = words(suffix)
    lines = enumerate(text.splitlines(), 1)
    return [f"{number}: {line.strip()}" for number, line in lines if any(word.search(line) for word in retired)]


def test_no_page_and_no_module_says_a_retired_word() -> None:
    found = {str(page.relative_to(ROOT)): found_in(page.read_text("utf-8"), page.suffix) for page in pages()}
    assert {page: lines for page, lines in found.items() if lines} == {}


def test_each_is_found_where_it_is_said() -> None:
    assert [sample for sample in SAMPLES if not found_in(sample)] == []
    assert [sample for sample in NOT_MEANT if found_in(sample)] == []


def test_what_is_retired_in_code_alone_may_stand_in_docs() -> None:
    assert found_in("Who serves what.", ".md") == []


def test_every_line_says_what_is_said_instead() -> None:
    lines = (ROOT / "tools" / "retired_words.txt").read_text("utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert [line for line in rules if not line.partition("  # ")[2]] == []
