"""What a node's network may give to one peer, and what it leaves however early it ends."""

import asyncio
from pathlib import Path

import pytest

from masa_node.network.requests.quotas import MAX_REQUESTS_PER_PEER
from masa_node.network.store.store import Store
from masa_node.node.node import Node
from masa_node.node.peering.network import PeerNetwork
from masa_node.node.peering.wiring import serving_limits
from masa_node.node.settings.environment import Settings
from masa_node.upstreams.http.client import HttpClient


def test_one_peer_may_have_every_slot_that_the_owner_gave_to_peers() -> None:
    limits = serving_limits(Settings(max_peer_jobs=100, max_peer_queue=20))

    assert limits.requests_per_peer == 120


@pytest.mark.parametrize(("jobs", "queue"), [(1, 0), (4, 8)])
def test_few_places_do_not_lower_what_one_peer_may_have_under_way(jobs: int, queue: int) -> None:
    """Those that find no place are told so by the queue itself."""
    limits = serving_limits(Settings(max_peer_jobs=jobs, max_peer_queue=queue))

    assert limits.requests_per_peer == MAX_REQUESTS_PER_PEER


@pytest.mark.parametrize("ends_in", ["set_value", "load", "pending_commands"])
async def test_the_store_is_closed_however_early_the_node_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends_in: str
) -> None:
    closed: list[Store] = []
    is_there = asyncio.Event()
    close = Store.close

    async def stuck(*given: object) -> None:
        del given
        is_there.set()
        await asyncio.Event().wait()

    async def closing(store: Store) -> None:
        closed.append(store)
        await close(store)

    monkeypatch.setattr(Store, ends_in, stuck)
    monkeypatch.setattr(Store, "close", closing)
    async with HttpClient() as http:
        node = Node(Settings(masa_dir=str(tmp_path), find_local=False), http)
        running = asyncio.create_task(PeerNetwork(node._peer_parts(), lambda _: None).run())
        await is_there.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert len(closed) == 1
