import json

import pytest

from masa_node.chat.answer import Usage
from masa_node.dialects.dialect import ErrorText, Mark
from masa_node.dialects.formats.cloudflare import Cloudflare
from tests.dialects import recorded
from tests.dialects.chunking import follow
from tests.dialects.recorded import sse

DIALECT = Cloudflare()


@pytest.mark.parametrize(
    ("data", "mark"),
    [
        (b"[DONE]", Mark.END),
        (b'{"response":"a"}', Mark.PIECE),
        (b'{"response":7}', Mark.PIECE),
        (b'{"response":{"a":1}}', Mark.PIECE),
        (b'{"response":null,"tool_calls":[]}', Mark.META),
        (b'{"response":""}', Mark.META),
        (b'{"response":null,"tool_calls":[{"name":"f"}]}', Mark.PIECE),
        (b'{"usage":{"prompt_tokens":1}}', Mark.META),
        (b'{"choices":[]}', Mark.META),
        (b'{"choices":[{"delta":{"content":"a"}}]}', Mark.PIECE),
        (b'{"errors":[],"response":"a"}', Mark.PIECE),
        (b"{}", Mark.NOISE),
        (b'{"success":false,"errors":[]}', Mark.ERROR),
        (b'{"error":"boom"}', Mark.ERROR),
        (b'{"x":1}', Mark.NOISE),
        (b'{"response":0}', Mark.PIECE),
        (b'{"type":"message_start","message":{"content":[]}}', Mark.ALIEN),
        (b"hello", Mark.ALIEN),
        (b"", Mark.NOISE),
    ],
)
def test_a_frame_is_what_its_data_says(data: bytes, mark: Mark) -> None:
    assert DIALECT.mark(sse(data), Usage()) is mark


def test_an_event_named_error_is_an_error_whatever_its_data() -> None:
    assert DIALECT.mark(sse(b"boom", "error"), Usage()) is Mark.ERROR


def test_newer_models_stream_openai_chunks_on_the_native_path() -> None:
    stream = next(stream for stream in recorded.streams() if stream.name == "openai_authored.stream_include_usage")
    followed = follow(DIALECT, [stream.raw])
    assert followed.fault is None
    assert followed.out == stream.raw
    assert followed.tracker.usage == stream.usage


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"errors":[{"code":1,"message":"boom"}]}', "boom"),
        (b'{"errors":[{"code":1},{"message":"boom"}]}', "boom"),
        (b'{"errors":["boom"]}', "boom"),
        (b'{"errors":[],"error":"boom"}', "boom"),
        (b'{"error":{"message":"boom"}}', "boom"),
        (b'{"errors":1}', None),
        (b"[]", None),
    ],
)
def test_the_first_message_of_an_error_is_found(body: bytes, message: str | None) -> None:
    assert DIALECT.error_message(body) == message


def test_a_whole_answer_of_a_newer_model_is_accepted_with_its_usage() -> None:
    usage = Usage()
    body = b'{"result":{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}},"success":true}'
    assert DIALECT.fault_of_whole(body, usage) is None
    assert usage == Usage(3, 4)


def test_a_result_may_be_anything() -> None:
    usage = Usage()
    assert DIALECT.fault_of_whole(b'{"result":"text","success":true}', usage) is None
    assert usage == Usage(None, None)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 408, 413, 429, 500, 502, 503, 504])
def test_errors_have_the_vendors_shape_and_codes(status: int) -> None:
    errors = recorded.load("cloudflare_workers_ai")["errors"]
    body = json.loads(DIALECT.error_body(ErrorText(status, "c", "m", "r")))
    assert body.keys() == errors["envelope"].keys()
    assert {**body, "errors": []} == {**errors["envelope"], "errors": []}
    assert body["errors"][0]["message"] == "m"
    code = str(body["errors"][0]["code"])
    gateway_or_own = {401: "10000", 404: "5007", 500: "5000", 502: "5000", 503: "3040", 504: "3007"}
    assert errors["codes"].get(code) == status or gateway_or_own[status] == code


def test_a_frame_with_two_responses_hides_no_comment() -> None:
    """A relay's: the value of one field is the name of another."""
    frame = sse(b'{"type":"response.created","response":{"object":"response"}}')
    assert not DIALECT.plain_frames(frame + b": a comment\n\n")
