"""Frames that differ in their words alone are known at a glance, and are seen as by a look at each."""

import re
from collections.abc import Callable, Sequence
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from masa_node.chat.answer import Usage
from masa_node.chat.request import DialectName
from masa_node.dialects.choices import Choices, Endings
from masa_node.dialects.dialect import Dialect
from masa_node.dialects.framing import SSE
from masa_node.dialects.registry import DIALECTS
from masa_node.dialects.tracking import StreamTracker
from tests.dialects import recorded
from tests.dialects.chunking import FEW, chunks_of
from tests.dialects.recorded import Stream, sse
from tests.examples import times

_SAID = re.compile(rb'("(?:content|text|response|thinking|delta|partial_json|arguments)":\s?")[^"\\]+(?=")')
# Names in which readers see more than words.
NAMES = (
    *("finish_reason", "finishReason", "choices", "usage", "error", "done", "index", "success", "response", "type"),
    *("stop_reason", "done_reason", "event: response.", "event: content_block_", "message_stop", "[DONE]", "data: "),
)

OPENAI = DIALECTS[DialectName.OPENAI]
ANTHROPIC = DIALECTS[DialectName.ANTHROPIC]
STREAMS = recorded.streams()
FINISH = sse(b'{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}')
DONE = sse(b"[DONE]")


def piece(words: bytes) -> bytes:
    return sse(b'{"choices":[{"index":0,"delta":{"content":"%b"},"finish_reason":null}]}' % words)


def of_another_choice(frame: bytes) -> bytes:
    return frame.replace(b'"index":0', b'"index":1')


def with_a_reason(frame: bytes) -> bytes:
    return frame.replace(b"null", b'"ab"')


def knows(tracker: StreamTracker, frame: bytes) -> bool:
    """That one, at a glance."""
    return len(SSE.frames(frame)) == 1 and tracker.is_all_more(frame)


def state(tracker: StreamTracker) -> tuple[object, ...]:
    return (
        tracker.frames,
        tracker.received,
        tracker.started,
        tracker.ended,
        str(tracker.fault),
        tracker.usage,
        tracker.is_whole(),
        tracker.buffered(),
    )


def followed(dialect: Dialect, chunks: list[bytes]) -> tuple[StreamTracker, int]:
    """A tracker that was given these, and how many it knew at a glance. What it says is that of one without glances."""
    quick, slow, glances = StreamTracker(dialect), StreamTracker(dialect), 0
    for chunk in chunks:
        is_more = knows(quick, chunk)
        glances += is_more
        assert (chunk if is_more else quick.feed(chunk)) == slow.feed(chunk)
        assert state(quick) == state(slow)
    return quick, glances


def test_pieces_are_known_once_one_of_them_was_looked_at() -> None:
    words = [b"a", b" b", b"\\n", b"", b"\\\\", "é".encode(), b"error", b"[DONE]", b"x" * 500]
    assert followed(OPENAI, [piece(b"first"), *map(piece, [b"second", *words])])[1] == len(words)


@pytest.mark.parametrize("key", ["content", "text", "reasoning", "reasoning_content", "thinking", "response"])
def test_words_are_found_whatever_a_server_calls_them(key: str) -> None:
    frames = [sse(b'{"choices":[{"index":0,"delta":{"%b":"%d"}}]}' % (key.encode(), number)) for number in range(9)]
    assert followed(OPENAI, frames)[1] == 7


def test_events_with_a_name_are_known_too() -> None:
    begin = sse(b'{"type":"message_start","message":{"usage":{"input_tokens":1}}}', "message_start")
    delta = b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"%d"}}'
    deltas = [sse(delta % number, "content_block_delta") for number in range(9)]
    assert followed(ANTHROPIC, [begin, *deltas])[1] == 7


def test_a_server_that_changes_more_than_words_is_followed_as_ever() -> None:
    frames = [
        sse(b'{"created":%d,"choices":[{"index":0,"delta":{"content":"%d"},"finish_reason":null}]}' % (at // 5, at))
        for at in range(40)
    ]
    assert followed(OPENAI, frames)[1] >= 8


ODD = [
    b"a\n\ndata: [DONE]",
    b"a\r\rdata: [DONE]",
    b"a\r\n\r\ndata: [DONE]",
    b"a\n\n: ",
    b'a"},"finish_reason":"stop"}],"x":[{"y":{"z":"',
    b'a"},"finish_reason":null}],"error":{"message":"',
    b'a"},"finish_reason":null}],"usage":{"prompt_tokens":1},"x":[{"y":{"z":"',
    b'a"},"finish_reason":null},{"index":1,"delta":{"content":"',
    b'\\"',
    b'"',
]


@pytest.mark.parametrize("words", ODD)
def test_what_may_be_more_than_words_is_looked_at(words: bytes) -> None:
    tracker = StreamTracker(OPENAI)
    for known in (b"a", b"b"):
        tracker.feed(piece(known))
    assert knows(tracker, piece(b"c"))
    assert not knows(tracker, piece(words))
    followed(OPENAI, [*map(piece, [b"a", b"b", words, b"c", b"d"]), FINISH, DONE])


@pytest.mark.parametrize(
    "change",
    [lambda frame: frame[:-1], lambda frame: frame + b"\n", lambda frame: frame * 2, of_another_choice, with_a_reason],
)
def test_what_is_not_one_whole_frame_is_looked_at(change: Callable[[bytes], bytes]) -> None:
    frame = piece(b"a")
    quick = StreamTracker(OPENAI)
    for _ in range(3):
        quick.feed(frame)
    assert knows(quick, frame)
    assert not knows(quick, change(frame))
    followed(OPENAI, [frame, frame, frame, change(frame), frame, frame, FINISH, DONE])


def test_what_is_not_known_is_not_noted_and_what_is_known_is_noted_once() -> None:
    frames = [piece(b"%d" % number) for number in range(6)]
    quick, slow = StreamTracker(OPENAI), StreamTracker(OPENAI)
    for frame in frames[:2]:
        quick.feed(frame)
        slow.feed(frame)
    for odd in (FINISH, of_another_choice(frames[0]), with_a_reason(frames[0]), frames[0][:-1]):
        for several in ([odd], [odd, *frames], [*frames, odd], [frames[0], odd, frames[1]]):
            assert not quick.is_all_more(b"".join(several))
            assert state(quick) == state(slow)
    for frame in frames:
        assert knows(quick, frame)
        slow.feed(frame)
        assert state(quick) == state(slow)


def test_several_frames_are_known_together() -> None:
    quick, slow = StreamTracker(OPENAI), StreamTracker(OPENAI)
    for tracker in (quick, slow):
        tracker.feed(piece(b"a"))
        tracker.feed(piece(b"b"))
    several = piece(b"c") + piece(b"") + piece(b"d")
    assert quick.is_all_more(several)
    assert slow.feed(several) == several
    assert state(quick) == state(slow)
    assert quick.frames == 5


def test_not_those_that_are_many_and_not_nothing() -> None:
    tracker = StreamTracker(OPENAI)
    for _ in range(2):
        tracker.feed(piece(b"a"))
    assert not tracker.is_all_more(piece(b"a") * 100)
    assert not tracker.is_all_more(b"")
    assert tracker.frames == 2


def test_what_is_around_words_may_not_overlap() -> None:
    tracker = StreamTracker(OPENAI)
    for _ in range(2):
        tracker.feed(piece(b"a"))
    assert knows(tracker, piece(b""))
    assert not knows(tracker, piece(b"").replace(b'""', b'"'))


def test_no_frame_is_known_while_another_has_begun() -> None:
    frame = piece(b"a")
    assert followed(OPENAI, [frame, frame, frame[:9], frame[9:], frame, frame[:9], frame, frame])[1] == 1
    assert followed(OPENAI, [frame, frame, frame + frame[:9], frame[9:] + frame[:9], frame])[1] == 0


def test_before_the_first_piece_and_behind_the_last_nothing_is_known() -> None:
    frame, role = piece(b"a"), sse(b'{"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}')
    assert followed(OPENAI, [role, role, frame, frame, FINISH, frame])[1] == 0
    assert followed(OPENAI, [frame, frame, frame, FINISH, DONE, frame, frame])[1] == 1


@pytest.mark.parametrize("stream", STREAMS, ids=str)
@FEW
@given(data=st.data())
def test_recorded_streams_are_seen_as_by_a_look_at_each_frame(stream: Stream, data: st.DataObject) -> None:
    followed(stream.dialect, data.draw(st.one_of(chunks_of(stream.raw), st.just(list(stream.frames)))))


WORDS = st.lists(
    st.sampled_from(
        [b"a", b'"', b"\\", b"\n", b"\r", b"\n\n", b"data: ", b"[DONE]", b"error", b"null", b":", b",", b"}"]
    ),
    max_size=6,
).map(b"".join)


@pytest.mark.untraced
@settings(max_examples=times(10))
@given(st.lists(WORDS, min_size=2, max_size=12))
def test_whatever_the_words_are_the_verdict_is_the_same(words: list[bytes]) -> None:
    quick, slow = StreamTracker(OPENAI), StreamTracker(OPENAI)
    for frame in [piece(b"a"), piece(b"b"), *map(piece, words), FINISH, DONE]:
        if not knows(quick, frame):
            quick.feed(frame)
        slow.feed(frame)
        assert (quick.ended, str(quick.fault), quick.is_whole()) == (slow.ended, str(slow.fault), slow.is_whole())


@pytest.mark.untraced
@pytest.mark.parametrize("stream", STREAMS, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_words_that_are_the_name_of_a_field_are_words(stream: Stream, name: str) -> None:
    frames = [_SAID.sub(rb"\g<1>" + name.encode(), frame) for frame in stream.frames]
    for read in (frames, [b"".join(frames)]):
        tracker = StreamTracker(stream.dialect)
        assert b"".join(map(tracker.feed, read)) + tracker.finish() == b"".join(frames)
        assert tracker.fault is None
        assert tracker.usage == stream.usage


class ByEachFrame:
    """A dialect in which no frames are known quickly."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect

    def plain_frames(self, frames: bytes) -> int:
        del frames
        return 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._dialect, name)


def verdict(dialect: Dialect, frames: Sequence[bytes], *, gives_reasons: bool) -> tuple[object, ...]:
    """Also of a server that is known to say why its answers stop."""
    endings, ended = Endings(), Choices()
    ended.ended(0)
    if gives_reasons:
        endings.judge_whole(ended)
    tracker = StreamTracker(dialect, endings)
    out = b"".join(map(tracker.feed, frames))
    return out + tracker.finish(), state(tracker)


CANCELLED = sse(b'{"type":"response.cancelled","response":{"status":"cancelled","output":[]}}', "response.cancelled")
DELTA = sse(b'{"type":"response.output_text.delta","delta":"a"}', "response.output_text.delta")
RESPONSES = Stream("cancelled", DIALECTS[DialectName.OPENAI_RESPONSES], (DELTA, DELTA, CANCELLED), Usage())
ENDED = Stream("done", RESPONSES.dialect, (DELTA, DELTA, CANCELLED.replace(b"cancelled", b"done")), Usage())
NATIVE = Stream("no choices", DIALECTS[DialectName.CLOUDFLARE], (*[sse(b'{"response":"a"}')] * 3, DONE), Usage())


@pytest.mark.parametrize("stream", [*STREAMS, RESPONSES, ENDED, NATIVE], ids=str)
@pytest.mark.parametrize("gives_reasons", [True, False])
def test_a_stream_that_is_cut_anywhere_is_told_of_as_by_a_look_at_each_frame(
    stream: Stream, *, gives_reasons: bool
) -> None:
    by_each = cast("Dialect", ByEachFrame(stream.dialect))
    for end in range(max(len(stream.frames) - 9, 0), len(stream.frames) + 1):
        frames = stream.frames[:end]
        expected = verdict(by_each, frames, gives_reasons=gives_reasons)
        assert verdict(stream.dialect, frames, gives_reasons=gives_reasons) == expected
        assert verdict(stream.dialect, [b"".join(frames)], gives_reasons=gives_reasons) == expected


@pytest.mark.parametrize("stream", [*STREAMS, RESPONSES, ENDED, NATIVE], ids=str)
def test_a_stream_that_ends_inside_its_last_frame_with_its_connection_is_cut(stream: Stream) -> None:
    before, last = b"".join(stream.frames[:-1]), stream.frames[-1]
    for end in range(1, len(last.rstrip())):
        tracker = StreamTracker(stream.dialect)
        tracker.feed(before)
        is_whole = tracker.is_whole()
        tracker.feed(last[:end])
        tracker.finish()
        assert (tracker.fault is None) <= is_whole, last[:end]


@settings(max_examples=times(10))
@given(st.lists(st.lists(WORDS, max_size=4), min_size=1, max_size=6))
def test_so_it_is_for_several_frames_at_once(groups: list[list[bytes]]) -> None:
    quick, slow = StreamTracker(OPENAI), StreamTracker(OPENAI)
    for frames in [[piece(b"a")], [piece(b"b")], *([*map(piece, words)] for words in groups), [FINISH, DONE]]:
        several = b"".join(frames)
        if not quick.is_all_more(several):
            quick.feed(several)
        for frame in frames:
            slow.feed(frame)
        assert (quick.ended, str(quick.fault), quick.is_whole()) == (slow.ended, str(slow.fault), slow.is_whole())
