import json

import pytest

from masa_node.chat.answer import Usage
from masa_node.dialects.dialect import ErrorText, Mark
from masa_node.dialects.formats.openai_responses import OpenAiResponses
from tests.dialects import recorded
from tests.dialects.recorded import sse

DIALECT = OpenAiResponses()


@pytest.mark.parametrize(
    ("data", "mark"),
    [
        (b'{"type":"response.created","response":{"error":null}}', Mark.META),
        (b'{"type":"response.output_item.added","item":{"type":"message","content":[]}}', Mark.META),
        (b'{"type":"response.output_item.added","item":{"type":"function_call","name":"f"}}', Mark.PIECE),
        (b'{"type":"response.content_part.added","part":{"type":"output_text","text":""}}', Mark.META),
        (b'{"type":"response.output_text.delta","delta":""}', Mark.META),
        (b'{"type":"response.output_text.done","text":"a"}', Mark.PIECE),
        (b'{"type":"response.heartbeat"}', Mark.NOISE),
        (b'{"type":"keepalive","sequence_number":3}', Mark.NOISE),
        (b'{"type":"message_start"}', Mark.ALIEN),
        (b'{"type":"response.output_text.delta","delta":"a"}', Mark.PIECE),
        (b'{"type":"response.something_new"}', Mark.META),
        (b'{"type":"response.completed","response":{}}', Mark.END),
        (b'{"type":"response.incomplete","response":{}}', Mark.END),
        (b'{"type":"response.done","response":{"status":"completed"}}', Mark.END),  # oh-my-pi 4692, cockpit-tools 2328
        (b'{"type":"response.failed","response":{"error":{"message":"boom"}}}', Mark.ERROR),
        (b'{"type":"error","message":"boom"}', Mark.ERROR),
        (b'{"error":{"message":"boom"}}', Mark.ERROR),
        (b'{"type":1}', Mark.META),
        (b'{"type":null}', Mark.NOISE),
        (b'{"status":"queued"}', Mark.NOISE),
        (b'{"choices":[{"delta":{"content":"hi"}}]}', Mark.ALIEN),
        (b'{"object":"error","message":"boom","code":500}', Mark.OVERLOOKED),
        (b"[DONE]", Mark.CUT),
        (b"{}", Mark.NOISE),
        (b"hello", Mark.ALIEN),
        (b"", Mark.NOISE),
    ],
)
def test_a_frame_is_what_its_type_says(data: bytes, mark: Mark) -> None:
    assert DIALECT.mark(sse(data), Usage()) is mark


def test_an_event_named_error_is_an_error_whatever_its_data() -> None:
    assert DIALECT.mark(sse(b"boom", "error"), Usage()) is Mark.ERROR


def test_only_the_end_counts_tokens() -> None:
    usage = Usage()
    counts = b'"response":{"usage":{"input_tokens":3,"output_tokens":4}}'
    DIALECT.mark(sse(b'{"type":"response.in_progress",%s}' % counts), usage)
    assert usage == Usage(None, None)
    DIALECT.mark(sse(b'{"type":"response.completed","response":1}'), usage)
    assert usage == Usage(None, None)
    DIALECT.mark(sse(b'{"type":"response.completed",%s}' % counts), usage)
    assert usage == Usage(3, 4)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b'{"error":{"message":"boom"}}', "boom"),
        (b'{"error":{}}', "no `output`"),
        (b'{"object":"response"}', "no `output`"),
        (b"[]", "not a JSON object"),
    ],
)
def test_what_is_no_response_says_why(body: bytes, why: str) -> None:
    fault = DIALECT.fault_of_whole(body, Usage())
    assert fault is not None
    assert why in fault


def test_a_response_that_failed_half_way_is_still_the_llms_answer() -> None:
    assert DIALECT.fault_of_whole(b'{"status":"failed","output":[],"error":{"message":"boom"}}', Usage()) is None


def test_an_error_in_a_stream_has_the_vendors_shape() -> None:
    expected = recorded.load("openai_authored")["responses_error_event"]
    name, data, *_ = DIALECT.error_frame(ErrorText(500, "c", "boom", "r")).decode().split("\n")
    assert name == f"event: {expected['event']}"
    assert json.loads(data.removeprefix("data: ")) == {**expected["data"], "code": "c", "sequence_number": 0}


@pytest.mark.parametrize("cut", [0, 1, 2, 3])
def test_one_item_in_progress_makes_a_cut_answer_wherever_it_is(cut: int) -> None:
    status = [b"in_progress" if at == cut else b"completed" for at in range(4)]
    items = b",".join(b'{"type":"message","status":"%b"}' % each for each in status)
    body = b'{"status":"completed","output":[%b]}' % items
    assert DIALECT.fault_of_whole(body, Usage()) == "one of its items is still in progress, so the answer was cut"
