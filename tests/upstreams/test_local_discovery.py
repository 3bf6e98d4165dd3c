"""LLM servers on this machine, found without being named; and a node that is led back to itself."""

import asyncio
import json

import pytest

from masa_node.node import node as compose
from masa_node.upstreams import local_discovery
from masa_node.upstreams.http.client import HttpClient
from masa_node.upstreams.spec import UpstreamKind
from tests.fakes.dialect_samples import OLLAMA, OPENAI, SAMPLES, DialectSample, listed
from tests.fakes.http_bytes import whole
from tests.fakes.llm_server import FakeLlm, Script, close, send, stall
from tests.fakes.no_server import closed_port
from tests.fakes.raw_http import get, post
from tests.fakes.running import node_before, running_node

WITHIN_S = 10.0  # on a busy machine


async def names(*ports: int, skip: frozenset[str] = frozenset()) -> list[str]:
    """What is found when these are the known ports; they are called a, b, c."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local_discovery, "KNOWN_PORTS", tuple(zip(ports, "abc", strict=False)))
        async with HttpClient() as http, asyncio.timeout(WITHIN_S):
            return [
                spec.name for spec in await local_discovery.find_local(http, local_discovery.usual_places(), skip=skip)
            ]


async def test_servers_that_list_models_are_found_in_the_order_of_the_ports() -> None:
    async with FakeLlm().answer("/v1/models", listed("m")) as one, FakeLlm().answer("/v1/models", listed()) as two:
        assert await names(one.port, closed_port(), two.port) == ["a", "c"]
        assert await names(one.port, closed_port(), two.port, skip=frozenset("a")) == ["c"]


NONE: list[Script] = [
    (send(whole(b'{"data":[]}', headers=[("X-Masa-Node", "0.1.0")])),),
    (send(whole(b"<html>", content_type="text/html")),),
    (send(whole(b'{"models":[]}')),),
    (send(whole(b'{"data":[]}', status=401)),),
    (send(whole(b"", status=302, headers=[("Location", "http://127.0.0.1:1/")])),),
    (send(b"SSH-2.0-OpenSSH\r\n"), stall),
    (close,),
]


@pytest.mark.parametrize("script", NONE)
async def test_what_is_no_llm_server_is_not_found(script: Script) -> None:
    async with FakeLlm().answer("/v1/models", script) as other:
        assert await names(other.port) == []


async def test_something_that_never_answers_hides_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_discovery, "PROBE_WITHIN_S", 0.1)
    async with FakeLlm(on_connect=(stall,)) as silent, FakeLlm().answer("/v1/models", listed("m")) as llm:
        assert await names(silent.port, llm.port) == ["b"]
        assert await names(llm.port, silent.port) == ["a"]


async def test_a_node_without_a_url_serves_what_it_finds() -> None:
    async with FakeLlm().answer("/v1/models", listed("m")).answer(OPENAI.endpoint, (send(OPENAI.whole),)) as llm:
        ports = ((closed_port(), "ollama"), (llm.port, "lmstudio"))
        async with running_node(known_ports=ports) as node:
            assert [state[0] for state in node.node.states()] == ["lmstudio"]
            reply = await post(node.port, OPENAI.endpoint, OPENAI.ask(stream=False))
    assert (reply.status, reply.body) == (200, OPENAI.answer)


async def test_a_node_with_a_url_looks_for_nothing() -> None:
    async with (
        FakeLlm() as known,
        FakeLlm() as llm,
        running_node(known_ports=((known.port, "x"),), LLM_CHAT_URL=llm.url),
    ):
        assert llm.connections > 0
    assert known.connections == 0


async def test_a_node_is_not_found_by_another_node_nor_by_itself() -> None:
    async with FakeLlm().answer("/v1/models", listed("m")) as llm, running_node(**OPENAI.settings(llm.url)) as first:
        assert [entry["id"] for entry in json.loads((await get(first.port, "/v1/models")).body)["data"]] == ["m"]
        assert await names(first.port) == []


# ---- a URL that leads back to the node ----


@pytest.mark.parametrize("speech", SAMPLES, ids=str)
@pytest.mark.parametrize("ending", ["", "/v1/chat/completions", "/v1/messages", "/api/chat", "/v1"])
async def test_a_url_that_leads_back_to_the_node_is_a_508_that_says_so(
    speech: DialectSample, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compose, "READY_WITHIN_S", 0.1)  # its first list waits for its first list
    port = closed_port()
    async with running_node(PORT=str(port), LLM_CHAT_URL=f"http://127.0.0.1:{port}{ending}") as node:
        async with asyncio.timeout(WITHIN_S):
            replies = [await post(node.port, speech.endpoint, speech.ask(stream=stream)) for stream in (True, False)]
            native = await post(node.port, "/api/v1/chat", speech.ask())
        assert node.node.admission.running == 0
    for reply in replies:
        if reply.status != 400:  # the format is not served there, which is said as clearly
            assert reply.status == 508
            assert "leads back to this node" in reply.body.decode()
            assert "LLM_CHAT_URL" in reply.body.decode()
    assert native.status == 508


async def test_two_nodes_that_lead_to_each_other_give_a_508(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compose, "READY_WITHIN_S", 0.1)
    one, two = closed_port(), closed_port()
    async with (
        running_node(PORT=str(one), LLM_CHAT_URL=f"http://127.0.0.1:{two}/v1") as first,
        running_node(PORT=str(two), LLM_CHAT_URL=f"http://127.0.0.1:{one}/v1"),
        asyncio.timeout(WITHIN_S),
    ):
        reply = await post(first.port, OPENAI.endpoint, OPENAI.ask())
    assert reply.status == 508
    assert "leads back" in OPENAI.message_in(reply.body)


async def test_a_node_behind_a_node_answers_byte_for_byte() -> None:
    async with (
        node_before(OPENAI, send(OPENAI.stream)) as (llm, inner),
        running_node(LLM_CHAT_URL=f"http://127.0.0.1:{inner.port}") as outer,
    ):
        reply = await post(outer.port, OPENAI.endpoint, OPENAI.ask())
    assert (reply.body, reply.is_whole) == (b"".join(OPENAI.frames), True)
    (got,) = llm.asked(OPENAI.endpoint)
    assert got.body == OPENAI.ask()
    assert len(got.header("x-masa-via")[0].split(",")) == 2


@pytest.mark.parametrize("body", [b'{"models":[{"name":"m"}]}', b'{"models":[]}', b'{"models":null}'])
@pytest.mark.parametrize("status", [404, 405, 200])
async def test_an_old_ollama_that_has_no_v1_is_found_by_its_tags(body: bytes, status: int) -> None:
    """`/v1/models` came with Ollama 0.2."""
    missing = (send(whole(b'{"error":"Unexpected endpoint or method. (GET /v1/models)"}', status=status)),)
    async with (
        FakeLlm().answer("/v1/models", missing).answer("/api/tags", (send(whole(body)),)) as llm,
        HttpClient() as http,
        asyncio.timeout(WITHIN_S),
    ):
        (found,) = await local_discovery.find_local(http, {"ollama": llm.url}, skip=frozenset())
    assert (found.name, found.kind, found.url) == ("ollama", UpstreamKind.OLLAMA, llm.url)


async def test_an_old_ollama_at_ollama_host_serves() -> None:
    llm = FakeLlm().answer("/api/tags", (send(whole(b'{"models":[{"name":"m"}]}')),))
    async with (
        llm.answer(OLLAMA.endpoint, (send(OLLAMA.whole),)),
        running_node(OLLAMA_HOST=f"127.0.0.1:{llm.port}", FIND_LOCAL="0") as node,
    ):
        assert (await post(node.port, OLLAMA.endpoint, b'{"model":"m","stream":false}')).status == 200


@pytest.mark.parametrize("body", [b"<html>", b'{"error":"Not Found"}', b'{"tags":[]}', b"[]"])
async def test_what_answers_something_else_at_its_tags_is_no_ollama(body: bytes) -> None:
    async with FakeLlm().answer("/api/tags", (send(whole(body)),)) as other:
        assert await names(other.port) == []
