"""A relay that was lost is spelled another way as soon as it answers, and nobody else sees that."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import iroh
import pytest

from masa_node.network.transport.iroh import relays as relays_module
from masa_node.network.transport.iroh.relays import QUIC_PORT, Relays, first_relays, plain_url


class NotedEndpoint:
    """What was done to its map of relays."""

    def __init__(self) -> None:
        self.done: list[tuple[str, str, str | None]] = []

    async def insert_relay(self, config: iroh.RelayConfig) -> None:
        self.done.append(("+", config.url, config.auth_token))

    async def remove_relay(self, url: str) -> None:
        self.done.append(("-", url, None))


@asynccontextmanager
async def listening() -> AsyncIterator[str]:
    """The URL of somebody who takes connections."""
    listener = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with listener:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/"


def relays_of(url: str) -> tuple[Relays, NotedEndpoint]:
    endpoint = NotedEndpoint()
    return Relays(cast("iroh.Endpoint", endpoint), first_relays(url, "token")), endpoint


async def test_a_relay_that_answers_again_is_spelled_another_way_with_its_token() -> None:
    async with listening() as url:
        relays, endpoint = relays_of(url)
        await relays.connect_again(url.rstrip("/"))
        assert endpoint.done == [("+", f"{url}?1", "token"), ("-", url, None)]
        assert relays.urls == {url}
        assert await relays.meet(url) == f"{url}?1", "peers there are met over the connection that there is"
        await relays.leave()
        assert endpoint.done[-1] == ("-", f"{url}?1", None)
        assert not relays.urls


async def test_while_the_last_spelling_is_tried_there_is_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    async with listening() as url:
        relays, endpoint = relays_of(url)
        for _ in range(3):
            await relays.connect_again(url)
        assert len(endpoint.done) == 2
        monkeypatch.setattr(relays_module, "SPELLED_AGAIN_EVERY_S", 0.0)
        await relays.connect_again(url)
        assert endpoint.done[2:] == [("+", f"{url}?2", "token"), ("-", f"{url}?1", None)]


async def test_one_that_does_not_answer_and_one_that_is_not_used_are_left_as_they_are() -> None:
    async with listening() as url:
        relays, endpoint = relays_of(url)
        await relays.connect_again("http://127.0.0.1:9/")
    await relays.connect_again(url)
    assert endpoint.done == []


def test_others_see_no_spelling() -> None:
    assert plain_url("https://relay.example.org/?17") == "https://relay.example.org/"


@pytest.mark.parametrize(
    ("url", "quic_port"),
    [("https://relay.example.org", QUIC_PORT), ("http://relay.example.org:3340", None), ("HTTP://192.0.2.1", None)],
)
def test_over_plain_http_no_answer_of_quic_is_waited_for(url: str, quic_port: int | None) -> None:
    relays = first_relays(url, None)

    assert [config.quic_port for config in map(relays.get, relays.urls()) if config is not None] == [quic_port]
