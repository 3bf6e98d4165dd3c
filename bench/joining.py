"""What a real node pays to join a network of so many: `python -m bench.joining 16 256 1000`.

A few whole nodes in this process, over iroh on loopback, know that many signed adverts. A real node, `masa-node up`, is
given those few to begin with. Prints when it knew all, and the processor time that it had taken until then. The network
of 16 has no more than those few: what it costs to start, and to look at it once a second, is in each figure.
"""

import asyncio
import contextlib
import json
import logging
import secrets
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import structlog

from bench.leaks import Node
from bench.processes import Process, Tree
from bench.subjects import free_port, plain_environment
from masa_node.network.gossip.adverts import Advert, AdvertModel, SignedAdvert, lifetime_s, sign_advert
from masa_node.network.transport.iroh.endpoint import TransportOptions, open_transport
from masa_node.network.transport.iroh.keys import IrohKeys

HOSTS = 16  # as many links as a node makes at random
GIVEN_UP_AFTER_S = 60.0
LOOK_EVERY_S = 1.0
MODELS = tuple(
    AdvertModel(f"model-{number}:8b-q4", ("anthropic.messages", "ollama.chat", "openai.chat"), 8192, ("tools",))
    for number in range(3)
)


def adverts(count: int, size: int) -> list[SignedAdvert]:
    """Of nodes that are not there: each has three models, and 600 bytes."""
    at_unix_s = int(time.time())
    return [
        sign_advert(
            Advert(
                node_id=keys.node_id,
                sequence=at_unix_s * 1000,
                issued_at_unix_s=at_unix_s,
                expires_at_unix_s=at_unix_s + lifetime_s(size),
                version="0.1.0",
                name=f"node {number}",
                addresses=(f"127.1.{number >> 8}.{number & 255}:41234", f"[2001:db8::{number:x}]:41234"),
                models=MODELS,
                slots=4,
            ),
            keys,
        )
        for number, keys in ((number, IrohKeys(secrets.token_bytes(32))) for number in range(count))
    ]


@contextlib.asynccontextmanager
async def hosts(size: int) -> AsyncIterator[list[str]]:
    """Whole nodes that know `size` of them, themselves included; how a node finds them."""
    async with contextlib.AsyncExitStack() as stack:
        nodes: list[Node] = []
        for _ in range(HOSTS):
            transport = await open_transport(secrets.token_bytes(32), TransportOptions("127.0.0.1"))
            stack.push_async_callback(transport.close)
            nodes.append(Node(transport))
        others = adverts(size - HOSTS, size)
        for node in nodes:
            for advert in others:
                node.network.gossip.known.put(advert, node.network.node_id)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(node.network.run()) for node in nodes]
            try:
                addresses = [node.network.address() for node in nodes]
                yield [f"{address.node_id}@{address.direct[0]}" for address in addresses]
            finally:
                for task in tasks:
                    task.cancel()


async def known_by(port: int) -> int:
    """How many others the node there knows; 0 while it does not answer."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /api/v1/peers HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        answer = await reader.read(-1)
        writer.close()
        return int(json.loads(answer.partition(b"\r\n\r\n")[2])["known"])
    return 0


async def measure(size: int) -> None:
    """Print what one node pays."""
    with tempfile.TemporaryDirectory(prefix="joining-") as folder:
        async with hosts(size) as bootnodes:
            port, home = free_port(), Path(folder)
            own = {"PORT": str(port), "MASA_DIR": str(home / "masa"), "FIND_LOCAL": "0", "LOG_LEVEL": "error"}
            network = {
                "BOOTNODES": ",".join(bootnodes),
                "OPEN_NETWORK": "1",
                "PEER_HOST": "127.0.0.1",
                "PEER_LINKS": "2",
            }
            argv = [sys.executable, "-m", "masa_node", "up"]
            node = Process(argv, 0, home / "output.log", plain_environment(home) | own | network | {"PEER_LINKS": "2"})
            began_s, known = time.monotonic(), 0
            try:
                while known < size and time.monotonic() - began_s < GIVEN_UP_AFTER_S:
                    await asyncio.sleep(LOOK_EVERY_S)
                    known = await known_by(port)
                tree = Tree(node.pid)
                print(
                    f"{size} nodes: {known} known after {time.monotonic() - began_s:.0f} s; "
                    f"processor {tree.cpu_s():.2f} s; {tree.rss_mb():.0f} MB",
                    flush=True,
                )
            finally:
                node.stop()


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    for argument in sys.argv[1:]:
        asyncio.run(measure(int(argument)))
