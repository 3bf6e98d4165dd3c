"""The node inside the test's own process and event loop, started as any program may start one."""

import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from masa_node import Node, Settings, read_settings, serve
from masa_node.upstreams import local_discovery
from tests.fakes.dialect_samples import DialectSample
from tests.fakes.llm_server import FakeLlm, Script, Step

STOP_S = 2.0


@dataclass(frozen=True, slots=True)
class RunningNode:
    """A node that listens."""

    node: Node

    @property
    def address(self) -> str:
        return self.node.url

    @property
    def port(self) -> int:
        return int(self.node.url.rpartition(":")[2])


def settings_of(**settings: str) -> Settings:
    """These settings and nothing of the tester's own: no environment, no `.env`, no `masa.toml`."""
    alone = {"PORT": "0", "MASA_CONFIG": os.devnull, "MASA_DIR": os.devnull, "NETWORK": "off", "USAGE": "off"}
    return read_settings(alone | settings, Path(os.devnull))


@contextlib.asynccontextmanager
async def running_node(
    *, settled: bool = True, known_ports: tuple[tuple[int, str], ...] = (), **settings: str
) -> AsyncIterator[RunningNode]:
    """A node with these settings (`LLM_CHAT_URL="..."`), given out when each server was asked once what it serves.

    `settled=False`: given out as soon as it listens. `known_ports` is where it looks for LLM servers by itself.
    """
    with mock.patch.object(local_discovery, "KNOWN_PORTS", known_ports):
        async with serve(settings_of(**settings), is_ready=settled, grace_s=STOP_S) as node:
            yield RunningNode(node)


@contextlib.asynccontextmanager
async def node_before(
    speech: DialectSample, *steps: Step, listings: tuple[Script, ...] = (), **settings: str
) -> AsyncIterator[tuple[FakeLlm, RunningNode]]:
    """A server that answers each request with these steps (see `DialectSample.fake`), and a node in front of it."""
    fake = speech.fake(*steps, listings=listings) if listings else speech.fake(*steps)
    async with fake as llm, running_node(**speech.settings(llm.url), **settings) as node:
        yield llm, node
