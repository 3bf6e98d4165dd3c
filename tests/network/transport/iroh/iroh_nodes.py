"""Nodes over real sockets on this machine, on each event loop that a node may run on."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest
import uvloop

from masa_node.network.transport.iroh.endpoint import IrohTransport, TransportOptions, open_transport
from masa_node.network.transport.iroh.link import IrohLink, IrohStream

HANGS_AFTER_S = 30.0  # no fact is in this number: it ends a test that would never end

Test = Callable[[], Coroutine[Any, Any, None]]
NewLoop = Callable[[], asyncio.AbstractEventLoop]
LOOPS = [
    pytest.param(asyncio.new_event_loop, id="asyncio"),
    pytest.param(uvloop.new_event_loop, id="uvloop"),
]


def on_every_loop(test: Test) -> Callable[..., None]:
    """Make a test of a coroutine function; it fails when a task is left over."""

    def run(new_loop: NewLoop) -> None:
        _run(test, new_loop)

    return pytest.mark.parametrize("new_loop", LOOPS)(run)


def on_every_loop_at_once(test: Test) -> Callable[[], None]:
    """The same, each loop in a thread beside the others: for tests that mostly wait for what lies in Rust."""

    def run() -> None:
        with ThreadPoolExecutor(len(LOOPS)) as pool:
            runs = {str(loop.id): pool.submit(_run, test, *loop.values) for loop in LOOPS}
        errors = {name: exc for name, each in runs.items() if (exc := each.exception()) is not None}
        if errors:
            raise BaseExceptionGroup(f"on {', '.join(errors)}", list(errors.values()))

    return run


def _run(test: Test, new_loop: NewLoop) -> None:
    async def whole() -> None:
        async with asyncio.timeout(HANGS_AFTER_S):
            await test()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(whole())


@asynccontextmanager
async def node(host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[IrohTransport]:
    transport = await open_transport(secrets.token_bytes(32), TransportOptions(host, port))
    try:
        yield transport
    finally:
        await transport.close()


class Pair(NamedTuple):
    """Two nodes and the link between them, as each sees it: `ours` was dialed, `theirs` taken."""

    us: IrohTransport
    them: IrohTransport
    ours: IrohLink
    theirs: IrohLink

    async def stream(self, first: bytes = b"!") -> tuple[IrohStream, IrohStream]:
        """A new stream from both sides; the first bytes, which announce it, are read."""
        mine = await self.ours.open()
        await mine.write(first)
        yours = await self.theirs.accept()
        assert await yours.read() == first
        return mine, yours


@asynccontextmanager
async def linked() -> AsyncIterator[Pair]:
    async with node() as us, node() as them:
        ours = await us.dial(them.address())
        yield Pair(us, them, ours, await them.accept())


async def until(is_so: Callable[[], bool]) -> None:
    """Returns when it is so; what is waited for goes on in threads of Rust's, which set no event."""
    while not is_so():  # noqa: ASYNC110
        await asyncio.sleep(0.005)


async def read_all(stream: IrohStream) -> bytes:
    parts: list[bytes] = []
    while data := await stream.read():
        parts.append(data)
    return b"".join(parts)
