"""However a request ends, at its caller, its LLM or a peer: nothing of it waits for the garbage collector.

As `test_serve_garbage.py`; all endings in one arrangement of nodes happen in one process.
"""

import asyncio
import contextlib
import json
import logging
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
import structlog

from masa_node import serve
from masa_node.chat.request import Endpoint
from masa_node.network.transport.interfaces import Route
from masa_node.node.node import Node
from tests.api.raw_http import Line, line_to
from tests.fakes.llm_server import until
from tests.fakes.moody_llm import ANSWERS, MoodyLlm
from tests.fakes.raw_http import HEADERS, request
from tests.node.test_serve_garbage import ROOT, TIMES, WITHIN_S, close, look, port_of, reset, settings

# Timers of the nodes that ask. All that is asked at once shares a pause of the machine, and would be late together.
PATIENT, HURRIED = ({"llm_timeout": timeout_s, "llm_idle_timeout": 1.0} for timeout_s in (WITHIN_S, 1.0))
BEGUN_BYTES = 300  # of an answer: its head, and some of its stream
AT_ONCE = 2 * TIMES
MOST = 3 * TIMES  # a link that two nodes dialled at once leaves some thirty; a circle leaves as many each time
OFTEN = 1_000_000  # requests a minute
LONG = "long words " * 24_000  # more than a request's first frames hold, and than is translated on the loop
OPENAI, ANTHROPIC = "/v1/chat/completions", "/v1/messages"


@dataclass
class World:
    """Nodes and their LLMs; `asking` is the one that callers ask, `hurried` the one for what ends when time is up."""

    asking: Node
    hurried: Node
    llms: list[MoodyLlm] = field(default_factory=list)

    @property
    def asked(self) -> int:
        """How many requests have come to LLMs."""
        return sum(llm.asked for llm in self.llms)


@dataclass(frozen=True, slots=True)
class Ending:
    """One way in which requests end. `statuses` are those that callers may read, none where they wait for no answer;
    `leave` is how they go in the middle; `is_timed` if the time for a first piece ends them.
    """

    asked: bytes
    statuses: tuple[int, ...] = (200,)
    leave: Callable[[Line], None] | None = None
    is_timed: bool = False

    async def happens(self, world: World) -> None:
        """As often as is counted, all at once. Most of them as is expected: on a busy machine a timer may be first."""
        before = world.asked
        async with asyncio.TaskGroup() as group:
            each = [group.create_task(self._once(world, before + TIMES)) for _ in range(TIMES)]
        statuses = Counter(one.result() for one in each)
        assert statuses.most_common(1)[0][0] in (self.statuses or (0,)), statuses

    async def _once(self, world: World, all_asked: int) -> int:
        async with line_to(port_of(world.hurried if self.is_timed else world.asking)) as line:
            await line.send(self.asked)
            if not self.statuses:
                await until(lambda: world.asked >= all_asked, WITHIN_S)
                status = 0
            else:
                status = int((await line.reader.readexactly(len("HTTP/1.1 200")))[-3:])
            if self.leave is None:
                with contextlib.suppress(ConnectionError):
                    await line.reader.read()
            else:
                if self.statuses:
                    await line.reader.read(BEGUN_BYTES)
                self.leave(line)
            return status


def ask(model: str, path: str = OPENAI, *, stream: bool = True, words: str = "Hello") -> bytes:
    body = {"model": model, "stream": stream, "max_tokens": 9, "messages": [{"role": "user", "content": words}]}
    return request(path, json.dumps(body).encode(), (*HEADERS, ("Connection", "close")))


FAILING = (500, 502, 503, 504)
STATUS_OF: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(("well", "endless", "cut", "reset", "ended-early", "faulty-later"), (200,)),
    "status-401": (401, 502),  # what a peer's key lacks is no matter of the caller's
    **{f"status-{status}": (status,) for status in (400, 429, 500)},
}
ENDINGS = {
    **{
        f"{name}, streamed": Ending(ask(name), STATUS_OF.get(name, FAILING), is_timed=name in ("silent", "working"))
        for name in ANSWERS
    },
    "well, whole": Ending(ask("well", stream=False)),
    "silent, whole": Ending(ask("silent", stream=False), FAILING, is_timed=True),
    "cut, whole": Ending(ask("cut", stream=False), (200, *FAILING)),
    "status-500, whole": Ending(ask("status-500", stream=False), (500,)),
    "long": Ending(ask("well", words=LONG), (200, 504)),
    "long, of a server that is gone at once": Ending(ask("gone-at-once", words=LONG), FAILING),
    "translated": Ending(ask("well", ANTHROPIC)),
    "translated, whole": Ending(ask("well", ANTHROPIC, stream=False)),
    "translated, long": Ending(ask("well", ANTHROPIC, words=LONG), (200, 504)),
    "translated, cut by the LLM": Ending(ask("cut", ANTHROPIC)),
    "translated, refused": Ending(ask("status-400", ANTHROPIC), (400,)),
    "translated, cut by the caller": Ending(ask("endless", ANTHROPIC), leave=close),
    "cut by the caller": Ending(ask("endless"), leave=close),
    "reset by the caller": Ending(ask("endless"), leave=reset),
    "given up": Ending(ask("silent"), (), close),
    "given up, by a reset": Ending(ask("working"), (), reset),
    "given up, a long one": Ending(ask("silent", words=LONG), (), reset),
    "given up, translated": Ending(ask("working", ANTHROPIC, stream=False), (), close),
}


def linked_with(node: Node) -> int:
    return sum(node.peer_service.state.count_linked(route) for route in Route)


@contextlib.asynccontextmanager
async def world_of(folder: Path, *llms: MoodyLlm, rate: int = OFTEN) -> AsyncGenerator[World]:
    """One node for each LLM, and two without that ask them."""
    async with contextlib.AsyncExitStack() as stack:
        bootnodes: list[str] = []
        nodes: list[Node] = []
        for number, llm in enumerate(llms):
            await stack.enter_async_context(llm)
            many = {"max_peer_jobs": AT_ONCE, "max_peer_queue": AT_ONCE, "peer_rate": rate}
            node = await stack.enter_async_context(serve(settings(folder / f"{number}", llm_chat_url=llm.url, **many)))
            bootnodes.append(node.bootnode)
            nodes.append(node)
        for name, timers in (("asking", PATIENT), ("hurried", HURRIED)):
            where = settings(folder / name, bootnodes=",".join(bootnodes), **timers)
            nodes.append(await stack.enter_async_context(serve(where)))
        *_, asking, hurried = nodes
        for node in (asking, hurried):
            found = partial(node.catalog.find, "well", Endpoint.OPENAI_CHAT)
            await until(lambda found=found: len(found().peers) == len(llms), WITHIN_S)  # type: ignore[misc]
        await until(
            lambda: all(linked_with(node) == len(nodes) - 1 for node in nodes), WITHIN_S
        )  # each with all others
        yield World(asking, hurried, list(llms))


def two() -> tuple[MoodyLlm, MoodyLlm]:
    """The second one loses, whatever the first one says."""
    slow = dict.fromkeys(ANSWERS, "silent")
    return MoodyLlm(), MoodyLlm(**slow | {"endless": "status-500", "status-500": "well", "cut": "working"})


async def end_all(world: World, endings: dict[str, Ending]) -> None:
    """One after the other. Raises an `AssertionError` that names the first that leaves something."""
    for name, ending in endings.items():
        try:
            await look(world.asking, lambda _, ending=ending: ending.happens(world), MOST)  # type: ignore[misc]
        except Exception as exc:
            exc.add_note(f"It was: {name}")
            raise


async def over_a_hop(folder: Path) -> None:
    async with world_of(folder, MoodyLlm()) as world:
        await end_all(world, ENDINGS)


AT_OWN = (
    *("well, streamed", "silent, streamed", "cut, streamed", "reset, streamed", "faulty, streamed", "page, streamed"),
    *("status-429, streamed", "translated", "translated, cut by the LLM", "translated, cut by the caller"),
    *("cut by the caller", "reset by the caller", "given up", "given up, by a reset"),
)


async def at_an_own_server(folder: Path) -> None:
    async with (
        MoodyLlm() as llm,
        serve(settings(folder / "asking", llm_chat_url=llm.url, **PATIENT)) as asking,
        serve(settings(folder / "hurried", llm_chat_url=llm.url, **HURRIED)) as hurried,
    ):
        await end_all(World(asking, hurried, [llm]), {name: ENDINGS[name] for name in AT_OWN})


async def in_races(folder: Path) -> None:
    answers = ("well, streamed", "well, whole", "endless, streamed", "cut, streamed", "translated")
    cuts = ("cut by the caller", "reset by the caller")
    others = {"failing and won": Ending(ask("status-500")), "given up": Ending(ask("silent"), (), close)}
    async with world_of(folder, *two()) as world:
        await end_all(world, {name: ENDINGS[name] for name in (*answers, *cuts)} | others)


async def at_busy_peers(folder: Path) -> None:
    refused = (200, *FAILING, 429)
    endings = {"too many": Ending(ask("well"), refused), "too many, long": Ending(ask("well", words=LONG), refused)}
    async with world_of(folder, MoodyLlm(), rate=1) as world:
        await end_all(world, endings)


PLACES = {place.__name__: place for place in (over_a_hop, at_an_own_server, in_races, at_busy_peers)}
ALONE = """
import asyncio, sys
from pathlib import Path
import uvloop
from tests.node.test_serve_garbage_of_endings import PLACES, quiet
quiet()
with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(PLACES[sys.argv[2]](Path(sys.argv[1])))
"""


def quiet() -> None:
    """What is logged is the same for each of the requests."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.disable(logging.CRITICAL)


@pytest.mark.parametrize("place", PLACES)
def test_nothing_is_left_to_the_garbage_collector_by_requests(place: str, tmp_path: Path) -> None:
    """However they end; in a process of its own."""
    command = [sys.executable, "-c", ALONE, str(tmp_path), place]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
