import pytest

from masa_node.chat.request import DialectName
from masa_node.dialects.dialect import Dialect
from masa_node.dialects.framing import NDJSON
from masa_node.dialects.opening import Shape, shape_of
from masa_node.dialects.registry import DIALECTS
from tests.dialects import recorded

OLLAMA = DIALECTS[DialectName.OLLAMA]
OPENAI = DIALECTS[DialectName.OPENAI]
said = pytest.mark.parametrize("is_stream", [True, False], ids=["said to stream", "said to be whole"])


def shape_when_read(raw: bytes, dialect: Dialect, *, is_stream: bool) -> tuple[Shape | None, int]:
    """What it is, and after how many bytes that is known."""
    for end in range(1, len(raw) + 1):
        shape = shape_of(raw[:end], dialect, is_over=False, is_stream=is_stream)
        if shape is not None:
            return shape, end
    return shape_of(raw, dialect, is_over=True, is_stream=is_stream), len(raw)


@said
@pytest.mark.parametrize("begin", [b"", b"\xef\xbb\xbf", b"\r\n\n", b": hi\n\n"], ids=repr)
@pytest.mark.parametrize("stream", recorded.streams(), ids=str)
def test_a_stream_is_known_by_its_first_bytes_whatever_is_said(
    stream: recorded.Stream, begin: bytes, *, is_stream: bool
) -> None:
    if stream.dialect.framing is NDJSON and begin.startswith(b":"):
        return
    if len(stream.frames) > 1:
        shape, known_at = shape_when_read(begin + stream.raw, stream.dialect, is_stream=is_stream)
        assert shape is Shape.STREAM
        assert known_at <= len(begin) + len(stream.frames[0])


@said
@pytest.mark.parametrize("answer", recorded.whole_answers(), ids=str)
def test_a_whole_answer_is_known_by_its_first_bytes_whatever_is_said(answer: recorded.Body, *, is_stream: bool) -> None:
    if answer.dialect is not OLLAMA:
        assert shape_when_read(answer.raw, answer.dialect, is_stream=is_stream)[0] is Shape.WHOLE


@said
@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("raw", [b"<html>", b'[{"error":1}]', b'{\n "x": 1\n}'])
def test_pages_lists_and_objects_over_several_lines_are_whole(dialect: Dialect, raw: bytes, *, is_stream: bool) -> None:
    assert shape_when_read(raw, dialect, is_stream=is_stream)[0] is Shape.WHOLE


@said
@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("raw", [b"", b"\n\n", b"hello", b"hello\n\n"])
def test_in_doubt_it_is_what_is_said(dialect: Dialect, raw: bytes, *, is_stream: bool) -> None:
    expected = Shape.STREAM if is_stream else Shape.WHOLE
    assert shape_of(raw, dialect, is_over=True, is_stream=is_stream) is expected


def test_one_line_of_ollama_that_is_done_is_what_was_said() -> None:
    line = b'{"message":{"content":"a"},"done":true}\n'
    assert shape_of(line, OLLAMA, is_over=False, is_stream=True) is Shape.STREAM
    assert shape_of(line, OLLAMA, is_over=False, is_stream=False) is Shape.WHOLE
    begun = b'{"message":{"content":"a"},"done":false}\n'
    assert shape_of(begun, OLLAMA, is_over=False, is_stream=False) is Shape.STREAM
    assert shape_of(b"{}\n" + begun, OLLAMA, is_over=False, is_stream=False) is Shape.STREAM


def test_a_first_line_without_end_is_not_waited_for() -> None:
    assert shape_of(b'{"x":"' + b"y" * 100_000, OLLAMA, is_over=False, is_stream=True) is Shape.STREAM
    assert shape_of(b" " * 100_000, OPENAI, is_over=False, is_stream=True) is Shape.STREAM
