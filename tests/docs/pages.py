"""The fenced blocks of the documentation."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")), ROOT / "bench" / "README.md"]
LANGUAGES = {"sh", "env", "python", "js", "toml", "ini", "yaml", "nginx", "json", "http", "text"}

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(
    r"^\s*(\$ |sudo )?(masa-node|make|curl|pipx|uvx|pip|python3?|npm|ollama|apt|docker) ", re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block; `line` is where it begins on its page."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def has_commands(self) -> bool:
        """Does it look like something to be typed?"""
        return _COMMAND.search(self.text) is not None


def blocks(page: Path) -> list[Block]:
    """All of a page, in their order."""
    text = page.read_text("utf-8")
    return [Block(page, text.count("\n", 0, found.start()) + 1, found[1], found[2]) for found in _FENCE.finditer(text)]


def blocks_in(*languages: str) -> list[Block]:
    """Those of all pages in one of these languages."""
    return [block for page in PAGES for block in blocks(page) if block.language in languages]


def unfenced(page: Path) -> list[str]:
    """Lines set as code by their indentation alone, outside lists."""
    lines = _FENCE.sub("", page.read_text("utf-8")).split("\n")
    return [line for before, line in zip(["", *lines], lines, strict=False) if line.startswith("    ") and not before]
