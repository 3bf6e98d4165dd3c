"""The endpoints of the SDKs beside chat, which llama.cpp answers itself."""

from collections.abc import Callable
from typing import Any

import anthropic
import openai
from masking import masked
from pair import Serve

OpenAIAt = Callable[[str], openai.OpenAI]
AnthropicAt = Callable[[str], anthropic.Anthropic]

HELLO: list[Any] = [{"role": "user", "content": "hello"}]
COUNTED = "".join(f" {number}" for number in range(1, 2001))


def test_text_completion_is_the_servers(serve: Serve, openai_at: OpenAIAt) -> None:
    pair = serve("count")

    def ask(url: str) -> Any:  # noqa: ANN401
        return masked(openai_at(url).completions.create(model="count", prompt="hello", max_tokens=5))

    assert ask(pair.node.url) == ask(pair.server.url)


def test_the_responses_api_works_whole_and_streamed(serve: Serve, openai_at: OpenAIAt) -> None:
    responses = openai_at(serve("count").node.url).responses
    assert responses.create(model="count", input="hello").output_text == COUNTED
    events: list[Any] = list(responses.create(model="count", input="hello", stream=True))
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == COUNTED
    assert events[-1].type == "response.completed"


def test_tokens_are_counted_as_the_server_counts_them(serve: Serve, anthropic_at: AnthropicAt) -> None:
    pair = serve("count")
    through, straight = (
        anthropic_at(url).messages.count_tokens(model="count", messages=HELLO).input_tokens
        for url in (pair.node.url, pair.server.url)
    )
    assert through == straight
