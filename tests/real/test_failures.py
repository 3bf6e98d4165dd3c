"""A server that dies: nobody takes half an answer for a whole one, and all is well again once the server is."""

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from llama_server import LlamaServer
from node_process import Node
from pair import Pair

OpenAIAt = Callable[[str], openai.OpenAI]

HELLO: list[Any] = [{"role": "user", "content": "hello"}]
TOLD_WITHIN_S = 5.0  # long before any time-out could speak up
BACK_WITHIN_S = 5.0


@pytest.fixture
def mortal(
    start_server: Callable[[str], AbstractContextManager[LlamaServer]],
    start_node: Callable[..., AbstractContextManager[Node]],
) -> Iterator[Pair]:
    """A server that the test may kill, and a node in front of it."""
    with start_server("endless") as server, start_node(LLM_CHAT_URL=server.url) as node:
        yield Pair(server, node)


def seconds_until_answered(client: openai.OpenAI) -> float:
    started_s = time.monotonic()
    while time.monotonic() < started_s + BACK_WITHIN_S:
        with contextlib.suppress(openai.APIError):
            client.chat.completions.create(model="endless", messages=HELLO, max_tokens=2)
            return time.monotonic() - started_s
        time.sleep(0.05)
    raise TimeoutError(f"no answer {BACK_WITHIN_S} s after the server came back")


def test_the_openai_sdk_raises_when_the_server_dies_in_a_stream(mortal: Pair, openai_at: OpenAIAt) -> None:
    chat = openai_at(mortal.node.url).chat.completions
    stream = chat.create(model="endless", messages=HELLO, stream=True)
    for _, _chunk in zip(range(50), stream, strict=False):
        pass
    mortal.server.kill()
    killed_at_s = time.monotonic()
    with pytest.raises(openai.APIError):
        list(stream)
    assert time.monotonic() - killed_at_s < TOLD_WITHIN_S


def test_the_anthropic_sdk_raises_when_the_server_dies_in_a_stream(
    mortal: Pair, anthropic_at: Callable[[str], anthropic.Anthropic]
) -> None:
    client = anthropic_at(mortal.node.url)
    stream = client.messages.create(model="endless", messages=HELLO, max_tokens=1_000_000, stream=True)
    for _, _event in zip(range(50), stream, strict=False):
        pass
    mortal.server.kill()
    killed_at_s = time.monotonic()
    with pytest.raises((anthropic.APIError, httpx2.TransportError)):
        list(stream)
    assert time.monotonic() - killed_at_s < TOLD_WITHIN_S


def test_a_dead_server_is_named_in_a_503_and_found_again_when_it_is_back(mortal: Pair, openai_at: OpenAIAt) -> None:
    client = openai_at(mortal.node.url)
    client.chat.completions.create(model="endless", messages=HELLO, max_tokens=2)
    mortal.server.kill()
    for _ in range(3):  # the first finds it out, the others must be told as well
        with pytest.raises(openai.APIStatusError, match=mortal.server.address) as caught:
            client.chat.completions.create(model="endless", messages=HELLO, max_tokens=2)
        assert caught.value.status_code == 503
    mortal.server.start()
    seconds_until_answered(client)
    for _ in range(5):
        completion = client.chat.completions.create(model="endless", messages=HELLO, max_tokens=2)
        assert completion.choices[0].message.content == " la la"


def test_a_server_killed_in_a_stream_is_found_again_when_it_is_back(mortal: Pair, openai_at: OpenAIAt) -> None:
    client = openai_at(mortal.node.url)
    stream = client.chat.completions.create(model="endless", messages=HELLO, stream=True)
    next(stream)
    mortal.server.kill()
    with pytest.raises(openai.APIError):
        list(stream)
    with pytest.raises(openai.APIStatusError, match=mortal.server.address) as caught:
        client.chat.completions.create(model="endless", messages=HELLO, max_tokens=2)
    assert caught.value.status_code == 503
    mortal.server.start()
    seconds_until_answered(client)


def test_the_log_stays_json_when_an_answer_breaks(mortal: Pair, openai_at: OpenAIAt) -> None:
    stream = openai_at(mortal.node.url).chat.completions.create(model="endless", messages=HELLO, stream=True)
    next(stream)
    mortal.server.kill()
    with pytest.raises(openai.APIError):
        list(stream)
    mortal.node.stop()
    events = [json.loads(line)["event"] for line in mortal.node.log.read_text().splitlines()]
    assert "request" in events
