"""Covers: `unreached`."""

import asyncio
import socket

import pytest

from masa_node.network.transport.interfaces import MAX_ADDRESSES, NodeId, PeerAddress
from masa_node.network.transport.resolver import resolve
from masa_node.network.transport.unreached import PeerHostUnknown

NODE = NodeId("a" * 64)


def named(monkeypatch: pytest.MonkeyPatch, **hosts: list[str]) -> list[str]:
    """Gives host names addresses; the list tells who was looked up."""
    asked: list[str] = []

    def look_up(host: str, port: int, **kind: object) -> list[tuple[object, ...]]:
        asked.append(host)
        if host not in hosts:
            raise socket.gaierror(socket.EAI_NONAME, "not known")
        return [(0, 0, 0, "", (ip, port)) for ip in hosts[host]]

    monkeypatch.setattr(socket, "getaddrinfo", lambda host, port, *_, **__: look_up(host, port))
    return asked


async def test_names_become_addresses_and_addresses_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = named(monkeypatch, boot=["192.168.1.5", "fd00::5"])
    address = await resolve(PeerAddress(NODE, ("8.8.8.8:1", "boot:4433"), "https://relay.example.org"))
    assert address.direct == ("8.8.8.8:1", "192.168.1.5:4433", "[fd00::5]:4433")
    assert address.relay_url == "https://relay.example.org"
    assert asked == ["boot"]


async def test_a_name_that_is_not_found_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    named(monkeypatch)
    assert (await resolve(PeerAddress(NODE, ("boot:4433", "8.8.8.8:1")))).direct == ("8.8.8.8:1",)


async def test_what_is_no_name_is_not_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = named(monkeypatch)
    with pytest.raises(PeerHostUnknown):
        await resolve(PeerAddress(NODE, ("bo ot:1", "boot", "300.1.1.1:1")))
    assert asked == []


async def test_a_peer_of_which_no_name_is_found_is_said_to_be_just_that(monkeypatch: pytest.MonkeyPatch) -> None:
    named(monkeypatch)
    with pytest.raises(PeerHostUnknown, match=r"does not resolve: gpu-box\."):
        await resolve(PeerAddress(NODE, ("gpu-box:4433",)))


async def test_a_relay_is_a_way_to_a_peer_of_which_no_name_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    named(monkeypatch)
    address = await resolve(PeerAddress(NODE, ("gpu-box:4433",), "https://relay.example.org/"))
    assert (address.direct, address.relay_url) == ((), "https://relay.example.org/")


async def test_a_name_with_very_many_addresses_gives_a_few(monkeypatch: pytest.MonkeyPatch) -> None:
    named(monkeypatch, boot=[f"192.168.1.{last}" for last in range(100)])
    assert len((await resolve(PeerAddress(NODE, ("boot:1",)))).direct) == MAX_ADDRESSES


async def test_a_resolver_that_hangs_holds_nobody_up_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("masa_node.network.transport.resolver.RESOLVE_WITHIN_S", 0.01)
    over = asyncio.Event()

    async def hang(*_: object, **__: object) -> list[object]:
        await over.wait()
        return []

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", hang)
    with pytest.raises(PeerHostUnknown):
        await resolve(PeerAddress(NODE, ("boot:1",)))
