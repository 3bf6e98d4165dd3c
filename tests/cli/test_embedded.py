"""What `--llm` means, and when the small model is fetched."""

from pathlib import Path

import pytest

from masa_node.chat.errors import ConfigurationError
from masa_node.cli import embedded
from masa_node.cli.embedded import fetch_what_is_needed, llm_of_demo, with_an_llm
from masa_node.node.settings.environment import Settings
from masa_node.upstreams.embedded import model as embedded_model

FILE = '[[upstream]]\nname = "small"\nkind = "embedded"\nurl = "smollm2"\n'


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """One entry for each time that the model is fetched."""
    found: list[str] = []

    def fetch() -> Path:
        found.append("smollm2")
        return Path("/nowhere")

    monkeypatch.setattr(embedded, "fetch_smollm2", fetch)
    for module in (embedded, embedded_model):
        monkeypatch.setattr(module, "runtime_is_installed", lambda: True)
    return found


@pytest.mark.parametrize(
    ("before", "after"), [("", "smollm2"), ("none", "smollm2"), ("/models/own.gguf", "/models/own.gguf")]
)
def test_llm_is_the_small_model_unless_the_settings_name_another(before: str, after: str) -> None:
    assert with_an_llm(Settings(llm=before)).llm == after


def test_it_is_fetched_when_the_settings_or_the_file_name_it_and_else_not(fetched: list[str], tmp_path: Path) -> None:
    for llm in ("", "none", "/models/own.gguf"):
        fetch_what_is_needed(Settings(masa_dir="/nowhere", llm=llm))
    assert fetched == []
    fetch_what_is_needed(Settings(masa_dir="/nowhere", llm="SmolLM2"))
    (tmp_path / "masa.toml").write_text(FILE)
    fetch_what_is_needed(Settings(masa_config=str(tmp_path / "masa.toml")))
    assert fetched == ["smollm2", "smollm2"]


def test_without_llama_cpp_it_is_not_fetched(fetched: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "runtime_is_installed", lambda: False)
    fetch_what_is_needed(Settings(masa_dir="/nowhere", llm="smollm2"))
    assert "masa-node[llm]" in llm_of_demo(Settings()).why_not
    assert fetched == []


def test_the_demo_takes_the_small_model_the_one_that_is_set_or_none(fetched: list[str], tmp_path: Path) -> None:
    own = tmp_path / "own.gguf"
    own.write_bytes(b"GGUF")
    assert llm_of_demo(Settings()).name == "smollm2"
    assert llm_of_demo(Settings(masa_dir="/nowhere", llm=str(own))).name == str(own)
    assert (llm_of_demo(Settings(llm="none")).name, llm_of_demo(Settings(llm="none")).why_not) == ("", "LLM=none")
    assert fetched == ["smollm2"]
    with pytest.raises(ConfigurationError, match=r"LLM=/nowhere/own\.gguf"):
        llm_of_demo(Settings(masa_dir="/nowhere", llm="/nowhere/own.gguf"))


def test_a_demo_that_cannot_fetch_it_says_why(fetched: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Path:
        raise ConfigurationError("no connection")

    monkeypatch.setattr(embedded, "fetch_smollm2", fail)
    assert llm_of_demo(Settings()).why_not == "no connection"
