"""Streams over real sockets: bytes, ends, aborts, cancellation, and what a reader that stands still does.

Covers: `direct`, `link`.
"""

import asyncio
import contextlib
import gc
import random
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine

import pytest

from masa_node.chat.errors import LinkLost, ProtocolFault, StreamReset
from masa_node.network.transport.interfaces import MAX_READ_BYTES
from masa_node.network.transport.iroh import direct
from masa_node.network.transport.iroh.direct import IN_A_ROW
from masa_node.network.transport.iroh.link import IrohStream
from tests.network.transport.iroh.iroh_nodes import LOOPS, Pair, linked, on_every_loop, read_all

UNREAD_WRITES = 512
UNREAD_BYTES = 256 * 1024


async def echo(stream: IrohStream) -> None:
    while data := await stream.read():
        await stream.write(data)
    await stream.finish()


async def write_for_ever(stream: IrohStream, data: bytes = bytes(64 * 1024)) -> None:
    while True:
        await stream.write(data)


def streams_alive() -> int:
    return sum(type(each) is IrohStream for each in gc.get_objects())


# ---- bytes and ends ----


@on_every_loop
async def test_what_is_written_is_read_and_then_the_end() -> None:
    async with linked() as pair:
        sent = random.Random(1).randbytes(3_000_000)  # noqa: S311 - any bytes
        mine, yours = await pair.stream()
        answering = asyncio.ensure_future(echo(yours))
        reading = asyncio.ensure_future(read_all(mine))
        at = 0
        for size in (1, 10, 100_000, 65_536, 4096, 4095, 4097, len(sent)):
            await mine.write(sent[at : at + size])
            at += size
        await mine.finish()
        await mine.finish()
        assert await reading == sent
        await answering
        assert await mine.read() == b""


@on_every_loop
async def test_a_read_gives_no_more_than_is_promised() -> None:
    async with linked() as pair:
        mine, yours = await pair.stream()
        writing = asyncio.ensure_future(mine.write(bytes(1_000_000)))
        sizes = []
        while sum(sizes) < 1_000_000:
            sizes.append(len(await yours.read()))
        await writing
        assert max(sizes) == MAX_READ_BYTES


@on_every_loop
async def test_an_empty_write_is_no_end() -> None:
    async with linked() as pair:
        mine, yours = await pair.stream()
        await mine.write(b"")
        await mine.write(b"x")
        assert await yours.read() == b"x"


@on_every_loop
async def test_either_side_may_open_streams() -> None:
    async with linked() as pair:
        stream = await pair.theirs.open()
        await stream.write(b"from the one who was dialed")
        assert await (await pair.ours.accept()).read() == b"from the one who was dialed"


@on_every_loop
async def test_five_hundred_streams_at_once() -> None:
    async with linked() as pair, asyncio.TaskGroup() as group:

        async def ask(number: int) -> bytes:
            stream = await pair.ours.open()
            await stream.write(number.to_bytes(4, "big"))
            await all_open.wait()
            await stream.finish()
            return await read_all(stream)

        async def serve() -> None:
            streams = [await pair.theirs.accept() for _ in range(500)]
            all_open.set()
            for stream in streams:
                group.create_task(echo(stream))

        all_open = asyncio.Event()
        group.create_task(serve())
        requests = [group.create_task(ask(number)) for number in range(500)]
        assert [int.from_bytes(await one, "big") for one in requests] == list(range(500))


@on_every_loop
async def test_thousands_of_streams_one_after_the_other() -> None:
    async with linked() as pair, asyncio.TaskGroup() as group:

        async def serve() -> None:
            for _ in range(3000):
                group.create_task(echo(await pair.theirs.accept()))

        group.create_task(serve())
        for _ in range(300):
            streams = [await pair.ours.open() for _ in range(10)]
            for stream in streams:
                await stream.write(b"x")
                await stream.finish()
                assert await read_all(stream) == b"x"


# ---- aborts ----


@on_every_loop
async def test_an_abort_is_seen_by_a_peer_that_only_reads() -> None:
    async with linked() as pair:
        mine, yours = await pair.stream()
        reading = asyncio.ensure_future(yours.read())
        await asyncio.sleep(0.02)
        mine.abort()
        with pytest.raises(StreamReset):
            await reading


@on_every_loop
async def test_an_abort_is_seen_by_a_peer_that_only_writes() -> None:
    async with linked() as pair:
        mine, yours = await pair.stream()
        writing = asyncio.ensure_future(write_for_ever(yours))
        await asyncio.sleep(0.05)
        assert not writing.done()  # it waits, for nobody reads
        mine.abort()
        with pytest.raises(StreamReset):
            await writing


@on_every_loop
async def test_an_abort_reaches_the_peer_although_this_side_reads_and_writes() -> None:
    async with linked() as pair:
        mine, yours = await pair.stream()
        own_read = asyncio.ensure_future(mine.read())
        own_write = asyncio.ensure_future(write_for_ever(mine))
        await asyncio.sleep(0.05)
        mine.abort()
        for call in (own_read, own_write):
            with pytest.raises(StreamReset):
                await call
        with pytest.raises(StreamReset):
            await read_all(yours)
        with pytest.raises(StreamReset):
            await write_for_ever(yours)


@on_every_loop
async def test_after_an_abort_nothing_works_and_nothing_breaks() -> None:
    async with linked() as pair:
        mine, _yours = await pair.stream()
        mine.abort()
        mine.abort()
        for call in (mine.read(), mine.write(b"x"), mine.finish()):
            with pytest.raises(StreamReset):
                await call


@on_every_loop
async def test_a_stream_that_was_read_is_let_go_of_without_a_search_for_garbage() -> None:
    """Rust keeps what it has of a stream, up to 1.2 MB unread, as long as Python has the stream."""
    async with linked() as pair:
        gc.collect()
        before = streams_alive()
        gc.disable()
        try:
            for _ in range(20):
                mine, yours = await pair.stream()
                await mine.write(b"question")
                assert await yours.read() == b"question"
                mine.abort()
                yours.abort()
            del mine, yours
            assert streams_alive() == before  # tests before this one may have left some
        finally:
            gc.enable()


@on_every_loop
async def test_a_stream_can_be_aborted_before_anything_was_written() -> None:
    async with linked() as pair:
        (await pair.ours.open()).abort()
        mine = await pair.ours.open()
        await mine.write(b"the link is well")
        for _ in range(2):  # a peer may hear of the first one, too
            stream = await pair.theirs.accept()
            with contextlib.suppress(StreamReset):
                assert await stream.read() == b"the link is well"
                break


@on_every_loop
async def test_an_abort_leaves_the_other_streams_alone() -> None:
    async with linked() as pair:
        streams = [await pair.stream() for _ in range(20)]
        for mine, _ in streams[::2]:
            mine.abort()
        for mine, yours in streams[1::2]:
            await mine.write(b"still here")
            assert await yours.read() == b"still here"


@on_every_loop
async def test_an_abort_after_the_clean_end_of_both_takes_nothing_away() -> None:
    async with linked() as pair:
        for _ in range(50):
            mine, yours = await pair.stream()
            await mine.write(b"ask")
            await mine.finish()
            assert await read_all(yours) == b"ask"
            await yours.write(b"answer" * 10_000)
            await yours.finish()
            yours.abort()
            assert await read_all(mine) == b"answer" * 10_000
            mine.abort()


@on_every_loop
async def test_a_link_that_is_lost_is_not_a_stream_that_was_given_up() -> None:
    async with linked() as pair:
        mine, yours = await pair.stream()
        await pair.us.close()
        with pytest.raises(LinkLost):
            await yours.read()
        with pytest.raises(LinkLost):
            await mine.read()


@on_every_loop
async def test_whoever_reads_an_aborted_stream_goes_on_uncancelled() -> None:
    async with linked() as pair:
        mine, _yours = await pair.stream()

        async def read() -> str:
            try:
                async with asyncio.timeout(20):
                    await mine.read()
            except StreamReset:
                task = asyncio.current_task()
                assert task is not None
                assert not task.cancelling()
                await asyncio.sleep(0)
                return "went on"
            return "read"

        reading = asyncio.ensure_future(read())
        await asyncio.sleep(0.02)
        mine.abort()
        assert await reading == "went on"


@on_every_loop
async def test_whoever_is_cancelled_and_aborted_at_once_is_cancelled() -> None:
    async with linked() as pair:
        for cancel_first in (True, False):
            mine, yours = await pair.stream()
            reading = asyncio.ensure_future(mine.read())
            await asyncio.sleep(0.02)
            steps: list[Callable[[], object]] = [reading.cancel, mine.abort]
            for step in steps if cancel_first else reversed(steps):
                step()
            with pytest.raises(asyncio.CancelledError):
                await reading
            with pytest.raises(StreamReset):
                await write_for_ever(yours)  # it was given up anyway


# ---- cancellation ----


@on_every_loop
async def test_reads_writes_and_accepts_can_be_cancelled_at_any_moment() -> None:
    async with linked() as pair:
        rng = random.Random(2)  # noqa: S311 - any moments
        for _ in range(150):
            mine, yours = await pair.stream()
            calls: list[Awaitable[object]] = [
                mine.read(), yours.read(), write_for_ever(yours), pair.ours.accept(), pair.theirs.accept()
            ]  # fmt: skip
            tasks = [asyncio.ensure_future(call) for call in calls]
            for _ in range(rng.randrange(4)):
                await asyncio.sleep(0)
            if rng.random() < 0.3:
                await asyncio.sleep(rng.random() * 0.003)
            for task in rng.sample(tasks, len(tasks)):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert all(task.cancelled() or task.exception() is None for task in tasks)
            mine.abort()
            yours.abort()
        mine, yours = await pair.stream()
        await mine.write(b"the link is well")
        assert await yours.read() == b"the link is well"


@pytest.mark.parametrize("new_loop", LOOPS)
def test_an_answer_that_comes_when_the_loop_is_closed_disturbs_nobody(
    new_loop: Callable[[], asyncio.AbstractEventLoop], capfd: pytest.CaptureFixture[str]
) -> None:
    """Rust goes on in threads of its own, and knows nothing of loops."""

    async def begin() -> Pair:
        stack = contextlib.AsyncExitStack()
        pair = await stack.enter_async_context(linked())
        stacks.append(stack)
        mine, yours = await pair.stream()
        for link, stream in ((pair.ours, mine), (pair.theirs, yours)):
            calls = (stream._receive.read(100), link._connection.accept_bi(), link._connection.closed())
            for call in calls:
                call.send(None)  # Rust waits from here on
                waiting.append(call)
        mine._reading.start(list.clear)  # type: ignore[arg-type] - nothing comes
        return pair

    waiting: list[Coroutine[object, object, object]] = []
    stacks: list[contextlib.AsyncExitStack] = []
    for _ in range(30):
        loop = new_loop()
        pair = loop.run_until_complete(begin())
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0.001))
        loop.close()
        pair.ours._connection.close(0, b"after the loop")  # which answers every call that is still under way
        time.sleep(0.01)
        for call in waiting:
            call.close()
        waiting.clear()
    del pair
    gc.collect()
    out = capfd.readouterr()
    assert (out.out, out.err) == ("", "")


LEFT_AT_WORK = """
import asyncio, contextlib, sys
from tests.network.transport.iroh.iroh_nodes import linked

async def left_at_work():
    stack = contextlib.AsyncExitStack()
    pair = await stack.enter_async_context(linked())
    streams = [stream for _ in range(8) for stream in await pair.stream()]
    tasks = [asyncio.ensure_future(stream.read()) for stream in streams]
    await asyncio.sleep(0.05)
    return stack, streams, tasks

loop = asyncio.new_event_loop()
left = loop.run_until_complete(left_at_work())
"""


def test_an_interpreter_may_end_while_rust_still_has_something_to_tell() -> None:
    """Whoever reads is let go of after the modules are, and Rust is told so."""
    for _ in range(4):
        ended = subprocess.run([sys.executable, "-c", LEFT_AT_WORK], capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr
        assert "Exception ignored" not in ended.stderr


@on_every_loop
async def test_a_stream_that_is_never_empty_lets_the_others_on() -> None:
    async with linked() as pair:
        mine, yours = await pair.stream()
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(others()), group.create_task(write_for_ever(mine, bytes(1000)))]
            reads = 0
            while reads < 300:
                await yours.read()
                reads += 1
            for task in tasks:
                task.cancel()
        assert turns > reads / 50


@on_every_loop
async def test_what_comes_flows_until_its_reader_has_enough_and_the_rest_is_read_later() -> None:
    async with linked() as pair:
        mine, yours = await pair.stream()
        sent = random.Random(3).randbytes(500_000)  # noqa: S311 - any bytes
        writing = asyncio.ensure_future(mine.write(sent))
        came = b""

        def take(data: bytes) -> bool:
            nonlocal came
            came += data
            return len(came) % 3 > 0 and len(came) < len(sent)

        while len(came) < len(sent):
            await yours.flow(take)
            came += await yours.read() if len(came) < len(sent) else b""
        await writing
        await mine.finish()
        ends: list[bytes] = []
        await yours.flow(lambda data: ends.append(data) or True)  # type: ignore[func-returns-value]
        assert (came, ends) == (sent, [b""])


@on_every_loop
async def test_a_flow_that_is_never_dry_lets_the_others_on() -> None:
    async with linked() as pair:
        mine, yours = await pair.stream()
        turns: list[int] = [0]
        reads = 0

        def take(data: bytes) -> bool:
            nonlocal reads
            assert data
            reads += 1
            turns.append(reads)
            return reads < 300

        async def others() -> None:
            while reads < 300:
                await asyncio.sleep(0)
                turns.append(-1)

        await mine.write(bytes(300 * 1000))
        other = asyncio.ensure_future(others())
        writing = asyncio.ensure_future(write_for_ever(mine, bytes(1000)))
        await yours.flow(take)
        writing.cancel()
        await other
        longest = max(len(run.split()) for run in " ".join("r" if turn > 0 else "o" for turn in turns).split("o"))
        assert longest <= 2 * IN_A_ROW  # one that was dry for a moment may be woken before the others


@on_every_loop
async def test_what_a_reader_raises_ends_the_flow() -> None:
    async with linked() as pair:
        mine, yours = await pair.stream()
        await mine.write(b"no")

        def take(data: bytes) -> bool:
            raise ProtocolFault(data.decode())

        with pytest.raises(ProtocolFault, match="no"):
            await yours.flow(take)


@on_every_loop
async def test_a_reader_may_abort_its_own_stream() -> None:
    async with linked() as pair:
        mine, yours = await pair.stream()
        await mine.write(b"no")

        def take(data: bytes) -> bool:
            assert data
            yours.abort()
            return True

        with pytest.raises(StreamReset, match="this node"):
            await yours.flow(take)
        with pytest.raises(StreamReset):
            await read_all(mine)


@on_every_loop
async def test_a_write_that_is_not_over_at_once_can_be_waited_for() -> None:
    async with linked() as pair:
        mine, yours = await pair.stream()
        assert mine.write_now(b"!") is None
        rest = mine.write_now(bytes(4_000_000))
        assert rest is not None
        waiting = asyncio.ensure_future(rest)
        came = 0
        while came < 4_000_001:
            came += len(await yours.read())
        await waiting
        assert mine.write_now(b"!") is None
        yours.abort()
        with pytest.raises(StreamReset):
            await write_for_ever(mine)
        with pytest.raises(StreamReset):
            mine.write_now(b"!")


@on_every_loop
async def test_after_the_only_write_in_a_while_this_thread_steps_aside() -> None:
    async with linked() as pair:
        mine, yours = await pair.stream()
        for rare_s, times in ((0.0, 3), (1e9, 0)):
            stepped: list[int] = []
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(direct, "RARE_S", rare_s)
                patch.setattr(direct, "_step_aside", lambda stepped=stepped: stepped.append(1))
                assert [mine.write_now(b"!") for _ in range(3)] == [None] * 3
            assert len(stepped) == times
        assert await yours.read()


# ---- a reader that stands still ----


async def neighbour_is_well(pair: Pair) -> bool:
    try:
        mine, yours = await asyncio.wait_for(pair.stream(), 5)
        await mine.write(b"well?")
        return await yours.read() == b"well?"
    except LinkLost:
        return False


async def write_small(pair: Pair, stalled: IrohStream, pieces: int, size: int) -> None:
    """So many writes, each in a packet of its own: nothing is joined on the way, for another stream is used between."""
    mine, yours = await pair.stream()
    for _ in range(pieces):
        await stalled.write(bytes(size))
        await mine.write(b".")
        await yours.read()


@on_every_loop
async def test_some_hundred_small_writes_may_lie_unread() -> None:
    async with linked() as pair:
        streams = [await pair.stream() for _ in range(5)]
        for mine, _ in streams:
            await write_small(pair, mine, UNREAD_WRITES, UNREAD_BYTES // UNREAD_WRITES)
            await mine.finish()
        assert await neighbour_is_well(pair)
        for _, yours in streams:
            assert len(await read_all(yours)) == UNREAD_BYTES


@on_every_loop
async def test_more_small_writes_than_that_unread_cost_the_whole_link() -> None:
    """A trap of iroh 1.2.0, and a reason for a mux that always reads: if this fails it is mended there."""
    async with linked() as pair:
        mine, _yours = await pair.stream()
        with pytest.raises(LinkLost):
            await write_small(pair, mine, 5 * UNREAD_WRITES, 200)
        assert not await neighbour_is_well(pair)


@on_every_loop
async def test_large_writes_wait_for_a_reader_that_stands_still() -> None:
    async with linked() as pair:
        mine, _yours = await pair.stream()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(write_for_ever(mine), 0.5)
        assert await neighbour_is_well(pair)
