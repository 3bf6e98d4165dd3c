"""A hostile peer that asks, and one that is asked: nobody waits for it longer than he should, and nothing is left."""

import asyncio
import contextlib
import time
import tracemalloc
from collections.abc import Awaitable, Callable

import pytest

from masa_node.chat.errors import MasaError, PeerRefused
from masa_node.chat.request import Endpoint
from masa_node.dialects.bodies.peek import MAX_FIELDS
from masa_node.network.links.frames import FrameKind, frame, header_frame
from masa_node.network.requests.body_check import MAX_NAMES, check_body
from masa_node.network.requests.frames import Alive, AnswerEnd, AnswerHead, RequestFailure
from masa_node.network.requests.server import REQUEST_WITHIN_S
from masa_node.routing.answers.reader import MAX_BEFORE_ANSWER_BYTES
from tests.network.nodes import FIRST_PIECE_WITHIN_S, IDLE_S, SLOTS
from tests.network.said import SaidStream
from tests.security.hostile_peers import (
    BODY,
    GONE,
    GOOD_REQUEST,
    OF_ADA,
    OF_ALL,
    OF_EVE,
    SLOW,
    Siege,
    advert,
    assert_whole,
    beside,
    pushed,
    read_request,
    request_header,
    siege,
)
from tests.virtual_time import now_s, until, virtual_time

# ---- she asks ----


async def silent(stream: SaidStream) -> None:
    await stream.begin()
    await asyncio.sleep(REQUEST_WITHIN_S)


async def drips(stream: SaidStream) -> None:
    await stream.write(request_header(900_000))
    while True:
        await stream.write(frame(FrameKind.BODY, b"x" * 1_024))
        await asyncio.sleep(1)


async def drips_bytes(stream: SaidStream) -> None:
    for number in range(len(GOOD_REQUEST)):
        await stream.write(GOOD_REQUEST[number : number + 1])
        await asyncio.sleep(1)


async def sends_without_end(stream: SaidStream) -> None:
    await stream.write(GOOD_REQUEST)
    while True:
        await stream.write(frame(FrameKind.BODY, b"x" * 60_000))


async def says_for_ever_that_it_is_alive(stream: SaidStream) -> None:
    await stream.write(GOOD_REQUEST)
    while True:
        await stream.write(header_frame(FrameKind.ALIVE, Alive()) * 100)


async def finishes_and_stays(stream: SaidStream) -> None:
    await stream.write(GOOD_REQUEST)
    await stream.finish()
    await asyncio.sleep(REQUEST_WITHIN_S)


async def asks_again_behind_it(stream: SaidStream) -> None:
    await stream.write(GOOD_REQUEST * 50)
    await asyncio.sleep(REQUEST_WITHIN_S)


async def resets_at_once(stream: SaidStream) -> None:
    await stream.write(GOOD_REQUEST)


@pytest.mark.parametrize(
    "misuse",
    [
        silent,
        drips,
        drips_bytes,
        sends_without_end,
        says_for_ever_that_it_is_alive,
        finishes_and_stays,
        asks_again_behind_it,
        resets_at_once,
    ],
)
@virtual_time
async def test_asks_that_are_none_disturb_nobody(misuse: Callable[[SaidStream], Awaitable[None]]) -> None:
    async with siege() as here:
        link, control = await here.eve.enter()

        async def keep_on() -> None:
            while True:
                stream = await link.open()
                with contextlib.suppress(*GONE, TimeoutError):
                    async with asyncio.timeout(5):
                        await misuse(stream)
                stream.abort()
                await asyncio.sleep(0.5)

        async with beside(here.eve.stay(control), *[keep_on() for _ in range(20)]):
            for _ in range(3):
                await asyncio.sleep(5)
                await here.honest_peers_are_well()


@virtual_time
async def test_a_word_behind_the_request_ends_it() -> None:
    body = BODY.replace(OF_ADA.encode(), SLOW.encode())
    async with siege() as here:
        link, control = await here.eve.enter()
        stream = await link.open()
        async with beside(here.eve.stay(control)):
            await stream.write(request_header(len(body), model=SLOW) + frame(FrameKind.BODY, body))
            await until(lambda: here.ada.peer_admission.running == 1, within_s=1)
            await stream.write(header_frame(FrameKind.ALIVE, Alive()))
            await until(lambda: here.ada.peer_admission.running == 0, within_s=1)
        stream.abort()


def test_a_body_of_a_million_fields_is_refused_before_they_become_objects() -> None:
    """They took 200 MB, and 0.7 s in which the node did nothing else."""
    many = b",".join(b'"%x":1' % number for number in range(8 * MAX_NAMES))
    tricks = (
        b'{"model":"tiny",' + many + b"}",
        b'{"model":"tiny",' + many.replace(b'":', b'" \n:') + b"}",
        b'{"model":"tiny",' + many.replace(b'":', b'\\\\":') + b"}",
        b'{"model":"tiny",' + many,
        b'{"model":"tiny","x":{' + many + b"}}",
        b'{"model":"tiny","' + b"\\n" * 2_000_000 + b'":1}',
    )
    for body in tricks:
        tracemalloc.start()
        with pytest.raises(PeerRefused):
            check_body(body, Endpoint.OPENAI_CHAT, "tiny", wants_stream=False)
        held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert held < 2 * len(body), f"{len(body)} bytes took {held}"
    assert MAX_FIELDS < MAX_NAMES


def test_a_long_conversation_is_not_taken_for_many_fields() -> None:
    talk = b",".join([b'{"role":"user","content":"{\\"a\\":1,\\"b\\":2,\\"c\\":3}: so: what?"}'] * 20_000)
    check_body(b'{"model":"tiny","messages":[' + talk + b"]}", Endpoint.OPENAI_CHAT, "tiny", wants_stream=False)


@virtual_time
async def test_who_asks_for_all_that_he_can_leaves_places_to_others() -> None:
    """Every place and the whole queue, with answers that take minutes: another peer is served at once."""
    body = BODY.replace(OF_ADA.encode(), SLOW.encode())
    async with siege() as here:
        link, control = await here.eve.enter()

        async def keep_asking() -> None:
            while True:
                stream = await link.open()
                with contextlib.suppress(*GONE):
                    await stream.write(request_header(len(body), model=SLOW) + frame(FrameKind.BODY, body))
                    while await stream.read():
                        pass
                stream.abort()
                await asyncio.sleep(0.1)

        async with beside(here.eve.stay(control), *[keep_asking() for _ in range(4 * SLOTS)]):
            await asyncio.sleep(2)
            assert here.ada.peer_admission.running == SLOTS - 1
            assert here.ada.peer_admission.waiting > 0
            for _ in range(5):
                await here.honest_peers_are_well()
                await asyncio.sleep(1)


# ---- she is asked ----


def head(**changed: object) -> bytes:
    fields: dict[str, object] = {"status": 200, "model": OF_ALL, "dialect": "openai", "is_stream": True}
    return header_frame(FrameKind.HEAD, AnswerHead(**(fields | changed)))  # type: ignore[arg-type]


def piece(data: bytes) -> bytes:
    return frame(FrameKind.PIECE, data)


def end(frames: int = 0, size: int = 0) -> bytes:
    return header_frame(FrameKind.END, AnswerEnd(frames, size))


FIRST = b'data: {"id":"x","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"evil"}}]}\n\n'
WHOLE = b'{"object":"chat.completion","choices":[{"index":0,"message":{"content":"evil"},"finish_reason":"stop"}]}'
ERROR = b'{"error":{"message":"no","type":"x"}}'

SAID = {
    "nothing": b"",
    "garbage": b"\xff" * 50,
    "http": b"HTTP/1.1 200 OK\r\n\r\n",
    "a piece first": piece(b"x"),
    "end first": end(),
    "two heads": head() + head(),
    "an empty piece": head() + piece(b""),
    "a head without end": b"\x12\x00\x7f\xff" + b"x" * 100,
    "a huge head": b"\x12\xff\xff\xff",
    "another dialect": head(dialect="ollama") + piece(b'{"message":{"content":"x"}}\n'),
    "another dialect inside": head() + piece(b'{"message":{"content":"x"}}\n'),
    "another model": head(model="other") + piece(FIRST),
    "status 204": head(status=204) + end(),
    "status 204, and a body": head(status=204, is_stream=False) + piece(WHOLE) + end(1, len(WHOLE)),
    "status 205, and a stream": head(status=205) + piece(FIRST),
    "status 302": head(status=302, headers=(("location", "http://127.0.0.1/"),)) + end(),
    "an error": head(status=500, is_stream=False) + piece(ERROR) + end(1, len(ERROR)),
    "a refusal": head(status=400, is_stream=False) + piece(ERROR) + end(1, len(ERROR)),
    "an error with 200": head(is_stream=False) + piece(ERROR) + end(1, len(ERROR)),
    "an error in the stream": head() + piece(b"data: " + ERROR + b"\n\n"),
    "no pieces": head() + end(),
    "only the terminal frame": head() + piece(b"data: [DONE]\n\n") + end(1, 14),
    "wrong counts": head() + piece(FIRST) + end(7, 7),
    "fail without a code": header_frame(FrameKind.FAIL, RequestFailure("", "")),
    "fail": header_frame(FrameKind.FAIL, RequestFailure("peer_refused", "no \x1b[31m\nno", "x" * 64)),
    "fail and more": header_frame(FrameKind.FAIL, RequestFailure("x")) * 2,
    "a request": GOOD_REQUEST,
    "half a piece": head() + piece(FIRST)[:-1],
}


async def hosting(
    here: Siege, behave: Callable[[SaidStream], Awaitable[None]]
) -> contextlib.AbstractAsyncContextManager[None]:
    """Eve is linked with ada, offers models, and treats each request so."""
    link, control = await here.eve.enter()
    tells = pushed(advert(here.eve.transport.keys, 1, time.time()))
    return beside(here.eve.stay(control, tells=tells), here.eve.serve(link, behave))


async def asked_alone(here: Siege) -> MasaError:
    """What ada's owner is told when only eve serves the model."""
    began_s = now_s()
    told = await here.ada.ask(model=OF_EVE)
    assert now_s() - began_s < FIRST_PIECE_WITHIN_S + 1
    assert told.error is not None
    return told.error


@pytest.mark.parametrize("finishes", [True, False])
@pytest.mark.parametrize("said", SAID)
@virtual_time
async def test_what_is_no_answer_never_wins(said: str, finishes: bool) -> None:  # noqa: FBT001 - a parameter
    async def behave(stream: SaidStream) -> None:
        await read_request(stream)
        await stream.write(SAID[said])
        if finishes:
            await stream.finish()
        with contextlib.suppress(*GONE):
            await stream.read()

    async with siege() as here, await hosting(here, behave):
        await until(lambda: here.ada.catalog.knows(OF_EVE), within_s=5)
        error = await asked_alone(here)
        assert error.message.isprintable()
        if said != "wrong counts":  # that comes with a valid first piece
            for _ in range(3):
                assert_whole(await here.ada.ask(model=OF_ALL), here.bob)
        assert here.eve.asked >= 1


@virtual_time
async def test_a_reset_at_any_stage_is_a_failure_and_never_an_end() -> None:
    whole = head(model=OF_EVE) + piece(FIRST) + piece(FIRST)
    for cut in range(0, len(whole) + 1, 7):

        async def behave(stream: SaidStream, cut: int = cut) -> None:
            await read_request(stream)
            await stream.write(whole[:cut] or b"")
            await asyncio.sleep(0.01)

        async with siege() as here, await hosting(here, behave):
            await until(lambda here=here: here.ada.catalog.knows(OF_EVE), within_s=5)
            error = await asked_alone(here)
            assert error.code in ("stream_reset", "broken_answer"), error


@pytest.mark.parametrize("noise", [b": wait\n\n", b"\n", b"data: ", b"event: ping\ndata: {}\n\n", b" "], ids=repr)
@virtual_time
async def test_noise_without_end_before_the_first_piece_is_bounded(noise: bytes) -> None:
    sent = 0

    async def behave(stream: SaidStream) -> None:
        nonlocal sent
        await read_request(stream)
        await stream.write(head(model=OF_EVE))
        while True:
            await stream.write(piece(noise * (32_000 // len(noise))))
            sent += 32_000

    async with siege() as here, await hosting(here, behave):
        await until(lambda: here.ada.catalog.knows(OF_EVE), within_s=5)
        asking = asyncio.create_task(asked_alone(here))
        assert (await asking).code in (
            "not_an_answer",
            "peer_lost",
            "stream_reset",
            "broken_answer",
            "first_piece_timeout",
        )
        assert sent < 20 * 1024 * 1024
        if noise.endswith(b"\n\n"):
            assert sent < 2 * MAX_BEFORE_ANSWER_BYTES


@virtual_time
async def test_a_drip_of_noise_ends_with_the_time_for_the_first_piece() -> None:
    async def behave(stream: SaidStream) -> None:
        await read_request(stream)
        await stream.write(head(model=OF_EVE))
        while True:
            await stream.write(piece(b": wait\n\n"))
            await asyncio.sleep(1)

    async with siege() as here, await hosting(here, behave):
        await until(lambda: here.ada.catalog.knows(OF_EVE), within_s=5)
        began_s = now_s()
        assert (await asked_alone(here)).code == "first_piece_timeout"
        assert now_s() - began_s == pytest.approx(FIRST_PIECE_WITHIN_S, abs=0.1)


@virtual_time
async def test_silence_after_the_first_piece_ends_with_the_idle_time() -> None:
    async def behave(stream: SaidStream) -> None:
        await read_request(stream)
        await stream.write(head(model=OF_EVE) + piece(FIRST))
        await asyncio.sleep(10 * IDLE_S)

    async with siege() as here, await hosting(here, behave):
        await until(lambda: here.ada.catalog.knows(OF_EVE), within_s=5)
        began_s = now_s()
        told = await here.ada.ask(model=OF_EVE)
        assert told.error is not None
        assert told.error.code == "stalled"
        assert now_s() - began_s < IDLE_S + 5


@virtual_time
async def test_more_than_the_window_is_a_breach() -> None:
    async def behave(stream: SaidStream) -> None:
        await read_request(stream)
        await stream.write(head(model=OF_EVE) + piece(FIRST) + piece(b": " + b"x" * 60_000) * 10)
        await stream.read()

    async with siege() as here, await hosting(here, behave):
        await until(lambda: here.ada.catalog.knows(OF_EVE), within_s=5)
        told = await here.ada.ask(model=OF_EVE)
        assert told.error is not None
        assert len(told.body) < 400_000


@virtual_time
async def test_a_peer_that_takes_every_request_and_answers_none_is_asked_last_and_hinders_nobody() -> None:
    async def behave(stream: SaidStream) -> None:
        await read_request(stream)
        await asyncio.sleep(10 * IDLE_S)

    async with siege() as here, await hosting(here, behave):
        await until(lambda: here.ada.catalog.knows(OF_EVE), within_s=5)
        for _ in range(50):
            began_s = now_s()
            assert_whole(await here.ada.ask(model=OF_ALL), here.bob)
            assert now_s() - began_s < 1
