"""What requests and connections leave behind is gone when they are: nothing waits for the garbage collector.

A node's collector looks at what is older than some seconds once in a million requests (`node/run.py`). A circle that
hangs on each request or connection would only ever grow.
"""

import asyncio
import contextlib
import gc
import json
import os
import socket
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Generator
from pathlib import Path

import pytest

from masa_node import Settings, serve
from masa_node.api.http1.protocol import BoundedHttpProtocol
from masa_node.node.node import Node
from masa_node.upstreams.demo import MODEL
from tests.api.raw_http import Line, line_to
from tests.fakes.llm_server import until
from tests.fakes.raw_http import get, post, request

TIMES = 20  # of each; what else a node does in the meantime leaves less
TRIES = 3
ROOT = Path(__file__).parents[2]
WITHIN_S = 20.0  # on a busy machine
RESET = struct.pack("ii", 1, 0)

Calling = Callable[[int], Awaitable[None]]


def ask_body(model: str = MODEL, *, stream: bool = False) -> bytes:
    return json.dumps({"model": model, "stream": stream, "messages": [{"role": "user", "content": "Hello"}]}).encode()


def ask(model: str = MODEL, *, stream: bool = False) -> bytes:
    return request("/v1/chat/completions", ask_body(model, stream=stream))


def on_one_connection(asked: bytes, status: int) -> Calling:
    async def call(port: int) -> None:
        async with line_to(port) as line:
            for _ in range(TIMES):
                assert (await line.ask(asked)).status == status

    return call


def on_one_each(leave: Callable[[Line], None]) -> Calling:
    async def call(port: int) -> None:
        for _ in range(TIMES):
            async with line_to(port) as line:
                assert (await line.ask(ask())).status == 200
                leave(line)

    return call


def close(line: Line) -> None:
    line.writer.close()


def reset(line: Line) -> None:
    line.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    line.writer.transport.abort()


CALLS = {
    "whole answers": on_one_connection(ask(), 200),
    "streams": on_one_connection(ask(stream=True), 200),
    "an unknown model": on_one_connection(ask("nobody-has-it"), 404),
    "a malformed body": on_one_connection(request("/v1/chat/completions", b"{"), 400),
    "callers that close": on_one_each(close),
    "callers that send a reset": on_one_each(reset),
}


@contextlib.contextmanager
def without_a_collector() -> Generator[list[object]]:
    """What only a collector would have freed, once the block has ended."""
    gc.collect()
    gc.disable()
    found: list[object] = []
    try:
        yield found
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        found += gc.garbage
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def port_of(node: Node) -> int:
    return int(node.url.rpartition(":")[2])


def connections() -> int:
    return sum(isinstance(one, BoundedHttpProtocol) for one in gc.get_objects())


def count_of_tasks() -> int:
    """But for those of the channels between nodes: up to eight of a link are opened when there is much to say."""
    return sum(getattr(task.get_coro(), "__qualname__", "") != "Channel.run" for task in asyncio.all_tasks())


async def look(node: Node, call: Calling, most: int = TIMES) -> None:
    port = port_of(node)
    await call(port)  # what is made once is made now
    gc.collect()
    gc.freeze()  # nor is it looked through again: the most of a node's objects, many times a second
    tasks = count_of_tasks()
    for _ in range(TRIES):  # other libraries of this process leave something now and then; what we leave, we always do
        with without_a_collector() as garbage:
            await call(port)
            await until(lambda: count_of_tasks() <= tasks, WITHIN_S)
            await until(lambda: connections() == 0, WITHIN_S)
        if len(garbage) < most:
            return
    assert len(garbage) < most, Counter(type(one).__qualname__ for one in garbage).most_common(8)


def settings(folder: Path, **more: object) -> Settings:
    where = {"masa_dir": str(folder), "masa_config": os.devnull, "peer_host": "127.0.0.1"}
    return Settings(port=0, find_local=False, network="on", open_network=True, **where, **more)  # type: ignore[arg-type]


async def look_at_both(folder: Path, call: Calling) -> None:
    async with (
        serve(settings(folder / "own", demo=True, demo_pieces_per_s=1e6, peer_rate=100_000)) as own,
        serve(settings(folder / "asking", bootnodes=own.bootnode)) as asking,
    ):
        async with asyncio.timeout(WITHIN_S):
            while MODEL.encode() not in (await get(port_of(asking), "/v1/models")).body:  # noqa: ASYNC110 - being linked
                await asyncio.sleep(0.02)
            while (await post(port_of(own), "/v1/chat/completions", ask_body("nobody-has-it"))).status != 404:  # noqa: ASYNC110
                await asyncio.sleep(0.02)  # until then a peer whose models are not known may have it
        for node in (own, asking):
            await look(node, call)


ALONE = """
import asyncio, sys
from pathlib import Path
import uvloop
from tests.node.test_serve_garbage import CALLS, look_at_both
with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(look_at_both(Path(sys.argv[1]), CALLS[sys.argv[2]]))
"""


@pytest.mark.parametrize("what", CALLS)
def test_nothing_is_left_to_the_garbage_collector_by(what: str, tmp_path: Path) -> None:
    """By callers of a node with an LLM of its own, and of one that asks it over the network.

    In a process of its own: what other tests and their libraries leave in this one would count, too.
    """
    command = [sys.executable, "-c", ALONE, str(tmp_path), what]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
