"""A network that ends badly.

Covers: `service`, `network`.
"""

import asyncio
import sqlite3
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from structlog.testing import capture_logs

from masa_node.network.links.peer_record import MembershipLevel, new_record
from masa_node.network.store.joins import keep_refusal
from masa_node.network.store.store import Store
from masa_node.network.transport.interfaces import NodeId
from masa_node.node.node import Node
from masa_node.node.peering import network as network_module
from masa_node.node.peering.network import PeerNetwork
from masa_node.node.peering.state import Off
from masa_node.upstreams.http.client import HttpClient
from tests.fakes.running import settings_of


async def test_what_fails_while_a_network_is_ended_does_not_keep_the_node_from_ending(tmp_path: Path) -> None:
    has_begun = asyncio.Event()

    async def fail_when_cancelled() -> None:
        try:
            has_begun.set()
            await asyncio.Event().wait()
        finally:
            raise RuntimeError("the last write failed")  # of which the log tells: it is a bug

    async def network(_: PeerNetwork) -> None:
        async with asyncio.TaskGroup() as group:  # which raises that in place of the cancellation
            group.create_task(fail_when_cancelled())

    async with HttpClient() as http, asyncio.TaskGroup() as group:
        service = Node(settings_of(MASA_DIR=str(tmp_path), NETWORK="on"), http).peer_service
        with mock.patch.object(PeerNetwork, "run", network):
            running = group.create_task(service.run())
            await has_begun.wait()
            running.cancel()
            await asyncio.wait([running])
    assert running.cancelled()
    assert isinstance(service.state, Off)


async def test_with_nobody_to_connect_to_the_doctor_is_told_of_the_join_that_was_refused(tmp_path: Path) -> None:
    store = await Store.open(tmp_path)
    await keep_refusal(store, "the invite is used up.")
    await store.close()
    async with HttpClient() as http, asyncio.TaskGroup() as group:
        service = Node(settings_of(MASA_DIR=str(tmp_path), NETWORK="auto"), http).peer_service
        running = group.create_task(service.run())
        await service.ready.wait()
        facts = (await service.state.look()).facts
        running.cancel()
    assert (facts.state, facts.refused_join) == ("off", "the invite is used up.")


async def test_a_disk_that_hangs_does_not_keep_the_node_from_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network_module, "SAVED_WITHIN_S", 0.01)
    may_go_on, hangs = threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def hang(connection: sqlite3.Connection) -> None:
        loop.call_soon_threadsafe(hangs.set)
        may_go_on.wait(60)

    met = new_record(NodeId("a" * 64), MembershipLevel.LISTED, 1.0)
    network: Any = SimpleNamespace(book=SimpleNamespace(take_changes=lambda: ([met], [])), take_new_vouchers=list)
    store = await Store.open(tmp_path)
    async with asyncio.TaskGroup() as group:
        group.create_task(store.database.read(hang))
        await hangs.wait()
        try:
            with capture_logs() as lines:
                await PeerNetwork._save_last(store, network)
        finally:
            may_go_on.set()
    await store.close()
    assert "peers is not saved" in lines[0]["event"]
