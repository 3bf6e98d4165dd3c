import asyncio
import json
import re

import msgspec
import pytest
from structlog.testing import capture_logs

from masa_node.accounts.under_way import UnderWay
from masa_node.chat.answer import StreamedAnswer, Usage
from masa_node.chat.errors import (
    BrokenAnswer,
    ConnectionClosed,
    ConnectionRefused,
    DnsFailed,
    EndpointMissing,
    ErrorAnswer,
    FirstPieceTimeout,
    NotAnAnswer,
    PeerBusy,
    PeerRefused,
    ProviderError,
    ProxyFailed,
    StakeDemanded,
    Stalled,
    TlsFailed,
    Unreachable,
)
from masa_node.chat.headers import TO_PEERS
from masa_node.chat.offer import ModelOffer
from masa_node.chat.request import OWNER, DialectName, Endpoint, Privacy, RequestId
from masa_node.network.links.frames import FrameKind, frame, header_frame
from masa_node.network.requests.errors import failure_of
from masa_node.network.requests.frames import RequestHeader, headers_to_peer
from masa_node.network.requests.server import LINGER_S, ServingHooks, ServingLimits
from masa_node.network.requests.sharing import SharePolicy
from masa_node.network.transport.interfaces import NodeId
from masa_node.routing.catalog import Catalog
from tests.network.requests.request_world import LIMITS, MODEL, Node, ask, take, world
from tests.routing.scripted import WHOLE, ScriptedProvider, ScriptedStream
from tests.virtual_time import now_s, settle, virtual_time

CHUNK = b'data: {"choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":null}]}\n\n'


class Speaks(ScriptedStream):
    """A scripted stream whose first piece is valid."""

    def as_answer(self) -> StreamedAnswer:
        self.open = True
        return StreamedAnswer(
            200, (), DialectName.OPENAI, CHUNK, self.next_piece, self.close, lambda: self.frames, Usage()
        )


def provider(*steps: object) -> ScriptedProvider:
    made = ScriptedProvider("llm", *steps)  # type: ignore[arg-type]
    made.is_hosted = False
    return made


def limits(**changed: float) -> ServingLimits:
    fields = {name: getattr(LIMITS, name) for name in LIMITS.__struct_fields__} | changed
    return ServingLimits(**fields)


# ---- what reaches the LLM ----


@virtual_time
async def test_the_callers_request_id_reaches_no_peer_and_no_log_of_one() -> None:
    llm = provider(ScriptedStream([]))
    node = Node((llm,))
    async with world(node.serve) as here:
        mine = msgspec.structs.replace(ask(), request_id=RequestId("alice-invoice-17"))
        for _ in range(2):
            await take(here.peer, mine)
    told = [*(asked.request_id for asked in llm.asked), *(outcome.request_id for outcome in node.outcomes)]
    assert all(re.fullmatch("[0-9a-f]{16}", request_id) for request_id in told)
    assert len(set(told)) == 2, "two requests of one caller cannot be told to be his"


@virtual_time
async def test_exactly_these_header_names_cross_to_a_peer() -> None:
    assert sorted(TO_PEERS) == [
        "accept",
        "anthropic-beta",
        "anthropic-version",
        "content-type",
        "openai-beta",
        "traceparent",
        "tracestate",
    ]
    secret = ("authorization", "cookie", "x-api-key", "x-masa-via", "user-agent", "proxy-authorization", "host")
    llm = provider(WHOLE)
    async with world(Node((llm,)).serve) as here:
        headers = tuple((name, f"v-{name}") for name in (*sorted(TO_PEERS), *secret))
        await take(here.peer, ask(b'{"model":"tiny"}', wants_stream=False, headers=headers))
    (asked,) = llm.asked
    assert dict(asked.headers) == {name: f"v-{name}" for name in TO_PEERS} | {"x-masa-via": "peer,here"}


def test_the_asking_node_sends_no_other_header() -> None:
    sent = tuple((name, "v") for name in ("accept", "authorization", "cookie", "x-api-key", "x-masa-via", "user-agent"))
    assert headers_to_peer(sent) == (("accept", "v"),)


@virtual_time
async def test_the_serving_node_passes_on_no_other_header_whoever_sends_it() -> None:
    llm = provider(WHOLE)
    body = b'{"model":"tiny"}'
    header = RequestHeader(
        "r-1", "openai.chat", MODEL, wants_stream=False, body_bytes=len(body), first_piece_within_ms=30_000,
        headers=(("authorization", "x"), ("x-masa-via", "elsewhere"), ("accept", "*/*"), ("host", "evil")),
    )  # fmt: skip
    async with world(Node((llm,)).serve) as here:
        stream = await here.link.open()
        await stream.write(header_frame(FrameKind.REQUEST, header) + frame(FrameKind.BODY, body))
        await asyncio.sleep(1)
        stream.abort()
    assert llm.asked[0].headers == (("accept", "*/*"), ("x-masa-via", "peer,here"))


@virtual_time
async def test_a_request_arrives_as_it_was_sent_and_may_not_travel_on() -> None:
    llm = provider(WHOLE)
    node = Node((llm,))
    async with world(node.serve) as here:
        await take(here.peer, ask(b'{"model":"tiny","x":1}', endpoint=Endpoint.OPENAI_CHAT, wants_stream=False))
        requester = here.requester_id
    (asked,) = llm.asked
    assert (asked.endpoint, asked.model) == (Endpoint.OPENAI_CHAT, MODEL)
    assert (asked.wants_stream, asked.body, asked.privacy) == (False, b'{"model":"tiny","x":1}', Privacy.LOCAL)
    assert (asked.requester, node.outcome.error, node.outcome.status) == (requester, None, 200)


@virtual_time
async def test_an_error_of_the_llms_own_behind_its_first_piece_arrives_and_is_noted() -> None:
    error = b'data: {"error":{"message":"no"}}\n\n'
    async with world(Node((provider(Speaks([error])),)).serve) as here:
        got = await take(here.peer, ask())
    assert got.is_whole
    assert got.body == CHUNK + error
    assert got.answer is not None
    assert got.answer.usage.has_failed


# ---- when the node stops ----


@pytest.mark.parametrize("by_calls", [True, False])
@virtual_time
async def test_a_node_that_stops_serves_what_was_asked_before_to_its_end(*, by_calls: bool) -> None:
    last = CHUNK.replace(b"null", b'"stop"')
    node = Node((provider(Speaks([3.0, last])),), by_calls=by_calls)
    async with world(node.serve) as here:
        under_way = asyncio.create_task(take(here.peer, ask()))
        await asyncio.sleep(1)
        began_s, stopping = now_s(), asyncio.create_task(node.server.stop())
        await asyncio.sleep(1)
        refused = await take(here.peer, ask())
        assert isinstance(refused.error, PeerBusy)
        assert "stopping" in str(refused.error)
        assert not stopping.done()
        await stopping
        assert 2 <= now_s() - began_s <= 3
        got = await under_way
        assert got.is_whole
        assert got.pieces == [CHUNK, last]


# ---- what is refused ----


@virtual_time
async def test_whom_the_rule_refuses_is_told_why_before_his_body_is_read() -> None:
    llm = provider(WHOLE)
    vetted: list[NodeId] = []

    async def vet(peer: NodeId) -> None:
        vetted.append(peer)
        raise StakeDemanded("it serves staked nodes only.")

    node = Node((llm,), hooks=ServingHooks(vet, (refused := list[str]()).append))
    with capture_logs() as lines:
        async with world(node.serve) as here:
            got = await take(here.peer, ask(b'{"model":"tiny","stream":true,"x":"' + b"x" * 900_000 + b'"}'))
            await take(here.peer, ask())
            assert vetted == [here.requester_id] * 2
    assert refused == ["stake_demanded"] * 2
    [told] = lines  # once a minute for each peer
    assert (told["event"], told["error"]) == ("peer not served", "stake_demanded")
    assert told["why"] == "it serves staked nodes only."
    assert isinstance(got.error, StakeDemanded)
    assert got.error.message == "it serves staked nodes only."
    assert (llm.asked, node.outcomes) == ([], [])


@virtual_time
async def test_a_requester_that_leaves_while_it_is_vetted_leaves_nothing() -> None:
    forever = asyncio.Event()

    async def vet(peer: NodeId) -> None:
        await forever.wait()

    node = Node((provider(WHOLE),), hooks=ServingHooks(vet))
    async with world(node.serve) as here:
        asking = asyncio.create_task(take(here.peer, ask()))
        await asyncio.sleep(1)
        asking.cancel()
    assert node.outcomes == []


@pytest.mark.parametrize(
    ("model", "endpoint"),
    [("other", Endpoint.OPENAI_CHAT), (MODEL, Endpoint.OLLAMA_SHOW), ("Withheld", Endpoint.OPENAI_CHAT)],
)
@virtual_time
async def test_what_is_not_shared_is_refused(model: str, endpoint: Endpoint) -> None:
    llm = provider(WHOLE)
    node = Node((llm,), models=(MODEL, "withheld", "Withheld"), policy=SharePolicy(globs=(MODEL, "withheld")))
    async with world(node.serve) as here:
        body = json.dumps({"model": model, "stream": True}).encode()
        got = await take(here.peer, ask(body, model=model, endpoint=endpoint))
    assert isinstance(got.error, PeerRefused)
    assert (llm.asked, node.outcomes) == ([], [])


@virtual_time
async def test_a_model_that_is_shared_through_other_endpoints_is_had_through_those() -> None:
    """Its server turned out not to have this one, and the peer has yet to hear of it."""
    llm = provider(WHOLE)
    node = Node((llm,))
    catalog = Catalog()
    catalog.put(llm, [ModelOffer(MODEL, frozenset({Endpoint.OLLAMA_CHAT}))])
    node.server.shared.follow(catalog)
    async with world(node.serve) as here:
        got = await take(here.peer, ask())
    assert isinstance(got.error, EndpointMissing)
    assert got.error.endpoints == {Endpoint.OLLAMA_CHAT}
    assert (llm.asked, node.outcomes) == ([], [])


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"tiny","model":"other","stream":true}',
        b'{"model":"tiny","Model":"other","stream":true}',
        b'{"model":"other","stream":true}',
        b'{"model":"tiny"}',
        b"not json",
    ],
)
@virtual_time
async def test_a_body_that_is_not_what_its_header_says_is_refused(body: bytes) -> None:
    llm = provider(WHOLE)
    async with world(Node((llm,)).serve) as here:
        got = await take(here.peer, ask(body))
    assert isinstance(got.error, PeerRefused)
    assert llm.asked == []


@virtual_time
async def test_a_body_beyond_the_limit_is_refused_before_it_is_read() -> None:
    node = Node((provider(WHOLE),), limits=limits(max_body_bytes=1_000))
    async with world(node.serve) as here:
        got = await take(here.peer, ask(b'{"model":"tiny","stream":true,"x":"' + b"x" * 3_000_000 + b'"}'))
        assert isinstance(got.error, PeerRefused)
        assert now_s() < 0.1


@virtual_time
async def test_one_peer_asks_no_more_often_than_is_allowed() -> None:
    node = Node((provider(WHOLE),), limits=limits(requests_per_minute=6))
    async with world(node.serve) as here:
        results = [await take(here.peer, ask(b'{"model":"tiny"}', wants_stream=False)) for _ in range(8)]
        assert [type(got.error) for got in results] == [type(None)] * 6 + [PeerRefused] * 2
        await asyncio.sleep(21)
        results = [await take(here.peer, ask(b'{"model":"tiny"}', wants_stream=False)) for _ in range(4)]
        assert [type(got.error) for got in results] == [type(None)] * 2 + [PeerRefused] * 2


@virtual_time
async def test_one_peer_has_only_so_many_requests_under_way() -> None:
    node = Node((provider(5.0, WHOLE),), limits=limits(requests_per_peer=3))
    async with world(node.serve) as here, asyncio.TaskGroup() as group:
        asking = [group.create_task(take(here.peer, ask(b'{"model":"tiny"}', wants_stream=False))) for _ in range(5)]
        await asyncio.sleep(1)
        assert [type(task.result().error) for task in asking if task.done()] == [PeerBusy] * 2


@virtual_time
async def test_when_all_places_are_taken_the_requester_hears_it_at_once() -> None:
    node = Node((provider(5.0, WHOLE),), max_running=1, max_waiting=1)
    async with world(node.serve) as here, asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(take(here.peer, ask(b'{"model":"tiny"}', wants_stream=False)))
        await asyncio.sleep(0.1)
        got = await take(here.peer, ask(b'{"model":"tiny"}', wants_stream=False))
        assert isinstance(got.error, PeerBusy)
        assert now_s() < 0.2


# ---- what the requester hears of failures ----


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ConnectionRefused("connect call failed ('10.0.0.1', 11434)"), ConnectionRefused),
        (Unreachable("no connection (10.0.0.1:11434)"), Unreachable),
        (BrokenAnswer("cut at http://10.0.0.1:11434/api"), BrokenAnswer),
        (NotAnAnswer("localhost:8080 answered 302"), NotAnAnswer),
        (ProviderError("secret of http://10.0.0.1"), ProviderError),
        (
            ErrorAnswer("10.0.0.1 says no", status=404, headers=(), body=b"<html>10.0.0.1", is_json=False),
            ErrorAnswer,
        ),
        (
            ErrorAnswer("key sk-123", status=401, headers=(), body=b'{"error":"key sk-123"}', is_json=True),
            ProviderError,
        ),
    ],
    ids=lambda value: getattr(value, "code", ""),
)
@virtual_time
async def test_a_failure_is_told_without_the_owners_addresses_and_keys(
    error: ProviderError, told: type[ProviderError]
) -> None:
    async with world(Node((provider(error),)).serve) as here:
        got = await take(here.peer, ask())
    assert type(got.error) is told
    said = f"{got.error.message} {got.error.location} {getattr(got.error, 'body', b'')!r}"
    assert not any(secret in said for secret in ("10.0.0.1", "localhost", "11434", "http://", "sk-123", "llm ("))
    assert "its LLM server" in got.error.location


@pytest.mark.parametrize(
    "error", [Unreachable, ConnectionRefused, DnsFailed, TlsFailed, ConnectionClosed, FirstPieceTimeout, Stalled]
)
def test_a_failure_told_in_the_nodes_own_words_says_what_to_do(error: type[ProviderError]) -> None:
    assert ". Ask again" in failure_of(error("of http://10.0.0.1")).message


@virtual_time
async def test_an_answer_that_breaks_in_the_middle_is_told_as_broken() -> None:
    node = Node((provider(Speaks([CHUNK, BrokenAnswer("the connection broke")])),))
    async with world(node.serve) as here:
        got = await take(here.peer, ask())
    assert got.body == CHUNK * 2
    assert isinstance(got.error, BrokenAnswer)
    assert (node.outcome.error, node.outcome.status) == ("broken_answer", 200)


@virtual_time
async def test_a_requester_without_time_left_is_told_and_the_llm_is_not_blamed() -> None:
    llm = provider()
    node = Node((llm,))
    async with world(node.serve) as here:
        asked = ask()
        for _ in range(4):
            soon_s = asyncio.get_running_loop().time() + 0.5
            got = await take(here.peer, msgspec.structs.replace(asked, first_piece_deadline_s=soon_s))
            assert isinstance(got.error, FirstPieceTimeout)
        assert llm.at_work == 0
        health = node.server._dispatcher.stats.health.of(llm.name)
        assert health.is_well(asyncio.get_running_loop().time())
    assert {outcome.error for outcome in node.outcomes} == {FirstPieceTimeout.code}


# ---- the requester gives up ----


@pytest.mark.parametrize("how", ["abort", "link"])
@pytest.mark.parametrize("when", ["queued", "waiting", "streaming"])
@virtual_time
async def test_the_llm_is_stopped_at_once_when_the_requester_gives_up(how: str, when: str) -> None:
    stream = Speaks([CHUNK, *([0.01, CHUNK] * 10_000)])
    llm = {"queued": provider(), "waiting": provider(), "streaming": provider(0.0, stream)}[when]
    node = Node((llm,), max_running=0 if when == "queued" else 10)
    async with world(node.serve) as here:
        asking = asyncio.get_running_loop().create_task(take(here.peer, ask()))
        await asyncio.sleep(0.5)
        assert (node.admission.waiting, llm.at_work) == (when == "queued", when == "waiting")
        assert stream.open == (when == "streaming")
        if how == "abort":
            asking.cancel()
        else:
            here.link.close("gone")
        await asyncio.sleep(0.01)
        await settle()
        assert (node.admission.waiting, node.admission.running, llm.at_work, stream.open) == (0, 0, 0, False)
        assert node.outcome.error == "caller_gone"
        await asyncio.wait([asking])


@virtual_time
async def test_a_place_is_free_again_when_the_answer_is_whole_whatever_the_requester_does_then() -> None:
    node = Node((provider(WHOLE),), max_running=1, max_waiting=0)
    async with world(node.serve) as here:
        for _ in range(3):
            got = await take(here.peer, ask(b'{"model":"tiny"}', wants_stream=False))
            assert got.error is None
        await asyncio.sleep(LINGER_S + 1)
        assert len(node.outcomes) == 3


@virtual_time
async def test_a_stopping_node_ends_what_it_serves() -> None:
    llm = provider()
    node = Node((llm,))
    async with world(node.serve) as here:
        asking = asyncio.get_running_loop().create_task(take(here.peer, ask()))
        await asyncio.sleep(0.1)
        assert llm.at_work == 1
        here.stop_serving()
        await asyncio.wait([asking])
        assert llm.at_work == 0
        assert isinstance(asking.result().error, ProviderError)


# ---- this node's owner ends it ----


@pytest.mark.parametrize("when", ["queued", "waiting", "streaming"])
@virtual_time
async def test_a_request_under_way_is_seen_with_its_peer_and_ended_by_the_owner_who_tells_the_peer(when: str) -> None:
    stream = Speaks([CHUNK, *([0.01, CHUNK] * 10_000)])
    llm = {"queued": provider(), "waiting": provider(), "streaming": provider(0.0, stream)}[when]
    under_way = UnderWay()
    node = Node((llm,), max_running=0 if when == "queued" else 10, hooks=ServingHooks(under_way=under_way))
    async with world(node.serve) as here:
        asking = asyncio.get_running_loop().create_task(take(here.peer, ask()))
        await asyncio.sleep(0.5)
        (listed,) = under_way.requests()
        assert (listed.peer, listed.key, listed.model) == (here.requester_id, "", MODEL)
        assert under_way.end(listed.request_id, OWNER) == 0
        assert under_way.end(listed.request_id) == 1
        got = await asking
        assert isinstance(got.error, PeerRefused)
        assert "its owner has ended the request" in got.error.message
        assert (under_way.requests(), node.admission.waiting, node.admission.running) == ([], 0, 0)
        assert (llm.at_work, stream.open) == (0, False)


@virtual_time
async def test_of_the_callers_query_exactly_the_mark_of_a_beta_crosses_to_a_peer() -> None:
    llm = provider(WHOLE)
    async with world(Node((llm,)).serve) as here:
        for query in ("beta=true&api-version=1&key=secret", "api-version=1", ""):
            asked = msgspec.structs.replace(ask(b'{"model":"tiny"}', wants_stream=False), query=query)
            await take(here.peer, asked)
    assert [asked.query for asked in llm.asked] == ["beta=true", "", ""]


def test_a_peer_does_not_hear_of_the_owners_proxy() -> None:
    failure = failure_of(ProxyFailed("the proxy http://proxy.lan (HTTPS_PROXY) wants a user and a password (407)."))
    assert (failure.code, "proxy" in failure.message.lower()) == ("unreachable", False)
