"""Whether anybody is there is found by a connection, and a name that hangs is not looked up without end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from masa_node.network.transport.iroh import presence as presence_module
from masa_node.network.transport.iroh.presence import Presence


@asynccontextmanager
async def listening() -> AsyncIterator[int]:
    listener = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with listener:
        yield listener.sockets[0].getsockname()[1]


class Names:
    """Stands in for the resolver: where each name leads, and how often it was asked. None hangs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.leads_to: str | None = "127.0.0.1"
        self.asked = 0
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", self._look_up, raising=False)

    async def _look_up(self, host: object, port: object, **_: object) -> list[tuple[object, ...]]:
        if host == "127.0.0.1":  # as the connection asks again
            return [(2, 1, 6, "", ("127.0.0.1", port))]
        self.asked += 1
        if self.leads_to is None:
            await asyncio.Event().wait()
        return [(2, 1, 6, "", (self.leads_to, port))]


async def test_who_listens_is_there_until_it_ends() -> None:
    presence = Presence()
    async with listening() as port:
        for _ in range(2):
            assert await presence.answers(f"http://127.0.0.1:{port}/?7")
    assert not await presence.answers(f"http://127.0.0.1:{port}/?7")


@pytest.mark.parametrize("url", ["", "public", "http://", "http://[::1", "https://" + "x" * 300])
async def test_what_is_no_url_is_nowhere(url: str) -> None:
    assert not await Presence().answers(url)


def set_times(monkeypatch: pytest.MonkeyPatch, *, look_up_every_s: float, within_s: float = 10.0) -> None:
    monkeypatch.setattr(presence_module, "LOOK_UP_EVERY_S", look_up_every_s)
    monkeypatch.setattr(presence_module, "ANSWERS_WITHIN_S", within_s)


async def test_a_name_is_looked_up_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    names, presence = Names(monkeypatch), Presence()
    async with listening() as port:
        for look_up_every_s, asked in ((0.0, 1), (1_000.0, 2), (1_000.0, 2)):
            set_times(monkeypatch, look_up_every_s=look_up_every_s)
            assert await presence.answers(f"http://relay.example.org:{port}")
            assert names.asked == asked


async def test_while_a_name_hangs_its_last_address_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    names, presence = Names(monkeypatch), Presence()
    async with listening() as port:
        url = f"http://relay.example.org:{port}"
        set_times(monkeypatch, look_up_every_s=0.0)
        assert await presence.answers(url)
        names.leads_to = None
        set_times(monkeypatch, look_up_every_s=1_000.0, within_s=0.02)
        assert not await presence.answers(url)
        set_times(monkeypatch, look_up_every_s=1_000.0)
        assert [await presence.answers(url) for _ in range(2)] == [True] * 2
        assert names.asked == 2
