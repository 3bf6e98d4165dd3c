"""`GET /api/v1/events` over real connections: what comes, to whom, how it ends, and what a bad reader costs."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from masa_node.accounts.access import OWNERS
from masa_node.accounts.events import MAX_SUBSCRIBERS, Events
from masa_node.accounts.key_file import change_keys
from masa_node.accounts.keys import KeyRules, NamedKey, made_key, revoked_key
from masa_node.api.control.events import GIVEN_UP_AFTER_S, EventStreams
from masa_node.api.http1.reply import Reply
from masa_node.api.http1.request import HttpRequest
from tests.api.console_session import SESSION, ask, bearer, signed_in
from tests.api.raw_http import PATIENCE_S, Line, ask_once, chat, get, head, line_to, post
from tests.api.serving import ServingNode
from tests.virtual_time import virtual_time

EVENTS = b"/api/v1/events"
MADE_AT_UNIX_S = 1_700_000_000.0
SOON_S = 10.0
APPEARS_WITHIN_S = 0.5  # of a race on a page: what is promised
Event = tuple[str, dict[str, object]]


class Stream:
    """One that looks on."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self._text = ""

    async def next(self, *names: str) -> Event:
        """The next event of one of these names; `StopAsyncIteration` when the stream has ended well."""
        async with asyncio.timeout(SOON_S):
            while True:
                while "\n\n" not in self._text:
                    await self._read()
                text, _, self._text = self._text.partition("\n\n")
                if text.startswith(":"):
                    continue
                name, data = text.split("\n")
                if not names or name.removeprefix("event: ") in names:
                    return name.removeprefix("event: "), json.loads(data.removeprefix("data: "))

    async def ends(self) -> bool:
        """Does it end well, whatever comes before?"""
        with contextlib.suppress(StopAsyncIteration):
            while True:
                await self.next()
        return True

    async def _read(self) -> None:
        size = int(await self.line.reader.readuntil(b"\r\n"), 16)
        self._text += (await self.line.reader.readexactly(size)).decode()
        assert await self.line.reader.readexactly(2) == b"\r\n"
        if not size:
            raise StopAsyncIteration


async def begun(line: Line, headers: bytes = b"") -> Stream:
    """A stream over this connection, past its `hello`."""
    await line.send(get(EVENTS, headers))
    async with asyncio.timeout(PATIENCE_S):
        top = (await line.reader.readuntil(b"\r\n\r\n")).decode().lower()
    assert top.startswith("http/1.1 200 ")
    assert "content-type: text/event-stream" in top
    assert "cache-control: no-store" in top
    stream = Stream(line)
    name, hello = await stream.next()
    assert (name, hello.keys()) == ("hello", {"node_id", "version"})
    return stream


@contextlib.asynccontextmanager
async def looking_on(node: ServingNode, headers: bytes = b"") -> AsyncIterator[Stream]:
    async with line_to(node.port) as line:
        yield await begun(line, headers)


def key_named(name: str, masa_dir: Path) -> str:
    def change(keys: list[NamedKey]) -> tuple[str, list[NamedKey]]:
        return made_key(keys, name, KeyRules(), MADE_AT_UNIX_S)

    return change_keys(masa_dir, change)


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[ServingNode]:
    with ServingNode(tmp_path, {"API_KEY": "secret", "NETWORK": "off"}) as running:
        yield running


async def test_a_request_is_told_of_when_it_begins_and_as_a_race_when_it_has_ended(node: ServingNode) -> None:
    async with looking_on(node) as first, looking_on(node) as second:
        asked = await ask_once(node.port, post(chat(), b"X-Request-Id: looked-on\r\n"))
        assert asked.status == 200
        for stream in (first, second):
            _, began = await stream.next("began")
            assert (began["request_id"], began["model"], began["key"]) == ("looked-on", "masa-demo", "owner")
            _, ended = await stream.next("ended")
            assert ended == (await ask_once(node.port, get(b"/api/v1/races/looked-on"))).json()


async def test_what_changed_is_told_once_it_is_looked_at(tmp_path: Path) -> None:
    """At a node of its own: where one that looked on has only just left, what has not changed is not told again."""
    with ServingNode(tmp_path, {"NETWORK": "off"}) as node:
        async with looking_on(node) as stream:
            told = [(await stream.next("changed"))[1]["what"] for _ in range(2)]
            assert sorted(map(str, told)) == ["models", "peers"]


async def test_without_a_key_there_is_nothing_to_see_where_one_is_needed(locked: ServingNode) -> None:
    assert (await ask_once(locked.port, get(EVENTS))).status == 401
    assert (await ask_once(locked.port, get(EVENTS, bearer("wrong")))).status == 401
    assert (await ask_once(locked.port, get(EVENTS + b"?key=secret&token=secret"))).status == 401


async def test_it_has_no_other_method(node: ServingNode) -> None:
    for method in (b"HEAD", b"POST", b"DELETE"):
        reply = await ask_once(node.port, head(method, EVENTS), to_head=method == b"HEAD")
        assert (reply.status, reply.header("allow")) == (405, "GET")


async def test_a_key_with_a_name_sees_its_own_and_ends_with_it(locked: ServingNode) -> None:
    alice, bob = key_named("alice", locked.masa_dir), key_named("bob", locked.masa_dir)
    async with asyncio.timeout(SOON_S):
        while (await ask_once(locked.port, get(b"/v1/models", bearer(bob)))).status != 200:  # noqa: ASYNC110
            await asyncio.sleep(0.1)  # the node looks at keys once a second
    async with looking_on(locked, bearer(alice)) as hers, looking_on(locked, bearer("secret")) as owners:
        for key in (bob, "secret", alice):
            assert (await ask_once(locked.port, post(chat(), bearer(key)))).status == 200
        assert (await hers.next("began", "ended"))[1]["key"] == "alice"
        assert [(await owners.next("ended"))[1]["key"] for _ in range(3)] == ["bob", "owner", "alice"]
        change_keys(locked.masa_dir, lambda keys: (None, revoked_key(keys, "bob", MADE_AT_UNIX_S)))
        await asyncio.sleep(1.5)
        assert (await ask_once(locked.port, post(chat(), bearer(alice)))).status == 200
        assert (await hers.next("ended"))[1]["key"] == "alice", "another key is no reason to end"
        change_keys(locked.masa_dir, lambda keys: (None, revoked_key(keys, "alice", MADE_AT_UNIX_S)))
        assert await hers.ends()
        assert (await ask_once(locked.port, get(EVENTS, bearer(alice)))).status == 401
        assert (await ask_once(locked.port, post(chat(), bearer("secret")))).status == 200
        assert [(await owners.next("ended"))[1]["key"] for _ in range(2)] == ["alice", "owner"]


async def test_a_session_that_is_over_ends_it(locked: ServingNode) -> None:
    session = await signed_in(locked)
    async with looking_on(locked, session) as stream:
        assert (await ask(locked, b"DELETE", SESSION, session)).status == 200
        assert await stream.ends()


async def let_in(node: ServingNode, stack: contextlib.AsyncExitStack) -> None:
    """Look on; those who have just left may still be counted."""
    async with asyncio.timeout(SOON_S):
        while True:
            with contextlib.suppress(AssertionError):
                await stack.enter_async_context(looking_on(node))
                return
            await asyncio.sleep(0.01)


async def test_the_seventeenth_is_refused_in_words_and_may_come_when_one_has_left(node: ServingNode) -> None:
    async with contextlib.AsyncExitStack() as others:
        for _ in range(MAX_SUBSCRIBERS - 1):
            await let_in(node, others)
        async with contextlib.AsyncExitStack() as last:
            await let_in(node, last)
            reply = await ask_once(node.port, get(EVENTS))
            assert (reply.status, reply.error_code, reply.header("retry-after")) == (503, "overloaded", "10")
        await let_in(node, others)


async def test_one_that_does_not_read_is_told_what_it_missed_and_slows_nobody(tmp_path: Path) -> None:
    with ServingNode(tmp_path, {"NETWORK": "off", "JOURNAL": "0"}) as node:
        long = post(chat("m" * 256), b"X-Request-Id: %b\r\n" % (b"r" * 64))  # a model that is not there
        async with line_to(node.port) as reading, line_to(node.port) as line:
            reading.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 128 * 1024)
            slow = await begun(reading)
            reading.writer.transport.pause_reading()  # type: ignore[attr-defined]
            before = node.rss_bytes()
            for _ in range(3_000):  # of 1.4 kB of events each: past every buffer between the two
                assert (await line.ask(long)).status == 404
            assert node.rss_bytes() - before < 16 * 1024 * 1024
            reading.writer.transport.resume_reading()  # type: ignore[attr-defined]
            _, dropped = await slow.next("dropped")
            assert dropped["events"]
            assert (await line.ask(post(chat(), b"X-Request-Id: last\r\n"))).status == 200
            while (await slow.next("ended"))[1]["request_id"] != "last":
                pass


async def test_it_ends_when_the_node_does(tmp_path: Path) -> None:
    with ServingNode(tmp_path, {"NETWORK": "off"}) as node:
        async with looking_on(node) as reading, looking_on(node):
            node.process.terminate()
            assert await reading.ends()
            async with asyncio.timeout(5):  # GRACE_S is 10
                assert await asyncio.to_thread(node.process.wait) == 0


class Unread:
    """An answer whose caller reads for a while, and then no more."""

    def __init__(self, reads_s: float) -> None:
        self._until_s = asyncio.get_running_loop().time() + reads_s
        self.ended = False

    @property
    def is_paused(self) -> bool:
        return asyncio.get_running_loop().time() >= self._until_s

    async def begin(self, status: int, headers: object) -> None:
        assert status == 200

    async def piece(self, data: bytes) -> None:
        assert data

    async def end(self) -> None:
        self.ended = True


@virtual_time
async def test_one_that_never_reads_again_makes_place_for_others() -> None:
    events, reads_s, loop = Events(), 200.0, asyncio.get_running_loop()
    reply, began_s = Unread(reads_s), loop.time()
    request = SimpleNamespace(cancel_when_gone=lambda: None)
    streams = EventStreams(events, dict)
    await streams.serve(cast("HttpRequest", request), cast("Reply", reply), OWNERS, [], lambda: True)
    assert GIVEN_UP_AFTER_S - 1 < loop.time() - began_s - reads_s < GIVEN_UP_AFTER_S + 1
    assert not reply.ended, "it is cut"
    assert not events.is_heard


class Reads:
    """A caller that reads all at once, and remembers when each piece came."""

    is_paused = False

    def __init__(self) -> None:
        self.came: list[tuple[float, bytes]] = []

    async def begin(self, status: int, headers: object) -> None:
        pass

    async def piece(self, data: bytes) -> None:
        self.came.append((asyncio.get_running_loop().time(), data))

    async def end(self) -> None:
        pass


@virtual_time
async def test_whenever_something_happens_a_page_is_told_within_half_a_second() -> None:
    events, reply, loop = Events(), Reads(), asyncio.get_running_loop()
    request = SimpleNamespace(cancel_when_gone=lambda: None)
    serving = EventStreams(events, dict).serve(
        cast("HttpRequest", request), cast("Reply", reply), OWNERS, [], lambda: True
    )
    task, told_s = asyncio.ensure_future(serving), list[float]()
    for number in range(40):
        await asyncio.sleep(0.03 * number)  # close together, then far apart, and everywhere between two beats
        events.tell("it", lambda number=number: number)
        told_s.append(loop.time())
    await asyncio.sleep(APPEARS_WITHIN_S)
    events.end()
    await task
    for number, at_s in enumerate(told_s):
        (came_s,) = (came_s for came_s, data in reply.came if b"event: it\ndata: %d\n" % number in data)
        assert 0 <= came_s - at_s <= APPEARS_WITHIN_S
