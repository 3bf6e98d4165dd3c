"""A request on the plain way and the same one by a task: the same bytes, outcomes and metrics, and nothing is left."""

import asyncio
import contextlib
import gc
import re
import time
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from masa_node.accounts.key_file import change_keys
from masa_node.accounts.keys import KeyRules, made_key
from masa_node.api import plain_chat
from masa_node.api.http1 import protocol
from masa_node.api.http1 import reply as reply_module
from masa_node.api.http1.connections import Over
from masa_node.api.plain_chat import PlainChat
from masa_node.chat.outcome import CALLER_GONE, Outcome
from masa_node.node import node as node_module
from masa_node.routing.answers.reader import ANSWERS
from masa_node.routing.dispatch import Dispatcher
from masa_node.routing.plain import Plain, Row
from tests.api.raw_http import Line, chat, line_to, post
from tests.fakes.http_bytes import LAST_CHUNK, chunk, stream_head, whole
from tests.fakes.http_vectors import Llm, normal
from tests.fakes.running import RunningNode, running_node

MODEL = "m"
LONGEST_S = 30.0
PIECE = b'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}\n\n'
LAST = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"
ANSWER = b'{"choices":[{"index":0,"message":{"content":"a"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3}}'
LARGE = ANSWER.replace(b'"a"', b'"%b"' % (b"a" * 20_000_000))
"""What a server may send, cut anywhere: whole answers, streams, what is wrong with either."""
SAID = {
    "whole": whole(ANSWER),
    "no json": whole(b"hello"),
    "400": whole(b'{"error":{"message":"no"}}', status=400),
    "500": whole(b'{"error":{"message":"no"}}', status=500),
    "odd 200": whole(b'{"error":{"code":429,"message":"no"}}'),
    "until closed": b"HTTP/1.0 200 OK\r\n\r\n" + ANSWER,
    "stream": stream_head("text/event-stream") + b"".join(map(chunk, (PIECE, PIECE, LAST, DONE))) + LAST_CHUNK,
    "comments": stream_head("text/event-stream") + b"".join(map(chunk, (b": a\n\n", PIECE, b": b\n\n", LAST, DONE))),
    "no end": stream_head("text/event-stream") + b"".join(map(chunk, (PIECE, PIECE))) + LAST_CHUNK,
    "error first": stream_head("text/event-stream") + chunk(b'data: {"error":{"message":"no"}}\n\n') + LAST_CHUNK,
    "no http": b"hello\r\n\r\n",
}


@dataclass
class Bench:
    """A node before a server that this test plays."""

    running: RunningNode
    llm: Llm
    outcomes: list[Outcome]

    @contextlib.contextmanager
    def open(self, *, is_plain: bool) -> Iterator[None]:
        """Is the plain way open in this block?"""
        with pytest.MonkeyPatch.context() as patch:
            if not is_plain:
                patch.setattr(self.running.node.dispatcher, "begin", lambda *asked: None)
            yield

    async def outcome(self) -> Outcome:
        """That of the request under way."""
        async with asyncio.timeout(LONGEST_S):
            while not self.outcomes:  # noqa: ASYNC110 - a callback of the node's
                await asyncio.sleep(0.001)
        return self.outcomes.pop(0)

    def is_tidy(self) -> bool:
        """Is nothing held that a request takes?"""
        node = self.running.node
        held = (
            node.admission.running,
            len(node.dispatcher.sweep),
            node.access.under_way.requests(),
            node.app._bodies.held_bytes,
        )
        return not any(held)


@contextlib.asynccontextmanager
async def bench(**given_settings: str) -> AsyncIterator[Bench]:
    llm, outcomes = Llm(), list[Outcome]()
    async with await llm.serve() as listening:
        url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1/chat/completions"
        with mock.patch.object(node_module, "log_outcome", outcomes.append):
            try:
                async with running_node(LLM_CHAT_URL=url, **given_settings) as running:
                    yield Bench(running, llm, outcomes)
            finally:
                llm.forget()  # from Python 3.12 on, a server that is closed waits for its connections


def told(outcome: Outcome) -> dict[str, object]:
    """All that does not differ from one time to the next."""
    fields = msgspec.structs.asdict(outcome)
    for name in ("request_id", "queued_s", "first_piece_s", "total_s", "deadline_s", "ended_at_unix_ns"):
        del fields[name]
    fields["attempts"] = [(each.provider, each.result, each.is_local) for each in outcome.attempts]
    return fields


async def all_of(line: Line) -> bytes:
    with contextlib.suppress(ConnectionError):
        return await line.reader.read()
    return b"reset"


async def exchange(it: Bench, parts: Sequence[bytes], *, stream: bool) -> tuple[bytes, dict[str, object]]:
    """A server that sends these parts and closes, and a caller that reads to the end: what it got, and what is told."""
    async with line_to(it.running.port) as line:
        await line.send(post(chat(MODEL, stream=stream), b"Connection: close\r\n"))
        for _ in range(2):  # a kept connection that dies is not the last one
            end = await it.llm.asked.get()
            for part in parts:
                await end.send(part)
                await asyncio.sleep(0)
            end.end("closes")
            end.is_done.set()
            if parts:
                break
        came = await all_of(line)
    return normal(came), told(await it.outcome())


@st.composite
def cut_anywhere(draw: st.DrawFn) -> tuple[list[bytes], bool]:
    """An answer, or a part of it, in pieces."""
    said = SAID[draw(st.sampled_from(sorted(SAID)))]
    said = said[: draw(st.one_of(st.just(len(said)), st.integers(0, len(said))))]
    cuts = sorted(draw(st.lists(st.integers(0, len(said)), max_size=5)))
    parts = [said[a:b] for a, b in zip([0, *cuts], [*cuts, len(said)], strict=True)]
    return [part for part in parts if part], draw(st.booleans())


async def test_the_same_request_by_both_ways_gives_the_same_bytes_and_outcome() -> None:
    async with bench() as it:
        loop = asyncio.get_running_loop()

        async def both(parts: list[bytes], *, stream: bool) -> list[object]:
            ways: list[object] = []
            for is_plain in (True, False):
                health = it.running.node.dispatcher.stats.health.of("llm")
                health.succeeded()
                with it.open(is_plain=is_plain):
                    await warm(it)
                    ways.append(await exchange(it, parts, stream=stream))
                assert it.is_tidy()
            return ways

        @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
        @given(cut_anywhere())
        def try_one(case: tuple[list[bytes], bool]) -> None:
            parts, stream = case
            plain, other = asyncio.run_coroutine_threadsafe(both(parts, stream=stream), loop).result(LONGEST_S)
            assert plain == other

        await asyncio.to_thread(try_one)


async def warm(it: Bench, headers: bytes = b"") -> None:
    """Leave one kept connection to the server."""
    async with line_to(it.running.port) as line:
        await line.send(post(chat(MODEL), headers))
        end = await it.llm.asked.get()
        await end.send(whole(ANSWER))
        await line.reply()
        end.is_done.set()
    await it.outcome()


@contextlib.contextmanager
def counted() -> Iterator[dict[str, int]]:
    """How many requests took the plain way, and how many of these needed a task."""
    seen = {"plain": 0, "task": 0}
    begin, go_on = PlainChat.begin, PlainChat.go_on

    def begins(self: PlainChat, way: Dispatcher, row: Row, over: Over) -> bool:
        is_plain = begin(self, way, row, over)
        seen["plain"] += is_plain
        return is_plain

    def goes_on(self: PlainChat, rest: Coroutine[Any, Any, None]) -> None:
        seen["task"] += 1
        go_on(self, rest)

    with mock.patch.object(PlainChat, "begin", begins), mock.patch.object(PlainChat, "go_on", goes_on):
        yield seen


@pytest.mark.parametrize("name", ["whole", "stream"])
async def test_good_answers_need_no_task(name: str) -> None:
    async with bench() as it:
        await warm(it)
        with counted() as seen:
            async with line_to(it.running.port) as line:
                await line.send(post(chat(MODEL, stream=name == "stream")))
                end = await it.llm.asked.get()
                await end.send(SAID[name])
                assert (await line.reply()).status == 200
                assert (await it.outcome()).error is None
        assert seen == {"plain": 1, "task": 0}
        assert it.is_tidy()


async def test_a_head_and_a_body_in_two_reads_are_plain() -> None:
    asked = post(chat(MODEL))
    body_at = asked.index(b"\r\n\r\n") + 4
    async with bench() as it:
        await warm(it)
        with counted() as seen:
            async with line_to(it.running.port) as line:
                await line.send(asked[:body_at])
                await asyncio.sleep(0.01)
                await line.send(asked[body_at:])
                await (await it.llm.asked.get()).send(SAID["whole"])
                assert (await line.reply()).status == 200
        assert seen == {"plain": 1, "task": 0}


async def test_a_body_that_comes_later_is_waited_for_by_a_task() -> None:
    asked = post(chat(MODEL))
    async with bench() as it:
        await warm(it)
        with counted() as seen:
            async with line_to(it.running.port) as line:
                await line.send(asked[:-5])
                await asyncio.sleep(0.3)
                await line.send(asked[-5:])
                await (await it.llm.asked.get()).send(SAID["whole"])
                assert (await line.reply()).status == 200
        assert seen["plain"] == 0


async def test_a_caller_that_leaves_within_its_body_has_an_outcome() -> None:
    async with bench() as it:
        async with line_to(it.running.port) as line:
            await line.send(post(chat(MODEL))[:-5])
            await asyncio.sleep(0.01)
        outcome = await it.outcome()
        assert (outcome.error, outcome.status) == (CALLER_GONE, 499)


@pytest.mark.parametrize("said", [b"", SAID["stream"][:9], SAID["stream"][:200]], ids=["before", "head", "piece"])
async def test_the_owner_ends_a_request_on_the_plain_way(said: bytes) -> None:
    async with bench() as it:
        await warm(it)
        async with line_to(it.running.port) as line:
            await line.send(post(chat(MODEL, stream=True), b"X-Request-Id: mine\r\nConnection: close\r\n"))
            end = await it.llm.asked.get()
            await end.send(said)
            await asyncio.sleep(0.05)
            assert it.running.node.access.under_way.end("mine") == 1
            came = await all_of(line)
        assert b"ended_by_owner" in came
        assert (await it.outcome()).error == "ended_by_owner"
        while await end.more(LONGEST_S):
            pass
        assert end.is_over
        assert it.is_tidy()


@pytest.mark.parametrize("said", ["500", "error first", "no json"])
async def test_a_caller_that_leaves_as_a_task_takes_over_leaves_nothing_behind(said: str) -> None:
    """In the same turn of the loop: the task has not begun when it is cancelled."""
    go_on = PlainChat.go_on

    def and_leave(chat: PlainChat, rest: Coroutine[Any, Any, None]) -> None:
        go_on(chat, rest)
        chat.cancel()

    async with bench() as it:
        await warm(it)
        with mock.patch.object(PlainChat, "go_on", and_leave):
            async with line_to(it.running.port) as line:
                await line.send(post(chat(MODEL, stream=said == "error first")))
                await (await it.llm.asked.get()).send(SAID[said])
                await it.outcome()
        assert it.is_tidy()


async def test_a_server_that_stops_cuts_what_is_on_the_plain_way() -> None:
    llm, outcomes = Llm(), list[Outcome]()
    async with await llm.serve() as listening:
        url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1/chat/completions"
        with (
            mock.patch.object(node_module, "log_outcome", outcomes.append),
            mock.patch("tests.fakes.running.STOP_S", 0.1),
        ):
            async with running_node(LLM_CHAT_URL=url) as running:
                it = Bench(running, llm, outcomes)
                await warm(it)
                async with line_to(running.port) as line:
                    await line.send(post(chat(MODEL)))
                    await llm.asked.get()
            llm.forget()
            assert [outcome.error for outcome in outcomes] == [CALLER_GONE]
            assert it.is_tidy()


async def test_deadline_and_silence_are_noticed_on_the_plain_way() -> None:
    async with bench(LLM_TIMEOUT="0.3", LLM_IDLE_TIMEOUT="0.3") as it:
        for said, error in ((b"", "first_piece_timeout"), (SAID["stream"][:200], "stalled")):
            await warm(it)
            async with line_to(it.running.port) as line:
                await line.send(post(chat(MODEL, stream=True), b"Connection: close\r\n"))
                end = await it.llm.asked.get()
                await end.send(said)
                came = await all_of(line)
            assert error.encode() in came
            assert (await it.outcome()).error == error
            it.running.node.dispatcher.stats.health.of("llm").succeeded()
        assert it.is_tidy()


@pytest.mark.parametrize("second", ["whole", "stream", "500"])
@pytest.mark.parametrize("is_plain", [True, False])
async def test_a_caller_that_reads_nothing_holds_no_slot_for_its_next_answer(
    second: str, monkeypatch: pytest.MonkeyPatch, *, is_plain: bool
) -> None:
    monkeypatch.setattr(protocol, "FLUSH_STALL_S", 0.2)
    monkeypatch.setattr(reply_module, "PART_BYTES", len(LARGE))  # all of the first one lies in the transport
    async with bench() as it:
        await warm(it)
        with it.open(is_plain=is_plain):
            async with line_to(it.running.port) as line:
                await line.send(2 * post(chat(MODEL)))
                for said in (whole(LARGE), SAID[second]):
                    end = await it.llm.asked.get()
                    await end.send(said)
                    end.is_done.set()
                    outcome = await it.outcome()
        assert outcome.error == CALLER_GONE
        assert it.is_tidy()


async def test_a_large_answer_that_nobody_takes_counts_until_it_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    held_bytes = ANSWERS.held_bytes  # by what other tests have not read
    monkeypatch.setattr(protocol, "FLUSH_STALL_S", 2.0)
    async with bench() as it:
        await warm(it)
        async with line_to(it.running.port) as line:
            await line.send(post(chat(MODEL)))
            end = await it.llm.asked.get()
            await end.send(whole(LARGE))
            end.is_done.set()
            admission = it.running.node.admission
            while ANSWERS.held_bytes < held_bytes + len(LARGE) or admission.running:  # noqa: ASYNC110 - of another part
                await asyncio.sleep(0.01)
            assert (await it.outcome()).error == CALLER_GONE
        assert it.is_tidy()
        assert ANSWERS.held_bytes == held_bytes


async def test_a_key_is_held_to_its_limits_on_the_plain_way() -> None:
    async with bench() as it:
        await warm(it)
        access = it.running.node.access
        with (
            mock.patch.object(access, "enter") as enter,
            mock.patch.object(access, "leave") as leave,
            counted() as seen,
        ):
            async with line_to(it.running.port) as line:
                await line.send(post(chat(MODEL)))
                await (await it.llm.asked.get()).send(SAID["whole"])
                await line.reply()
            await it.outcome()
        assert (enter.call_count, leave.call_count) == (1, 1)
        assert seen["plain"] == 1


async def test_requests_behind_each_other_on_a_connection_are_never_under_way_at_once(tmp_path: Path) -> None:
    """Also where a task tells of the first, and the second begins as soon as that is written."""
    key = change_keys(tmp_path, lambda keys: made_key(keys, "alice", KeyRules(concurrent=1), time.time()))
    own = b"X-Api-Key: %b\r\n" % key.encode()
    async with bench(MASA_DIR=str(tmp_path)) as it:
        await warm(it, own)
        async with line_to(it.running.port) as line:
            with counted() as seen:
                await line.send(post(chat(MODEL), own) * 2)
                end = await it.llm.asked.get()
                await end.send(SAID["400"])
                end.is_done.set()
                assert (await line.reply()).status == 400
                asked = asyncio.create_task(it.llm.asked.get())
                reply = asyncio.create_task(line.reply())
                await asyncio.wait((asked, reply), return_when=asyncio.FIRST_COMPLETED)
                assert not reply.done(), reply.result()
                await asked.result().send(SAID["whole"])
                assert (await reply).status == 200
        assert seen["task"] == 1
        assert it.is_tidy()


async def test_a_bug_on_the_plain_way_is_told_as_any_other() -> None:
    async with bench() as it:
        await warm(it)
        with capture_logs() as lines, mock.patch.object(plain_chat, "whole_lines", side_effect=RuntimeError("oh")):
            async with line_to(it.running.port) as line:
                await line.send(post(chat(MODEL)))
                await (await it.llm.asked.get()).send(SAID["whole"])
                reply = await line.reply()
        assert (reply.status, reply.error_code) == (500, "internal_error")
        assert [line["event"] for line in lines] == ["bug"]
        await it.outcome()
        assert it.is_tidy()


async def test_a_bug_behind_a_whole_answer_is_told_and_leaves_nothing() -> None:
    logged: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: logged.append(context))
    async with bench() as it:
        await warm(it)
        for _ in range(2):  # one that the parser reads, and one whose head is known
            with mock.patch.object(node_module, "log_outcome", side_effect=RuntimeError("oh")):
                async with line_to(it.running.port) as line:
                    await line.send(post(chat(MODEL)))
                    end = await it.llm.asked.get()
                    await end.send(SAID["whole"])
                    end.is_done.set()
                    assert (await line.reply()).status == 200
                it.running.node.tell()
            assert [str(context["exception"]) for context in logged] == ["oh"]
            assert it.is_tidy()
            logged.clear()


async def test_metrics_of_both_ways_are_the_same() -> None:
    shown: list[str] = []
    for is_plain in (True, False):
        async with bench() as it:
            with it.open(is_plain=is_plain):
                for name in ("whole", "stream", "500"):
                    await warm(it)
                    await exchange(it, [SAID[name]], stream=name == "stream")
            text = it.running.node.metrics.render().decode()
            lines = [line for line in text.splitlines() if line.startswith("masa_") and "seconds" not in line]
            shown.append("\n".join(line for line in lines if not re.search(r"_(created|info)", line)))
    assert shown[0] == shown[1]


async def test_what_turns_out_not_to_be_plain_counts_once_for_its_key() -> None:
    """No connection is free for it; the task asks as well."""
    async with bench() as it:
        await warm(it)
        access = it.running.node.access
        with (
            mock.patch.object(access, "enter") as enter,
            mock.patch.object(access, "undo") as undo,
            mock.patch.object(access, "leave") as leave,
            mock.patch.object(Dispatcher, "begin", return_value=None),
        ):
            async with line_to(it.running.port) as line:
                await line.send(post(chat(MODEL)))
                await (await it.llm.asked.get()).send(SAID["whole"])
                await line.reply()
            await it.outcome()
        assert (enter.call_count, undo.call_count, leave.call_count) == (2, 1, 1)


async def test_what_turns_out_not_to_be_plain_leaves_nothing_to_the_garbage_collector() -> None:
    """Its body would be left, too."""

    def left() -> int:
        return sum(isinstance(each, PlainChat) for each in gc.get_objects())

    def refuse(*asked: object) -> None:
        """A mock's would keep what it is called with."""
        del asked

    async with bench() as it:
        await warm(it)
        gc.collect()
        before = left()
        gc.disable()
        try:
            with mock.patch.object(Dispatcher, "begin", refuse):
                async with line_to(it.running.port) as line:
                    await line.send(post(chat(MODEL)))
                    await (await it.llm.asked.get()).send(SAID["whole"])
                    await line.reply()
                await it.outcome()
            assert left() == before
        finally:
            gc.enable()


async def test_a_whole_answer_whose_head_is_known_leaves_nothing_to_the_garbage_collector() -> None:
    def left() -> int:
        return sum(isinstance(each, Plain) for each in gc.get_objects())

    async with bench() as it, line_to(it.running.port) as line:
        await warm(it)
        before = -1
        try:
            for number in range(4):
                if number == 3:  # the head was learnt
                    gc.collect()
                    before = left()
                    gc.disable()
                await line.send(post(chat(MODEL)))
                end = await it.llm.asked.get()
                await end.send(SAID["whole"])
                await line.reply()
                end.is_done.set()
                await it.outcome()
            assert left() == before
        finally:
            gc.enable()
