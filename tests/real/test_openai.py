"""The OpenAI SDK cannot tell the node from the server behind it."""

from collections.abc import Callable
from typing import Any

import openai
import pytest
from masking import all_masked, masked
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pair import Serve

OpenAIAt = Callable[[str], openai.OpenAI]

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

# One row a request: the model that is asked, and what is asked beside the greeting.
REQUESTS = {
    "plain": ("count", {"max_tokens": 5}),
    "max_completion_tokens": ("count", {"max_completion_tokens": 7}),
    "split characters": ("utf8", {}),
    "thinking": ("think", {}),
    "tools": ("tool", {"tools": WEATHER}),
    "two choices": ("babble", {"n": 2, "seed": 7}),
    "logprobs": ("babble", {"logprobs": True, "top_logprobs": 3, "max_tokens": 4, "seed": 3}),
    "sampling": ("babble", {"temperature": 1.5, "top_p": 0.9, "seed": 11, "stop": [" bo"]}),
}


@pytest.fixture(params=[pytest.param(row, id=name) for name, row in REQUESTS.items()])
def request_row(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    row: tuple[str, dict[str, Any]] = request.param
    return row


def test_a_whole_answer_is_the_servers(
    serve: Serve, openai_at: OpenAIAt, request_row: tuple[str, dict[str, Any]]
) -> None:
    model, options = request_row
    pair = serve(model)

    def ask(url: str) -> ChatCompletion:
        completion: ChatCompletion = openai_at(url).chat.completions.create(model=model, messages=HELLO, **options)
        return completion

    assert masked(ask(pair.node.url)) == masked(ask(pair.server.url))


def test_a_streamed_answer_has_the_servers_pieces_in_order(
    serve: Serve, openai_at: OpenAIAt, request_row: tuple[str, dict[str, Any]]
) -> None:
    model, options = request_row
    pair = serve(model)

    def ask(url: str) -> list[ChatCompletionChunk]:
        chat = openai_at(url).chat.completions
        chunks = list(chat.create(model=model, messages=HELLO, stream=True, **options))
        # Several choices come in whatever order the server's slots finish their tokens.
        return sorted(chunks, key=lambda chunk: chunk.choices[0].index if chunk.choices else 0)

    assert all_masked(ask(pair.node.url)) == all_masked(ask(pair.server.url))


def test_two_thousand_pieces_come_each_once_and_in_order(serve: Serve, openai_at: OpenAIAt) -> None:
    chat = openai_at(serve("count").node.url).chat.completions
    chunks = chat.create(model="count", messages=HELLO, stream=True)
    pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices[0].delta.content]
    assert pieces == [f" {number}" for number in range(1, 2001)]


def test_two_thousand_numbers_come_in_a_whole_answer(serve: Serve, openai_at: OpenAIAt) -> None:
    completion = openai_at(serve("count").node.url).chat.completions.create(model="count", messages=HELLO)
    assert completion.choices[0].message.content == COUNTED
    assert completion.choices[0].finish_reason == "stop"


def test_usage_comes_at_the_end_of_a_stream_that_asks_for_it(serve: Serve, openai_at: OpenAIAt) -> None:
    pair = serve("count")

    def ask(url: str) -> list[ChatCompletionChunk]:
        chat = openai_at(url).chat.completions
        options: Any = {"stream_options": {"include_usage": True}, "max_tokens": 5}
        return list(chat.create(model="count", messages=HELLO, stream=True, **options))

    chunks = ask(pair.node.url)
    assert all_masked(chunks) == all_masked(ask(pair.server.url))
    usage = chunks[-1].usage
    assert usage is not None
    assert usage.completion_tokens == 5


def test_characters_that_the_model_speaks_in_single_bytes_arrive_whole(serve: Serve, openai_at: OpenAIAt) -> None:
    chat = openai_at(serve("utf8").node.url).chat.completions
    chunks = chat.create(model="utf8", messages=HELLO, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "é🙂日"


def test_thinking_is_kept_apart_from_the_answer(serve: Serve, openai_at: OpenAIAt) -> None:
    chat = openai_at(serve("think").node.url).chat.completions
    whole: Any = chat.create(model="think", messages=HELLO).choices[0].message
    assert (whole.reasoning_content, whole.content) == ("Let me think.", "The answer is 42.")

    deltas: list[Any] = [chunk.choices[0].delta for chunk in chat.create(model="think", messages=HELLO, stream=True)]
    assert "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas) == "Let me think."
    assert "".join(delta.content or "" for delta in deltas) == "The answer is 42."


def test_a_tool_call_arrives_whole_and_streamed(serve: Serve, openai_at: OpenAIAt) -> None:
    chat = openai_at(serve("tool").node.url).chat.completions
    choice: Any = chat.create(model="tool", messages=HELLO, tools=WEATHER).choices[0]
    call = choice.message.tool_calls[0].function
    assert (choice.finish_reason, call.name, call.arguments) == ("tool_calls", "get_weather", '{"city": "Tokyo"}')

    with chat.stream(model="tool", messages=HELLO, tools=WEATHER) as stream:
        streamed: Any = stream.get_final_completion().choices[0].message.tool_calls
    assert (streamed[0].function.name, streamed[0].function.arguments) == (call.name, call.arguments)


def test_two_choices_are_two_different_answers(serve: Serve, openai_at: OpenAIAt) -> None:
    chat = openai_at(serve("babble").node.url).chat.completions
    first, second = chat.create(model="babble", messages=HELLO, n=2, seed=7).choices
    assert first.message.content != second.message.content


def test_the_list_of_models_names_what_the_server_names(serve: Serve, openai_at: OpenAIAt) -> None:
    pair = serve("count")
    through, straight = (openai_at(url).models.list().data for url in (pair.node.url, pair.server.url))
    assert [model.id for model in through] == [model.id for model in straight] == ["count"]


def test_one_model_can_be_looked_up_though_the_server_cannot_do_that(serve: Serve, openai_at: OpenAIAt) -> None:
    pair = serve("count")
    with pytest.raises(openai.NotFoundError):
        openai_at(pair.server.url).models.retrieve("count")
    assert openai_at(pair.node.url).models.retrieve("count").id == "count"


@pytest.mark.parametrize("stream", [True, False])
def test_an_unknown_model_is_answered_as_the_server_does(serve: Serve, openai_at: OpenAIAt, *, stream: bool) -> None:
    pair = serve("count")

    def ask(url: str) -> list[Any]:
        completions = openai_at(url).chat.completions
        got: Any = completions.create(model="coun", messages=HELLO, max_tokens=5, stream=stream)
        return all_masked(list(got) if stream else [got])

    assert ask(pair.node.url) == ask(pair.server.url)


def test_looking_up_an_unknown_model_names_the_nearest(serve: Serve, openai_at: OpenAIAt) -> None:
    with pytest.raises(openai.NotFoundError, match=r"\bcoun\b.*\bcount\b"):
        openai_at(serve("count").node.url).models.retrieve("coun")


def test_a_mistake_is_told_as_the_server_tells_it(serve: Serve, openai_at: OpenAIAt) -> None:
    pair = serve("count")
    too_long: list[Any] = [{"role": "user", "content": "x " * 20_000}]

    def ask(url: str) -> openai.BadRequestError:
        with pytest.raises(openai.BadRequestError) as caught:
            openai_at(url).chat.completions.create(model="count", messages=too_long)
        return caught.value

    through, straight = ask(pair.node.url), ask(pair.server.url)
    assert (through.message, through.body) == (straight.message, straight.body)
