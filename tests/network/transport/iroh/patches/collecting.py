"""Run as a program by `test_release.py`: asks over iroh; the collector runs in Rust's thread, and nowhere else."""

import asyncio
import gc
import secrets
import sys
import threading
from collections.abc import Callable
from contextvars import Context

from masa_node.network.transport.iroh.endpoint import TransportOptions, open_transport
from masa_node.network.transport.iroh.link import IrohLink, IrohStream

REQUESTS = 200


class CollectingLoop(asyncio.SelectorEventLoop):
    """Collects whenever Rust's thread wakes it."""

    def call_soon_threadsafe(
        self, callback: Callable[..., object], *args: object, context: Context | None = None
    ) -> asyncio.Handle:
        if threading.current_thread() is not threading.main_thread():
            gc.collect()
        return super().call_soon_threadsafe(callback, *args, context=context)


async def answer(link: IrohLink) -> None:
    async with asyncio.TaskGroup() as group:
        while True:
            group.create_task(echo(await link.accept()))


async def echo(stream: IrohStream) -> None:
    data = await stream.read()
    await asyncio.sleep(0.001)  # so that the requester waits, and is woken by Rust's thread
    await stream.write(data)
    await stream.finish()
    into_a_circle(stream)


async def ask(link: IrohLink) -> None:
    stream = await link.open()
    await stream.write(b"?")
    assert await stream.read() == b"?"
    stream.abort()
    into_a_circle(stream)


def into_a_circle(thing: object) -> None:
    """From here on only the collector finds it."""
    circle: list[object] = [thing]
    circle.append(circle)


async def main() -> None:
    options = TransportOptions("127.0.0.1")
    us = await open_transport(secrets.token_bytes(32), options)
    them = await open_transport(secrets.token_bytes(32), options)
    link = await us.dial(them.address())
    answering = asyncio.create_task(answer(await them.accept()))
    gc.freeze()
    gc.disable()
    for _ in range(REQUESTS // 20):
        await asyncio.gather(*(ask(link) for _ in range(20)))
    answering.cancel()
    await us.close()
    await them.close()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=CollectingLoop) as runner:
        runner.run(main())
    sys.exit(0)
