"""What holds for every dialect."""

import functools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masa_node.chat.answer import Usage
from masa_node.chat.request import CHAT_DIALECTS, DialectName
from masa_node.dialects.dialect import Dialect, ErrorText, Mark
from masa_node.dialects.framing import NDJSON
from masa_node.dialects.registry import DIALECTS
from tests.dialects import recorded
from tests.dialects.chunking import follow
from tests.dialects.recorded import Body
from tests.dialects.test_tracking import HOSTILE, STREAMS

NOISE = [b": a comment\n\n", b":\n\n", b'event: ping\ndata: {"type":"ping"}\n\n']
ODD_ERRORS = [
    b'event: error\ndata: {"message":"boom"}\n\n',
    b"event:error\ndata: boom\n\n",
    b'data: {"success":false}\n\n',
]
FRAMES = {
    dialect.name: [
        *(frame for stream in STREAMS if stream.dialect.framing is dialect.framing for frame in stream.frames),
        *(frame for other, frame in recorded.error_frames() if other.framing is dialect.framing),
        *((NOISE + ODD_ERRORS) if dialect.framing is not NDJSON else []),
    ]
    for dialect in DIALECTS.values()
}
ERROR = st.builds(
    ErrorText,
    status=st.sampled_from([400, 401, 403, 404, 405, 408, 413, 415, 422, 429, 499, 500, 502, 503, 504, 508, 529]),
    code=st.sampled_from(["bad_json", "overloaded", "stalled"]),
    message=st.text(min_size=1).filter(lambda text: text.isprintable()) | st.just('two\nlines "quoted" 🙂'),
    request_id=st.just("r-1"),
)

every_dialect = pytest.mark.parametrize("dialect", DIALECTS.values(), ids=lambda dialect: dialect.name)


@every_dialect
@given(raw=HOSTILE)
def test_every_question_is_answered_about_any_bytes(dialect: Dialect, raw: bytes) -> None:
    assert dialect.mark(raw, Usage()) in Mark
    assert dialect.plain_frames(raw) in {0, dialect.framing.count(raw)}
    assert isinstance(dialect.fault_of_whole(raw, Usage()), str | None)
    message = dialect.error_message(raw)
    assert message is None or message.encode() is not None


@every_dialect
@pytest.mark.parametrize("nest", [b"[", b'{"choices":', b'{"error":', b'{"message":', b'{"done":', b'{"result":'])
def test_nesting_without_end_is_not_an_answer(dialect: Dialect, nest: bytes) -> None:
    body = nest * 50_000
    frame = body + b"\n" if dialect.framing is NDJSON else recorded.sse(body)
    assert dialect.mark(frame, Usage()) is Mark.ALIEN
    assert dialect.fault_of_whole(body, Usage()) is not None
    assert dialect.error_message(body) is None


@functools.cache
def known_frames(dialect: Dialect) -> st.SearchStrategy[list[bytes]]:
    frames = [frame for frame in FRAMES[dialect.name] if dialect.mark(frame, Usage()) is not Mark.ALIEN]
    return st.lists(st.sampled_from(frames), max_size=4)


@every_dialect
@given(data=st.data())
def test_plain_frames_are_nothing_but_pieces(dialect: Dialect, data: st.DataObject) -> None:
    drawn = data.draw(known_frames(dialect))
    if plain := dialect.plain_frames(b"".join(drawn)):
        assert plain == len(drawn)
        assert {dialect.mark(frame, Usage()) for frame in drawn} <= {Mark.PIECE, Mark.META}


@pytest.mark.parametrize("dialect", [DIALECTS[name] for name in CHAT_DIALECTS if name != DialectName.OPENAI_RESPONSES])
def test_frames_with_nothing_but_words_are_plain(dialect: Dialect) -> None:
    """Else the quick way would not be one; responses have none."""
    frames = [frame for stream in STREAMS if stream.dialect is dialect for frame in stream.frames]
    assert any(dialect.plain_frames(frame) for frame in frames)


@every_dialect
@given(error=ERROR)
def test_an_error_body_is_read_back_by_its_own_dialect(dialect: Dialect, error: ErrorText) -> None:
    body = dialect.error_body(error)
    assert dialect.error_message(body) == error.message
    assert dialect.fault_of_whole(body, Usage()) is not None


@every_dialect
@given(error=ERROR)
def test_an_error_frame_is_one_frame_that_marks_an_error(dialect: Dialect, error: ErrorText) -> None:
    frame = dialect.error_frame(error)
    assert dialect.framing.frames(frame) == [frame]
    assert dialect.mark(frame, Usage()) is Mark.ERROR
    assert not dialect.plain_frames(frame)
    fault = follow(dialect, [frame]).fault
    assert fault is not None
    assert error.message in fault.message


@pytest.mark.parametrize("dialect", [DIALECTS[name] for name in (*CHAT_DIALECTS, DialectName.OPENAI_JSON)])
def test_a_body_that_is_no_json_object_is_no_answer(dialect: Dialect) -> None:
    for body in (b"", b"null", b"[]", b'"text"', b"<html>", b'{"choices":', b"\xff\xfe"):
        assert dialect.fault_of_whole(body, Usage()) is not None


@pytest.mark.parametrize("answer", recorded.whole_answers(), ids=str)
def test_recorded_answers_are_accepted_with_their_usage(answer: Body) -> None:
    usage = Usage()
    assert answer.dialect.fault_of_whole(answer.raw, usage) is None
    assert usage == recorded.used(answer.dialect.name, [answer.json])


@pytest.mark.parametrize("error", recorded.error_bodies(), ids=str)
def test_recorded_errors_are_no_answers_and_keep_their_message(error: Body) -> None:
    fault = error.dialect.fault_of_whole(error.raw, Usage())
    message = error.dialect.error_message(error.raw)
    assert fault is not None
    assert message
    assert message in msgspec.json.decode(error.raw, strict=False).__repr__().replace("\\'", "'")


@every_dialect
@pytest.mark.parametrize("count", [b"-1", b"1e400", b"9" * 400, b'"3"', b"null", b"1.5", b"[]"])
def test_a_count_that_cannot_be_one_is_unknown(dialect: Dialect, count: bytes) -> None:
    names = (b"prompt_tokens", b"completion_tokens", b"input_tokens", b"output_tokens")
    googles = b'"candidates":[{}],"usageMetadata":{"promptTokenCount":%s,"candidatesTokenCount":%s}' % (count, count)
    usage = b"{" + b",".join(b'"%s":%s' % (name, count) for name in names) + b"}"
    native = b'"prompt_eval_count":%s,"eval_count":%s' % (count, count)
    body = b'{"choices":[],"content":[],"output":[],"success":true,"result":{"usage":%s},"usage":%s,"done":true,%s,%s}'
    counted = Usage()
    assert dialect.fault_of_whole(body % (usage, usage, native, googles), counted) is None
    assert counted == Usage(None, None)
