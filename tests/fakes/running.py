"""The node inside the test's own process and event loop, run as `masa-node up` runs it."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Generator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from masa_node.node import run as run_module
from masa_node.node.node import Node
from masa_node.node.settings.environment import Settings, read_settings
from masa_node.upstreams import local_discovery
from tests.fakes.dialect_samples import DialectSample
from tests.fakes.llm_server import FakeLlm, Script, Step, until

START_S = 5.0
STOP_S = 2.0


@dataclass(frozen=True, slots=True)
class RunningNode:
    """A node that listens."""

    address: str
    node: Node

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])


class _Server(run_module._Server):
    """The node's server, ended by an event instead of a signal, and without uvicorn's ticks of 0.1 s."""

    stopping: asyncio.Event

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def main_loop(self) -> None:
        await self.on_tick(0)
        try:
            await self.stopping.wait()
        except asyncio.CancelledError:  # a part of the node failed: let nothing outlive the test's event loop
            for server in self.servers:
                server.close()
            for connection in list(self.server_state.connections):
                connection.transport.abort()
            raise

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        with contextlib.suppress(TimeoutError):
            await until(lambda: not self.server_state.connections and not self.server_state.tasks, STOP_S)
        for task in list(self.server_state.tasks):
            task.cancel()


def settings_of(**settings: str) -> Settings:
    """These settings and nothing of the tester's own: no environment, no `.env`, no `masa.toml`."""
    alone = {"PORT": "0", "MASA_CONFIG": os.devnull, "MASA_DIR": os.devnull, "NETWORK": "off"}
    return read_settings(alone | settings, Path(os.devnull))


class _Heard:
    """Hears from the node how its start went."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.at_listening: asyncio.Future[RunningNode] = loop.create_future()
        self.at_ready: asyncio.Future[None] = loop.create_future()

    def on_listening(self, address: str, node: Node) -> None:
        self.at_listening.set_result(RunningNode(address, node))

    def on_ready(self, address: str, node: Node) -> None:
        self.at_ready.set_result(None)


@contextlib.asynccontextmanager
async def running_node(
    *, settled: bool = True, known_ports: tuple[tuple[int, str], ...] = (), **settings: str
) -> AsyncIterator[RunningNode]:
    """A node with these settings (`LLM_CHAT_URL="..."`), given out when each server was asked once what it serves.

    `settled=False`: given out as soon as it listens. `known_ports` is where it looks for LLM servers by itself.
    """
    heard, stopping = _Heard(), asyncio.Event()
    server_class = type("_OneServer", (_Server,), {"stopping": stopping})
    with (
        mock.patch.object(run_module, "_Server", server_class),
        mock.patch.object(run_module, "_calm_the_collector"),  # it would hide what tests leave behind
        mock.patch.object(local_discovery, "KNOWN_PORTS", known_ports),
    ):
        running = asyncio.create_task(run_module.run(settings_of(**settings), heard))
        try:
            awaited = heard.at_ready if settled else heard.at_listening
            await asyncio.wait((running, awaited), return_when=asyncio.FIRST_COMPLETED, timeout=START_S)
            if running.done():
                await running
            yield heard.at_listening.result()
        finally:
            stopping.set()
            await running


@contextlib.asynccontextmanager
async def node_before(
    speech: DialectSample, *steps: Step, listings: tuple[Script, ...] = (), **settings: str
) -> AsyncIterator[tuple[FakeLlm, RunningNode]]:
    """A server that answers each request with these steps (see `DialectSample.fake`), and a node in front of it."""
    fake = speech.fake(*steps, listings=listings) if listings else speech.fake(*steps)
    async with fake as llm, running_node(**speech.settings(llm.url), **settings) as node:
        yield llm, node
