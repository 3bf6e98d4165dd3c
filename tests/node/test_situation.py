"""What is said of servers that are up, down, empty, silent or not there."""

import pytest

from masa_node.node.situation import ServerState, Situation


def server(kind: str = "Ollama", *, is_up: bool | None = True, models: int | None = 0) -> ServerState:
    return ServerState("llm", kind, "llm (http://a:1)", is_up, models)


@pytest.mark.parametrize(
    ("state", "is_ready", "word", "line"),
    [
        (server(models=1), True, "up", "Ollama, 1 model"),
        (server(models=2), True, "up", "Ollama, 2 models"),
        (server(models=None), True, "up", "Ollama, which lists no models; any name may be asked of it"),
        (server(), False, "up, without models", "Ollama, running without models. Get one: `ollama pull llama3.2`"),
        (server("vLLM"), False, "up, without models", "vLLM, running without models. Load one there"),
        (server(is_up=False, models=3), False, "down", "cannot be asked; the node keeps trying"),
        (server(is_up=None, models=None), False, "not asked yet", "not asked yet"),
    ],
)
def test_a_server_in_words(state: ServerState, word: str, line: str, *, is_ready: bool) -> None:
    now = Situation((state,), 0, finds_local=True)
    assert (now.is_ready, state.state, state.line) == (is_ready, word, f"llm (http://a:1): {line}")
    assert now.why_not == ("" if is_ready else f"No model can be asked. llm (http://a:1): {line}.")


def test_without_a_server_it_says_where_one_would_come_from() -> None:
    assert "start one (Ollama" in Situation((), 0, finds_local=True).why_not
    assert "FIND_LOCAL=1" in Situation((), 0, finds_local=False).why_not
    for finds_local in (True, False):
        why = Situation((), 0, finds_local=finds_local, ollama="http://gpu-box:11434").why_not
        assert "No Ollama answers at http://gpu-box:11434 (OLLAMA_HOST)" in why
        assert ("on this machine" in why) is finds_local


def test_a_peers_model_is_enough() -> None:
    assert Situation((server(is_up=False),), 1, finds_local=True).is_ready
