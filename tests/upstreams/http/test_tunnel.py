"""The client behind a proxy: tunnels to https servers, http requests handed over, and words where neither leads on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from masa_node.chat.errors import (
    BrokenAnswer,
    ConfigurationError,
    ConnectionClosed,
    ProxyFailed,
    TlsFailed,
    Unreachable,
)
from masa_node.node.chain_http import ChainHttp
from masa_node.routing.answers.reader import read_whole
from masa_node.upstreams.http import client as http_client
from masa_node.upstreams.http.client import HttpClient
from masa_node.upstreams.http.proxies import Proxies
from tests.fakes.dialect_samples import OPENAI, listed
from tests.fakes.http_bytes import LAST_CHUNK, chunk, head, stream_head, whole
from tests.fakes.llm_server import FakeLlm, Line, Script, close, flood, reset, send, send_each, stall, until, wait_for
from tests.fakes.no_server import closed_port, full_backlog
from tests.fakes.proxy import FakeProxy
from tests.fakes.raw_http import post
from tests.fakes.running import running_node
from tests.upstreams.http.test_client_sockets import after_ten
from tests.upstreams.test_reaching import CERTIFICATES, tls

pytestmark = pytest.mark.on_every_loop

HOST = "elsewhere.example"  # its certificate is there; its name resolves nowhere but at the proxy
URL = f"https://{HOST}/x"
OK = (send(whole(b'{"ok":1}')),)
USER = "me%40home:hunter2"
BASIC = "Basic bWVAaG9tZTpodW50ZXIy"


@pytest.fixture(autouse=True)
def trusting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATES / "elsewhere.pem"))


@asynccontextmanager
async def behind(proxy: FakeLlm, user: str = "") -> AsyncIterator[HttpClient]:
    address = f"http://{user}{'@' if user else ''}127.0.0.1:{proxy.port}"
    async with HttpClient(Proxies({"HTTPS_PROXY": address, "HTTP_PROXY": address})) as client:
        yield client


async def ask(client: HttpClient, url: str = URL, body: bytes = b"{}") -> bytes:
    return await read_whole(await client.post(url, (("a", "b"),), body), 1_000_000)


@asynccontextmanager
async def tunnelled(*scripts: Script, user: str = "") -> AsyncIterator[tuple[HttpClient, FakeProxy, FakeLlm]]:
    """A client, its proxy, and the https server behind it that answers at /x."""
    llm = FakeLlm(tls=tls("elsewhere.pem")).answer("/x", *scripts)
    async with llm, FakeProxy({f"{HOST}:443": llm.port}) as proxy, behind(proxy, user) as client:
        yield client, proxy, llm


# ---- https: a tunnel ----


async def test_a_tunnel_is_asked_for_exactly_so_and_the_server_hears_nothing_of_it() -> None:
    async with tunnelled(OK, user=USER) as (client, proxy, llm):
        assert await ask(client) == b'{"ok":1}'
    assert proxy.connects == [
        f"CONNECT {HOST}:443 HTTP/1.1\r\nHost: {HOST}:443\r\nProxy-Authorization: {BASIC}\r\n\r\n".encode()
    ]
    (got,) = llm.requests
    assert got.header_names == ["a", "accept-encoding", "content-length", "host", "user-agent"]
    assert (got.target, got.header("host"), got.body) == ("/x", [HOST], b"{}")
    assert b"hunter2" not in got.raw
    assert BASIC.encode() not in got.raw


async def test_without_a_user_no_credentials_are_sent() -> None:
    llm = FakeLlm(tls=tls("elsewhere.pem")).answer("/x", OK)
    async with llm, FakeProxy({f"{HOST}:8443": llm.port}) as proxy, behind(proxy) as client:
        assert await ask(client, f"https://{HOST}:8443/x") == b'{"ok":1}'
    assert proxy.connects == [f"CONNECT {HOST}:8443 HTTP/1.1\r\nHost: {HOST}:8443\r\n\r\n".encode()]


async def test_pieces_come_through_a_tunnel_when_they_are_sent() -> None:
    go_on = asyncio.Event()
    script = (send(stream_head("a/b") + chunk(b"one")), wait_for(go_on), send(chunk(b"two") + LAST_CHUNK))
    async with tunnelled(script) as (client, _, _):
        answer = await client.post(URL, (), b"")
        assert await answer.read_piece() == b"one"
        go_on.set()
        assert await answer.read_piece() == b"two"
        assert await answer.read_piece() == b""


async def test_a_tunnel_is_kept_and_used_again() -> None:
    async with tunnelled(OK) as (client, proxy, llm):
        for _ in range(3):
            await ask(client)
    assert (len(proxy.connects), len(llm.requests)) == (1, 3)


async def test_a_kept_tunnel_that_ended_costs_no_error() -> None:
    async with tunnelled(OK, (close,), OK) as (client, proxy, _):
        assert [await ask(client), await ask(client)] == [b'{"ok":1}'] * 2
    assert len(proxy.connects) == 2


async def test_a_tunnel_that_is_cut_is_an_error_wherever_that_happens() -> None:
    half = (send(head(200, [("Content-Length", "9")]) + b"half"), stall)
    async with tunnelled((stall,), half) as (client, proxy, llm):
        asked = asyncio.ensure_future(ask(client))
        await llm.until(lambda: len(llm.requests) == 1)
        proxy.cut()
        with pytest.raises(ConnectionClosed):
            await asked
        answer = await client.post(URL, (), b"{}")
        assert await answer.read_piece() == b"half"
        proxy.cut()
        with pytest.raises(BrokenAnswer):
            await answer.read_piece()
        await until(lambda: proxy.open == llm.open == 0)


@pytest.mark.parametrize("ending", [close, reset])
async def test_a_tunnel_that_breaks_before_it_is_secured_is_the_proxys(ending: Any) -> None:  # noqa: ANN401
    async with FakeProxy(script=(send(b"HTTP/1.1 200 OK\r\n\r\n"), ending)) as proxy, behind(proxy) as client:
        with pytest.raises(Unreachable) as caught:
            await ask(client)
    assert f"the proxy http://127.0.0.1:{proxy.port} (HTTPS_PROXY)" in caught.value.message


async def test_a_certificate_is_the_servers_own_or_it_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATES / "localhost.pem"))
    async with tunnelled(OK) as (client, _, llm):
        with pytest.raises(TlsFailed, match=r"^through the proxy http://127.*certificate is not trusted"):
            await ask(client)
    assert llm.requests == []


# ---- http: handed over whole ----


async def test_a_plain_request_is_handed_over_with_the_whole_url() -> None:
    async with FakeLlm().answer("http://llm.test:11434/x?y=%20z", OK) as proxy, behind(proxy, USER) as client:
        assert await ask(client, "http://llm.test:11434/x?y=%20z") == b'{"ok":1}'
    (got,) = proxy.requests
    assert got.raw.startswith(
        b"POST http://llm.test:11434/x?y=%20z HTTP/1.1\r\n"
        b"host: llm.test:11434\r\n"
        b"proxy-authorization: " + BASIC.encode() + b"\r\nuser-agent: masa-node/"
    )
    assert got.body == b"{}"


async def test_handed_over_requests_keep_their_connection_each_server_its_own() -> None:
    async with FakeLlm().answer("http://a.test/x", OK).answer("http://b.test/x", OK) as proxy, behind(proxy) as client:
        for host in ("a", "b", "a", "b"):
            await ask(client, f"http://{host}.test/x")
    assert [got.connection for got in proxy.requests] == [1, 2, 1, 2]
    assert all(got.header("proxy-authorization") == [] for got in proxy.requests)


@pytest.mark.parametrize(("user", "says"), [("", "wants a user and a password"), (USER, "does not take the user")])
async def test_a_proxy_that_wants_credentials_for_a_handed_over_request_says_so(user: str, says: str) -> None:
    async with FakeLlm().answer("http://llm.test/x", (send(whole(b"", status=407)),)) as proxy:
        async with behind(proxy, user) as client:
            with pytest.raises(ProxyFailed, match=rf"\(HTTP_PROXY\) {says}"):
                await ask(client, "http://llm.test/x")
        await until(lambda: proxy.open == 0)


SQUID = ("X-Squid-Error", "ERR_ACCESS_DENIED 0")
OF_THE_PROXY = [
    (403, SQUID, "does not allow connections to llm.test:80 (403)"),
    (503, ("X-Squid-Error", "ERR_CONNECT_FAIL 111"), "could not connect to llm.test:80 (503)"),
    (502, ("Proxy-Status", "edge; error=connection_refused"), "could not connect to llm.test:80 (502)"),
    (504, ("Server", "squid/5.7"), "could not connect to llm.test:80 (504)"),
    (500, ("Server", "tinyproxy/1.11.1"), "could not connect to llm.test:80 (500)"),
    (400, SQUID, "did not hand the request on to llm.test:80 (400)"),
]


@pytest.mark.parametrize(("status", "header", "says"), OF_THE_PROXY)
async def test_a_proxys_own_error_for_a_handed_over_request_is_told_as_its_own(
    status: int, header: tuple[str, str], says: str
) -> None:
    page = whole(b"<html>hunter2</html>", status=status, headers=[header], content_type="text/html")
    async with FakeLlm().answer("http://llm.test/x", (send(page),)) as proxy:
        async with behind(proxy) as client:
            with pytest.raises(ProxyFailed) as caught:
                await ask(client, "http://llm.test/x")
        await until(lambda: proxy.open == 0)
    assert caught.value.message.startswith(f"the proxy http://127.0.0.1:{proxy.port} (HTTP_PROXY) ")
    assert says in caught.value.message
    assert "hunter2" not in caught.value.message


@pytest.mark.parametrize("status", [200, 400, 403, 404, 502, 503])
@pytest.mark.parametrize(
    "header", [("Via", "1.1 proxy (squid/5.7)"), ("Server", "uvicorn"), ("Proxy-Status", "edge; received-status=503")]
)
async def test_what_a_proxy_passes_on_is_the_servers(status: int, header: tuple[str, str]) -> None:
    script = (send(whole(b"the LLM's", status=status, headers=[header])),)
    async with FakeLlm().answer("http://llm.test/x", script) as proxy, behind(proxy) as client:
        answer = await client.post("http://llm.test/x", (), b"{}")
        assert (answer.status, await read_whole(answer, 1_000)) == (status, b"the LLM's")


async def test_a_407_of_a_server_itself_is_its_answer() -> None:
    script = (send(whole(b"mine", status=407)),)
    async with tunnelled(script) as (client, _, _), FakeLlm().answer("/x", script) as direct:
        assert await ask(client) == b"mine"
        assert await ask(client, f"{direct.url}/x") == b"mine"


async def test_a_server_on_this_machine_is_reached_straight() -> None:
    async with FakeLlm().answer("/x", OK) as llm, FakeProxy() as proxy, behind(proxy) as client:
        assert await ask(client, f"{llm.url}/x") == b'{"ok":1}'
    assert proxy.connections == 0
    assert llm.requests[0].target == "/x"


async def test_the_chain_is_reached_through_the_proxy_too() -> None:
    async with tunnelled(OK) as (client, proxy, _):
        assert await ChainHttp(client)(f"https://key:secret@{HOST}/x", b"{}", 100) == (200, b'{"ok":1}')
    assert len(proxy.connects) == 1
    assert b"secret" not in proxy.connects[0]


# ---- where it does not lead on ----

REFUSALS = [
    (407, "", "wants a user and a password (407). Put them into HTTPS_PROXY"),
    (407, USER, "does not take the user and password in HTTPS_PROXY (407)"),
    (403, "", f"does not allow connections to {HOST}:443 (403)"),
    (502, USER, f"could not connect to {HOST}:443 (502)"),
    (503, "", "NO_PROXY"),
    (405, "", f"opened no tunnel to {HOST}:443 (405). Is it an HTTP proxy?"),
    (302, "", "(302)"),
]


@pytest.mark.parametrize(("status", "user", "says"), REFUSALS)
async def test_a_proxy_that_refuses_is_quoted_with_what_to_do(status: int, user: str, says: str) -> None:
    page = whole(b"<html>hunter2, no</html>", status=status, content_type="text/html")
    async with FakeProxy(script=(send(page), stall)) as proxy, behind(proxy, user) as client:
        with pytest.raises(ProxyFailed) as caught:
            await ask(client)
        await until(lambda: proxy.open == 0)
    assert caught.value.message.startswith(f"the proxy http://127.0.0.1:{proxy.port} (HTTPS_PROXY) ")
    assert says in caught.value.message
    assert "hunter2" not in caught.value.message


NO_ANSWERS: list[Script] = [
    (send(b"SSH-2.0-OpenSSH_9.2p1\r\n"), stall),
    (send(b"\x15\x03\x01\x00\x02\x02\x16"), stall),
    (send(b"HTTP/1.1 20 OK\r\n\r\n"), stall),
    (send(b"HTTP/2 200\r\n\r\n"), stall),
    (send(b"HTTP/1.1 200 OK\r\n\r\nhello"), stall),
    (send(b"HTTP/1.1 200 OK\r\n"), flood(b"a: " + b"b" * 1000 + b"\r\n")),
    (close,),
    (send(b"HTTP/1.1 200 OK\r\n"), close),
]


@pytest.mark.parametrize("script", NO_ANSWERS)
async def test_what_is_no_answer_of_a_proxy_is_said_to_be_none(script: Script) -> None:
    async with FakeProxy(script=script) as proxy, behind(proxy) as client:
        with pytest.raises(ProxyFailed, match="HTTPS_PROXY"):
            await ask(client)
        await until(lambda: proxy.open == 0)


@pytest.mark.parametrize("status_line", [b"HTTP/1.0 200 OK", b"HTTP/1.1 200", b"HTTP/1.1 204 Fine"])
async def test_any_success_opens_the_tunnel_however_it_is_cut(status_line: bytes) -> None:
    answer = status_line + b"\r\nContent-Length: 0\r\n\r\n"
    began: list[bytes] = []

    async def hear(line: Line) -> None:
        began.append(await line.reader.readexactly(1))

    script = (send_each([answer[at : at + 1] for at in range(len(answer))]), hear, close)
    async with FakeProxy(script=script) as proxy, behind(proxy) as client:
        with pytest.raises(Unreachable):
            await ask(client)
    assert began == [b"\x16"]  # TLS' handshake


async def test_a_proxy_that_is_not_there_is_named() -> None:
    for host, says in ((f"127.0.0.1:{closed_port()}", "connection refused"), ("no-such.invalid:1", "not resolve")):
        async with HttpClient(Proxies({"ALL_PROXY": f"http://{USER}@{host}"})) as client:
            for url in (URL, "http://llm.test/x"):
                with pytest.raises(ProxyFailed) as caught:
                    await ask(client, url)
                assert caught.value.message.startswith(f"the proxy http://{host} (ALL_PROXY) cannot be reached: ")
                assert says in caught.value.message


async def test_a_proxy_that_is_silent_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_client, "CONNECT_TIMEOUT_S", 0.5)
    monkeypatch.setattr(http_client, "TUNNEL_TIMEOUT_S", 0.05)
    async with FakeProxy(script=(stall,)) as proxy, behind(proxy) as client:
        with pytest.raises(ProxyFailed, match=f"made no connection to {HOST}:443 within"):
            await ask(client)
        await until(lambda: proxy.open == 0)
    with full_backlog() as port:
        async with HttpClient(Proxies({"ALL_PROXY": f"127.0.0.1:{port}"})) as client:
            with pytest.raises(ProxyFailed, match="no connection in time"):
                await ask(client)


@pytest.mark.parametrize("script", [(stall,), (send(b"HTTP/1.1 200 OK\r\n"), stall), (send(head(200, ())), stall)])
async def test_a_cancel_at_any_turn_of_the_loop_leaves_nothing_open(script: Script) -> None:
    async with FakeProxy(script=script) as proxy, behind(proxy) as client:
        turns = iter(range(40))

        async def attempt() -> None:
            task = asyncio.ensure_future(ask(client))
            for _ in range(next(turns, 0)):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        for _ in range(3):
            assert await after_ten(attempt) == 0
        await until(lambda: proxy.open == 0)


# ---- the node ----


async def test_a_node_behind_a_proxy_serves_and_shows_no_credentials(log_lines: list[Any]) -> None:
    async with FakeLlm(tls=tls("elsewhere.pem")) as llm, FakeProxy({f"{HOST}:443": llm.port}) as proxy:
        llm.answer("/v1/models", *[listed("m")]).answer(OPENAI.endpoint, (send(OPENAI.stream),))
        settings = {**OPENAI.settings(f"https://{HOST}"), "https_proxy": proxy.setting(USER)}
        async with running_node(**settings) as node:
            reply = await post(node.port, OPENAI.endpoint, OPENAI.ask())
            assert (reply.body, reply.is_whole) == (b"".join(OPENAI.frames), True)
            proxy.script = (send(head(407, ())), stall)
            proxy.cut()
            refused = await post(node.port, OPENAI.endpoint, OPENAI.ask())
    assert "HTTPS_PROXY" in OPENAI.message_in(refused.body)
    assert all(b"hunter2" not in got.raw and BASIC.encode() not in got.raw for got in llm.requests)
    shown = f"{log_lines} {refused.body!r} {refused.headers} {node.node.settings!r}"
    assert "hunter2" not in shown
    assert BASIC not in shown


async def test_a_proxy_of_another_kind_stops_the_start_only_where_it_would_be_used() -> None:
    socks = {"ALL_PROXY": "socks5://me:hunter2@proxy:1080"}
    with pytest.raises(ConfigurationError, match=r"^ALL_PROXY names a proxy of the kind socks5://.*llm\.test"):
        async with running_node(LLM_CHAT_URL="http://llm.test:11434", **socks):
            pass
    llm = FakeLlm().answer("/v1/models", *[listed("m")])
    async with llm, running_node(LLM_CHAT_URL=llm.url, **socks) as node:
        assert node.port


async def test_a_url_that_the_start_did_not_see_is_refused_in_words() -> None:
    async with HttpClient(Proxies({"ALL_PROXY": "socks5://proxy"})) as client:
        with pytest.raises(ProxyFailed, match="socks5://"):
            await ask(client)
