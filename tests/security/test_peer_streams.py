"""What a hostile peer may do on streams of requests: each thing is bounded, is cleaned up, and others are served."""

import asyncio
import gc
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from masa_node.chat.errors import LinkLost, ProtocolFault, ProviderError, StreamReset
from masa_node.network.links.frames import HEAD_BYTES, FrameKind, FrameReader, frame, header_frame, read_header
from masa_node.network.links.mux import MUX_WINDOW_BYTES
from masa_node.network.requests.frames import Alive, RequestFailure, RequestHeader
from masa_node.network.requests.quotas import MAX_REFUSALS_TOLD
from masa_node.network.requests.server import REQUEST_WITHIN_S
from masa_node.routing.provider import Sign, no_sign
from tests.network.requests.request_world import LIMITS, Node, World, ask, take, world
from tests.network.requests.test_server import CHUNK, Speaks, limits, provider
from tests.network.said import SaidMux, SaidStream
from tests.routing.scripted import WHOLE
from tests.virtual_time import now_s, virtual_time

BODY = b'{"model":"tiny"}'


def header(size: int = len(BODY), **changed: object) -> bytes:
    fields = {
        "request_id": "r-1",
        "endpoint": "openai.chat",
        "model": "tiny",
        "wants_stream": False,
        "body_bytes": size,
        "first_piece_within_ms": 30_000,
    }
    return header_frame(FrameKind.REQUEST, RequestHeader(**(fields | changed)))  # type: ignore[arg-type]


async def heard(stream: SaidStream) -> list[tuple[FrameKind, bytes]]:
    """Every frame that comes until the stream ends."""
    reader, frames = FrameReader(), []
    try:
        while data := await stream.read():
            frames += reader.feed(data)
    except (StreamReset, LinkLost):
        frames.append((FrameKind.FAIL, header_frame(FrameKind.FAIL, RequestFailure("reset"))[HEAD_BYTES:]))
    return frames


async def say(link: SaidMux, *data: bytes) -> str:
    """Open a stream, say this, go on listening: the code of the failure that comes, or the kind of the last frame."""
    stream = await link.open()
    try:
        for each in data:
            await stream.write(each)
        kind, payload = (await heard(stream))[-1]
        return read_header(payload, RequestFailure).code if kind is FrameKind.FAIL else kind.name
    except (StreamReset, LinkLost):
        return "reset"
    finally:
        stream.abort()


@asynccontextmanager
async def serving(node: Node) -> AsyncIterator[World]:
    """What is left of the node's counts must be nothing."""
    async with world(node.serve) as here:
        yield here
        await asyncio.sleep(REQUEST_WITHIN_S + 10)
    assert node.admission.running == 0
    assert node.server._quotas.held_bytes == 0
    assert all(not quota.at_work and not quota.telling for quota in node.server._quotas._peers.values())


GOOD = (header(), frame(FrameKind.BODY, BODY))


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (GOOD, "END"),
        ((frame(FrameKind.BODY, BODY),), "reset"),
        ((header_frame(FrameKind.PING, Alive()),), "reset"),
        ((frame(FrameKind.REQUEST, b"\xc1"),), "reset"),
        ((frame(FrameKind.REQUEST, b"\x91" * 30_000),), "reset"),
        ((header(), header()), "reset"),
        ((header(), frame(FrameKind.BODY, b"")), "reset"),
        ((header(), frame(FrameKind.BODY, BODY + b" ")), "reset"),
        ((header(), *[frame(FrameKind.BODY, b"{")] * 3), "reset"),
        ((*GOOD, header_frame(FrameKind.ALIVE, Alive())), "reset"),
        ((header(10**12),), "peer_refused"),
        ((header(0), frame(FrameKind.BODY, b"")), "peer_refused"),
        ((header(endpoint="back.endpoint"),), "peer_refused"),
        ((header(model="x" * 256),), "peer_refused"),
        ((header(model="../../etc/passwd"),), "peer_refused"),
        ((header(headers=(("accept", "a\r\nauthorization: b"),)), frame(FrameKind.BODY, BODY)), "peer_refused"),
        ((header(headers=(("accept", "\u2028"),)), frame(FrameKind.BODY, BODY)), "peer_refused"),
        ((frame(FrameKind.REQUEST, header()[HEAD_BYTES:].replace(b"r-1", b"r\n1")),), "reset"),
    ],
    ids=lambda value: value if isinstance(value, str) else repr(value[-1][:24]),
)
@virtual_time
async def test_every_breach_ends_that_stream_alone(said: tuple[bytes, ...], code: str) -> None:
    node = Node((provider(0.5, WHOLE),))
    async with serving(node) as here:
        good = asyncio.create_task(take(here.peer, ask(BODY, wants_stream=False)))
        assert await say(here.link, *said) == code
        assert (await good).error is None


@pytest.mark.parametrize(
    "rubbish",
    [
        b"\0" * 8,
        b"GET / HTTP/1.1\r\n\r\n",
        b"\0\0\0\1\x10\xff\xff\xff",
        frame(FrameKind.PING, b"\x80"),
        b"\0\0\0\1\x7f\0\0\0",
    ],
    ids=["zeros", "HTTP", "too long", "of the control stream", "unknown"],
)
@virtual_time
async def test_what_is_no_frame_of_a_request_ends_the_link(rubbish: bytes) -> None:
    async with serving(Node((provider(WHOLE),))) as here:
        stream = await here.link.raw.open()
        await stream.write(rubbish)
        await here.link.closed()
        assert here.link.streams == 0


def ends_inside_a_frame(data: bytes) -> bool:
    """Then all that is said on the link afterwards is taken for the rest of that frame."""
    at = 0
    while at + HEAD_BYTES <= len(data):
        at += HEAD_BYTES + int.from_bytes(data[at + 5 : at + HEAD_BYTES], "big")
    return at != len(data)


@example([bytes(11), b"\1\0\1\0\0"])  # a frame of 64 KiB begins
@given(
    st.lists(st.binary(max_size=80) | st.sampled_from([*GOOD, header(50), frame(FrameKind.BODY, b"{}")]), max_size=5)
)
def test_garbage_on_a_stream_never_reaches_the_accept_loop(said: list[bytes]) -> None:
    @virtual_time
    async def check() -> None:
        node = Node((provider(WHOLE),))
        with capture_logs() as lines:
            async with serving(node) as here:
                stream = await here.link.open()
                for data in said:
                    try:
                        await stream.write(data)
                    except (StreamReset, LinkLost):
                        break
                await asyncio.sleep(1)
                stream.abort()
                try:
                    async with asyncio.timeout(60):
                        got = await take(here.peer, ask(BODY, wants_stream=False))
                except TimeoutError:
                    assert ends_inside_a_frame(b"".join(said))
                else:
                    assert got.error is None or isinstance(got.error, LinkLost)  # what is no frame ends the link
        assert not any("bug" in line["event"] for line in lines)

    check()


@virtual_time
async def test_a_peer_that_breaks_the_protocol_again_and_again_is_logged_once() -> None:
    with capture_logs() as lines:
        async with serving(Node((provider(WHOLE),))) as here:
            for _ in range(50):
                assert await say(here.link, frame(FrameKind.BODY, BODY)) == "reset"
    assert [line["event"] for line in lines] == ["peer misbehaves"]


@virtual_time
async def test_a_body_that_drips_is_given_up() -> None:
    async with serving(Node((provider(WHOLE),))) as here:
        stream = await here.link.open()
        await stream.write(header(900_000))

        async def drip() -> None:
            for _ in range(10_000):
                await stream.write(frame(FrameKind.BODY, b"x" * 1_024))
                await asyncio.sleep(1)

        with pytest.raises((StreamReset, LinkLost)):
            await drip()
        assert now_s() < REQUEST_WITHIN_S + 10
        stream.abort()


@virtual_time
async def test_streams_that_say_nothing_hold_no_place_of_others() -> None:
    node = Node((provider(WHOLE),), limits=limits(requests_per_peer=4))
    async with serving(node) as here:
        silent = [await here.link.open() for _ in range(1_000)]
        for stream in silent:
            await stream.begin()
        await asyncio.sleep(1)
        (quota,) = node.server._quotas._peers.values()
        assert (quota.at_work, quota.telling) == (4, MAX_REFUSALS_TOLD)
        assert here.network.open_streams <= 2 * (1_000 + 4 + MAX_REFUSALS_TOLD)
        await asyncio.sleep(REQUEST_WITHIN_S + 10)
        assert (quota.at_work, quota.telling) == (0, 0)
        for stream in silent:
            stream.abort()


@virtual_time
async def test_bodies_that_are_never_finished_hold_bounded_memory() -> None:
    node = Node((provider(WHOLE),), limits=limits(requests_per_peer=1_000, requests_per_minute=10_000))
    async with serving(node) as here:
        streams = [await here.link.open() for _ in range(200)]

        async def flood(stream: SaidStream) -> None:
            try:
                await stream.write(header(900_000))
                for _ in range(10):
                    await stream.write(frame(FrameKind.BODY, b"x" * 65_536))
            except (StreamReset, LinkLost):
                pass

        async with asyncio.TaskGroup() as group:
            for stream in streams:
                group.create_task(flood(stream))
        assert 0 < node.server._quotas.held_bytes <= 4 * LIMITS.max_body_bytes
        for stream in streams:
            stream.abort()


@virtual_time
async def test_thousands_of_hostile_streams_leave_nothing() -> None:
    node = Node((provider(WHOLE),), limits=limits(requests_per_minute=100_000))
    said = ([header(model="no")], [frame(FrameKind.BODY, b"")], [header()], [*GOOD, header()], [header(50)])
    async with serving(node) as here:

        async def rounds(count: int) -> None:
            for number in range(count):
                stream = await here.link.open()
                try:
                    for data in said[number % len(said)]:
                        await stream.write(data)
                    await asyncio.sleep(0.002)
                except (StreamReset, LinkLost):
                    pass
                stream.abort()

        await rounds(250)
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        await rounds(1_500)
        await asyncio.sleep(5)
        node.outcomes.clear()
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        assert grown < 250_000
        assert len(node.server._quotas) == 1
        assert (await take(here.peer, ask(BODY, wants_stream=False))).error is None


@virtual_time
async def test_a_requester_who_takes_nothing_holds_a_slot_for_the_idle_time_only() -> None:
    node = Node((provider(Speaks([CHUNK] * 100_000)),))
    async with serving(node) as here:
        stream = await here.link.open()
        body = b'{"model":"tiny","stream":true}'
        await stream.write(header(len(body), wants_stream=True) + frame(FrameKind.BODY, body))
        await asyncio.sleep(LIMITS.idle_timeout_s + 1)
        assert node.admission.running == 0
        assert node.outcome.error == "caller_stalled"
        assert len(CHUNK) * node.outcome.pieces <= MUX_WINDOW_BYTES
        stream.abort()


@virtual_time
async def test_a_stranger_is_never_told_what_a_bug_says() -> None:
    class Broken:
        is_local = is_trusted = True
        is_hosted = False
        priority = 0
        name = "llm"
        location = "llm (http://10.0.0.1)"

        async def answer(self, asked: object, sign: Sign = no_sign) -> None:
            raise RuntimeError("secret prompt")

    with capture_logs() as lines:
        async with serving(Node((Broken(),))) as here:  # type: ignore[arg-type]
            got = await take(here.peer, ask(BODY, wants_stream=False))
            assert isinstance(got.error, ProviderError)
            assert not isinstance(got.error, ProtocolFault)
            assert "secret" not in got.error.message
    assert [line["event"] for line in lines] == ["bug while a peer was served"]
