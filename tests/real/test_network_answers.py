"""An answer that comes through a peer is the LLM's own: real SDKs ask a node that has no LLM, two others have."""

from collections.abc import Callable
from typing import Any

import anthropic
import ollama
import openai
import pytest
from calling import HELLO, answered
from llama_server import LlamaServer
from masking import all_masked, masked, masked_bytes
from meeting import Trio, attempts
from test_bytes import BODY, post

OpenAIAt = Callable[[str], openai.OpenAI]
AnthropicAt = Callable[[str], anthropic.Anthropic]
OllamaAt = Callable[[str], ollama.Client]
ServerOf = Callable[[str], LlamaServer]

FEW = {"max_tokens": 3}
DEMO = "Hello! I am masa-demo, the model built into Masa Node; I only repeat. You said: hello"
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
OPENAI_TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": PARAMETERS}}
ANTHROPIC_TOOL = {"name": "get_weather", "input_schema": PARAMETERS}
KNOWN = {"count": " 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20", "utf8": "é🙂日", "think": "The answer is 42."}
MODELS = ("count", "utf8", "think", "tool")


@pytest.mark.parametrize("model", MODELS)
def test_a_whole_answer_to_the_openai_sdk_is_the_servers(
    trio: Trio, server_of: ServerOf, openai_at: OpenAIAt, model: str
) -> None:
    def ask(url: str) -> Any:  # noqa: ANN401
        tools: Any = {"tools": [OPENAI_TOOL]} if model == "tool" else {}
        create: Any = openai_at(url).chat.completions.create
        return create(model=model, messages=HELLO, max_tokens=20, **tools)

    through = ask(trio.requester.url)
    assert masked(through) == masked(ask(server_of(model).url))
    assert (through.choices[0].message.content or "").strip() == KNOWN.get(model, "").strip()


@pytest.mark.parametrize("model", MODELS)
def test_a_streamed_answer_to_the_openai_sdk_is_the_servers(
    trio: Trio, server_of: ServerOf, openai_at: OpenAIAt, model: str
) -> None:
    def ask(url: str) -> Any:  # noqa: ANN401
        tools: Any = {"tools": [OPENAI_TOOL]} if model == "tool" else {}
        chat = openai_at(url).chat.completions
        return all_masked(list(chat.create(model=model, messages=HELLO, max_tokens=20, stream=True, **tools)))

    through = ask(trio.requester.url)
    assert through == ask(server_of(model).url)
    assert len(through) > 3


@pytest.mark.parametrize("model", MODELS)
def test_an_answer_to_the_anthropic_sdk_is_the_servers(
    trio: Trio, server_of: ServerOf, anthropic_at: AnthropicAt, model: str
) -> None:
    def ask(url: str) -> Any:  # noqa: ANN401
        tools: Any = {"tools": [ANTHROPIC_TOOL]} if model == "tool" else {}
        create: Any = anthropic_at(url).messages.create
        whole = create(model=model, messages=HELLO, max_tokens=20, **tools)
        streamed = create(model=model, messages=HELLO, max_tokens=20, stream=True, **tools)
        return masked(whole), all_masked(list(streamed))

    assert ask(trio.requester.url) == ask(server_of(model).url)


@pytest.mark.parametrize("endpoint", ["/v1/chat/completions", "/api/v1/chat"])
@pytest.mark.parametrize("stream", [b"", b', "stream": true'])
def test_the_bytes_are_the_servers(trio: Trio, server_of: ServerOf, endpoint: str, stream: bytes) -> None:
    body = BODY % (b"utf8", stream)
    status, headers, through = post(trio.requester.url, endpoint, body)
    straight_status, straight_headers, straight = post(server_of("utf8").url, "/v1/chat/completions", body)
    assert (status, masked_bytes(through)) == (straight_status, masked_bytes(straight))
    assert headers["Content-Type"] == straight_headers["Content-Type"]


def test_the_built_in_model_of_a_peer_answers_all_three_sdks_whole_and_streamed(
    trio: Trio, openai_at: OpenAIAt, anthropic_at: AnthropicAt, ollama_at: OllamaAt
) -> None:
    url = trio.requester.url
    chat, messages = openai_at(url).chat.completions, anthropic_at(url).messages
    old: Any = ollama_at(url)
    whole: list[Any] = [
        chat.create(model="masa-demo", messages=HELLO).choices[0].message.content,
        messages.create(model="masa-demo", messages=HELLO, max_tokens=99).content[0],
        old.chat("masa-demo", HELLO).message.content,
    ]
    whole[1] = whole[1].text
    chunks = chat.create(model="masa-demo", messages=HELLO, stream=True)
    with messages.stream(model="masa-demo", messages=HELLO, max_tokens=99) as stream:
        texts = list(stream.text_stream)
    parts = old.chat("masa-demo", HELLO, stream=True)
    streamed = [
        "".join(chunk.choices[0].delta.content or "" for chunk in chunks),
        "".join(texts),
        "".join(part.message.content or "" for part in parts),
    ]
    assert whole == streamed == [DEMO] * 3


@pytest.mark.parametrize("stream", [True, False])
def test_the_ollama_sdk_can_ask_a_peers_llm_of_another_format(trio: Trio, ollama_at: OllamaAt, *, stream: bool) -> None:
    client: Any = ollama_at(trio.requester.url)
    got = client.chat("count", HELLO, options={"num_predict": 3}, stream=stream)
    parts = list(got) if stream else [got]
    assert "".join(part.message.content or "" for part in parts) == " 1 2 3"


def test_without_translation_the_ollama_sdk_is_told_the_endpoint_of_a_peers_model(trio: Trio) -> None:
    client: Any = ollama.Client(host=trio.requester.url, headers={"X-Masa-Strict": "1"})
    with client, pytest.raises(ollama.ResponseError, match="/v1/chat/completions") as caught:
        client.chat("count", HELLO)
    assert caught.value.status_code == 400


def test_all_that_peers_share_is_listed(trio: Trio, openai_at: OpenAIAt, ollama_at: OllamaAt) -> None:
    shared = {"count", "utf8", "think", "tool", "endless", "tardy", "late", "left", "masa-demo"}
    assert {model.id for model in openai_at(trio.requester.url).models.list()} == shared
    assert {model.model for model in ollama_at(trio.requester.url).list().models} == shared


@pytest.mark.parametrize("is_stream", [True, False])
def test_the_answer_names_the_winner_and_the_loser(trio: Trio, *, is_stream: bool) -> None:
    stream = b', "stream": true' if is_stream else b""
    status, headers, _ = post(trio.requester.url, "/v1/chat/completions", BODY % (b"late", stream))
    assert status == 200
    assert headers["X-Masa-Served-By"] == trio.left.node_id
    assert attempts(headers["X-Masa-Attempts"]) == {trio.left.node_id: "won", trio.right.node_id: "cancelled"}


@pytest.mark.parametrize(("rule", "who"), [("all", 2), ("ALL; Width=2", 2), ("all;width=1", 1), ("hedge;width=1", 1)])
def test_x_masa_race_decides_how_many_are_asked(trio: Trio, rule: str, who: int) -> None:
    with answered(trio.requester, "count", FEW, {"X-Masa-Race": rule}) as answer:
        tried = attempts(answer.headers["X-Masa-Attempts"])
    assert answer.status == 200
    assert sorted(tried.values()) == ["cancelled", "won"][-who:]


@pytest.mark.parametrize("rule", ["first", "all;width=0", "hedge;width=x", "all;depth=2"])
def test_a_race_that_is_not_understood_is_refused(trio: Trio, rule: str) -> None:
    with answered(trio.requester, "count", FEW, {"X-Masa-Race": rule}) as answer:
        assert answer.status == 400
        assert b"X-Masa-Race" in answer.read()
