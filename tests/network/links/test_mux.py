"""Many requests on few streams: order and content, windows, ends, and what a hostile peer can do to them."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masa_node.chat.errors import LinkLost, ProtocolFault, ProviderError, StreamReset
from masa_node.network.links.frames import MAX_PAYLOAD_BYTES, Frame, FrameKind, FrameStream, frame, read_head
from masa_node.network.links.mux import (
    CHANNELS,
    MAX_STREAMS,
    MUX_WINDOW_BYTES,
    Mux,
    MuxStream,
)
from masa_node.network.links.mux_stream import FRAME_COST_BYTES
from masa_node.network.links.session import first_message
from masa_node.network.transport.interfaces import Link, Stream
from masa_node.network.transport.memory import MemoryNetwork
from tests.virtual_time import virtual_time

PIECE, FINISH, RESET, WINDOW = FrameKind.PIECE, FrameKind.FINISH, FrameKind.RESET, FrameKind.WINDOW
VECTORS = Path(__file__).parents[2] / "vectors" / "protocol" / "mux.json"


class Bytes:
    """A request of which only the bytes in PIECEs matter."""

    def __init__(self, stream: FrameStream) -> None:
        self.stream = stream
        self.abort = stream.abort

    async def write(self, data: bytes) -> None:
        for at in range(0, len(data), MAX_PAYLOAD_BYTES):
            await self.stream.send(PIECE, data[at : at + MAX_PAYLOAD_BYTES])

    async def finish(self) -> None:
        self.stream.finish()

    async def read(self) -> bytes:
        return b"".join(payload for _, payload in await self.stream.receive())


@dataclass
class Pair:
    """Both ends of one link, and their channels."""

    network: MemoryNetwork
    here: Mux
    there: Mux
    link_here: Link
    link_there: Link
    arrived: asyncio.Queue[MuxStream]
    ended: list[str]
    why: dict[Mux, str]

    @property
    def why_here(self) -> str:
        return self.why.get(self.here, "")

    @property
    def why_there(self) -> str:
        return self.why.get(self.there, "")

    async def open(self) -> Bytes:
        return Bytes(await self.here.open())

    async def accept(self) -> Bytes:
        return Bytes(await self.arrived.get())

    async def stream(self) -> tuple[Bytes, Bytes]:
        """A new request, and the same at the other side."""
        mine = await self.open()
        await mine.write(b"!")
        theirs = await self.accept()
        assert await theirs.read() == b"!"
        return mine, theirs


@contextlib.asynccontextmanager
async def pair(seed: int = 1) -> AsyncIterator[Pair]:
    network = MemoryNetwork(seed=seed)
    ada, bob = network.transport(1), network.transport(2)
    dialing = asyncio.create_task(ada.dial(bob.address()))
    link_there = await bob.accept()
    link_here = await dialing
    ended: list[str] = []
    why: dict[Mux, str] = {}

    async def keep(channels: Mux, link: Link) -> None:
        try:
            await channels.run()
        except* ProviderError as lost:
            ended.append(str(lost.exceptions[0]))
            why[channels] = first_message(lost)
            link.close("a channel ended")  # as `Session` does

    arrived: asyncio.Queue[MuxStream] = asyncio.Queue()
    here, there = Mux(link_here, str, MuxStream.abort), Mux(link_there, str, arrived.put_nowait)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(keep(here, link_here)), group.create_task(keep(there, link_there))]
        await asyncio.sleep(0)
        yield Pair(network, here, there, link_here, link_there, arrived, ended, why)
        for task in tasks:
            task.cancel()


async def read_all(stream: Bytes) -> bytes:
    came = b""
    while piece := await stream.read():
        came += piece
    return came


async def raw(link: Link, *frames: bytes) -> Stream:
    """A channel on which the test itself says what goes out."""
    stream = await link.open()
    for each in frames:
        await stream.write(each)
    await asyncio.sleep(1)
    return stream


def channel_frame(number: int, kind: int, payload: bytes) -> bytes:
    return number.to_bytes(4, "big") + bytes([kind]) + len(payload).to_bytes(3, "big") + payload


@given(st.lists(st.lists(st.binary(max_size=3000), max_size=6), min_size=1, max_size=20), st.integers(0, 100))
def test_each_call_gets_its_own_bytes_in_order(said: list[list[bytes]], seed: int) -> None:
    @virtual_time
    async def run() -> None:
        async with pair(seed) as ends, asyncio.TaskGroup() as group:

            async def echo() -> None:
                theirs = await ends.accept()
                await theirs.write(await read_all(theirs))
                await theirs.finish()

            async def ask(pieces: list[bytes]) -> None:
                mine = await ends.open()
                await mine.write(b"!")
                for piece in pieces:
                    await mine.write(piece)
                await mine.finish()
                assert await read_all(mine) == b"!" + b"".join(pieces)

            for pieces in said:
                group.create_task(echo())
                group.create_task(ask(pieces))

    run()


@virtual_time
async def test_few_requests_have_a_channel_each_and_many_share_them() -> None:
    async with pair() as ends:
        streams = [await ends.stream() for _ in range(CHANNELS)]
        assert ends.network.open_streams == 2 * CHANNELS
        more = [await ends.stream() for _ in range(10 * CHANNELS)]
        assert ends.network.open_streams == 2 * CHANNELS
        for mine, theirs in (*streams, *more):
            await mine.finish()
            await theirs.finish()
            assert await theirs.read() == b""
        await ends.stream()
        assert ends.network.open_streams == 2 * CHANNELS


def slow_to_open(both: Pair) -> None:
    """As over a network: many ask for a channel before the first is there."""
    open_at_once = both.link_here.open

    async def open_later() -> Stream:
        await asyncio.sleep(0.01)
        return await open_at_once()

    both.link_here.open = open_later  # type: ignore[method-assign]


@virtual_time
async def test_a_thousand_requests_at_once_spread_evenly_over_the_channels_that_a_link_may_have() -> None:
    async with pair() as both:
        slow_to_open(both)
        async with asyncio.TaskGroup() as group:
            opening = [group.create_task(both.open()) for _ in range(1_000)]
        assert len(both.here._own) == CHANNELS
        assert max(channel.streams for channel in both.here._own) <= 1_000 / CHANNELS + 8
        for each in opening:
            await each.result().write(b"!")
        for _ in opening:
            assert await (await both.accept()).read() == b"!"


@virtual_time
async def test_asks_that_wait_for_a_channel_hear_it_when_the_link_goes() -> None:
    async with pair() as both:
        slow_to_open(both)
        opening = [asyncio.create_task(both.open()) for _ in range(100)]
        await asyncio.sleep(0)
        both.link_here.close("gone")
        told = await asyncio.gather(*opening, return_exceptions=True)
        assert all(isinstance(each, LinkLost) for each in told)


@virtual_time
async def test_a_reader_who_stalls_holds_a_window_and_not_his_neighbours() -> None:
    async with pair() as ends:
        slow = [await ends.stream() for _ in range(CHANNELS)]
        quick = [await ends.stream() for _ in range(CHANNELS)]
        writing = [asyncio.create_task(theirs.write(bytes(4 * MUX_WINDOW_BYTES))) for _, theirs in slow]
        await asyncio.sleep(60)
        assert not any(task.done() for task in writing)
        for mine, theirs in quick:
            await theirs.write(b"prompt")
            assert await mine.read() == b"prompt"
        for mine, _ in slow:
            came = 0
            while came < 4 * MUX_WINDOW_BYTES:
                came += len(await mine.read())
        await asyncio.gather(*writing)


@virtual_time
async def test_a_long_body_goes_through_while_it_is_read() -> None:
    async with pair() as ends:
        mine, theirs = await ends.stream()
        body = bytes(range(256)) * 20_000
        reading = asyncio.create_task(read_all(theirs))
        await mine.write(body)
        await mine.finish()
        assert await reading == body


@virtual_time
async def test_an_abort_is_seen_by_a_reader_and_by_a_writer_and_by_nobody_else() -> None:
    async with pair() as ends:
        streams = [await ends.stream() for _ in range(3 * CHANNELS)]
        (mine, theirs), (ours, other), *rest = streams
        reading = asyncio.create_task(theirs.read())
        writing = asyncio.create_task(other.write(bytes(3 * MUX_WINDOW_BYTES)))
        await asyncio.sleep(1)
        mine.abort()
        ours.abort()
        mine.abort()
        for stopped in (reading, writing):
            with pytest.raises(StreamReset):
                await stopped
        for stream in (mine, theirs, ours, other):
            with pytest.raises(StreamReset):
                await stream.read()
            with pytest.raises(StreamReset):
                await stream.write(b"x")
            with pytest.raises(StreamReset):
                await stream.finish()
        for one, another in rest:
            await one.write(b"x")
            assert await another.read() == b"x"


@virtual_time
async def test_after_both_have_finished_an_abort_does_nothing() -> None:
    async with pair() as ends:
        mine, theirs = await ends.stream()
        await mine.finish()
        await theirs.write(b"the last")
        await theirs.finish()
        await asyncio.sleep(1)
        theirs.abort()
        assert await read_all(mine) == b"the last"
        mine.abort()
        assert await mine.read() == b""


@virtual_time
async def test_what_was_sent_to_its_end_is_read_although_its_sender_has_left_since() -> None:
    async with pair() as ends:
        mine, theirs = await ends.stream()
        await theirs.write(b"the last")
        await theirs.finish()
        theirs.abort()
        await asyncio.sleep(1)
        assert await mine.read() == b"the last"
        for what in (mine.read, mine.finish):
            with pytest.raises(StreamReset):
                await what()


@virtual_time
async def test_a_call_given_up_before_its_first_bytes_is_never_heard_of() -> None:
    async with pair() as ends:
        never = await ends.open()
        never.abort()
        await ends.stream()
        with pytest.raises(StreamReset):
            await never.read()


@virtual_time
async def test_when_the_link_goes_what_came_is_read_and_then_it_is_told() -> None:
    async with pair() as ends:
        mine, theirs = await ends.stream()
        await theirs.write(b"came")
        writing = asyncio.create_task(mine.write(bytes(3 * MUX_WINDOW_BYTES)))
        await asyncio.sleep(1)
        ends.link_there.close("the peer stops")
        await asyncio.sleep(1)
        assert await mine.read() == b"came"
        with pytest.raises(LinkLost, match="the peer stops"):
            await mine.read()
        with pytest.raises(LinkLost):
            await writing
        with pytest.raises(LinkLost):
            await ends.open()


@virtual_time
async def test_waiting_can_be_cancelled_at_any_time() -> None:
    async with pair() as ends:
        mine, theirs = await ends.stream()
        for _ in range(5):
            for waiting in (mine.read(), theirs.write(bytes(3 * MUX_WINDOW_BYTES))):
                task = asyncio.create_task(waiting)  # type: ignore[arg-type]
                await asyncio.sleep(0.1)
                task.cancel()
                await asyncio.wait([task])
            break
        one, other = await ends.stream()
        await one.write(b"goes on")
        assert await other.read() == b"goes on"


@virtual_time
async def test_too_many_calls_are_given_back_at_once() -> None:
    async with pair() as ends:
        channel = await raw(
            ends.link_here, *(channel_frame(number + 1, PIECE, b"!") for number in range(MAX_STREAMS + 5))
        )
        heard = b""
        while heard.count(b"\x09\x00\x00\x00") < 5:
            heard += await channel.read()
        assert not ends.ended
        for _ in range(MAX_STREAMS):
            await ends.accept()


HOSTILE = {
    "more than the window": [channel_frame(1, PIECE, bytes(MAX_PAYLOAD_BYTES))]
    * (MUX_WINDOW_BYTES // MAX_PAYLOAD_BYTES + 1),
    "a chunk that is too long": [channel_frame(1, PIECE, b"")[:5] + b"\xff\xff\xff"],
    "an unknown kind": [channel_frame(1, 71, b"")],
    "more after the end": [
        channel_frame(1, PIECE, b"!"),
        channel_frame(1, FINISH, b""),
        channel_frame(1, PIECE, b"x"),
    ],
    "a grant of more than was sent": [
        channel_frame(1, PIECE, b"!"),
        channel_frame(1, WINDOW, (1).to_bytes(4, "big")),
    ],
    "a malformed grant": [channel_frame(1, PIECE, b"!"), channel_frame(1, WINDOW, b"\0")],
}


@pytest.mark.parametrize("frames", HOSTILE.values(), ids=HOSTILE)
def test_what_no_honest_peer_sends_ends_the_link(frames: list[bytes]) -> None:
    @virtual_time
    async def run() -> None:
        async with pair() as ends:
            with contextlib.suppress(ProviderError):
                await raw(ends.link_here, *frames)
            await asyncio.sleep(1)
            assert len(ends.ended) >= 1
            assert ends.network.open_links == 0

    run()


@virtual_time
async def test_more_channels_than_a_node_needs_end_the_link() -> None:
    async with pair() as ends:
        with contextlib.suppress(ProviderError):
            for _ in range(CHANNELS + 1):
                await raw(ends.link_here, channel_frame(1, PIECE, b"!"))
        assert any("more than" in why for why in ends.ended)


@virtual_time
async def test_frames_for_calls_that_are_over_or_never_were_are_nothing() -> None:
    async with pair() as ends:
        mine, theirs = await ends.stream()
        theirs.abort()
        await asyncio.sleep(1)
        channel = await raw(
            ends.link_here,
            channel_frame(5, RESET, b""),
            channel_frame(4, PIECE, b"late"),
            channel_frame(5, PIECE, b"late"),
        )
        await channel.write(channel_frame(6, PIECE, b"new"))
        assert await (await ends.accept()).read() == b"new"
        assert not ends.ended
        with pytest.raises(StreamReset):
            await mine.read()


@given(st.binary(max_size=200))
def test_garbage_is_a_fault_or_nothing(garbage: bytes) -> None:
    @virtual_time
    async def run() -> None:
        async with pair() as ends:
            with contextlib.suppress(ProviderError):
                await raw(ends.link_here, garbage)

    run()


@pytest.mark.parametrize("case", json.loads(VECTORS.read_text("utf-8"))["frames"], ids=lambda case: case["name"])
def test_a_vector_is_written_and_read_as_it_stands(case: dict[str, str | int]) -> None:
    number, kind, payload = int(case["request"]), FrameKind[str(case["kind"])], bytes.fromhex(str(case["payload_hex"]))
    data = bytes.fromhex(str(case["hex"]))
    assert frame(kind, payload, number) == data
    assert read_head(data, 0) == (number, kind, len(payload))


@virtual_time
async def test_what_was_given_out_counts_until_its_reader_comes_for_more() -> None:
    """A peer that has taken a window of frames and does not come back holds that, and no byte more."""
    async with pair() as ends:
        mine, theirs = await ends.stream()
        writing = asyncio.create_task(theirs.write(bytes(4 * MUX_WINDOW_BYTES)))
        await asyncio.sleep(1)
        held = len(await mine.read())
        await asyncio.sleep(60)
        assert MUX_WINDOW_BYTES - MAX_PAYLOAD_BYTES - 4 * FRAME_COST_BYTES <= held <= MUX_WINDOW_BYTES
        assert not writing.done()
        while not writing.done():
            await mine.read()


@virtual_time
async def test_small_frames_use_a_window_up_as_what_they_take_in_memory() -> None:
    async with pair() as ends:
        mine, theirs = await ends.stream()
        sent = 0

        async def drip() -> None:
            nonlocal sent
            while True:
                await theirs.write(b"x")
                sent += 1

        dripping = asyncio.create_task(drip())
        await asyncio.sleep(1)
        assert sent == MUX_WINDOW_BYTES // (FRAME_COST_BYTES + 1)
        dripping.cancel()
        mine.abort()


@virtual_time
async def test_what_cannot_be_sent_now_is_not_sent_at_all() -> None:
    async with pair() as ends:
        await ends.stream()
        stream = await ends.here.open()
        half = bytes(MAX_PAYLOAD_BYTES)
        sent = 0
        while stream.send_now((PIECE, half), (PIECE, b"x")):
            sent += 2
        assert 0 < sent * MAX_PAYLOAD_BYTES // 2 < MUX_WINDOW_BYTES
        theirs = await ends.accept()
        came: list[bytes] = []
        while len(came) < sent:
            came += [payload for _, payload in await theirs.stream.receive()]
        assert came == [half, b"x"] * (sent // 2)
        stream.abort()
        assert not stream.send_now((PIECE, b"x"))


@virtual_time
async def test_requests_are_heard_of_in_whatever_order_they_send_their_first_frames() -> None:
    """One that was opened before another may have to wait for room, and send after it."""
    async with pair() as ends, asyncio.timeout(10):
        some = [await ends.open() for _ in range(3 * CHANNELS)]
        for at, each in reversed(list(enumerate(some))):
            await each.write(bytes([at]))
        heard = [await (await ends.accept()).read() for _ in some]
        assert sorted(heard) == [bytes([at]) for at in range(len(some))]


@virtual_time
async def test_who_reads_without_a_task_is_told_of_all_that_comes_and_of_the_end() -> None:
    async with pair() as ends:
        mine, theirs = await ends.stream()
        stream = mine.stream
        came: list[object] = []
        stream.listen(lambda: came.append(stream.receive_now()))
        assert stream.receive_now() == []
        await theirs.write(b"a")
        await theirs.write(b"b")
        await asyncio.sleep(1)
        assert came == [[(PIECE, b"a")], [(PIECE, b"b")]]
        stream.listen(None)
        await theirs.write(b"c")
        await asyncio.sleep(1)
        assert came == [[(PIECE, b"a")], [(PIECE, b"b")]]
        assert stream.receive_now() == [(PIECE, b"c")]
        stream.listen(lambda: came.append(stream.receive_now()))
        theirs.abort()
        await asyncio.sleep(1)
        assert came[2:] == [None]
        with pytest.raises(StreamReset):
            await stream.receive()


@virtual_time
async def test_a_piece_is_offered_where_nothing_waits_before_it() -> None:
    async with pair() as ends:
        mine, _ = await ends.stream()
        stream = mine.stream
        assert isinstance(stream, MuxStream)
        told: list[object] = []
        offered: list[bytes] = []

        def take(piece: bytes) -> bool:
            offered.append(piece)
            return piece != b"odd"

        stream.listen(lambda: told.append(stream.receive_now()), take)
        alive, odd, behind = (FrameKind.ALIVE, b""), (PIECE, b"odd"), (PIECE, b"c")
        for frames in ([(PIECE, b"a")], [alive], [(PIECE, b"b"), odd, behind]):
            for kind, payload in frames:
                stream.came(kind, payload)
            stream.tell()
        assert offered == [b"a", b"b", b"odd"]
        assert told == [[], [alive], [odd, behind]]
        stream.listen(lambda: told.append(stream.receive_now()))
        stream.came(*behind)
        stream.tell()
        assert len(offered) == 3
        assert told[3:] == [[behind]]


@virtual_time
async def test_what_is_taken_as_it_comes_is_granted_again() -> None:
    async with pair() as ends:
        mine, theirs = await ends.stream()
        taken: list[int] = []
        mine.stream.listen(lambda: None, lambda piece: not taken.append(len(piece)))
        async with asyncio.timeout(10):
            await theirs.write(bytes(4 * MUX_WINDOW_BYTES))
        await asyncio.sleep(1)
        assert sum(taken) == 4 * MUX_WINDOW_BYTES


@virtual_time
@pytest.mark.parametrize("ending", [[], [(FINISH, b"")]])
async def test_no_piece_is_offered_beyond_the_window_or_behind_the_end(ending: list[Frame]) -> None:
    async with pair() as ends:
        mine, _ = await ends.stream()
        offered: list[int] = []
        assert isinstance(mine.stream, MuxStream)
        mine.stream.listen(lambda: None, lambda piece: bool(offered.append(len(piece))))
        for kind, payload in ending:
            mine.stream.came(kind, payload)
        with pytest.raises(ProtocolFault):
            mine.stream.came(PIECE, bytes(MUX_WINDOW_BYTES))
        assert not offered
