"""What is translated holds nobody up either: its turns on the loop, and what it does in a thread in one go.

Covers: `running.steps`, `translating`.

While a function written in C runs in a thread, no other thread does: the longest one counts as a turn.
"""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from types import FrameType
from typing import TypeVar

import msgspec
import pytest

from masa_node.chat.errors import NotAnAnswer, NotTranslatable
from masa_node.chat.request import Endpoint, Request, RequestId
from masa_node.routing.translating import translation_of
from tests.fakes.sinks import Keeps
from tests.routing.running.test_steps import MOST_UNITS, TRIES, turns_s, unit_s
from tests.routing.scripted import ScriptedProvider, World, offer
from tests.routing.test_translating import CHAT_ANSWER, DONE, FIRST, TEXT, Streaming, claude

pytestmark = pytest.mark.untraced  # CPU time is counted

LARGEST = 9_500_000  # MAX_BODY with a margin for what stands around it
T = TypeVar("T")


class Threads:
    """Stands for `asyncio.to_thread`, and notes the longest call of a function in C in CPU time of the thread."""

    def __init__(self) -> None:
        self.longest_s = 0.0
        self._began_s = 0.0

    async def to_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(None, self._do, work)

    def _do(self, work: Callable[[], T]) -> T:
        sys.setprofile(self._see)
        try:
            return work()
        finally:
            sys.setprofile(None)

    def _see(self, frame: FrameType, event: str, arg: object) -> None:
        del frame, arg
        if event == "c_call":
            self._began_s = time.thread_time()
        elif event in ("c_return", "c_exception"):
            self.longest_s = max(self.longest_s, time.thread_time() - self._began_s)


def times(part: bytes, begin: bytes, end: bytes, size: int = LARGEST) -> bytes:
    """So many parts, the last one without its comma."""
    return begin + (part * (size // len(part))).removesuffix(b",") + end


SAYS = b'{"model":"tiny","max_tokens":9,"messages":[{"role":"user","content":"', b'"}]}'
TEXTS = {
    "plain": b"x",
    "code": rb"def foo(x, y):  return bar(x) + baz\n\t",
    "line ends": rb"\n",
    "escaped letters": rb"\u0416",
    "emojis": rb"\ud83d\ude00",
    "halves of emojis": rb"\ud83d",
    "letters": "ж".encode(),
    "bytes that are no text": b"\xff",
    "halves of letters": b"\xd0",
    "halves of letters and others": b"\xd0x\xd0\xb6",
}
# Made when they are needed: all of them are 350 MB, in each worker that collects this file.
PARTS = {
    "messages": partial(times, b'{"role":"user","content":""},', b'{"model":"tiny","max_tokens":9,"messages":[', b"]}"),
    "parts": partial(
        times, b'{"type":"text","text":""},', b'{"model":"tiny","messages":[{"role":"user","content":[', b"]}]}"
    ),
    "texts": partial(times, b'"",', b'{"model":"tiny","messages":[],"stop":[', b"]}"),
    "numbers": partial(times, b"0,", b'{"model":"tiny","messages":[],"x":[', b"]}"),
    "lists": partial(times, b"[],", b'{"model":"tiny","messages":[],"x":[', b"]}"),
    "fields": partial(times, b'"":0,', b'{"model":"tiny","messages":[],', b"}"),
    "depth": partial(times, b"[" * 400 + b"]" * 400 + b",", b'{"model":"tiny","messages":[],"x":[', b"]}"),
    "a schema": partial(
        times, b"[],", b'{"model":"m","messages":[],"tools":[{"name":"a","input_schema":{"x":[', b"]}}]}"
    ),
    "no numbers": partial(times, b"NaN,", b'{"model":"tiny","messages":[],"x":[', b"]}"),
    "no JSON": partial(times, b"[", b"", b""),
    "nothing but quotes": partial(times, b'"', b"", b""),
}
BODIES = {
    **{f"{name} in a text": partial(times, text, *SAYS) for name, text in TEXTS.items()},
    **{f"{name} in a small text": partial(times, text, *SAYS, size=3_000_000) for name, text in TEXTS.items()},
    **PARTS,
    "a few messages": partial(
        times, b'{"role":"user","content":""},', b'{"model":"tiny","messages":[', b"]}", size=60_000
    ),
    "many messages": partial(
        times, b'{"role":"user","content":""},', b'{"model":"tiny","messages":[', b"]}", size=400_000
    ),
}


def asked(body: bytes, endpoint: Endpoint = Endpoint.OPENAI_CHAT) -> Request:
    return Request(
        request_id=RequestId("r"),
        endpoint=endpoint,
        model="tiny",
        wants_stream=False,
        body=body,
        headers=(),
        first_piece_deadline_s=1.0,
        idle_timeout_s=1.0,
    )


async def check(monkeypatch: pytest.MonkeyPatch, work: Callable[[], Awaitable[object]]) -> None:
    """Neither a turn of the loop nor a call in a thread is too long; see `test_steps.check`."""
    longest: list[float] = []
    for _ in range(TRIES):
        threads = Threads()
        monkeypatch.setattr(asyncio, "to_thread", threads.to_thread)
        before_s = unit_s()
        turns = await turns_s(work)
        longest.append(max(threads.longest_s, *turns) / max(before_s, unit_s()))
        if longest[-1] < MOST_UNITS:
            return
    assert min(longest) < MOST_UNITS


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
async def test_no_request_that_is_translated_holds_others_up(
    body: Callable[[], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = body()
    await check(monkeypatch, lambda: translation_of(asked(whole), [Endpoint.ANTHROPIC_MESSAGES]))


def answering(*pieces: bytes, stream: bool) -> Callable[[], Awaitable[None]]:
    """A caller of Anthropic's format asks a server of OpenAI's, which gives these pieces."""

    async def reading() -> None:
        world = World()
        whole = msgspec.structs.replace(CHAT_ANSWER, body=b"".join(pieces))
        own = Streaming("a", pieces) if stream else ScriptedProvider("a", whole)
        world.catalog.put(own, [offer()])
        caller = Keeps()
        await world.dispatcher.answer(claude(world, stream=stream), caller)
        if caller.error is not None:
            raise caller.error

    return reading


LARGEST_ANSWER = 8_000_000
CHOICE = b'{"choices":[{"index":0,"message":{"content":"', b'"},"finish_reason":"stop"}]}'
CALLS = b'{"choices":[{"index":0,"message":{"tool_calls":[', b']},"finish_reason":"stop"}]}'
CALL = b'{"index":%d,"id":"c","function":{"name":"f","arguments":"{}"}},'
ANSWERS = {
    **{f"{name} in a text": partial(times, text, *CHOICE, size=LARGEST_ANSWER) for name, text in TEXTS.items()},
    **{f"{name} in a small text": partial(times, text, *CHOICE, size=2_000_000) for name, text in TEXTS.items()},
    "calls": partial(times, CALL % 0, *CALLS, size=LARGEST_ANSWER),
    "some calls": partial(times, CALL % 0, *CALLS, size=60_000),
    "choices": partial(times, b"{},", b'{"choices":[', b"{}]}", size=LARGEST_ANSWER),
    "fields": partial(times, b'"":0,', b"{", b'"choices":[]}', size=LARGEST_ANSWER),
}


@pytest.mark.parametrize("body", ANSWERS.values(), ids=ANSWERS.keys())
async def test_no_whole_answer_that_is_translated_holds_others_up(
    body: Callable[[], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    await check(monkeypatch, answering(body(), stream=False))


PIECE_BYTES = 256 * 1024  # as much as a connection gives at once
STREAMS = {
    "words": TEXT.replace(b'"stop"', b"null") * (PIECE_BYTES // len(TEXT)),
    "tiny events": b"data: {}\n\n" * (PIECE_BYTES // 10),
    "new calls": b"".join(
        b'data: {"choices":[{"delta":{"tool_calls":[%s]}}]}\n\n' % (CALL % number)[:-1] for number in range(2_000)
    ),
    "a long text": b'data: {"choices":[{"delta":{"content":"%s"}}]}\n\n' % (rb"\u0416" * 40_000),
    "many calls at once": b'data: {"choices":[{"delta":{"tool_calls":[%s]}}]}\n\n'
    % b"".join(CALL % number for number in range(3_000))[:-1],
}


@pytest.mark.parametrize("piece", STREAMS.values(), ids=STREAMS.keys())
async def test_no_stream_that_is_translated_holds_others_up(piece: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    await check(monkeypatch, answering(FIRST, piece, TEXT, DONE, stream=True))


async def test_a_frame_of_megabytes_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = b'data: {"choices":[{"delta":{"content":"%s"}}]}\n\n'
    for text in (b"x" * 6_000_000, rb"\u0416" * 900_000):
        whole = frame % text
        parts = [whole[at : at + PIECE_BYTES] for at in range(0, len(whole), PIECE_BYTES)]
        await check(monkeypatch, answering(FIRST, *parts, TEXT, DONE, stream=True))


async def test_what_is_too_large_to_be_translated_is_refused_in_words() -> None:
    with pytest.raises(NotTranslatable, match="At most about 7 MB of text, 15 000 messages"):
        await translation_of(asked(PARTS["messages"]()), [Endpoint.ANTHROPIC_MESSAGES])
    with pytest.raises(NotAnAnswer, match=r"too large to be translated\. At most about 7 MB"):
        await answering(ANSWERS["choices"](), stream=False)()


async def test_as_much_as_is_said_is_translated() -> None:
    """A picture of the largest size, 7 MB of code, and 7 500 messages of one part each."""
    picture = b'{"type":"image_url","image_url":{"url":"data:image/png;base64,%s"}}' % (b"iVBO" * 1_900_000)
    message = b'{"role":"user","content":[{"type":"text","text":"hi"}]},'
    for body in (
        b'{"model":"m","max_tokens":9,"messages":[{"role":"user","content":[%s]}]}' % picture,
        times(rb"def foo(x, y, z):  return bar(x) + baz  # and so on\n", *SAYS, size=7_000_000),
        times(message, b'{"model":"tiny","max_tokens":9,"messages":[', b"]}", size=7_500 * len(message)),
    ):
        translation = await translation_of(asked(body), [Endpoint.ANTHROPIC_MESSAGES])
        assert translation is not None
