import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masa_node.chat.errors import NotAnAnswer
from masa_node.dialects import framing
from masa_node.dialects.framing import NDJSON, SSE, FrameCutter, Framing, event_of, is_silent, parts_of
from tests.dialects.chunking import chunks_of

SSE_ALPHABET = st.lists(
    st.sampled_from([b"\n", b"\r\n", b"\r", b"data: x", b": c", "ü🙂".encode(), b"{}"]), max_size=20
)
SSE_END = re.compile(rb"\n\r?\n|\r\r")


def feed_all(cutter: FrameCutter, chunks: list[bytes]) -> list[bytes]:
    return [cutter.feed(chunk) for chunk in chunks]


@pytest.mark.parametrize("framing_", [SSE, NDJSON], ids=["sse", "ndjson"])
@given(data=st.data(), parts=SSE_ALPHABET)
def test_no_byte_is_lost_changed_or_doubled(framing_: Framing, data: st.DataObject, parts: list[bytes]) -> None:
    raw = b"".join(parts)
    cutter = FrameCutter(framing_)
    assert b"".join(feed_all(cutter, data.draw(chunks_of(raw)))) + cutter.rest() == raw


@given(data=st.data(), parts=SSE_ALPHABET)
def test_events_are_given_out_as_soon_as_they_are_complete(data: st.DataObject, parts: list[bytes]) -> None:
    chunks = data.draw(chunks_of(b"".join(parts)))
    cutter = FrameCutter(SSE)
    seen = out = b""
    for chunk in chunks:
        seen += chunk
        out += cutter.feed(chunk)
        assert not SSE_END.search(seen[len(out) :])
        assert not SSE_END.search(out.rstrip(b"\r\n")) or out.endswith((b"\n", b"\r"))


@given(data=st.data(), parts=SSE_ALPHABET)
def test_lines_are_given_out_as_soon_as_they_are_complete(data: st.DataObject, parts: list[bytes]) -> None:
    cutter = FrameCutter(NDJSON)
    for chunk in data.draw(chunks_of(b"".join(parts))):
        out = cutter.feed(chunk)
        assert not out or out.endswith((b"\n", b"\r"))
    assert not {*b"\r\n"} & {*cutter.rest()}


@pytest.mark.parametrize("framing_", [SSE, NDJSON], ids=["sse", "ndjson"])
@given(parts=SSE_ALPHABET)
def test_the_frames_of_a_chunk_are_the_chunk(framing_: Framing, parts: list[bytes]) -> None:
    chunk = b"".join(parts)
    assert b"".join(framing_.frames(chunk)) == chunk


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\n\r\n", b"\r\n\n", b"\r\r"])
def test_an_event_ends_with_a_blank_line_of_either_kind(end: bytes) -> None:
    chunk = b"data: 1" + end + b"data: 2" + end
    assert [event_of(frame) for frame in SSE.frames(chunk)] == [(b"", b"1"), (b"", b"2")]
    assert SSE.count(chunk) == 2
    for at in range(len(chunk)):
        cutter = FrameCutter(SSE)
        assert cutter.feed(chunk[:at]) + cutter.feed(chunk[at:]) == chunk


def test_a_single_line_end_does_not_end_an_event() -> None:
    cutter = FrameCutter(SSE)
    assert cutter.feed(b"event: a\r\ndata: b\r\n") == b""
    assert cutter.feed(b"\r\n") == b"event: a\r\ndata: b\r\n\r\n"


def test_several_frames_of_one_chunk_go_on_together() -> None:
    assert FrameCutter(NDJSON).feed(b"{}\n{}\n{") == b"{}\n{}\n"
    assert NDJSON.count(b"{}\n{}\n") == 2


def test_a_frame_without_its_delimiter_is_the_rest() -> None:
    cutter = FrameCutter(NDJSON)
    assert cutter.feed(b'{}\n{"a"') == b"{}\n"
    assert cutter.rest() == b'{"a"'
    assert cutter.rest() == b""


@pytest.mark.parametrize("framing_", [SSE, NDJSON], ids=["sse", "ndjson"])
def test_an_endless_frame_is_given_up_at_the_bound(framing_: Framing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(framing, "MAX_FRAME_BYTES", 100)
    cutter = FrameCutter(framing_)
    assert cutter.feed(b"x" * 100) == b""
    with pytest.raises(NotAnAnswer, match="larger than 100 bytes"):
        cutter.feed(b"x")


def test_frames_below_the_bound_may_be_any_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(framing, "MAX_FRAME_BYTES", 100)
    cutter = FrameCutter(NDJSON)
    assert [cutter.feed(b"x" * 90 + b"\n") for _ in range(50)] == [b"x" * 90 + b"\n"] * 50


def test_a_large_frame_in_small_pieces_is_scanned_once() -> None:
    class Counting:
        """NDJSON that notes how many bytes it looked at."""

        looked_at = 0

        def end_of_last_frame(self, buffer: bytes | bytearray, start: int) -> int:
            self.looked_at += len(buffer) - start
            return NDJSON.end_of_last_frame(buffer, start)

        frames = staticmethod(NDJSON.frames)
        count = staticmethod(NDJSON.count)

    counting = Counting()
    cutter = FrameCutter(counting)
    for _ in range(1_000):
        cutter.feed(b"x" * 100)
    assert counting.looked_at == 100_000


@pytest.mark.parametrize(
    ("frame", "event", "data"),
    [
        (b"data: a\n\n", b"", b"a"),
        (b"data:a\n\n", b"", b"a"),
        (b"data:  a\n\n", b"", b" a"),
        (b"event: e\ndata: a\n\n", b"e", b"a"),
        (b"event: e\r\ndata: a\r\n\r\n", b"e", b"a"),
        (b"data: a\ndata: b\n\n", b"", b"a\nb"),
        (b"id: 1\nretry: 5\ndata: a\n\n", b"", b"a"),
        (b": a comment\n\n", b"", b""),
        (b"\xef\xbb\xbfdata: a\n\n", b"", b"a"),
        (b'error: {"message":"m"}\n\n', b"error", b'{"message":"m"}'),
        (b"data\n\n", b"", b""),
        (b"", b"", b""),
    ],
)
def test_an_event_is_read_as_the_standard_says(frame: bytes, event: bytes, data: bytes) -> None:
    assert event_of(frame) == (event, data)


@pytest.mark.parametrize("framing_", [SSE, NDJSON], ids=["sse", "ndjson"])
@given(frames=st.lists(st.integers(0, 40).map(lambda size: b"x" * size + b"\n\n"), max_size=40))
def test_parts_are_whole_frames_about_as_large_as_asked_for(framing_: Framing, frames: list[bytes]) -> None:
    whole = b"".join(frames)
    parts = list(parts_of(framing_, whole, 16))
    assert b"".join(parts) == whole
    ends = [end for end in range(len(whole) + 1) if framing_.end_of_last_frame(whole[:end], 0) == end]
    cut = 0
    for part in parts:
        cut += len(part)
        assert cut in ends


def test_a_part_is_found_without_a_look_at_the_rest() -> None:
    assert next(parts_of(SSE, b":\n\n" * 300_000, 4_096)) == b":\n\n" * (4_096 // 3)
    assert len(next(parts_of(SSE, b"x" * 50_000 + b"\n\n" + b":\n\n" * 300_000, 4_096))) > 50_000


@pytest.mark.parametrize(
    "quiet", [b":\n\n" * 3, b": a\r\n\r\n", b":a\r\r:b\r\r", b"\n\n", b":a\n:b\n\n\n", b": data: {}\n\n"]
)
def test_comments_and_blank_lines_are_silent(quiet: bytes) -> None:
    assert is_silent(SSE, quiet)
    assert not is_silent(SSE, quiet * 10_000)  # which would take long
    assert is_silent(NDJSON, quiet) == quiet.isspace()
    for loud in (b"data: {}\n\n", b"event: error\n\n", b"a\n\n", b"id\n\n"):
        assert not is_silent(SSE, quiet + loud)
        assert not is_silent(SSE, loud + quiet)
