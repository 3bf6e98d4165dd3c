"""Endings are told apart: what is cut is neither a whole answer nor a true error."""

import json

import pytest

from tests.endings import BROKEN, ERROR, FINISHED, TRUE, WHOLE, Ending, ending_of


def finish(reason: str | None) -> bytes:
    chunk = {"choices": [{"delta": {}, "finish_reason": reason}]}
    return b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n"


def chunked(*frames: bytes) -> bytes:
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(frame), frame) for frame in (*frames, b""))
    return b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunks


@pytest.mark.parametrize(
    ("answer", "ending"),
    [
        (b'HTTP/1.1 200 OK\r\ncontent-length: 26\r\n\r\n{"finish_reason":"stop"  }\n'[:-1], WHOLE),
        (b"HTTP/1.1 502 Bad\r\ncontent-length: 26\r\n\r\n" + b'{"error":{"message":"no"}}', ERROR),
        (b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n12\r\ndata: {"error":1}\n\r\n', BROKEN),
        (chunked(finish("stop")), FINISHED),
        (chunked(finish("stop"), b"data: [DONE]\n\n"), WHOLE),
    ],
)
def test_endings_are_told_apart(answer: bytes, ending: Ending) -> None:
    assert ending_of(answer) == ending


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\ndata: \r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\ndata: \r\n",
        b'HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{"a":',
        chunked(b'data: {"choices":[{"delta":{"content":"a"},"finish_reason":null}]}\n\n'),
        chunked(finish("stop")[:-1]),
        chunked(finish("stop"), finish(None)),
        chunked(finish("stop"))[:-5],
    ],
)
def test_a_cut_answer_is_neither_whole_nor_a_true_error(answer: bytes) -> None:
    assert ending_of(answer) not in TRUE
