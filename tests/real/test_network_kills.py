"""SIGKILL at every stage of a request: who can still be answered is, nobody takes half an answer for a whole one."""

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import anthropic
import httpx2
import ollama
import openai
import pytest
from calling import HELLO, LLM_TIMEOUT_S, LONG, answered, asked
from meeting import StartTrio, Supplier, Trio, attempts, linked, own_view, peer_row, servers_of, wait_until
from test_network_answers import DEMO

Measured = Callable[[str, float, float], None]
Step = Callable[[], Any]

NOTICED_WITHIN_S = 15.0  # promised are 4 s while requests are under way, 9 s on a quiet link; this machine is slow
TOLD_WITHIN_S = 5.0  # of an LLM that died: its connection breaks at once
IN_TURN = {"X-Masa-Race": "hedge;width=1"}  # two requests at once are spread over two equal peers
THREADS = 8
ENDED_WITHIN_S = LLM_TIMEOUT_S + 30  # each request has an end of its own before


@dataclass
class Seen:
    """What came of a kill: of each request its answer or error and the seconds since the kill, and what else took."""

    results: dict[str, tuple[Any, float]] = field(default_factory=dict[str, tuple[Any, float]])
    seconds: dict[str, float] = field(default_factory=dict[str, float])
    facts: dict[str, Any] = field(default_factory=dict[str, Any])

    def of(self, name: str) -> Any:  # noqa: ANN401 - an answer or an error
        return self.results[name][0]


class Requests:
    """Requests in threads, which end in an answer or an error, noted with the time of the kill as zero."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS)
        self._running: dict[str, Future[tuple[Any, float]]] = {}
        self._killed_at_s = 0.0

    def start(self, name: str, request: Step) -> None:
        self._running[name] = self._pool.submit(self._outcome, request)

    def killed(self) -> None:
        self._killed_at_s = time.monotonic()

    def seconds(self) -> float:
        return time.monotonic() - self._killed_at_s

    def end(self) -> dict[str, tuple[Any, float]]:
        with self._pool:
            return {name: future.result(ENDED_WITHIN_S) for name, future in self._running.items()}

    def _outcome(self, request: Step) -> tuple[Any, float]:
        try:
            result: Any = request()
        except (openai.APIError, anthropic.APIError, ollama.ResponseError, httpx2.TransportError, OSError) as exc:
            result = exc
        return result, self.seconds()


# ---- requests ----


def openai_stream(url: str, begun: Step) -> str:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=60) as client:
        stream = client.chat.completions.create(model="left", messages=HELLO, stream=True)
        return "".join(each.choices[0].delta.content or "" for each in counted(stream, begun))


def anthropic_stream(url: str, begun: Step) -> str:
    with (
        anthropic.Anthropic(base_url=url, api_key="none", max_retries=0, timeout=60) as client,
        client.messages.stream(model="left", messages=HELLO, max_tokens=1_000_000) as stream,
    ):
        return "".join(counted(stream.text_stream, begun))


def ollama_stream(url: str, begun: Step) -> str:
    connected: Any = ollama.Client(host=url, headers=IN_TURN, timeout=60)
    with connected as client:
        parts = client.chat("masa-demo", HELLO, stream=True)
        return "".join(part.message.content or "" for part in counted(parts, begun))


def counted(pieces: Any, begun: Step) -> Iterator[Any]:  # noqa: ANN401 - an SDK's stream
    for number, piece in enumerate(pieces):
        if number == 1:
            begun()
        yield piece


def whole(trio: Trio, model: str, messages: Any = HELLO, headers: Any = None) -> tuple[int, bytes, dict[str, str]]:  # noqa: ANN401
    fields = {"messages": messages, "max_tokens": 3}
    with answered(trio.requester, model, fields, headers) as answer:
        return answer.status, answer.read(), attempts(answer.headers["X-Masa-Attempts"] or "")


def start_two_slow_ones(trio: Trio, requests: Requests) -> None:
    """One waits for the first piece from the left, the other from the right: neither has more to do than the other."""
    for name in ("slow one", "slow two"):
        requests.start(name, lambda: whole(trio, "tardy", LONG * 2, IN_TURN))
    for each in (trio.left, trio.right):
        each.servers["slow"].seconds_until(busy_slots=1, within_s=20)


def start_streams(trio: Trio, requests: Requests) -> None:
    """Those that only the left can serve, with a piece each."""
    begun: list[int] = []
    requests.start("openai", lambda: openai_stream(trio.requester.url, lambda: begun.append(1)))
    requests.start("anthropic", lambda: anthropic_stream(trio.requester.url, lambda: begun.append(1)))
    wait_until(lambda: len(begun) == 2)


# ---- what happens ----


@pytest.fixture(scope="module")
def mortals(start_trio: StartTrio) -> Iterator[Trio]:
    with start_trio(demo_pieces_per_s="3") as trio:
        yield trio


@pytest.fixture(scope="module")
def peer_killed(mortals: Trio) -> Seen:
    """The left node is killed in the midst of streams, of a wait for a first piece, and is asked right after."""
    trio, requests, seen = mortals, Requests(), Seen()
    left = trio.left.node_id
    seen.facts["before"] = own_view(trio.left.node)
    begun: list[int] = []
    for name in ("ollama one", "ollama two"):
        requests.start(name, lambda: ollama_stream(trio.requester.url, lambda: begun.append(1)))
    wait_until(lambda: len(begun) == 2)
    start_two_slow_ones(trio, requests)
    start_streams(trio, requests)
    requests.killed()
    trio.left.node.kill()
    requests.start("after", lambda: whole(trio, "left"))
    requests.start("after, of both", lambda: whole(trio, "endless"))
    wait_until(lambda: left not in linked(trio.requester), NOTICED_WITHIN_S)
    seen.seconds["the killed peer is not linked any more"] = requests.seconds()
    wait_until(lambda: not servers_of(trio.requester, "left"), NOTICED_WITHIN_S)
    seen.seconds["the killed peer serves nothing any more"] = requests.seconds()
    seen.facts["row"] = peer_row(trio.requester, left)
    seen.results = requests.end()
    with answered(trio.requester, "left") as answer:
        seen.facts["away"] = answer.status, json.loads(answer.read())["error"], answer.headers["Retry-After"]
    requests.killed()
    trio.left.node.start()
    trio.wait_until_known()
    seen.seconds["a killed peer serves again after its start"] = requests.seconds()
    seen.facts["after"] = own_view(trio.left.node)
    return seen


@pytest.fixture(scope="module")
def requester_killed(mortals: Trio, peer_killed: Seen) -> Seen:
    """The first node, everybody's bootnode, is killed in the midst of a stream and of a wait for a first piece."""
    trio, requests, seen = mortals, Requests(), Seen()
    slow = trio.right.servers["slow"]  # the left is not trusted with much, after all that it broke off
    seen.facts["before"] = own_view(trio.requester)
    with (
        answered(trio.requester, "endless", {"stream": True}) as stream,
        asked(trio.requester, "tardy", {"messages": LONG * 2}),
    ):
        winner: Supplier = trio.supplier(stream.headers["X-Masa-Served-By"])
        slow.seconds_until(busy_slots=1, within_s=20)
        requests.killed()
        trio.requester.kill()
        winner.servers["endless"].seconds_until(busy_slots=0, within_s=NOTICED_WITHIN_S)
        seen.seconds["the slot of a killed requester is idle"] = requests.seconds()
        wait_until(lambda: not slow.callers(), NOTICED_WITHIN_S)
        seen.seconds["nobody waits for an LLM for a killed requester"] = requests.seconds()
    trio.right.node.stop()
    trio.right.node.start()
    wait_until(lambda: linked(trio.right.node))
    seen.facts["met"] = linked(trio.right.node)
    trio.requester.start()
    trio.wait_until_known()
    seen.facts["after"] = own_view(trio.requester)
    return seen


@pytest.fixture(scope="module")
def llm_killed(mortals: Trio, requester_killed: Seen) -> Seen:
    """The LLM servers of the left node are killed in the midst of streams and of a wait for a first piece."""
    trio, requests, seen = mortals, Requests(), Seen()
    start_two_slow_ones(trio, requests)
    start_streams(trio, requests)
    requests.killed()
    for server in trio.left.servers.values():
        server.kill()
    seen.results = requests.end()
    seen.facts["after"] = whole(trio, "endless")
    return seen


# ---- the node of a peer ----


@pytest.mark.parametrize("sdk", ["openai", "anthropic"])
def test_the_sdk_raises_when_the_serving_node_is_killed_in_the_stream(
    peer_killed: Seen, measured: Measured, sdk: str
) -> None:
    error, told_s = peer_killed.results[sdk]
    assert isinstance(error, (openai.APIError, anthropic.APIError, httpx2.TransportError))
    measured(f"{sdk}'s SDK is told that the serving node was killed", told_s, NOTICED_WITHIN_S)


def test_the_ollama_sdk_raises_too_and_a_stream_from_another_peer_goes_on(peer_killed: Seen) -> None:
    results = [peer_killed.of(name) for name in ("ollama one", "ollama two")]
    assert [result for result in results if not isinstance(result, Exception)] == [DEMO]
    assert any(isinstance(result, (ollama.ResponseError, httpx2.TransportError)) for result in results)


def test_a_peer_killed_before_its_first_piece_is_replaced_by_another(peer_killed: Seen, mortals: Trio) -> None:
    results = [peer_killed.of(name) for name in ("slow one", "slow two")]
    assert [status for status, *_ in results] == [200, 200], results
    trails = [list(trail) for *_, trail in results]
    left, right = mortals.left.node_id, mortals.right.node_id
    assert sorted(trails, key=len) == [[right], [left, right]]


def test_a_request_of_a_peer_that_is_already_dead_ends_in_a_true_error(peer_killed: Seen, measured: Measured) -> None:
    (status, body, trail), told_s = peer_killed.results["after"]
    assert status in (502, 503, 504)
    assert b'"error"' in body
    assert len(trail) == 1
    measured("a caller of a model of a killed peer is told", told_s, NOTICED_WITHIN_S)


def test_a_request_that_another_can_answer_does_not_wait_for_the_dead_one(
    peer_killed: Seen, measured: Measured
) -> None:
    (status, *_), took_s = peer_killed.results["after, of both"]
    assert status == 200
    measured("a live peer's answer beside a killed peer", took_s, 2.0)


def test_a_killed_peer_is_out_of_the_lists(peer_killed: Seen, measured: Measured) -> None:
    for what, took_s in peer_killed.seconds.items():
        measured(what, took_s, NOTICED_WITHIN_S)
    assert peer_killed.facts["row"]["connected"] is False
    assert peer_killed.facts["row"]["error"]


def test_a_model_of_nobody_but_the_killed_peer_is_away_then_and_not_unknown(peer_killed: Seen) -> None:
    status, error, retry_after_s = peer_killed.facts["away"]
    assert (status, error["code"]) == (503, "provider_away")
    assert "its link was lost" in error["message"]
    assert int(retry_after_s) >= 1


@pytest.mark.parametrize("which", ["peer_killed", "requester_killed"])
def test_a_killed_node_comes_back_with_its_id_and_its_port(request: pytest.FixtureRequest, which: str) -> None:
    seen: Seen = request.getfixturevalue(which)
    before, after = seen.facts["before"], seen.facts["after"]
    assert after["node_id"] == before["node_id"]
    assert after["addresses"][0] == before["addresses"][0]


# ---- the node of the caller ----


def test_the_llms_of_peers_stop_when_the_asking_node_is_killed(requester_killed: Seen, measured: Measured) -> None:
    for what, took_s in requester_killed.seconds.items():
        measured(what, took_s, NOTICED_WITHIN_S)


def test_a_node_that_starts_again_meets_the_others_although_its_bootnode_is_gone(
    requester_killed: Seen, mortals: Trio
) -> None:
    assert requester_killed.facts["met"] == {mortals.left.node_id}


# ---- the LLM of a peer ----


@pytest.mark.parametrize("sdk", ["openai", "anthropic"])
def test_the_sdk_raises_when_the_llm_of_the_serving_node_is_killed_in_the_stream(
    llm_killed: Seen, measured: Measured, sdk: str
) -> None:
    error, told_s = llm_killed.results[sdk]
    assert isinstance(error, (openai.APIError, anthropic.APIError, httpx2.TransportError))
    measured(f"{sdk}'s SDK is told that the LLM was killed", told_s, TOLD_WITHIN_S)


def test_a_peer_whose_llm_is_killed_before_its_first_piece_is_replaced_by_another(
    llm_killed: Seen, mortals: Trio
) -> None:
    results = [llm_killed.of(name) for name in ("slow one", "slow two")]
    assert [status for status, *_ in results] == [200, 200], results
    trails = [list(trail) for *_, trail in results]
    left, right = mortals.left.node_id, mortals.right.node_id
    assert sorted(trails, key=len) == [[right], [left, right]]


def test_the_other_peer_answers_once_an_llm_is_dead(llm_killed: Seen) -> None:
    status, body, _ = llm_killed.facts["after"]
    assert status == 200
    assert b" la la la" in body
