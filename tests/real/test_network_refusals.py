"""What a caller is told when peers cannot, will not, or may not answer."""

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from http.client import HTTPResponse
from typing import Any

import pytest
from calling import CHAT, HELLO, answered
from llama_server import LlamaServer
from meeting import StartNode, Trio, attempts, bootnode, servers_of, sharers_of, wait_until
from node_process import Node
from test_bytes import post

LOSER_HEARS_WITHIN_S = 5.0
TOO_LONG = [{"role": "user", "content": "word " * 6000}]


@pytest.fixture(scope="module")
def crowded(start_peer: StartNode) -> Iterator[Node]:
    """A node without an LLM, and two peers that serve one request at a time, slowly."""
    with contextlib.ExitStack() as running:
        requester = running.enter_context(start_peer(OPEN_NETWORK="1"))
        few = {"MAX_PEER_JOBS": "1", "MAX_PEER_QUEUE": "0", "DEMO": "1", "DEMO_PIECES_PER_S": "8"}
        for _ in range(2):
            running.enter_context(start_peer(BOOTNODES=bootnode(requester), **few))
        wait_until(lambda: len(servers_of(requester, "masa-demo")) == 2)
        yield requester


def test_a_model_of_nobody_is_404_and_the_nearest_are_named(trio: Trio) -> None:
    with answered(trio.requester, "cuont") as answer:
        error = json.loads(answer.read())["error"]
    assert answer.status == 404
    assert error["code"] == "model_not_found"
    assert "count" in error["message"]
    assert "X-Masa-Served-By" not in answer.headers


def test_an_llms_own_400_comes_through_a_peer_byte_for_byte(
    trio: Trio, server_of: Callable[[str], LlamaServer]
) -> None:
    body = json.dumps({"model": "count", "messages": TOO_LONG}).encode()
    status, headers, through = post(trio.requester.url, CHAT, body)
    straight_status, straight_headers, straight = post(server_of("count").url, CHAT, body)
    assert (status, through) == (straight_status, straight)
    assert headers["Content-Type"] == straight_headers["Content-Type"]
    assert status == 400
    assert b"exceed_context_size_error" in through
    assert set(attempts(headers["X-Masa-Attempts"]).values()) == {"http_400"}


@contextlib.contextmanager
def served(node: Node, stream: dict[str, Any]) -> Iterator[HTTPResponse]:
    """The first answer that is not "busy": the loser of the race before may still be hearing that it lost."""
    until_s = time.monotonic() + LOSER_HEARS_WITHIN_S
    while True:
        with answered(node, "masa-demo", stream) as answer:
            if answer.status != 503 or time.monotonic() > until_s:
                yield answer
                return
        time.sleep(0.05)


def test_when_all_peers_are_busy_the_caller_is_told_when_to_come_back(crowded: Node) -> None:
    stream = {"stream": True, "messages": HELLO}
    with answered(crowded, "masa-demo", stream) as first, served(crowded, stream) as second:
        assert (first.status, second.status) == (200, 200)
        winners = {answer.headers["X-Masa-Served-By"] for answer in (first, second)}
        assert winners == servers_of(crowded, "masa-demo")  # the one who is free was found
        with answered(crowded, "masa-demo", stream) as third:
            error = json.loads(third.read())["error"]
        assert third.status == 503
        assert int(third.headers["Retry-After"]) >= 1
        assert attempts(third.headers["X-Masa-Attempts"]) == dict.fromkeys(winners, "peer_busy")
        assert error["code"] == "peer_busy"
        assert first.read().endswith(b"data: [DONE]\n\n")
        assert second.read().endswith(b"data: [DONE]\n\n")
    with answered(crowded, "masa-demo", stream) as fourth:
        assert fourth.status == 200


@pytest.mark.parametrize("privacy", ["local", "trusted"])
def test_a_request_that_no_peer_may_see_is_403_and_reaches_none(trio: Trio, privacy: str) -> None:
    with answered(trio.requester, "endless", {"stream": True}, {"X-Masa-Privacy": privacy}) as answer:
        assert answer.status == 403
        error = json.loads(answer.read())["error"]
    assert error["code"] == "privacy_refused"
    assert "X-Masa-Privacy" in error["message"]
    assert "X-Masa-Attempts" not in answer.headers
    for each in (trio.left, trio.right):
        assert each.servers["endless"].busy_slots() == 0


@pytest.mark.parametrize("privacy", ["secret", "", "any, local"])
def test_a_privacy_that_is_not_understood_is_refused_and_not_guessed(trio: Trio, privacy: str) -> None:
    with answered(trio.requester, "count", headers={"X-Masa-Privacy": privacy}) as answer:
        assert answer.status == 400
        assert b"X-Masa-Privacy" in answer.read()


def test_a_peer_that_is_trusted_by_its_id_may_see_the_request(trio: Trio, start_peer: StartNode) -> None:
    with start_peer(TRUSTED_PEERS=trio.left.node_id, BOOTNODES=bootnode(trio.requester), PRIVACY="trusted") as node:
        wait_until(lambda: len(sharers_of(node, "count")) == 2)
        assert servers_of(node, "count") == {trio.left.node_id}
        with answered(node, "count", {"max_tokens": 3}) as answer:
            assert answer.status == 200
        assert attempts(answer.headers["X-Masa-Attempts"]) == {trio.left.node_id: "won"}
