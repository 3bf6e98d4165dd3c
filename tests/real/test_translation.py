"""Ollama's clients before a real llama.cpp, which does not speak their format."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import ollama
import pytest
from pair import Serve

OllamaBefore = Callable[[str], ollama.Client]

HELLO: list[Any] = [{"role": "user", "content": "hello"}]
COUNTED = "".join(f" {number}" for number in range(1, 2001))
WEATHER: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather in a city",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]


@pytest.fixture
def before(serve: Serve) -> Iterator[OllamaBefore]:
    """A client of the node before the server with this model."""
    with ExitStack() as clients:
        yield lambda model: clients.enter_context(ollama.Client(host=serve(model).node.url))


def test_every_word_comes_whole_and_streamed(before: OllamaBefore) -> None:
    client = before("count")
    assert client.chat(model="count", messages=HELLO).message.content == COUNTED
    pieces = list(client.chat(model="count", messages=HELLO, stream=True))
    assert "".join(piece.message.content or "" for piece in pieces) == COUNTED
    assert (pieces[-1].done, pieces[-1].done_reason) == (True, "stop")
    assert pieces[-1].eval_count
    assert len(pieces) > 100


def test_a_limit_of_tokens_is_kept_and_told(before: OllamaBefore) -> None:
    client = before("count")
    answer = client.generate(model="count", prompt="hello", options={"num_predict": 5})
    assert (answer.response, answer.done_reason, answer.eval_count) == (" 1 2 3 4 5", "length", 5)


def test_a_tool_is_called_and_its_result_taken(before: OllamaBefore) -> None:
    client = before("tool")
    for streams in (False, True):
        answer: Any = client.chat(model="tool", messages=HELLO, tools=WEATHER, stream=streams)
        messages = [piece.message for piece in (answer if streams else [answer])]
        (call,) = [call for message in messages for call in message.tool_calls or ()]
        assert (call.function.name, dict(call.function.arguments)) == ("get_weather", {"city": "Tokyo"})
        result = {"role": "tool", "tool_name": "get_weather", "content": "sun"}
        turn = [*HELLO, {"role": "assistant", "content": "", "tool_calls": [call]}, result]
        assert client.chat(model="tool", messages=turn, tools=WEATHER).done


def test_thoughts_are_no_text(before: OllamaBefore) -> None:
    message = before("think").chat(model="think", messages=HELLO).message
    assert message.content
    assert message.thinking
    assert message.thinking not in message.content
