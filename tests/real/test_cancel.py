"""A caller that goes away frees the server's slot at once: the GPU works for nobody else."""

import contextlib
import http.client
import itertools
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import openai
import pytest
from pair import Pair, Serve

HELLO: list[Any] = [{"role": "user", "content": "hello"}]
LONG: list[Any] = [{"role": "user", "content": "word " * 60}]  # 300 tokens, 1.3 s of the slow model's time
FREED_WITHIN_S = 5.0  # at once; this machine has other work
LEFT_WITHIN_S = 1.0  # the answer would take 1.7 s, and as much longer as the machine is slower
PROMPT_WITHIN_S = 40.0  # on a busy machine; the answer would take more than a minute


@contextlib.contextmanager
def request_under_way(pair: Pair, endpoint: str, body: dict[str, Any]) -> Iterator[None]:
    """Hold a request that the server works on; leaving the block is the caller's going away without a word."""
    connection = http.client.HTTPConnection(pair.node.url.removeprefix("http://"), timeout=30)
    with contextlib.closing(connection):
        connection.request("POST", endpoint, json.dumps({"model": pair.server.name} | body))
        pair.server.seconds_until(busy_slots=1, within_s=20)
        yield


def test_a_cancelled_stream_frees_the_slot_at_once(serve: Serve, openai_at: Callable[[str], openai.OpenAI]) -> None:
    pair = serve("endless")
    stream = openai_at(pair.node.url).chat.completions.create(model="endless", messages=HELLO, stream=True)
    with stream:
        for _, _chunk in zip(range(50), stream, strict=False):
            pass
        assert pair.server.busy_slots() == 1
    pair.server.seconds_until(busy_slots=0, within_s=FREED_WITHIN_S)


def test_a_cancelled_anthropic_stream_frees_the_slot_at_once(
    serve: Serve, anthropic_at: Callable[[str], anthropic.Anthropic]
) -> None:
    pair = serve("endless")
    client = anthropic_at(pair.node.url)
    with client.messages.stream(model="endless", messages=HELLO, max_tokens=1_000_000) as stream:
        for _, _text in zip(range(50), stream.text_stream, strict=False):
            pass
        assert pair.server.busy_slots() == 1
    pair.server.seconds_until(busy_slots=0, within_s=FREED_WITHIN_S)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("endpoint", ["/v1/chat/completions", "/api/v1/chat"])
def test_a_caller_gone_before_the_first_piece_ends_the_servers_connection_at_once(
    serve: Serve, endpoint: str, *, stream: bool
) -> None:
    pair = serve("slow")
    pair.server.seconds_until(busy_slots=0, within_s=PROMPT_WITHIN_S)
    before = pair.server.callers()
    with request_under_way(pair, endpoint, {"messages": LONG, "stream": stream, "max_tokens": 20}):
        held = pair.server.callers()
        carrying = (held - before) or held  # a kept connection may carry it: then one of them has to go
        assert carrying
    left_at_s = time.monotonic()
    while carrying <= pair.server.callers():
        assert time.monotonic() - left_at_s < LEFT_WITHIN_S
        time.sleep(0.01)


def test_a_caller_gone_before_the_first_piece_leaves_no_answer_under_way(serve: Serve) -> None:
    pair = serve("slow")
    pair.server.seconds_until(busy_slots=0, within_s=PROMPT_WITHIN_S)
    with request_under_way(pair, "/v1/chat/completions", {"messages": LONG, "stream": True}):
        pass
    # The server looks for its caller only when it has a piece for him: when the prompt is done (llama.cpp issue 24496).
    pair.server.seconds_until(busy_slots=0, within_s=PROMPT_WITHIN_S)


def test_a_neighbour_of_a_cancelled_stream_gets_all_of_his_answer(
    serve: Serve, openai_at: Callable[[str], openai.OpenAI]
) -> None:
    pair = serve("endless")
    chat = openai_at(pair.node.url).chat.completions
    with chat.create(model="endless", messages=HELLO, stream=True) as cancelled:
        neighbour = chat.create(model="endless", messages=HELLO, stream=True, max_tokens=500)
        next(cancelled)
        next(neighbour)
    assert sum(bool(chunk.choices[0].delta.content) for chunk in neighbour) in (499, 500)
    pair.server.seconds_until(busy_slots=0, within_s=FREED_WITHIN_S)


def test_pieces_arrive_as_they_are_made(serve: Serve, openai_at: Callable[[str], openai.OpenAI]) -> None:
    chat = openai_at(serve("slow").node.url).chat.completions
    arrived_s = [time.monotonic() for _ in chat.create(model="slow", messages=HELLO, stream=True, max_tokens=20)]
    gaps_s = [later - earlier for earlier, later in itertools.pairwise(arrived_s)]
    assert sum(gap_s > 0.002 for gap_s in gaps_s) >= 15  # held back and given at once, all would be zero
