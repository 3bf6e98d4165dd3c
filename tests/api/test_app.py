"""A bug in the node is told as one, in the caller's format; and it never turns a broken answer into a whole one."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from masa_node.api.app import App
from masa_node.chat.answer import Answer, StreamedAnswer, Usage
from masa_node.chat.offer import ModelOffer
from masa_node.chat.request import DialectName, Endpoint, Request
from masa_node.node.node import Node
from masa_node.node.settings.environment import read_settings
from masa_node.routing.provider import Sign, no_sign
from masa_node.upstreams.http.client import HttpClient
from tests.api.calling import call
from tests.api.raw_http import chat


class Scripted:
    """A provider that does as its script says at each request."""

    name = "scripted"
    location = "scripted (here)"
    label = "scripted"
    note = ""
    is_local = True
    offered = frozenset(Endpoint)

    def __init__(self) -> None:
        self.error: Exception = ValueError("secret-of-the-bug")
        self.invalidation = asyncio.Event()
        self.breaks_after = 0
        self.closed = 0

    async def offers(self) -> list[ModelOffer]:
        return [ModelOffer("m", self.offered)]

    async def answer(self, request: Request, sign: Sign = no_sign) -> Answer:
        if not self.breaks_after:
            raise self.error
        left = self.breaks_after

        async def next_piece() -> bytes:
            nonlocal left
            left -= 1
            if not left:
                raise self.error
            return b"data: {}\n\n"

        def close() -> None:
            self.closed += 1

        return StreamedAnswer(200, (), DialectName.OPENAI, b"data: {}\n\n", next_piece, close, lambda: 1, Usage())


@pytest.fixture
def provider() -> Scripted:
    return Scripted()


@pytest.fixture
async def app(provider: Scripted, tmp_path: Path) -> AsyncIterator[App]:
    """The application of a node with that provider, which listens nowhere."""
    async with HttpClient() as http:
        node = Node(read_settings({"MASA_DIR": os.devnull}, tmp_path / ".env"), http)
        node.add(provider)
        node.catalog.put(provider, await provider.offers())
        yield node.app


@pytest.mark.parametrize(
    ("path", "shape"),
    [("/v1/chat/completions", "code"), ("/v1/messages", "request_id"), ("/api/chat", "error")],
)
async def test_a_bug_is_500_in_the_callers_format_and_a_trace_in_the_log(
    app: App, provider: Scripted, path: str, shape: str
) -> None:
    with capture_logs() as logged:
        called = await call(app, "POST", path, chat("m"), ((b"host", b"localhost"), (b"x-request-id", b"mine")))
    assert called.status == 500
    assert called.is_complete
    assert shape in called.body.decode()
    assert called.headers[b"x-request-id"] == b"mine"
    assert b"secret-of-the-bug" not in called.body
    assert [(line["event"], line["request_id"]) for line in logged if line["log_level"] == "error"] == [("bug", "mine")]


async def test_a_bug_within_a_stream_leaves_it_cut(app: App, provider: Scripted) -> None:
    provider.breaks_after = 2
    with capture_logs() as logged:
        called = await call(app, "POST", "/v1/chat/completions", chat("m", stream=True))
    assert called.status == 200
    assert not called.is_complete
    assert provider.closed == 1
    assert [line["event"] for line in logged if line["log_level"] == "error"] == ["bug"]


async def test_after_a_bug_the_place_is_free_again(app: App, provider: Scripted) -> None:
    with capture_logs() as logged:
        for _ in range(300):  # more than MAX_CONCURRENT
            await call(app, "POST", "/v1/chat/completions", chat("m"))
    assert sum(line["event"] == "bug" for line in logged) == 300


async def test_a_model_is_found_by_its_path(app: App) -> None:
    for path in ("/v1/models/m", "/v1/models/m:latest"):
        assert msgspec.json.decode((await call(app, "GET", path)).body)["display_name"] == "m"
