"""The Ollama SDK before a server that does not speak Ollama: it can look around, and is told where to ask."""

from collections.abc import Callable

import ollama
import pytest
from pair import Serve

OllamaAt = Callable[[str], ollama.Client]


def test_a_chat_is_refused_and_the_door_that_works_is_named(serve: Serve, ollama_at: OllamaAt) -> None:
    client = ollama_at(serve("count").node.url)
    with pytest.raises(ollama.ResponseError, match="/v1/chat/completions"):
        client.chat(model="count", messages=[{"role": "user", "content": "hello"}])


def test_a_streamed_chat_is_refused_the_same_way(serve: Serve, ollama_at: OllamaAt) -> None:
    client = ollama_at(serve("count").node.url)
    with pytest.raises(ollama.ResponseError, match="/v1/chat/completions"):
        list(client.chat(model="count", messages=[{"role": "user", "content": "hello"}], stream=True))


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
