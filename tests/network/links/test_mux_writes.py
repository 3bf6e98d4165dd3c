"""When what requests have to say goes out: what is written into the transport, and in which turn of the loop.

Covers: `mux`, `mux_stream`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from masa_node.chat.errors import LinkLost
from masa_node.network.links.frames import FrameKind, frame
from masa_node.network.links.mux import LATE_S, MAX_DUE_BYTES, MAX_PENDING_FRAMES, Channel
from masa_node.network.links.token_bucket import TokenBucket
from masa_node.network.transport.interfaces import Stream
from tests.virtual_time import virtual_time

HEAD, PIECE, END, FINISH = FrameKind.HEAD, FrameKind.PIECE, FrameKind.END, FrameKind.FINISH


class Written(Stream):
    """A stream that notes each write. It takes none at once while `full` is a future that is not done."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.full: asyncio.Future[None] | None = None
        self.is_aborted = False
        self.reads: list[bytes] = []

    def write_now(self, data: bytes) -> asyncio.Future[None] | None:
        self.writes.append(data)
        return self.full

    async def flow(self, came: Callable[[bytes], object]) -> None:
        while self.reads:
            came(self.reads.pop(0))
        raise LinkLost("all is read")

    def abort(self) -> None:
        self.is_aborted = True


@asynccontextmanager
async def channel() -> AsyncIterator[tuple[Channel, Written]]:
    stream = Written()
    async with asyncio.TaskGroup() as group:
        yield Channel(stream, str, TokenBucket(1, 1, 0), group), stream


@virtual_time
async def test_one_that_has_a_channel_to_itself_writes_at_once_and_all_of_it_together() -> None:
    async with channel() as (alone, stream):
        request = alone.open()
        assert request.send_now((HEAD, b"h"), (PIECE, b"p"))
        assert stream.writes == [frame(HEAD, b"h", 1) + frame(PIECE, b"p", 1)]
        assert request.send_now((PIECE, b"q"))
        assert stream.writes[1:] == [frame(PIECE, b"q", 1)]
        await asyncio.sleep(1)
        assert len(stream.writes) == 2


@virtual_time
async def test_the_end_of_a_request_goes_out_with_its_last_frames() -> None:
    async with channel() as (alone, stream):
        request = alone.open()
        assert request.send_now((PIECE, b"p"), (END, b"e"), is_last=True)
        assert stream.writes == [frame(PIECE, b"p", 1) + frame(END, b"e", 1) + frame(FINISH, b"", 1)]
        request.finish()
        request.came(FINISH, b"")
        assert not alone.streams
        await asyncio.sleep(1)
        assert len(stream.writes) == 1


@virtual_time
async def test_those_that_share_a_channel_write_together_in_the_next_turn() -> None:
    async with channel() as (shared, stream):
        one, two = shared.open(), shared.open()
        assert one.send_now((PIECE, b"1"))
        assert two.send_now((PIECE, b"2"), (PIECE, b"3"))
        assert not stream.writes
        await asyncio.sleep(0)
        assert stream.writes == [frame(PIECE, b"1", 1) + frame(PIECE, b"2", 2) + frame(PIECE, b"3", 2)]


@virtual_time
async def test_much_is_not_put_off_to_the_next_turn() -> None:
    async with channel() as (shared, stream):
        one, two = shared.open(), shared.open()
        half = bytes(MAX_DUE_BYTES // 2)
        assert one.send_now((PIECE, half))
        assert not stream.writes
        assert two.send_now((PIECE, half))
        assert stream.writes == [frame(PIECE, half, 1) + frame(PIECE, half, 2)]
        assert one.send_now((PIECE, b"1"))
        assert len(stream.writes) == 1
        await asyncio.sleep(0)
        assert stream.writes[1:] == [frame(PIECE, b"1", 1)]
        await asyncio.sleep(1)
        assert len(stream.writes) == 2


@virtual_time
async def test_much_waits_as_anything_does_while_the_transport_takes_nothing() -> None:
    async with channel() as (shared, stream):
        full = stream.full = asyncio.get_running_loop().create_future()
        one, two = shared.open(), shared.open()
        assert one.send_now((PIECE, bytes(MAX_DUE_BYTES)))
        stream.full = None
        assert two.send_now((PIECE, bytes(MAX_DUE_BYTES)))
        assert two.send_now((PIECE, b"2"))
        await asyncio.sleep(1)
        assert len(stream.writes) == 1
        full.set_result(None)
        await asyncio.sleep(1)
        assert len(stream.writes) == 2


@virtual_time
async def test_while_the_transport_takes_nothing_one_alone_waits_too() -> None:
    async with channel() as (alone, stream):
        full = stream.full = asyncio.get_running_loop().create_future()
        request = alone.open()
        assert request.send_now((PIECE, b"1"))
        stream.full = None
        assert request.send_now((PIECE, b"2"))
        assert request.send_now((PIECE, b"3"))
        await asyncio.sleep(1)
        assert stream.writes == [frame(PIECE, b"1", 1)]
        full.set_result(None)
        await asyncio.sleep(1)
        assert stream.writes[1:] == [frame(PIECE, b"2", 1) + frame(PIECE, b"3", 1)]


@virtual_time
async def test_what_one_alone_sends_behind_what_waits_for_this_turn_stays_behind_it() -> None:
    async with channel() as (alone, stream):
        request = alone.open()
        await request.send(HEAD, b"h")
        assert request.send_now((PIECE, b"p"))
        assert not stream.writes
        await asyncio.sleep(0)
        assert stream.writes == [frame(HEAD, b"h", 1) + frame(PIECE, b"p", 1)]


@virtual_time
async def test_an_end_that_nobody_waits_for_goes_with_the_next_request() -> None:
    async with channel() as (alone, stream):
        alone.open().send_now((PIECE, b"1"))
        first, _ = alone.open(), stream.writes.clear()
        first.finish()
        await asyncio.sleep(LATE_S / 2)
        assert not stream.writes
        await alone.open().send(PIECE, b"3")
        await asyncio.sleep(0)
        assert stream.writes == [frame(FINISH, b"", 2) + frame(PIECE, b"3", 3)]
        await asyncio.sleep(1)
        assert len(stream.writes) == 1


@virtual_time
async def test_an_end_that_nobody_waits_for_goes_alone_after_a_moment() -> None:
    async with channel() as (alone, stream):
        request = alone.open()
        assert request.send_now((PIECE, b"1"))
        for number in (1, 2):
            alone.open().finish()
            assert len(stream.writes) == number
            await asyncio.sleep(LATE_S)
            assert stream.writes[number:] == [frame(FINISH, b"", number + 1)]


@virtual_time
async def test_ends_while_the_transport_takes_nothing_wait_for_it() -> None:
    async with channel() as (alone, stream):
        full = stream.full = asyncio.get_running_loop().create_future()
        request = alone.open()
        assert request.send_now((PIECE, b"1"))
        stream.full = None
        request.finish()
        await asyncio.sleep(1)
        assert stream.writes == [frame(PIECE, b"1", 1)]
        full.set_result(None)
        await asyncio.sleep(1)
        assert stream.writes[1:] == [frame(FINISH, b"", 1)]


@virtual_time
async def test_ends_without_a_bound_end_a_link_that_takes_nothing() -> None:
    async with channel() as (alone, stream):
        stream.full = asyncio.get_running_loop().create_future()
        assert alone.open().send_now((PIECE, b"1"))
        for _ in range(MAX_PENDING_FRAMES + 1):
            alone.open().finish()
        assert stream.is_aborted
        stream.full.set_result(None)


@virtual_time
async def test_who_listens_is_told_once_of_all_that_is_read_together() -> None:
    async with channel() as (shared, stream):
        one, two = shared.open(), shared.open()
        one.send_now((PIECE, b"?"))
        two.send_now((PIECE, b"?"))
        told: list[tuple[str, object]] = []
        one.listen(lambda: told.append(("one", one.receive_now())))
        two.listen(lambda: told.append(("two", two.receive_now())))
        frames = [frame(HEAD, b"h", 1), frame(HEAD, b"g", 2), frame(PIECE, b"p", 1), frame(FINISH, b"", 1)]
        stream.reads = [b"".join(frames)[:-3], b"".join(frames)[-3:]]
        with pytest.raises(LinkLost):
            await shared.run()
        assert told[:3] == [("one", [(HEAD, b"h"), (PIECE, b"p")]), ("two", [(HEAD, b"g")]), ("one", None)]
        assert {who for who, _ in told[3:]} == {"one", "two"}  # the channel has ended
