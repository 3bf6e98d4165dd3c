import asyncio
from pathlib import Path
from unittest import mock

from masa_node.node.node import Node
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
