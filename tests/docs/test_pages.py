import tomllib
from pathlib import Path

import pytest

from masa_node.node.settings.docs import setting_docs
from masa_node.node.settings.environment import read_settings
from tests.docs.pages import LANGUAGES, PAGES, ROOT, Block, blocks, blocks_in, unfenced


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_says_what_it_is_in(page: Path) -> None:
    assert [str(block) for block in blocks(page) if block.language not in LANGUAGES] == []
    assert unfenced(page) == []


def test_what_looks_like_commands_is_marked_as_such_and_so_executed() -> None:
    assert [
        str(block) for block in blocks_in(*(LANGUAGES - {"sh"})) if block.language == "text" and block.has_commands
    ] == []


@pytest.mark.parametrize("block", blocks_in("env"), ids=str)
def test_every_block_of_settings_can_be_used_as_it_stands(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {doc.name for doc in setting_docs()}
    for name in known:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MASA_DIR", str(tmp_path))
    for part in one_at_a_time(block.text):
        (tmp_path / ".env").write_text(part.replace("<account>", "an-account"))
        settings = read_settings()
        for name in (line.partition("=")[0] for line in part.splitlines() if not line.startswith("#")):
            assert name in known, name
            assert getattr(settings, name.lower()), name


def one_at_a_time(text: str) -> list[str]:
    """A block that shows several values of one setting shows choices: each is a file of its own."""
    lines = [line for line in text.splitlines() if line]
    names = [line.partition("=")[0] for line in lines]
    return lines if len(set(names)) < len(names) else [text]


@pytest.mark.parametrize("block", blocks_in("toml"), ids=str)
def test_every_block_of_toml_is_toml(block: Block) -> None:
    assert tomllib.loads(block.text)
