"""The Anthropic SDK cannot tell the node from the server behind it (llama.cpp speaks its dialect itself)."""

from collections.abc import Callable
from typing import Any

import anthropic
import pytest
from anthropic.types import Message
from masking import all_masked, masked
from pair import Serve

AnthropicAt = Callable[[str], anthropic.Anthropic]

HELLO: list[Any] = [{"role": "user", "content": "hello"}]
COUNTED = "".join(f" {number}" for number in range(1, 2001))
WEATHER: list[Any] = [
    {
        "name": "get_weather",
        "description": "The weather in a city",
        "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    }
]

REQUESTS = {
    "plain": ("count", {}),
    "split characters": ("utf8", {}),
    "thinking": ("think", {}),
    "tools": ("tool", {"tools": WEATHER}),
    "system and stop": ("count", {"system": "You count.", "stop_sequences": [" 9"]}),
}


@pytest.fixture(params=[pytest.param(row, id=name) for name, row in REQUESTS.items()])
def request_row(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    row: tuple[str, dict[str, Any]] = request.param
    return row


def test_a_whole_answer_is_the_servers(
    serve: Serve, anthropic_at: AnthropicAt, request_row: tuple[str, dict[str, Any]]
) -> None:
    model, options = request_row
    pair = serve(model)

    def ask(url: str) -> Message:
        message: Message = anthropic_at(url).messages.create(model=model, messages=HELLO, max_tokens=20, **options)
        return message

    assert masked(ask(pair.node.url)) == masked(ask(pair.server.url))


def test_a_streamed_answer_has_the_servers_events_in_order(
    serve: Serve, anthropic_at: AnthropicAt, request_row: tuple[str, dict[str, Any]]
) -> None:
    model, options = request_row
    pair = serve(model)

    def ask(url: str) -> list[Any]:
        messages = anthropic_at(url).messages
        return list(messages.create(model=model, messages=HELLO, max_tokens=20, stream=True, **options))

    assert all_masked(ask(pair.node.url)) == all_masked(ask(pair.server.url))


def test_the_answer_is_what_the_model_says(serve: Serve, anthropic_at: AnthropicAt) -> None:
    messages = anthropic_at(serve("count").node.url).messages
    whole: Any = messages.create(model="count", messages=HELLO, max_tokens=3000)
    assert (whole.content[0].text, whole.stop_reason) == (COUNTED, "end_turn")
    with messages.stream(model="count", messages=HELLO, max_tokens=3000) as stream:
        assert "".join(stream.text_stream) == COUNTED
        assert stream.get_final_message().usage.output_tokens == 2001  # the end of the turn is a token too


async def test_the_asynchronous_client_gets_the_same(serve: Serve) -> None:
    url = serve("count").node.url
    async with anthropic.AsyncAnthropic(base_url=url, api_key="none", max_retries=0) as client:
        whole: Any = await client.messages.create(model="count", messages=HELLO, max_tokens=3000)
        assert whole.content[0].text == COUNTED
        async with client.messages.stream(model="count", messages=HELLO, max_tokens=3000) as stream:
            assert "".join([piece async for piece in stream.text_stream]) == COUNTED


def test_a_tool_call_arrives_as_a_value(serve: Serve, anthropic_at: AnthropicAt) -> None:
    messages = anthropic_at(serve("tool").node.url).messages
    with messages.stream(model="tool", messages=HELLO, max_tokens=50, tools=WEATHER) as stream:
        message: Any = stream.get_final_message()
    assert message.stop_reason == "tool_use"
    assert (message.content[-1].name, message.content[-1].input) == ("get_weather", {"city": "Tokyo"})


def test_the_list_of_models_can_be_read(serve: Serve, anthropic_at: AnthropicAt) -> None:
    listed = list(anthropic_at(serve("count").node.url).models.list())
    assert [(model.type, model.id, bool(model.display_name)) for model in listed] == [("model", "count", True)]


@pytest.mark.parametrize("stream", [True, False])
def test_an_unknown_model_is_answered_as_the_server_does(
    serve: Serve, anthropic_at: AnthropicAt, *, stream: bool
) -> None:
    pair = serve("count")

    def ask(url: str) -> list[Any]:
        messages = anthropic_at(url).messages
        got: Any = messages.create(model="coun", messages=HELLO, max_tokens=5, stream=stream)
        return all_masked(list(got) if stream else [got])

    assert ask(pair.node.url) == ask(pair.server.url)
