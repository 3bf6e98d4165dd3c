"""A server that is asked at once, by calls: when it can be, and what becomes of the request."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import msgspec

from masa_node.chat.answer import WholeAnswer
from masa_node.chat.request import Endpoint, Request, RequestId
from masa_node.upstreams.http.client import HttpClient
from masa_node.upstreams.spec import UpstreamKind, UpstreamSpec
from masa_node.upstreams.upstream import MAX_WAYS, Upstream
from tests.fakes.dialect_samples import OPENAI, listed
from tests.fakes.http_bytes import whole
from tests.fakes.llm_server import FakeLlm, close, send


def asked(endpoint: Endpoint = Endpoint.OPENAI_CHAT, query: str = "") -> Request:
    at_s = asyncio.get_running_loop().time() + 30
    body = OPENAI.ask(stream=False)
    return Request(RequestId("r"), endpoint, "m", wants_stream=False, body=body, headers=(("accept", "*/*"),),
                   first_piece_deadline_s=at_s, idle_timeout_s=30, query=query)  # fmt: skip


@contextlib.asynccontextmanager
async def known() -> AsyncIterator[tuple[FakeLlm, Upstream]]:
    """A server that has answered once, over a connection that is kept."""
    async with OPENAI.fake(send(OPENAI.whole)) as llm, HttpClient() as http:
        upstream = Upstream(UpstreamSpec("x", UpstreamKind.OPENAI, f"{llm.url}/v1"), http)
        assert upstream.ask_now(asked()) is None  # nobody knows yet what it is
        await upstream.answer(asked())
        yield llm, upstream


async def test_it_is_asked_over_a_kept_connection_and_answers_as_ever() -> None:
    async with known() as (llm, upstream):
        before = len(llm.asked(OPENAI.endpoint))
        now = upstream.ask_now(asked())
        assert now is not None
        answer = await now.answer(asked())
        assert isinstance(answer, WholeAnswer)
        assert answer.body == OPENAI.answer
        first, second = llm.asked(OPENAI.endpoint)[before - 1 :]
        assert first.raw == second.raw
        assert first.connection == second.connection


async def test_while_its_connections_are_in_use_it_is_not() -> None:
    async with known() as (_, upstream):
        now = upstream.ask_now(asked())
        assert now is not None
        assert upstream.ask_now(asked()) is None
        now.close()


async def test_an_endpoint_that_it_has_not_is_not_asked_for() -> None:
    async with known() as (llm, upstream):
        before = len(llm.requests)
        assert upstream.ask_now(asked(Endpoint.OLLAMA_CHAT)) is None
        assert len(llm.requests) == before


async def test_a_head_that_cannot_be_sent_is_left_to_a_task() -> None:
    async with known() as (_, upstream):
        assert upstream.ask_now(msgspec.structs.replace(asked(), headers=(("accept", "a\r\nb"),))) is None


async def test_a_connection_that_has_died_costs_no_error() -> None:
    async with known() as (llm, upstream):
        llm.answer(OPENAI.endpoint, (close,), (send(OPENAI.whole),))
        now = upstream.ask_now(asked())
        assert now is not None
        answer = await now.answer(asked())
        assert isinstance(answer, WholeAnswer)
        assert answer.body == OPENAI.answer


async def test_only_so_many_heads_are_kept_ready() -> None:
    async with known() as (_, upstream):
        for number in range(MAX_WAYS + 2):
            now = upstream.ask_now(asked(query=f"api-version={number}"))
            assert now is not None
            await now.answer(asked())
        assert len(upstream._ways) <= MAX_WAYS


async def test_one_that_cannot_be_seen_again_stays_what_it_was() -> None:
    """Its list is there, and it is asked too often for anything else."""
    refused, busy = (send(whole(b"", status=403)),), (send(whole(b"", status=429)),)
    fake = FakeLlm().answer("/api/version", refused).answer("/v1/models", refused).answer("/v1/messages", refused)
    async with fake as llm, HttpClient() as http:
        upstream = Upstream(UpstreamSpec("x", UpstreamKind.AUTO, llm.url), http)
        assert await upstream.offers() is None
        label = upstream.label
        llm.answer("/api/version", busy).answer("/v1/messages", busy).answer("/v1/models", listed("a"))
        offers = await upstream.offers()
    assert [offer.model for offer in offers or ()] == ["a"]
    assert (upstream.label, upstream.note) == (label, "")


async def test_what_it_is_is_asked_again_once_it_refuses_no_more() -> None:
    """Ollama behind nginx answers 403 to every path until its owner has nginx send the Host that Ollama knows."""
    refused, version = (send(whole(b"", status=403)),), (send(whole(b'{"version":"0.32.15"}')),)
    fake = FakeLlm().answer("/api/version", refused).answer("/v1/models", refused).answer("/v1/messages", refused)
    async with fake as llm, HttpClient() as http:
        upstream = Upstream(UpstreamSpec("x", UpstreamKind.AUTO, llm.url), http)
        assert await upstream.offers() is None
        assert "without a word. So does an Ollama" in upstream.note
        llm.answer("/api/version", version).answer("/v1/models", listed("a")).answer("/api/tags", listed("a"))
        offers = await upstream.offers()
    assert [offer.model for offer in offers or ()] == ["a"]
    assert (upstream.label, upstream.note) == ("Ollama", "")
