"""The Ollama SDK before a server that does not speak Ollama: it can look around, and ask by translation."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import ollama
import pytest
from pair import Serve

OllamaAt = Callable[[str], ollama.Client]

HELLO: list[Any] = [{"role": "user", "content": "hello"}]


@pytest.fixture
def strict_at() -> Iterator[OllamaAt]:
    """Call it with a base URL: an Ollama client that wants no translation."""
    with contextlib.ExitStack() as clients:
        yield lambda url: clients.enter_context(ollama.Client(host=url, headers={"X-Masa-Strict": "1"}))


def test_a_chat_is_translated(serve: Serve, ollama_at: OllamaAt) -> None:
    client = ollama_at(serve("count").node.url)
    answer = client.chat(model="count", messages=HELLO, options={"num_predict": 3})
    parts = client.chat(model="count", messages=HELLO, options={"num_predict": 3}, stream=True)
    assert answer.message.content == "".join(part.message.content or "" for part in parts) == " 1 2 3"


@pytest.mark.parametrize("stream", [True, False])
def test_a_strict_chat_is_refused_and_the_endpoint_that_works_is_named(
    serve: Serve, strict_at: OllamaAt, *, stream: bool
) -> None:
    client: Any = strict_at(serve("count").node.url)
    with pytest.raises(ollama.ResponseError, match="/v1/chat/completions"):
        list(client.chat(model="count", messages=HELLO, stream=stream))


@pytest.mark.parametrize("stream", [True, False])
def test_a_chat_with_an_unknown_model_is_answered_as_llama_cpp_does(
    serve: Serve, ollama_at: OllamaAt, *, stream: bool
) -> None:
    client: Any = ollama_at(serve("count").node.url)
    got = client.chat(model="coun", messages=HELLO, options={"num_predict": 3}, stream=stream)
    parts = list(got) if stream else [got]
    assert "".join(part.message.content or "" for part in parts) == " 1 2 3"


def test_models_can_be_listed(serve: Serve, ollama_at: OllamaAt) -> None:
    assert [model.model for model in ollama_at(serve("count").node.url).list().models] == ["count"]


def test_a_model_can_be_shown(serve: Serve, ollama_at: OllamaAt) -> None:
    shown = ollama_at(serve("count").node.url).show("count")
    assert shown.details is not None


def test_showing_an_unknown_model_says_so(serve: Serve, ollama_at: OllamaAt) -> None:
    client = ollama_at(serve("count").node.url)
    with pytest.raises(ollama.ResponseError, match="count") as caught:
        client.show("coun")
    assert caught.value.status_code == 404
