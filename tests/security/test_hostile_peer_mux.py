"""What a peer can make this node hold, and how long keep it busy, with the frames of a channel. Counted, not timed."""

import asyncio
import contextlib

import pytest

from masa_node.chat.errors import LinkLost
from masa_node.network.links import mux
from masa_node.network.links.control import Hello
from masa_node.network.links.frames import FrameKind, FrameReader, frame, header_frame
from masa_node.network.links.mux import (
    CHANNELS,
    MAX_PENDING_BYTES,
    MAX_PENDING_FRAMES,
    SLICE_WORK,
    STREAM_WORK,
    WORK_BURST,
    WORK_PER_S,
    Channel,
)
from masa_node.network.links.mux_stream import FRAME_COST_BYTES, MUX_WINDOW_BYTES, MuxStream
from masa_node.network.links.session import ControlStream, Session
from masa_node.network.transport import memory_links, memory_pipe
from masa_node.network.transport.interfaces import Link, Stream
from tests.network.links.test_mux import channel_frame, pair, raw
from tests.security.hostile_peers import GONE, GOOD_REQUEST, Eve, Siege, beside, siege
from tests.virtual_time import now_s, settle, until, virtual_time

CHUNK = 60_000


async def raw_link(eve: Eve) -> tuple[Link, ControlStream]:
    """A link on which she was let in, and reads nothing but the control stream."""
    link = await eve.dial()
    control = ControlStream(await link.open())
    await control.write(header_frame(FrameKind.HELLO, Hello("evil", "eve")))
    assert (await control.next())[0] is FrameKind.WELCOME
    return link, control


def opened_and_reset(first: int, count: int) -> bytes:
    return b"".join(
        channel_frame(number, FrameKind.IGNORED, b"") + channel_frame(number, FrameKind.RESET, b"")
        for number in range(first, first + count)
    )


def asked(first: int, count: int) -> bytes:
    return b"".join(
        frame(kind, payload, number)
        for number in range(first, first + count)
        for kind, payload in FrameReader().feed(GOOD_REQUEST)
    )


def session_of(here: Siege) -> Session:
    return here.ada.network.links.sessions[here.eve.transport.keys.node_id]


async def pour(stream: Stream, data: bytes) -> None:
    with contextlib.suppress(*GONE):
        for at in range(0, len(data), CHUNK):
            await stream.write(data[at : at + CHUNK])


class Watch:
    """The most that was ever pending on any channel, whenever a frame was put on one or a call came on one.

    `tasks` are the most that were begun in one go.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.frames = self.bytes = self.streams = self.tasks = 0
        put, begun, cut = Channel.put, Channel._begun, Channel._cut

        def watched_put(channel: Channel, number: int, kind: FrameKind, payload: bytes) -> None:
            put(channel, number, kind, payload)
            self.frames = max(self.frames, channel._pending_frames)
            self.bytes = max(self.bytes, channel._pending)

        def watched_begun(channel: Channel, number: int, kind: FrameKind) -> MuxStream | None:
            self.streams += 1
            return begun(channel, number, kind)

        def watched_cut(channel: Channel, data: bytes) -> int:
            before = self.streams
            at = cut(channel, data)
            self.tasks = max(self.tasks, self.streams - before)
            return at

        monkeypatch.setattr(Channel, "put", watched_put)
        monkeypatch.setattr(Channel, "_begun", watched_begun)
        monkeypatch.setattr(Channel, "_cut", watched_cut)


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The transport holds little for a peer that does not read."""
    for module in (memory_links, memory_pipe):
        monkeypatch.setattr(module, "MEMORY_WINDOW_BYTES", 16 * 1024)


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    return Watch(monkeypatch)


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("channels", [1, CHANNELS])
@virtual_time
async def test_calls_opened_by_one_who_reads_nothing_cost_the_link_and_little_memory(
    watch: Watch, channels: int
) -> None:
    async with siege() as here:
        link, control = await raw_link(here.eve)
        streams = [await link.open() for _ in range(channels)]
        async with beside(here.eve.stay(control)):
            session = session_of(here)
            async with beside(*(pour(stream, asked(1, 10_000)) for stream in streams)):
                await until(lambda: session.why != "", within_s=600)
        assert session.why == "it does not read what it is sent."
        assert watch.frames <= MAX_PENDING_FRAMES + 1
        assert watch.bytes <= 2 * MAX_PENDING_BYTES
        assert 0 < watch.tasks <= SLICE_WORK // STREAM_WORK + 1


@virtual_time
async def test_calls_opened_and_reset_are_taken_in_slices_and_leave_nothing(watch: Watch) -> None:
    async with siege() as here:
        link, control = await raw_link(here.eve)
        stream = await link.open()
        async with beside(here.eve.stay(control)):
            began_s = now_s()
            await pour(stream, opened_and_reset(1, 10_000))
            channel = await _channel(session_of(here).mux)
            await until(lambda: channel._last == 10_000)
            assert now_s() - began_s > (10_000 * STREAM_WORK - WORK_BURST) / WORK_PER_S - 1
            await here.honest_peers_are_well()
        assert watch.streams >= 10_000
        assert watch.tasks <= SLICE_WORK // STREAM_WORK + 1
        assert not channel._streams


@pytest.mark.parametrize(
    "each",
    [
        channel_frame(9, FrameKind.PIECE, b""),
        channel_frame(9, FrameKind.FINISH, b""),
        channel_frame(9, FrameKind.RESET, b""),
        channel_frame(9, FrameKind.WINDOW, b"\0\0\0\1"),
        channel_frame(9, FrameKind.PIECE, b"x"),
    ],
    ids=["empty", "finish", "reset", "grant", "a byte"],
)
@virtual_time
async def test_frames_that_carry_next_to_nothing_are_read_in_slices_and_at_a_rate(each: bytes) -> None:
    count = 2 * WORK_BURST
    async with pair() as ends:
        stream = await ends.link_here.open()
        await stream.write(channel_frame(1, FrameKind.PIECE, b"!") + channel_frame(9, FrameKind.RESET, b""))
        await settle()
        began_s = now_s()
        channel: Channel = await _channel(ends.there)
        turns = 0

        async def count_turns() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0.001)

        counting = asyncio.create_task(count_turns())
        for _ in range(count // 5_000):
            await stream.write(each * 5_000)
        await stream.write(channel_frame(10, FrameKind.RESET, b""))
        await until(lambda: channel._last == 10)
        counting.cancel()
        assert now_s() - began_s >= (count - WORK_BURST) / WORK_PER_S - 1
        assert turns >= 1_000
        assert not ends.ended


async def _channel(channels: object) -> Channel:
    theirs: list[Channel] = channels._theirs  # type: ignore[attr-defined]
    await until(lambda: bool(theirs))
    return theirs[0]


@virtual_time
async def test_bytes_that_come_one_by_one_and_are_not_read_wait_in_few_objects() -> None:
    most = MUX_WINDOW_BYTES // (FRAME_COST_BYTES + 1)
    async with pair() as ends:
        stream = await ends.link_here.open()
        await stream.write(channel_frame(1, FrameKind.PIECE, b"!") * most)
        opened = (await ends.accept()).stream
        await until(lambda: len(opened._inbox) == most)  # type: ignore[attr-defined]
        assert not ends.ended
        await stream.write(channel_frame(1, FrameKind.PIECE, b"x"))
        await until(lambda: bool(ends.ended))
        assert ends.why_there == "it sent more on a stream than it may."


@virtual_time
async def test_no_more_waits_to_be_read_on_a_call_than_its_window() -> None:
    async with pair() as ends:
        await raw(ends.link_here, *[channel_frame(1, FrameKind.PIECE, b"x" * CHUNK)] * (MUX_WINDOW_BYTES // CHUNK + 1))
        assert ends.why_there == "it sent more on a stream than it may."


@virtual_time
async def test_a_grant_of_nothing_is_a_fault() -> None:
    async with pair() as ends:
        await raw(
            ends.link_here,
            channel_frame(1, FrameKind.PIECE, b"x"),
            channel_frame(1, FrameKind.WINDOW, b"\0\0\0\0"),
        )
        assert ends.why_there == "it granted nothing on a channel."


@pytest.mark.usefixtures("narrow")
@virtual_time
async def test_asks_given_up_towards_a_peer_that_reads_nothing_cost_the_link_too() -> None:
    """The other direction: this node asks, its callers leave, and the peer never reads."""
    async with pair() as ends:
        ends.network.hang(ends.link_there.host.node_id)  # type: ignore[attr-defined]
        with contextlib.suppress(LinkLost):
            for _ in range(100_000):
                opened = await ends.here.open()
                opened.send_now((FrameKind.PIECE, b"x"))
                opened.abort()
                if ends.ended:
                    break
                await settle(1)
        most = max(channel._pending_frames for channel in ends.here._own)
        assert most <= MAX_PENDING_FRAMES + 1
        await until(lambda: bool(ends.ended))
        assert ends.why_here == "it does not read what it is sent."


@virtual_time
async def test_what_comes_for_a_request_that_is_over_is_read_at_a_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts against no window: nobody takes it."""
    monkeypatch.setattr(mux, "WORK_BURST", 2_000)
    monkeypatch.setattr(mux, "WORK_PER_S", 1_000)
    each = channel_frame(1, FrameKind.PIECE, b"x" * 16_000)
    count = 200
    async with pair() as ends:
        stream = await ends.link_here.open()
        await stream.write(channel_frame(1, FrameKind.PIECE, b"!") + channel_frame(1, FrameKind.RESET, b""))
        await settle()
        began_s = now_s()
        channel = await _channel(ends.there)
        for _ in range(count):
            await stream.write(each)
        await stream.write(channel_frame(2, FrameKind.RESET, b""))
        await until(lambda: channel._last == 2, within_s=100)
        assert now_s() - began_s >= (count * 16_000 / mux.NOBODYS_BYTES - 2_000) / 1_000 - 1
        assert not ends.ended
