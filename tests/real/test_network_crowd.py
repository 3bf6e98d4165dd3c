"""A thousand requests in flight while peers are killed and come back: each ends in a whole answer or a true error."""

import asyncio
import contextlib
import resource
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from meeting import StartNode, bootnode, servers_of, wait_until
from node_process import Node

from tests.endings import BROKEN, ERROR, WHOLE, Ending, ask

Measured = Callable[[str, float, float], None]

REQUESTS = 1_000
WARM_UP = 100
ALL_WITHIN_S = 60.0  # a whole answer takes 4 s on an idle machine
QUIET_WITHIN_S = 20.0
MORE_DESCRIPTORS = 8  # beside what was open before: a link with a peer, a file
MORE_MEMORY_MB = 160  # what Python and the transport keep of a thousand requests; a leak of the next thousand is more
MANY = {"MAX_CONCURRENT": "4000", "MAX_PEER_JOBS": "2000", "PEER_RATE": "1000000"}


@pytest.fixture(scope="module")
def crowd(start_peer: StartNode) -> Iterator[tuple[Node, list[Node]]]:
    """A node without an LLM, and three peers with the built-in model, which talks for four seconds."""
    with contextlib.ExitStack() as running:
        requester = running.enter_context(start_peer(OPEN_NETWORK="1", LOG_LEVEL="error", **MANY))
        settings = {"BOOTNODES": bootnode(requester), "DEMO": "1", "DEMO_PIECES_PER_S": "4", "LOG_LEVEL": "error"}
        peers = [running.enter_context(start_peer(**settings, **MANY)) for _ in range(3)]
        wait_until(lambda: len(servers_of(requester, "masa-demo")) == 3)
        yield requester, peers


@pytest.fixture(autouse=True)
def _many_sockets() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4 * REQUESTS, hard) if hard > 0 else 4 * REQUESTS, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_each_of_a_thousand_requests_ends_whole_or_in_a_true_error(
    crowd: tuple[Node, list[Node]], measured: Measured
) -> None:
    requester, peers = crowd
    assert set(await ask_at_once(requester, WARM_UP)) == {WHOLE}
    descriptors, memory_mb = used_by(requester.pid)
    async with asyncio.timeout(ALL_WITHIN_S), asyncio.TaskGroup() as group:
        begun = asyncio.Semaphore(0)
        answers = group.create_task(ask_at_once(requester, REQUESTS, begun))
        for _ in range(REQUESTS // 4):  # half of those that stream: what has begun is not begun again elsewhere
            await begun.acquire()
        for peer in peers[:2]:
            await asyncio.to_thread(peer.kill)
            await asyncio.to_thread(peer.start)
    endings = Counter(answers.result())
    assert set(endings) <= {WHOLE, ERROR, BROKEN}, endings
    assert endings[WHOLE] >= REQUESTS // 10, endings  # the third peer was never killed
    assert endings[BROKEN] + endings[ERROR] > 0, endings  # or the kills hit nobody

    await until_idle(requester)
    assert requester.get("/api/v1/node")["waiting"] == 0
    took_s = await asyncio.to_thread(
        wait_until, lambda: used_by(requester.pid)[0] <= descriptors + MORE_DESCRIPTORS, QUIET_WITHIN_S
    )
    measured("the descriptors of the first node are back after 1000 requests", took_s, QUIET_WITHIN_S)
    assert used_by(requester.pid)[1] - memory_mb < MORE_MEMORY_MB
    for peer in peers:
        await asyncio.to_thread(wait_until, lambda peer=peer: not peer.get("/api/v1/node")["peers_running"])


async def until_idle(node: Node) -> None:
    """Until nothing is under way."""
    async with asyncio.timeout(QUIET_WITHIN_S):
        while (await asyncio.to_thread(node.get, "/api/v1/node"))["running"]:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)


async def ask_at_once(node: Node, requests: int, begun: asyncio.Semaphore | None = None) -> list[Ending]:
    """Every second one streams; `begun` is released by each that has begun to."""
    host, _, port = node.url.removeprefix("http://").rpartition(":")
    stream = begun or asyncio.Semaphore(0)
    return await asyncio.gather(*(ask(host, int(port), stream if n % 2 else None) for n in range(requests)))


def used_by(pid: int) -> tuple[int, float]:
    """How many descriptors the process has open, and how many megabytes it holds."""
    status = Path(f"/proc/{pid}/status").read_text()
    resident_kb = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    return len(list(Path(f"/proc/{pid}/fd").iterdir())), resident_kb / 1024
