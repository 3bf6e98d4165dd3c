"""A relay that was lost is spelled another way as soon as it answers, and nobody else sees that."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import iroh
import pytest

from masa_node.network.transport.addresses import PUBLIC_RELAYS
from masa_node.network.transport.iroh import relays as relays_module
from masa_node.network.transport.iroh.relays import QUIC_PORT, Relays, first_relays, plain_url

RELAY, OTHER = "https://relay.example.org/", "https://other.example.org/"


class NotedEndpoint:
    """What was done to its map of relays: +, the URL, the port of QUIC."""

    def __init__(self) -> None:
        self.done: list[tuple[str, str, int | None]] = []
        self.named = ""  # what it takes for its relay; the last one that was changed unless set
        self.tokens: set[str | None] = set()
        self.is_online = asyncio.Event()
        self.is_free = asyncio.Event()
        self.is_free.set()

    async def insert_relay(self, config: iroh.RelayConfig) -> None:
        await self.is_free.wait()
        self.done.append(("+", config.url, config.quic_port))
        self.tokens.add(config.auth_token)

    async def remove_relay(self, url: str) -> None:
        self.done.append(("-", url, None))

    async def online(self) -> None:
        await self.is_online.wait()

    def addr(self) -> iroh.EndpointAddr:
        key = "ae58ff8833241ac82d6ff7611046ed67b5072d142c588d0063e942d9a75502b6"
        return iroh.EndpointAddr(iroh.EndpointId.from_string(key), self.named or self.done[-1][1], [])

    def since(self, count: int) -> list[tuple[str, str, int | None]]:
        """All but the first ones."""
        return self.done[count:]


@asynccontextmanager
async def listening() -> AsyncIterator[str]:
    """The URL of somebody who takes connections."""
    listener = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with listener:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/"


class Answering:
    """Does anybody listen at these? As `now` says, or some do."""

    def __init__(self) -> None:
        self.now = False
        self.some: set[str] = set()

    async def answers(self, url: str) -> bool:
        return self.now or plain_url(url) in self.some


def answers_as_told(monkeypatch: pytest.MonkeyPatch) -> Answering:
    answering = Answering()
    monkeypatch.setattr(relays_module, "Presence", lambda: answering)
    return answering


def relays_of(url: str) -> tuple[Relays, NotedEndpoint]:
    endpoint = NotedEndpoint()
    return Relays(cast("iroh.Endpoint", endpoint), first_relays(url, "token")), endpoint


async def test_a_relay_that_answers_again_is_spelled_another_way_with_its_token() -> None:
    async with listening() as url:
        relays, endpoint = relays_of(url)
        assert await relays.connect_again(url.rstrip("/"))
        assert endpoint.done == [("-", url, None), ("+", f"{url}?1", None)], "in this order it is measured once"
        assert endpoint.tokens == {"token"}
        assert relays.urls == {url}
        assert await relays.meet(url) == f"{url}?1", "peers there are met over the connection that there is"
        await relays.leave()
        assert endpoint.done[-1] == ("-", f"{url}?1", None)
        assert not relays.urls


@pytest.mark.parametrize("way", ["used", "spelled again", "all of iroh's makers", "put back"])
async def test_what_is_being_put_in_while_all_are_left_is_taken_out_again(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering = answers_as_told(monkeypatch)
    answering.now = True
    relays, endpoint = relays_of(RELAY)
    if way == "put back":
        await relays.connect_again(RELAY)
        endpoint.is_online.set()
    endpoint.is_free.clear()
    busy = {
        "used": lambda: relays.use(OTHER),
        "all of iroh's makers": lambda: relays.use(PUBLIC_RELAYS),
        "spelled again": lambda: relays.connect_again(RELAY),
        "put back": relays.home,
    }[way]
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(busy())
        for _ in range(10):  # until it is being put in
            await asyncio.sleep(0)
        await relays.leave()
        endpoint.is_free.set()
    there = {RELAY}
    for sign, url, _ in endpoint.done:
        (there.add if sign == "+" else there.discard)(url)
    assert not there
    assert not relays.urls
    assert endpoint.done[-1][0] == "-", "it was put in, and taken out"
    await relays.use(OTHER)
    assert relays.urls == {OTHER}


async def test_until_it_is_connected_a_relay_is_not_asked_by_quic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relays_module, "SPELLED_AGAIN_EVERY_S", 0.0)
    answering = answers_as_told(monkeypatch)
    relays, endpoint = relays_of(RELAY)
    answering.now = True
    for spelling in (1, 2):
        await relays.connect_again(RELAY)
        assert endpoint.done[-1] == ("+", f"{RELAY}?{spelling}", None)
    before = len(endpoint.done)
    assert await relays.home() is None
    endpoint.is_online.set()
    assert await relays.home() == RELAY
    assert await relays.home() == RELAY
    assert endpoint.since(before) == [("+", f"{RELAY}?2", QUIC_PORT)], "once"


async def test_a_relay_that_does_not_answer_is_not_measured_until_there_is_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(relays_module, "SPELLED_AGAIN_EVERY_S", 0.0)
    answering = answers_as_told(monkeypatch)
    relays, endpoint = relays_of(RELAY)
    for is_there in (False, False, True, False, False):
        answering.now = is_there
        assert await relays.connect_again(RELAY) is is_there
    assert endpoint.done == [("-", RELAY, None), ("+", f"{RELAY}?1", None), ("-", f"{RELAY}?1", None)]
    assert relays.urls == {RELAY}
    endpoint.is_online.set()
    await relays.home()
    assert endpoint.since(3) == [("+", f"{RELAY}?1", QUIC_PORT)]


async def test_while_the_last_spelling_is_tried_there_is_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    async with listening() as url:
        relays, endpoint = relays_of(url)
        assert [await relays.connect_again(url) for _ in range(3)] == [True, False, False]
        assert len(endpoint.done) == 2
        monkeypatch.setattr(relays_module, "SPELLED_AGAIN_EVERY_S", 0.0)
        await relays.connect_again(url)
        assert endpoint.since(2) == [("-", f"{url}?1", None), ("+", f"{url}?2", None)]


@pytest.mark.parametrize("url", ["", "public", "https://another.example.org"])
async def test_where_none_in_use_was_lost_all_are_asked(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    answering = answers_as_told(monkeypatch)
    relays, endpoint = relays_of(RELAY)
    await relays.use(OTHER, "token")
    answering.some = {OTHER}
    assert await relays.connect_again(url)
    assert endpoint.since(1) == [("-", RELAY, None), ("-", OTHER, None), ("+", f"{OTHER}?1", None)]
    endpoint.is_online.set()
    await relays.home()
    assert set(endpoint.since(4)) == {("+", RELAY, QUIC_PORT), ("+", f"{OTHER}?1", QUIC_PORT)}


async def test_of_several_the_one_that_was_lost_is_asked_and_makes_room_for_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers_as_told(monkeypatch)
    relays, endpoint = relays_of(RELAY)
    await relays.use(OTHER)
    assert not await relays.connect_again(RELAY)
    assert endpoint.since(1) == [("-", RELAY, None)]


async def test_who_listens_is_found_by_a_connection() -> None:
    async with listening() as url:
        relays, endpoint = relays_of(url)
    assert not await relays.connect_again(url)
    assert endpoint.done == [("-", url, None)]


def test_others_see_no_spelling() -> None:
    assert plain_url("https://relay.example.org/?17") == "https://relay.example.org/"


@pytest.mark.parametrize(
    ("url", "quic_port"),
    [("https://relay.example.org", QUIC_PORT), ("http://relay.example.org:3340", None), ("HTTP://192.0.2.1", None)],
)
def test_over_plain_http_no_answer_of_quic_is_waited_for(url: str, quic_port: int | None) -> None:
    relays = first_relays(url, None)

    assert [config.quic_port for config in map(relays.get, relays.urls()) if config is not None] == [quic_port]


async def test_a_relay_that_was_left_is_neither_told_nor_home_while_iroh_still_names_it() -> None:
    relays, endpoint = relays_of(RELAY)
    endpoint.is_online.set()
    endpoint.named = f"{RELAY}?3"
    assert (relays.in_use(f"{RELAY}?3"), await relays.home()) == (RELAY, RELAY)
    await relays.leave()
    assert (relays.in_use(f"{RELAY}?3"), await relays.home()) == (None, None)
    await relays.use(OTHER)
    assert await relays.home() is None
    endpoint.named = OTHER
    assert (relays.in_use(OTHER), await relays.home()) == (OTHER, OTHER)
    assert relays.in_use(None) is None
