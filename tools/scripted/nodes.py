"""Nodes before a scripted server: one that has it, or over a hop one that has nothing but the first as a peer."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path

from masa_node import serve
from masa_node.node.node import Node
from tools.scripted.server import MODEL, Scripted, node_settings

MEET_WITHIN_S = 20.0


@contextlib.asynccontextmanager
async def node_before(server: Scripted, folder: str, *, hop: bool) -> AsyncGenerator[Node, None]:
    """The node that is asked. Both keep their files in `folder`."""
    async with contextlib.AsyncExitStack() as stack:
        homes = [Path(folder) / name for name in ("near", "far")]
        for home in homes:
            home.mkdir()
        if not hop:
            alone = node_settings(str(homes[0]), network="off", **server.settings)
            yield await stack.enter_async_context(serve(alone))
            return
        shares = node_settings(str(homes[1]), network="on", open_network=True, share="all", **server.settings)
        far = await stack.enter_async_context(serve(shares))
        joins = node_settings(str(homes[0]), network="on", open_network=True, bootnodes=far.bootnode)
        near = await stack.enter_async_context(serve(joins, is_ready=False))
        async with asyncio.timeout(MEET_WITHIN_S):
            while not near.catalog.offers_of(MODEL):  # noqa: ASYNC110 - for a second
                await asyncio.sleep(0.05)
        yield near
