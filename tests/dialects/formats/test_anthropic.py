import json

import pytest

from masa_node.chat.answer import Usage
from masa_node.dialects.dialect import ErrorText, Mark
from masa_node.dialects.formats.anthropic import Anthropic
from tests.dialects import recorded
from tests.dialects.recorded import compact, sse

DIALECT = Anthropic()


@pytest.mark.parametrize(
    ("data", "mark"),
    [
        (b'{"type":"message_start","message":{}}', Mark.META),
        (b'{"type":"content_block_start","content_block":{"type":"text","text":""}}', Mark.META),
        (b'{"type":"content_block_start","content_block":{"type":"thinking","thinking":"","signature":""}}', Mark.META),
        (
            b'{"type":"content_block_start","content_block":{"type":"tool_use","name":"f","input":{}}}',
            Mark.PIECE,
        ),
        (b'{"type":"content_block_start","content_block":{"type":"redacted_thinking","data":"x"}}', Mark.PIECE),
        (b'{"type":"content_block_delta","delta":{"type":"text_delta","text":"a"}}', Mark.PIECE),
        (b'{"type":"content_block_delta","delta":{"type":"text_delta","text":""}}', Mark.META),
        (b'{"type":"content_block_delta","delta":{"type":"input_json_delta","partial_json":"{"}}', Mark.PIECE),
        (b'{"type":"content_block_delta","delta":{"type":"thinking_delta","thinking":"hm"}}', Mark.PIECE),
        (b'{"type":"content_block_stop"}', Mark.META),
        (b'{"type":"something_new"}', Mark.META),
        (b'{"type":"message_delta","delta":{"stop_reason":"end_turn"}}', Mark.FINISH),
        (b'{"type":"message_delta","delta":{"stop_reason":null},"usage":{"output_tokens":5}}', Mark.META),
        (b'{"type":"message_stop"}', Mark.END),
        (b'{"type":"ping"}', Mark.NOISE),
        (b'{"type":"error","error":{"message":"boom"}}', Mark.OVERLOOKED),
        (b'{"type":1}', Mark.NOISE),
        (b'{"queue":1}', Mark.NOISE),
        (b'{"choices":[{"delta":{"content":"hi"}}]}', Mark.ALIEN),
        (b'{"type":"keepalive"}', Mark.NOISE),
        (b'{"type":"response.created"}', Mark.ALIEN),
        (b"{}", Mark.NOISE),
        (b"null", Mark.NOISE),
        (b"hello", Mark.ALIEN),
        (b"", Mark.NOISE),
    ],
)
def test_a_frame_is_what_its_type_says(data: bytes, mark: Mark) -> None:
    assert DIALECT.mark(sse(data), Usage()) is mark


def test_an_event_named_error_is_an_error_whatever_its_data() -> None:
    assert DIALECT.mark(sse(b"boom", "error"), Usage()) is Mark.ERROR


def test_the_later_usage_wins_and_what_it_leaves_out_stays() -> None:
    usage = Usage()
    DIALECT.mark(sse(b'{"type":"message_start","message":{"usage":{"input_tokens":9,"output_tokens":1}}}'), usage)
    assert usage == Usage(9, 1)
    DIALECT.mark(sse(b'{"type":"message_delta","usage":{"output_tokens":5}}'), usage)
    assert usage == Usage(9, 5)
    DIALECT.mark(sse(b'{"type":"message_delta","usage":{"input_tokens":7}}'), usage)
    assert usage == Usage(7, 5)


CACHED = b'{"input_tokens":3,"cache_creation_input_tokens":40,"cache_read_input_tokens":900,"output_tokens":5}'


def test_what_was_read_from_a_cache_was_read_too() -> None:
    streamed, whole = Usage(), Usage()
    DIALECT.mark(sse(b'{"type":"message_start","message":{"usage":%b}}' % CACHED), streamed)
    DIALECT.mark(sse(b'{"type":"message_delta","usage":{"output_tokens":6}}'), streamed)
    assert streamed == Usage(943, 6)
    DIALECT.fault_of_whole(b'{"content":[],"usage":%b}' % CACHED, whole)
    assert whole == Usage(943, 5)


@pytest.mark.parametrize("cached", [b"null", b"-1", b'"many"', b"9" * 400])
def test_a_count_of_a_cache_that_cannot_be_one_adds_nothing(cached: bytes) -> None:
    usage = Usage()
    DIALECT.fault_of_whole(b'{"content":[],"usage":{"input_tokens":3,"cache_read_input_tokens":%b}}' % cached, usage)
    assert usage == Usage(3, None)


def test_errors_have_the_vendors_shape() -> None:
    body = json.loads(DIALECT.error_body(ErrorText(404, "c", "m", "req_1")))
    shape = recorded.load("anthropic_authored")["error"]
    assert body == {**shape, "error": {**shape["error"], "message": "m"}}


def test_an_error_that_anthropics_sdks_react_to_says_so_where_they_look() -> None:
    body = json.loads(DIALECT.error_body(ErrorText(400, "thread_unsupported_request", "m", "r")))
    assert body["error"]["details"] == {"error_code": "thread_unsupported_request"}


def test_the_error_type_follows_the_status() -> None:
    expected: dict[str, str] = recorded.load("anthropic_authored")["error_types_by_status"]
    for status, kind in {**expected, "502": "api_error", "405": "invalid_request_error"}.items():
        assert json.loads(DIALECT.error_body(ErrorText(int(status), "c", "m", "r")))["error"]["type"] == kind


def test_an_error_in_a_stream_is_an_event_named_error() -> None:
    name, data = recorded.load("anthropic_authored")["mid_stream_error"]
    frame = DIALECT.error_frame(ErrorText(529, "c", "boom", "r"))
    assert frame == sse(compact({**data, "request_id": "r"}), name)


def test_a_message_without_content_is_no_answer() -> None:
    fault = DIALECT.fault_of_whole(b'{"type":"message"}', Usage())
    assert fault is not None
    assert "no `content`" in fault


def test_a_count_of_tokens_is_an_answer_but_no_usage() -> None:
    usage = Usage()
    assert (
        DIALECT.fault_of_whole(compact(recorded.load("anthropic_authored")["count_tokens"]["response"]), usage) is None
    )
    assert usage == Usage(None, None)
