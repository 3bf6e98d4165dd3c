"""The HTTP client as the chain reader gets it."""

from collections.abc import AsyncIterator

import pytest

from masa_node.chat.errors import NotAnAnswer, Unreachable
from masa_node.node.chain_http import ChainHttp
from masa_node.upstreams.http.client import HttpClient
from tests.fakes.http_bytes import chunked, stream_head, whole
from tests.fakes.llm_server import FakeLlm, send


@pytest.fixture
async def post() -> AsyncIterator[ChainHttp]:
    async with HttpClient() as http:
        yield ChainHttp(http)


async def test_the_body_goes_as_it_is_and_status_and_body_come_back(post: ChainHttp) -> None:
    async with FakeLlm().answer("/v3/key", (send(whole(b"oh", status=418)),)) as server:
        assert await post(f"{server.url}/v3/key?a=b", b'{"a": 1}', 100) == (418, b"oh")
    (got,) = server.requests
    assert (got.method, got.target, got.body) == ("POST", "/v3/key?a=b", b'{"a": 1}')
    assert got.header("content-type") == ["application/json"]
    assert got.header("authorization") == []


async def test_user_and_password_go_as_a_header_and_not_in_the_host(post: ChainHttp) -> None:
    async with FakeLlm().answer("/", (send(whole(b"{}")),)) as server:
        await post(f"http://us%40er:p%3Ass@127.0.0.1:{server.port}/", b"{}", 100)
    (got,) = server.requests
    assert got.header("authorization") == ["Basic dXNAZXI6cDpzcw=="]
    assert got.header("host") == [f"127.0.0.1:{server.port}"]


@pytest.mark.parametrize("answer", [whole(b"x" * 101), stream_head("a/b") + chunked([b"x" * 60, b"x" * 60])])
async def test_an_answer_larger_than_allowed_is_refused_and_its_connection_given_up(
    post: ChainHttp, answer: bytes
) -> None:
    async with FakeLlm().answer("/", (send(answer),)) as server:
        with pytest.raises(NotAnAnswer):
            await post(f"{server.url}/", b"{}", 100)
        await server.until(lambda: server.open == 0)


async def test_an_answer_as_large_as_allowed_is_taken(post: ChainHttp) -> None:
    async with FakeLlm().answer("/", (send(whole(b"x" * 100)),)) as server:
        assert await post(f"{server.url}/", b"{}", 100) == (200, b"x" * 100)


NO_URLS = ["", "rpc.example", "ws://127.0.0.1/", "file:///etc/passwd", "http://", "http://[oh", "http://a:99999/"]
NO_URLS += [
    "http://127.0.0.1:0/",
    "http://127.0.0.1/ü",
    "http://127.0.0.1/a b",
    "http://127.0.0.1/a\r\nb: c",
    "http://.../",
]


@pytest.mark.parametrize("url", NO_URLS)
async def test_what_is_no_url_is_not_asked(post: ChainHttp, url: str) -> None:
    with pytest.raises(Unreachable) as caught:
        await post(url, b"{}", 100)
    assert "Correct RPC_URL" in caught.value.message
