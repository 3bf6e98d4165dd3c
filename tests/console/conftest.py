"""One browser, and one demo of three nodes, for all tests of the console, in one event loop."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from masa_node import Node, serve
from masa_node.upstreams.demo import MODEL
from tests.console.browsing import Tabs, tabs_or_lacking
from tests.fakes.llm_server import until
from tests.fakes.running import settings_of

READY_WITHIN_S = 15.0
STRANGERS_NAME = "<img src=x onerror=alert(1)>"
QUICK = 200.0  # words a second
SLOW = 50.0


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def tabs() -> AsyncIterator[Tabs]:
    async with tabs_or_lacking() as found:
        yield found


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def demo(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    """The first of three linked nodes: it has no LLM, the others have the built-in one. One has a name that bites."""
    folder = tmp_path_factory.mktemp("demo")
    async with contextlib.AsyncExitStack() as stack:
        first = await stack.enter_async_context(_node(folder, "first", OPEN_NETWORK="1", USAGE="count"))
        await until(lambda: bool(first.bootnode), READY_WITHIN_S)
        for name, pieces_per_s in (("quick", QUICK), (STRANGERS_NAME, SLOW)):
            settings = {"DEMO": "1", "DEMO_PIECES_PER_S": str(pieces_per_s), "BOOTNODES": first.bootnode}
            await stack.enter_async_context(_node(folder, name, **settings))
        await until(lambda: len(first.catalog.offers_of(MODEL)) == 2, READY_WITHIN_S)
        yield first


def _node(folder: Path, name: str, **settings: str) -> contextlib.AbstractAsyncContextManager[Node]:
    own = {"NODE_NAME": name, "MASA_DIR": str(folder / name.encode().hex()), "FIND_LOCAL": "0"}
    network = {"NETWORK": "on", "PEER_HOST": "127.0.0.1"}
    return serve(settings_of(**own, **network, **settings), grace_s=1.0)
