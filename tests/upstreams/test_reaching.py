"""The way to the server: nothing listens, no such host, no TLS, the wrong certificate.

Covers: `http.client`, `http.connection`.
"""

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from masa_node.upstreams.http import client as http_client
from tests.fakes.dialect_samples import OPENAI, SAMPLES, DialectSample, listed
from tests.fakes.llm_server import FakeLlm, Step, close, reset, send, stall
from tests.fakes.no_server import closed_port, full_backlog
from tests.fakes.raw_http import Reply, post
from tests.fakes.running import running_node

CERTIFICATES = Path(__file__).parents[1] / "fakes" / "certificates"
TLS_HELLO_FAILURE = bytes.fromhex("15030100020228")

every_dialect = pytest.mark.parametrize("speech", SAMPLES, ids=str)


def tls(certificate: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATES / certificate)
    return context


async def ask(speech: DialectSample, url: str) -> Reply:
    async with running_node(**speech.settings(url)) as node:
        return await post(node.port, speech.endpoint, speech.ask())


def check(reply: Reply, speech: DialectSample, url: str, *words: str, status: int = 502) -> None:
    message = speech.message_in(reply.body)
    assert (reply.status, reply.is_whole) == (status, True)
    assert message.startswith(f"{speech.provider} ({url}")
    for word in words:
        assert word in message


@every_dialect
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_where_nothing_listens_the_error_says_to_start_the_server(speech: DialectSample, host: str) -> None:
    url = f"http://{host}:{closed_port()}"
    reply = await ask(speech, url)
    check(reply, speech, url, "connection refused", "Start the LLM server, or correct the URL", "again", status=503)
    assert reply.header("retry-after") == "2"


@every_dialect
async def test_a_host_name_that_does_not_resolve_is_said_to(speech: DialectSample) -> None:
    url = "http://no-such-host.invalid:80"
    check(await ask(speech, url), speech, url, "host name does not resolve", "Correct the URL")


@every_dialect
async def test_a_certificate_that_nobody_signed_is_not_trusted(speech: DialectSample) -> None:
    async with FakeLlm(tls=tls("localhost.pem")) as llm:
        reply = await ask(speech, llm.url)
    check(reply, speech, llm.url, "certificate is not trusted", "self-signed", "SSL_CERT_FILE")
    assert llm.requests == []


@pytest.fixture
def trusting(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The node trusts both certificates, as an owner makes it trust their own."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SSL_CERT_FILE", str(CERTIFICATES / "localhost.pem"))
        yield


@pytest.mark.usefixtures("trusting")
async def test_ssl_cert_file_makes_a_certificate_trusted() -> None:
    async with FakeLlm(tls=tls("localhost.pem")) as llm:
        llm.answer("/v1/models", *[listed("m")]).answer(OPENAI.endpoint, (send(OPENAI.stream),))
        async with running_node(**OPENAI.settings(llm.url)) as node:
            replies = [await post(node.port, OPENAI.endpoint, OPENAI.ask()) for _ in range(3)]
    assert [(reply.body, reply.is_whole) for reply in replies] == [(b"".join(OPENAI.frames), True)] * 3
    assert llm.connections == 1


async def test_a_certificate_of_another_host_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATES / "elsewhere.pem"))
    async with FakeLlm(tls=tls("elsewhere.pem")) as llm:
        reply = await ask(OPENAI, llm.url)
    check(reply, OPENAI, llm.url, "certificate is not trusted", "127.0.0.1")
    assert llm.requests == []


@pytest.mark.parametrize(
    "greeting",
    [(send(b"HTTP/1.1 400 Bad Request\r\n\r\n"), close), (close,), (reset,), (send(TLS_HELLO_FAILURE), stall)],
    ids=["plain HTTP", "closed", "reset", "a TLS alert"],
)
async def test_https_to_a_server_without_tls_asks_whether_https_is_right(greeting: tuple[Step, ...]) -> None:
    async with FakeLlm(on_connect=greeting) as llm:
        url = llm.url.replace("http:", "https:")
        reply = await ask(OPENAI, url)
    check(reply, OPENAI, url, "Is https right for this address?")


async def test_http_to_a_server_with_tls_is_told_apart_from_an_answer() -> None:
    async with FakeLlm(tls=tls("localhost.pem")) as llm:
        url = llm.url.replace("https:", "http:")
        reply = await ask(OPENAI, url)
    check(reply, OPENAI, url)


async def test_a_connect_that_nobody_answers_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_client, "CONNECT_TIMEOUT_S", 0.1)
    with full_backlog() as port:
        url = f"http://127.0.0.1:{port}"
        reply = await ask(OPENAI, url)
    check(reply, OPENAI, url, "no connection within 0.1 s", "firewall")


async def test_a_tls_handshake_that_nobody_answers_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_client, "CONNECT_TIMEOUT_S", 0.1)
    async with FakeLlm(on_connect=(stall,)) as llm:
        url = llm.url.replace("http:", "https:")
        reply = await ask(OPENAI, url)
        await llm.until(lambda: llm.open == 0)
    check(reply, OPENAI, url, "no connection within 0.1 s")
