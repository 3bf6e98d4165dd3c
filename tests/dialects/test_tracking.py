"""A streamed answer goes through unchanged however it is cut into chunks, and is whole only when it is."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masa_node.chat.answer import Usage
from masa_node.chat.errors import BrokenAnswer, ErrorAnswer, ErrorInStream, NotAnAnswer
from masa_node.chat.request import DialectName
from masa_node.dialects import framing
from masa_node.dialects.choices import Choices, Endings
from masa_node.dialects.dialect import Dialect, ErrorText, Mark
from masa_node.dialects.registry import DIALECTS
from masa_node.dialects.tracking import StreamTracker
from tests.dialects import recorded
from tests.dialects.chunking import FEW, chunks_of, cut, follow, frame_ends
from tests.dialects.recorded import MESSAGE_OF_STREAM_ERROR, Stream, sse

OPENAI = DIALECTS[DialectName.OPENAI]
ANTHROPIC = DIALECTS[DialectName.ANTHROPIC]
OLLAMA = DIALECTS[DialectName.OLLAMA]
CLOUDFLARE = DIALECTS[DialectName.CLOUDFLARE]
RESPONSES = DIALECTS[DialectName.OPENAI_RESPONSES]

STREAMS = recorded.streams()
EVENT_STREAMS = [stream for stream in STREAMS if stream.dialect is not OLLAMA]
PIECE = sse(b'{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}')
FINISH = sse(b'{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}')
DONE = sse(b"[DONE]")
DONE_LINE = b'{"message":{"content":""},"done":true}\n'

every_stream = pytest.mark.parametrize("stream", STREAMS, ids=str)
every_dialect = pytest.mark.parametrize("dialect", DIALECTS.values(), ids=lambda dialect: dialect.name)
every_error_frame = pytest.mark.parametrize(
    ("dialect", "frame"), recorded.error_frames(), ids=lambda value: getattr(value, "name", "frame")
)


def up_to_the_first_piece_of(dialect: Dialect) -> bytes:
    frames = next(stream.frames for stream in STREAMS if stream.dialect is dialect)
    first = next(at for at, frame in enumerate(frames) if dialect.mark(frame, Usage()) is Mark.PIECE)
    return b"".join(frames[: first + 1])


def first_frame_of(dialect: Dialect) -> bytes:
    return next(stream.frames[0] for stream in STREAMS if stream.dialect is dialect)


# ---- whole answers, whatever the chunks ----


@every_stream
@FEW
@given(data=st.data())
def test_any_chunking_gives_out_the_same_bytes(stream: Stream, data: st.DataObject) -> None:
    followed = follow(stream.dialect, data.draw(chunks_of(stream.raw)))
    assert followed.fault is None
    assert followed.out == stream.raw


@every_stream
def test_a_byte_at_a_time_gives_out_whole_frames(stream: Stream) -> None:
    followed = follow(stream.dialect, [bytes([byte]) for byte in stream.raw])
    assert followed.fault is None
    assert tuple(piece for piece in followed.pieces if piece) == stream.frames


@every_stream
def test_chunks_as_they_were_seen_give_out_the_same_bytes(stream: Stream) -> None:
    sizes = stream.chunk_sizes or (len(stream.raw),)
    positions = [sum(sizes[:at]) for at in range(1, len(sizes))]
    followed = follow(stream.dialect, cut(stream.raw, positions))
    assert followed.fault is None
    assert followed.out == stream.raw


@pytest.mark.parametrize("stream", EVENT_STREAMS, ids=str)
@FEW
@given(data=st.data())
def test_crlf_line_ends_go_through_as_they_came(stream: Stream, data: st.DataObject) -> None:
    raw = stream.raw.replace(b"\n", b"\r\n")
    followed = follow(stream.dialect, data.draw(chunks_of(raw)))
    assert followed.fault is None
    assert followed.out == raw
    assert followed.tracker.usage == stream.usage


@every_stream
@FEW
@given(data=st.data())
def test_usage_and_frames_are_counted_whatever_the_chunks(stream: Stream, data: st.DataObject) -> None:
    tracker = follow(stream.dialect, data.draw(chunks_of(stream.raw))).tracker
    assert tracker.usage == stream.usage
    assert tracker.frames == sum(stream.dialect.mark(frame, tracker.usage) is not Mark.NOISE for frame in stream.frames)


@every_stream
def test_a_stream_has_started_with_its_first_piece_and_ended_with_its_last_frame(stream: Stream) -> None:
    tracker = StreamTracker(stream.dialect)
    for frame in stream.frames[:-1]:
        has_begun = tracker.started
        mark = stream.dialect.mark(frame, Usage())
        assert tracker.feed(frame) == frame
        assert (tracker.started, tracker.ended) == (has_begun or mark in (Mark.PIECE, Mark.FINISH), False)
    tracker.feed(stream.frames[-1])
    assert tracker.ended or stream.name == "transformers"
    assert tracker.is_whole()


@pytest.mark.untraced
@pytest.mark.parametrize("stream", EVENT_STREAMS, ids=str)
@pytest.mark.parametrize("noise", [b": a comment\n\n", b":\n\n", b"event: ping\n\n", b"\n", b"\r\n\r\n", b"id: 1\n\n"])
def test_comments_pings_and_blank_lines_are_let_through_anywhere(stream: Stream, noise: bytes) -> None:
    raw = noise + noise.join(stream.frames) + noise
    for chunks in ([raw], [bytes([byte]) for byte in raw]):
        followed = follow(stream.dialect, chunks)
        assert followed.fault is None
        assert followed.out == raw


def test_noise_alone_is_not_the_first_piece() -> None:
    tracker = StreamTracker(OPENAI)
    assert tracker.feed(b": waking up\n\n") == b": waking up\n\n"
    assert not tracker.started
    assert tracker.frames == 0


@pytest.mark.parametrize("end", [b"\n", b""])
def test_the_last_frame_may_lack_its_delimiter(end: bytes) -> None:
    for stream in STREAMS:
        raw = stream.raw.rstrip(b"\n") + end
        followed = follow(stream.dialect, [raw])
        assert followed.fault is None
        assert followed.out == raw


def test_a_stream_without_done_is_whole_once_it_said_why_it_stopped() -> None:
    assert follow(OPENAI, [PIECE, FINISH]).fault is None


def test_what_comes_after_the_terminal_frame_goes_through() -> None:
    raw = PIECE + FINISH + DONE + sse(b'{"x":1}')
    assert follow(OPENAI, [raw]).out == raw


# ---- cut answers ----


def is_whole_when_cut_at(stream: Stream, end: int) -> bool:
    """Does the head of this recording hold all that makes an answer of its dialect whole?"""
    frames = [frame for frame in recorded_heads(stream, end) if frame]
    marks = [stream.dialect.mark(frame, Usage()) for frame in frames]
    if stream.dialect.needs_finish:
        return Mark.END in marks or (Mark.FINISH in marks and marks[-1] not in (Mark.ALIEN, Mark.NOISE))
    return Mark.END in marks


def recorded_heads(stream: Stream, end: int) -> list[bytes]:
    starts = frame_ends(stream.frames)
    return [frame[: max(0, end - start)] for frame, start in zip(stream.frames, starts, strict=False)]


def check_cut(stream: Stream, end: int, chunks: list[bytes]) -> None:
    followed = follow(stream.dialect, chunks)
    if is_whole_when_cut_at(stream, end):
        assert followed.fault is None
        assert followed.out == stream.raw[:end]
        return
    assert followed.fault is not None
    assert isinstance(followed.fault, BrokenAnswer | NotAnAnswer)
    assert stream.raw.startswith(followed.out)
    assert len(followed.out) in frame_ends(stream.frames)


@every_stream
def test_every_cut_between_frames_is_noticed(stream: Stream) -> None:
    for end in frame_ends(stream.frames)[:-1]:
        check_cut(stream, end, [stream.raw[:end]])


@pytest.mark.untraced
@every_stream
def test_every_cut_inside_the_last_frames_is_noticed(stream: Stream) -> None:
    start = frame_ends(stream.frames)[-3]
    for end in range(start, len(stream.raw)):
        check_cut(stream, end, [stream.raw[:end]])


@every_stream
@FEW
@given(data=st.data())
def test_a_cut_anywhere_is_noticed_whatever_the_chunks(stream: Stream, data: st.DataObject) -> None:
    end = data.draw(st.integers(0, len(stream.raw) - 1))
    check_cut(stream, end, data.draw(chunks_of(stream.raw[:end])))


@pytest.mark.parametrize("stream", [stream for stream in STREAMS if stream.dialect.needs_end], ids=str)
def test_nothing_but_the_terminal_frame_makes_it_whole(stream: Stream) -> None:
    assert isinstance(follow(stream.dialect, stream.frames[:-1]).fault, BrokenAnswer)


def test_done_without_a_finish_reason_is_a_cut_stream() -> None:
    followed = follow(OPENAI, [PIECE, PIECE, DONE])
    assert isinstance(followed.fault, BrokenAnswer)
    assert "no finish_reason" in followed.fault.message


@given(data=st.data(), crlf=st.booleans(), named=st.booleans())
def test_the_done_of_a_cut_stream_is_never_let_through(data: st.DataObject, *, crlf: bool, named: bool) -> None:
    pieces, end = PIECE * 2, (b"event: end\n" if named else b"") + DONE
    if crlf:
        pieces, end = pieces.replace(b"\n", b"\r\n"), end.replace(b"\n", b"\r\n")
    followed = follow(OPENAI, data.draw(chunks_of(pieces + end)))
    assert isinstance(followed.fault, BrokenAnswer)
    assert followed.out == pieces


def test_a_model_that_says_done_itself_does_not_hide_the_cut() -> None:
    words = sse(b'{"choices":[{"index":0,"delta":{"content":"data: [DONE]"},"finish_reason":null}]}')
    followed = follow(OPENAI, [words + words + DONE])
    assert isinstance(followed.fault, BrokenAnswer)
    assert followed.out == words + words


@pytest.mark.parametrize("rest", [b"data: [DO", b"data: ", b"da", b'data: {"choices":[],"usage":{"prompt', b": pi"])
def test_a_connection_that_ends_inside_a_frame_is_a_cut_stream_even_after_the_finish_reason(rest: bytes) -> None:
    followed = follow(OPENAI, [PIECE + FINISH + rest])
    assert isinstance(followed.fault, BrokenAnswer)
    assert followed.out == PIECE + FINISH


def test_an_empty_finish_reason_is_none() -> None:
    empty = PIECE.replace(b'"finish_reason":null', b'"finish_reason":""')
    assert isinstance(follow(OPENAI, [empty, empty, DONE]).fault, BrokenAnswer)


@every_dialect
@pytest.mark.parametrize("raw", [b"", b"\n", b"\r\n\r\n"])
def test_a_stream_without_a_frame_is_broken(dialect: Dialect, raw: bytes) -> None:
    fault = follow(dialect, [raw]).fault
    assert isinstance(fault, BrokenAnswer)
    assert "without a piece" in fault.message


@pytest.mark.parametrize(
    ("dialect", "end"),
    [
        (OPENAI, DONE),
        (CLOUDFLARE, DONE),
        (RESPONSES, sse(b'{"type":"response.completed","response":{}}', "response.completed")),
        (ANTHROPIC, sse(b'{"type":"message_stop"}', "message_stop")),
    ],
    ids=lambda value: getattr(value, "name", "end"),
)
def test_a_terminal_frame_alone_is_no_answer(dialect: Dialect, end: bytes) -> None:
    tracker = StreamTracker(dialect)
    assert tracker.feed(end) == b""
    assert not tracker.started
    assert isinstance(tracker.fault, BrokenAnswer)
    assert "without a piece" in tracker.fault.message


def test_ollamas_terminal_line_is_an_answer_of_its_own() -> None:
    """It answers so when it only loads a model (recorded: chat_load_only)."""
    followed = follow(OLLAMA, [DONE_LINE])
    assert followed.fault is None
    assert followed.out == DONE_LINE


def test_an_endless_frame_is_not_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(framing, "MAX_FRAME_BYTES", 1_000)
    tracker = StreamTracker(OPENAI)
    assert tracker.feed(PIECE) == PIECE
    assert tracker.feed(b"data: " + b"x" * 1_000) == b""
    assert isinstance(tracker.fault, NotAnAnswer)


# ---- errors and garbage ----


@every_error_frame
def test_an_error_frame_first_is_the_llms_error(dialect: Dialect, frame: bytes) -> None:
    for chunks in ([frame], [bytes([byte]) for byte in frame], [frame.rstrip(b"\n")]):
        followed = follow(dialect, chunks)
        assert isinstance(followed.fault, ErrorInStream | ErrorAnswer)
        assert MESSAGE_OF_STREAM_ERROR in followed.fault.message
        assert followed.out == b""


def test_an_error_that_is_spread_over_data_lines_keeps_its_message() -> None:
    followed = follow(OPENAI, [b'data: {"error":\r\ndata: {"message": "boom"}}\r\n\r\n'])
    assert isinstance(followed.fault, ErrorInStream)
    assert "boom" in followed.fault.message


def test_an_error_frame_without_a_message_says_so() -> None:
    followed = follow(OPENAI, [sse(b'{"error":{"type":"weird"}}')])
    assert isinstance(followed.fault, ErrorInStream)
    assert "it gave no message" in followed.fault.message


@every_error_frame
def test_an_error_frame_in_the_middle_goes_through_as_the_llms_own_ending(dialect: Dialect, frame: bytes) -> None:
    begun = up_to_the_first_piece_of(dialect)
    followed = follow(dialect, [begun, frame])
    assert followed.out == begun + frame
    if dialect.mark(frame, Usage()) is Mark.OVERLOOKED:  # the SDK would take it for the end of a whole answer
        assert isinstance(followed.fault, BrokenAnswer)
        assert MESSAGE_OF_STREAM_ERROR in followed.fault.message
    else:
        assert followed.fault is None
        assert followed.tracker.usage.has_failed


BARE = b'{"error":{"message":"boom","code":429}}'


@pytest.mark.parametrize("dialect", [OPENAI, RESPONSES, ANTHROPIC, CLOUDFLARE])
@pytest.mark.parametrize("error", [BARE, BARE.replace(b":", b" :\n "), b'{"type":"error","error":{"message":"boom"}}'])
@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\n\n"])
def test_an_error_that_is_in_no_field_of_an_event_is_told(dialect: Dialect, error: bytes, end: bytes) -> None:
    begun, endings = up_to_the_first_piece_of(dialect), Endings()
    for _ in range(2):  # what is cut so shows nothing of how the server ends its streams
        tracker = StreamTracker(dialect, endings)
        out = tracker.feed(begun) + tracker.feed(error + end)
        out += tracker.finish() if tracker.fault is None else b""
        assert isinstance(tracker.fault, BrokenAnswer)
        assert "boom" in tracker.fault.message
        assert out == begun + (error + end if end == b"\n\n" else b"")


STRANGE = {
    "of mistral.rs": b'{"message":"boom"}',
    "of one before 0.8": b"boom: out of memory",
}
UNTOLD = sse(b'{"choices":[{"index":0,"delta":{"content":"a"}}]}')  # as of a server that tells no reasons


@pytest.mark.parametrize("end", [DONE, b""])
@pytest.mark.parametrize("case", STRANGE)
def test_a_stream_that_ends_behind_strange_words_and_without_a_reason_is_cut(case: str, end: bytes) -> None:
    strange, endings = sse(STRANGE[case]), Endings()
    for _ in range(2):
        tracker = StreamTracker(OPENAI, endings)
        out = tracker.feed(UNTOLD) + tracker.feed(strange) + tracker.feed(end)
        out += tracker.finish() if tracker.fault is None else b""
        assert out == UNTOLD + strange
        assert isinstance(tracker.fault, BrokenAnswer)
        assert "boom" in tracker.fault.message


@pytest.mark.parametrize("case", STRANGE)
def test_strange_words_in_a_stream_that_goes_on_or_tells_its_reason_are_no_fault(case: str) -> None:
    strange = sse(STRANGE[case])
    for frames in (strange * 3 + UNTOLD, FINISH + strange, strange + FINISH):
        followed = follow(OPENAI, [UNTOLD + frames + DONE])
        assert (followed.fault, followed.out) == (None, UNTOLD + frames + DONE)


@pytest.mark.parametrize("aside", [b'{"x":1}', b'{"usage":{"prompt_tokens":1}}', b'{"status":"queued"}', b"7"])
def test_what_is_no_words_before_the_end_is_no_fault(aside: bytes) -> None:
    assert follow(OPENAI, [UNTOLD + sse(aside) + DONE]).fault is None


@pytest.mark.parametrize("dialect", [OPENAI, RESPONSES, CLOUDFLARE])
def test_the_done_behind_such_an_error_does_not_go_through(dialect: Dialect) -> None:
    begun = up_to_the_first_piece_of(dialect)
    followed = follow(dialect, [begun, BARE + b"\n" + DONE])
    assert followed.out == begun
    assert isinstance(followed.fault, BrokenAnswer)
    assert "boom" in followed.fault.message


def test_such_an_error_first_has_its_status() -> None:
    fault = follow(OPENAI, [b": waking up\n\n", BARE + b"\n"]).fault
    assert isinstance(fault, ErrorAnswer)
    assert (fault.status, fault.body) == (429, BARE)


def test_an_error_frame_that_is_not_complete_does_not_swallow_the_one_that_follows() -> None:
    followed = follow(OPENAI, [PIECE, b'data: {"detail":"boom"}'])
    assert followed.out == PIECE
    assert isinstance(followed.fault, BrokenAnswer)
    assert "boom" in followed.fault.message


@pytest.mark.parametrize("is_at_once", [True, False])
def test_what_an_sdk_takes_for_the_end_does_not_go_through_before_the_end(*, is_at_once: bool) -> None:
    begun = up_to_the_first_piece_of(RESPONSES)
    followed = follow(RESPONSES, [begun + DONE] if is_at_once else [begun, DONE])
    assert followed.out == begun
    assert isinstance(followed.fault, BrokenAnswer)
    whole = next(stream for stream in STREAMS if stream.dialect is RESPONSES)
    assert follow(RESPONSES, [whole.raw, DONE]).fault is None


@pytest.mark.parametrize("dialect", [ANTHROPIC, RESPONSES])
def test_the_name_of_an_event_tells_its_type_where_its_data_does_not(dialect: Dialect) -> None:
    whole = next(stream for stream in STREAMS if stream.dialect is dialect)
    raw = re.sub(rb'(data: .*?)"type":"(?:message|content_block|response)[_.][a-z_.]*",?', rb"\1", whole.raw)
    assert raw != whole.raw
    followed = follow(dialect, [raw])
    assert followed.fault is None
    assert followed.tracker.ended


def test_a_connection_that_ends_inside_a_frame_after_an_error_drops_what_was_begun() -> None:
    raw = PIECE + sse(b'{"error":{"message":"boom"}}')
    followed = follow(OPENAI, [raw + b"data: [DO"])
    assert followed.fault is None
    assert followed.out == raw


@pytest.mark.parametrize("dialect", [OPENAI, RESPONSES])
def test_done_after_an_error_frame_goes_through(dialect: Dialect) -> None:
    raw = up_to_the_first_piece_of(dialect) + sse(b'{"error":{"message":"boom"}}')
    for chunks in ([raw + DONE], [raw, DONE]):
        followed = follow(dialect, chunks)
        assert followed.fault is None
        assert followed.tracker.ended
        assert followed.out == raw + DONE


@every_dialect
@pytest.mark.parametrize(
    "garbage",
    [
        b"<html><body>502 Bad Gateway</body></html>",
        b"hello\n\nworld\n\n",
        b"data: hello\n\n",
        b'{"detail":"x"}\n',
        b"\0\xff",
    ],
)
def test_garbage_first_is_not_an_answer(dialect: Dialect, garbage: bytes) -> None:
    followed = follow(dialect, [garbage])
    assert isinstance(followed.fault, NotAnAnswer | BrokenAnswer | ErrorInStream)
    assert not followed.tracker.started


@every_dialect
def test_a_page_in_place_of_an_answer_is_not_an_answer(dialect: Dialect) -> None:
    page = b"<html>" if dialect is OLLAMA else b"data: <html>"
    fault = follow(dialect, [page + b"\n\n"]).fault
    assert isinstance(fault, NotAnAnswer)
    assert dialect.name in fault.message


@pytest.mark.parametrize(
    ("dialect", "other"),
    [(OPENAI, ANTHROPIC), (ANTHROPIC, OPENAI), (OLLAMA, OPENAI), (CLOUDFLARE, ANTHROPIC), (RESPONSES, OPENAI)],
)
def test_another_dialects_stream_is_not_an_answer(dialect: Dialect, other: Dialect) -> None:
    fault = follow(dialect, [first_frame_of(other)]).fault
    assert isinstance(fault, NotAnAnswer)


# ---- hostile bytes ----

SCRAPS = [
    *(frame for stream in STREAMS for frame in stream.frames[-2:]),
    *(frame for _, frame in recorded.error_frames()),
    *(
        b"data: ",
        b"event: error",
        b"error: ",
        b"[DONE]",
        b"\n",
        b"\n\n",
        b"\r\n",
        b"\r",
        b":",
        b"{",
        b"}",
        b'"',
        b"null",
    ),
    *(b'{"error":', b'{"done":true}', b'{"type":"error"}', b'"finish_reason":"', b'"usage":{', "🙂".encode()[:2]),
    *(b"[" * 3_000, b'{"choices":' * 3_000, b'{"usage":{"prompt_tokens":-1}}', b"\xef\xbb\xbf", b"\0", b"\\ud800"),
]
HOSTILE = st.lists(st.sampled_from(SCRAPS) | st.binary(max_size=8), max_size=12).map(b"".join)


@every_dialect
@given(data=st.data(), raw=HOSTILE)
def test_any_bytes_in_any_chunks_end_in_an_answer_or_a_known_fault(
    dialect: Dialect, data: st.DataObject, raw: bytes
) -> None:
    followed = follow(dialect, data.draw(chunks_of(raw)))
    assert raw.startswith(followed.out)
    if followed.fault is None:
        assert followed.tracker.is_whole()
    if not followed.tracker.started:
        assert followed.fault is not None


@every_dialect
@given(data=st.data(), raw=HOSTILE)
def test_the_verdict_does_not_depend_on_the_chunks(dialect: Dialect, data: st.DataObject, raw: bytes) -> None:
    at_once, in_chunks = follow(dialect, [raw]), follow(dialect, data.draw(chunks_of(raw)))
    assert type(at_once.fault) is type(in_chunks.fault)
    assert at_once.tracker.started == in_chunks.tracker.started


# ---- heartbeats, metadata, choices, what comes last ----

ROLE = sse(b'{"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}')
SECOND = PIECE.replace(b'"index":0', b'"index":1')
HEARTBEATS = {
    "sse": [sse(b"{}", "ping"), sse(b"null"), sse(b"{}"), sse(b""), sse(b'{"type":"keepalive"}'), sse(b"ping")],
    "ndjson": [b"{}\n", b"null\n", b'{"type":"ping"}\n', b"\n"],
}


@every_stream
def test_heartbeats_pass_anywhere_and_never_win(stream: Stream) -> None:
    for beat in HEARTBEATS["ndjson" if stream.dialect is OLLAMA else "sse"]:
        tracker = StreamTracker(stream.dialect)
        assert tracker.feed(beat) == beat
        assert (tracker.started, tracker.fault, tracker.frames) == (False, None, 0)
        raw = beat + beat.join(stream.frames) + beat
        followed = follow(stream.dialect, [raw])
        assert followed.fault is None
        assert followed.out == raw


@every_dialect
def test_heartbeats_alone_are_no_answer(dialect: Dialect) -> None:
    beats = HEARTBEATS["ndjson" if dialect is OLLAMA else "sse"]
    assert isinstance(follow(dialect, beats).fault, BrokenAnswer)


def test_after_metadata_of_ours_an_odd_frame_is_no_verdict() -> None:
    raw = ROLE + sse(b'{"x":1}') + PIECE + FINISH + DONE
    followed = follow(OPENAI, [raw])
    assert (followed.fault, followed.out) == (None, raw)


def test_metadata_alone_is_no_answer_and_an_answer_may_be_empty() -> None:
    assert isinstance(follow(OPENAI, [ROLE, DONE]).fault, BrokenAnswer)
    assert follow(OPENAI, [ROLE, FINISH, DONE]).fault is None


def test_a_response_that_comes_all_at_once_is_an_answer() -> None:
    created = sse(b'{"type":"response.created","response":{"status":"in_progress"}}', "response.created")
    item = b'{"type":"message","status":"completed","content":[{"type":"output_text","text":"a"}]}'
    done = b'{"type":"response.completed","response":{"status":"completed","output":[%s]}}' % item
    raw = created + sse(done, "response.completed")
    followed = follow(RESPONSES, [raw])
    assert (followed.fault, followed.out) == (None, raw)
    cut_item = done.replace(b'"message","status":"completed"', b'"message","status":"in_progress"')
    assert isinstance(follow(RESPONSES, [created + sse(cut_item)]).fault, BrokenAnswer)


@pytest.mark.parametrize("dialect", [OPENAI, CLOUDFLARE], ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("end", [DONE, b""])
@FEW
@given(data=st.data())
def test_a_cut_choice_makes_a_cut_answer_although_another_has_finished(
    dialect: Dialect, end: bytes, data: st.DataObject
) -> None:
    raw = PIECE + SECOND + PIECE + FINISH + SECOND
    followed = follow(dialect, data.draw(chunks_of(raw + end)))
    assert isinstance(followed.fault, BrokenAnswer)
    if end:
        assert "choices" in followed.fault.message
    whole = raw + FINISH.replace(b'"index":0', b'"index":1') + DONE
    assert follow(dialect, data.draw(chunks_of(whole))).fault is None


def test_the_choices_of_completions_are_counted_too() -> None:
    choices = b'[{"index":0,"text":"a","finish_reason":null},{"index":7,"text":"b"}]'
    first = sse(b'{"object":"text_completion","choices":%s}' % choices)
    last = sse(b'{"choices":[{"text":"","index":0,"finish_reason":"length"}]}')
    assert isinstance(follow(OPENAI, [first, last, DONE]).fault, BrokenAnswer)


@pytest.mark.parametrize("reason", [b'{"type":"stop"}', b"1", b'["stop"]'])
def test_any_reason_that_is_given_is_one(reason: bytes) -> None:
    assert follow(OPENAI, [PIECE, FINISH.replace(b'"stop"', reason), DONE]).fault is None


def test_a_server_that_never_speaks_of_an_end_is_whole_with_its_terminal_frame_only() -> None:
    piece = sse(b'{"choices":[{"index":0,"delta":{"content":"a"}}]}')
    assert follow(OPENAI, [piece * 3, DONE]).fault is None
    assert isinstance(follow(OPENAI, [piece * 3]).fault, BrokenAnswer)


@pytest.mark.parametrize("delta", [b"", b'{"stop_reason":null}', b'{"stop_reason":""}', b"{}"])
@pytest.mark.parametrize("before", [1, 2, 9])
def test_a_message_that_was_said_to_stop_is_whole_whether_or_not_a_reason_was_given(delta: bytes, before: int) -> None:
    endings = Endings()
    endings.judge_whole(_ended())  # the server gives reasons otherwise
    begun = up_to_the_first_piece_of(ANTHROPIC)
    none = sse(b'{"type":"message_delta","delta":%b}' % delta) if delta else b""
    stop = sse(b'{"type":"message_stop"}')
    more = begun[begun.rindex(b"event: content_block_delta") :] * (before - 1)
    for last, is_whole in ((none + stop, True), (none, False)):
        tracker = StreamTracker(ANTHROPIC, endings)
        for piece in (begun, more, last):
            tracker.feed(piece)
        tracker.finish()
        assert (tracker.fault is None) is is_whole


def _ended() -> Choices:
    choices = Choices()
    choices.ended(0)
    return choices


def test_a_message_that_stops_without_a_word_or_a_reason_is_no_answer() -> None:
    start = sse(b'{"type":"message_start","message":{"id":"msg_1","content":[],"stop_reason":null}}')
    none = sse(b'{"type":"message_delta","delta":{"stop_reason":null}}')
    assert isinstance(follow(ANTHROPIC, [start, none, sse(b'{"type":"message_stop"}')]).fault, BrokenAnswer)


TRAILERS = [b"garbage", b"data: [DO", sse(b'{"error":{"message":"late"}}'), PIECE, b"\x00\xff\n\n"]


@every_stream
@pytest.mark.parametrize("trailer", TRAILERS)
def test_nothing_that_follows_the_terminal_frame_makes_a_whole_answer_an_error(stream: Stream, trailer: bytes) -> None:
    raw = stream.raw + (b"" if stream.name != "transformers" else DONE)
    for chunks in ([raw + trailer], [raw, trailer]):
        followed = follow(stream.dialect, chunks)
        assert followed.fault is None
        assert followed.out.startswith(raw)
        assert (raw + trailer).startswith(followed.out)


def test_an_endless_frame_behind_the_terminal_one_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(framing, "MAX_FRAME_BYTES", 100)
    followed = follow(OPENAI, [PIECE + FINISH + DONE, b"x" * 200, b"y" * 200])
    assert (followed.fault, followed.out) == (None, PIECE + FINISH + DONE)


@pytest.mark.parametrize("stream", EVENT_STREAMS, ids=str)
@FEW
@given(data=st.data())
def test_bare_carriage_returns_end_lines_too(stream: Stream, data: st.DataObject) -> None:
    raw = stream.raw.replace(b"\n", b"\r")
    followed = follow(stream.dialect, data.draw(chunks_of(raw)))
    assert (followed.fault, followed.out) == (None, raw)
    assert followed.tracker.usage == stream.usage


@every_stream
def test_frames_with_bare_carriage_returns_are_given_out_as_soon_as_they_are_complete(stream: Stream) -> None:
    tracker = StreamTracker(stream.dialect)
    for frame in stream.frames:
        odd = frame.replace(b"\n", b"\r")
        assert tracker.feed(odd) == odd


@every_stream
def test_a_byte_order_mark_before_a_stream_is_no_fault(stream: Stream) -> None:
    raw = b"\xef\xbb\xbf" + stream.raw
    followed = follow(stream.dialect, [raw])
    assert (followed.fault, followed.out) == (None, raw)


def test_numbers_that_json_does_not_have_are_no_fault() -> None:
    last = FINISH.replace(b'"finish_reason"', b'"logprobs":[-Infinity,NaN,Infinity],"finish_reason"')
    assert follow(OPENAI, [PIECE + last + DONE]).fault is None


@pytest.mark.parametrize(
    ("dialect", "frame", "status"),
    [
        (OPENAI, sse(b'{"error":{"code":400,"message":"too long"}}'), 400),
        (OPENAI, sse(b'{"object":"error","message":"too long","code":400}'), 400),
        (CLOUDFLARE, sse(b'{"success":false,"errors":[{"code":3040,"message":"too long"}]}'), 429),
        (ANTHROPIC, sse(b'{"type":"error","error":{"type":"overloaded_error","message":"too long"}}', "error"), 529),
        (RESPONSES, sse(b'{"type":"error","code":"rate_limit_exceeded","message":"too long"}', "error"), 429),
        (RESPONSES, sse(b'{"type":"response.failed","response":{"error":{"code":500,"message":"too long"}}}'), 500),
        (OLLAMA, b'{"error":"too long","status_code":404}\n', 404),
        (RESPONSES, sse(b'{"object":"error","message":"too long","type":"BadRequestError","code":400}'), 400),
        (ANTHROPIC, sse(b'{"object":"error","message":"too long","type":"BadRequestError","code":400}'), 400),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_an_error_that_comes_first_keeps_its_status_and_its_words(dialect: Dialect, frame: bytes, status: int) -> None:
    fault = follow(dialect, [frame]).fault
    assert isinstance(fault, ErrorAnswer)
    assert (fault.status, fault.is_json) == (status, True)
    assert fault.body in frame
    assert "too long" in fault.message


def test_a_response_that_failed_is_told_where_sdks_read_the_error_of_an_answer() -> None:
    response = b'{"id":"r","status":"failed","error":{"code":"rate_limit_exceeded","message":"too long"},"output":[]}'
    fault = follow(RESPONSES, [sse(b'{"type":"response.failed","response":' + response + b"}")]).fault
    assert isinstance(fault, ErrorAnswer)
    assert (fault.status, fault.body) == (429, response)
    for event in (
        b'{"type":"response.failed","response":"r","code":429}',
        b'{"type":"error","response":{},"code":429}',
        b'{"error":{"code":429},"response":{"error":"no"}}',
    ):
        fault = follow(RESPONSES, [sse(event)]).fault
        assert isinstance(fault, ErrorAnswer)
        assert fault.body == event


@every_dialect
def test_an_error_of_ours_keeps_its_status_when_it_comes_first(dialect: Dialect) -> None:
    """A node's LLM may be another node."""
    frame = dialect.error_frame(ErrorText(429, "overloaded", "boom", "r"))
    fault = follow(dialect, [frame]).fault
    assert fault is not None
    assert "boom" in fault.message


def test_what_is_of_no_known_format_is_quoted() -> None:
    fault = follow(OPENAI, [sse(b'{"text":"Good morning"}')]).fault
    assert isinstance(fault, NotAnAnswer)
    assert "Good morning" in fault.message


# ---- much in one go ----

MOST_BYTES = 64  # that are looked at frame by frame


def state(tracker: StreamTracker) -> tuple[object, ...]:
    return tracker.frames, tracker.started, tracker.ended, str(tracker.fault), tracker.usage, tracker.is_whole()


@every_stream
@FEW
@given(data=st.data())
def test_what_is_looked_at_quickly_is_seen_as_what_is_looked_at_frame_by_frame(
    stream: Stream, data: st.DataObject
) -> None:
    slow, quick = StreamTracker(stream.dialect), StreamTracker(stream.dialect)
    for chunk in data.draw(chunks_of(stream.raw)):
        parts = [slow.look(part) for part in slow.parts(slow.cut(chunk), 1)]
        is_first, whole = not quick.started, quick.cut(chunk)
        out = (quick.look_first if is_first else quick.look_quickly)(whole, MOST_BYTES)
        if out is None:  # too much: by steps, from the begin where nothing was given out yet
            return
        assert out == b"".join(parts)
        assert state(quick) == state(slow)


def test_a_whole_stream_of_many_pieces_is_looked_at_in_one_go() -> None:
    raw = PIECE * 100 + FINISH + DONE
    tracker = StreamTracker(OPENAI)
    assert tracker.look_first(tracker.cut(raw), 2 * len(FINISH + DONE)) == raw
    assert tracker.ended
    assert tracker.frames == 102


def test_of_several_frames_at_once_only_the_odd_ones_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[bytes] = []
    mark = type(OPENAI).mark

    def noted(self: Dialect, frame: bytes, usage: Usage, choices: Choices | None = None) -> Mark:
        read.append(frame)
        return mark(self, frame, usage, choices)

    monkeypatch.setattr(type(OPENAI), "mark", noted)
    tracker = StreamTracker(OPENAI)
    assert tracker.feed(PIECE * 4 + FINISH + DONE) == PIECE * 4 + FINISH + DONE
    assert read == [PIECE, FINISH, DONE]
    assert (tracker.frames, tracker.ended) == (6, True)


@pytest.mark.parametrize("odd", [sse(b'{"error":{"message":"no"}}'), sse(b"[DONE]"), b": hello\n\n"])
def test_what_is_odd_in_the_middle_of_much_is_not_looked_at_quickly(odd: bytes) -> None:
    tracker = StreamTracker(OPENAI)
    tracker.feed(PIECE)
    assert tracker.look_quickly(PIECE * 100 + odd + PIECE * 100, len(PIECE)) is None
    assert (tracker.frames, tracker.fault) == (1, None)


def test_comments_are_passed_without_a_look_at_each(monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = StreamTracker(OPENAI)
    comments = b": still here\n\n" * 100
    with monkeypatch.context() as patch:
        patch.setattr(type(OPENAI), "mark", None)
        assert tracker.feed(comments) == comments
    assert not tracker.started
    assert tracker.feed(PIECE + FINISH + DONE) == PIECE + FINISH + DONE
    assert tracker.ended
