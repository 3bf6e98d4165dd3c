"""Runs a node as `masa-node up` does: the process is the node's, with its signals, limits and garbage collector."""

import asyncio
import contextlib
import gc
from collections.abc import Callable, Coroutine, Generator
from typing import Protocol

from masa_node.node.node import Node
from masa_node.node.serve import GRACE_S, listening, until_ready
from masa_node.node.settings.environment import Settings
from masa_node.node.signals import stop_signals

MAX_DESCRIPTORS = 65_536


class StartListener(Protocol):
    """Is told how the start went."""

    def on_listening(self, address: str, node: Node) -> None:
        """Requests are taken at this address from now on."""
        ...

    def on_ready(self, address: str, node: Node) -> None:
        """Every LLM server was asked once what it serves, or READY_WITHIN_S (LOADED_WITHIN_S) have passed."""
        ...


Beside = Callable[["Node"], Coroutine[None, None, None]]


async def run(settings: Settings, announce: StartListener, beside: Beside | None = None) -> None:
    """Run until SIGINT, SIGTERM or SIGHUP; `beside` is one more task that ends with the node.

    Raises `ConfigurationError` before anything is started.
    """
    _raise_descriptor_limit()
    async with listening(settings, GRACE_S) as (node, server):
        _calm_the_collector()
        with _at_stop_signals(server.stop):
            announce.on_listening(node.url, node)
            async with asyncio.TaskGroup() as group:
                helpers = [group.create_task(_announce_ready(node, announce))]
                if beside is not None:
                    helpers.append(group.create_task(beside(node)))
                await server.ended.wait()
                for helper in helpers:
                    helper.cancel()


async def _announce_ready(node: Node, announce: StartListener) -> None:
    await until_ready(node)
    announce.on_ready(node.url, node)


@contextlib.contextmanager
def _at_stop_signals(stop: Callable[[], None]) -> Generator[None]:
    loop = asyncio.get_running_loop()
    numbers = stop_signals()
    for number in numbers:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def _calm_the_collector() -> None:
    """Requests leave next to no cycles, so looking for them often is waste: 5 % of the CPU with 1 000 streams.

    What was imported is never looked at again; the rest is, a thirtieth as often as by default.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def _raise_descriptor_limit() -> None:
    """A stream takes two sockets, and the usual soft limit of 1 024 is meant for programs that use select()."""
    try:
        import resource  # noqa: PLC0415 - not on Windows
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MAX_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
