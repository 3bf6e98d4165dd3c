import json

import pytest

from masa_node.chat.answer import Usage
from masa_node.chat.request import DialectName
from masa_node.dialects.dialect import ErrorText, Mark
from masa_node.dialects.formats.openai import OpenAi
from masa_node.dialects.registry import DIALECTS
from tests.dialects import recorded
from tests.dialects.recorded import sse

DIALECT = OpenAi()


def marked(data: bytes, event: str = "") -> Mark:
    return DIALECT.mark(sse(data, event), Usage())


@pytest.mark.parametrize(
    ("data", "mark"),
    [
        (b"[DONE]", Mark.END),
        (b" [DONE] ", Mark.END),
        (b'{"choices":[{"delta":{"role":"assistant"}}]}', Mark.META),
        (b'{"choices":[{"delta":{"role":"assistant","content":""}}]}', Mark.META),
        (b'{"choices":[{"delta":{"content":"a"}}]}', Mark.PIECE),
        (b'{"choices":[{"delta":{"content":null,"reasoning_content":"hm"}}]}', Mark.PIECE),
        (b'{"choices":[{"delta":{"tool_calls":[{"index":0}]}}]}', Mark.PIECE),
        (b'{"choices":[{"delta":{"refusal":"no"}}]}', Mark.PIECE),
        (b'{"choices":[{"text":""},{"index":1,"text":"a"}]}', Mark.PIECE),
        (b'{"choices":[{"text":""}]}', Mark.META),
        (b'{"choices":[]}', Mark.META),
        (b'{"object":"chat.completion.chunk"}', Mark.META),
        (b'{"choices":[{"delta":{},"finish_reason":"stop"}]}', Mark.FINISH),
        (b'{"choices":[{"delta":{},"finish_reason" : "length"}]}', Mark.FINISH),
        (b'{"choices":[{"delta":{},"finish_reason":{"type":"stop"}}]}', Mark.FINISH),
        (b'{"choices":[{"delta":{},"finish_reason":2}]}', Mark.FINISH),
        (b'{"choices":[{"delta":{},"finish_reason":null,"finishReason":"STOP"}]}', Mark.FINISH),
        (b'{"choices":[{"delta":{},"finish_reason":null}]}', Mark.META),
        (b'{"choices":[{"delta":{},"finish_reason":""}]}', Mark.META),
        (b'{"choices":[{"delta":{"content":"\\"finish_reason\\":\\"stop\\""}}]}', Mark.PIECE),
        (b'{"error":{"message":"boom"}}', Mark.ERROR),
        (b'{"error":{}}', Mark.NOISE),
        (b'{"object":"error","message":"boom","code":400}', Mark.OVERLOOKED),
        (b'{"code":400,"message":"boom"}', Mark.OVERLOOKED),
        (b'[{"error":{"code":400,"message":"boom"}}]', Mark.OVERLOOKED),
        (b'{"errors":[{"message":"boom","code":7003}]}', Mark.OVERLOOKED),
        (b'{"detail":"Not authenticated"}', Mark.OVERLOOKED),
        (b'{"error":null,"choices":[]}', Mark.META),
        (b'{"error":{"message":"","code":null},"choices":[{"delta":{"content":"a"}}]}', Mark.PIECE),
        (b'{"x":1}', Mark.NOISE),
        (b'{"status":"queued","message":"place 3"}', Mark.NOISE),
        (b'{"message":{"content":"hi"},"done":false}', Mark.ALIEN),
        (b"[]", Mark.NOISE),
        (b"{ }", Mark.NOISE),
        (b"null", Mark.NOISE),
        (b'{"type":"keep-alive"}', Mark.NOISE),
        (b'{"object":"heartbeat","created":1}', Mark.NOISE),
        (b'{"ping":1764000000}', Mark.NOISE),
        (b"ping", Mark.NOISE),
        (b'{"type":"message_start","message":{}}', Mark.ALIEN),
        (b"hello", Mark.ALIEN),
    ],
)
def test_a_frame_is_what_its_data_says(data: bytes, mark: Mark) -> None:
    assert marked(data) is mark


def test_an_event_named_error_is_an_error_whatever_its_data() -> None:
    assert marked(b"boom", "error") is Mark.ERROR


def test_a_role_only_first_chunk_is_no_piece_yet() -> None:
    first = next(stream for stream in recorded.streams() if stream.name == "transformers").frames[0]
    assert DIALECT.mark(first, Usage()) is Mark.META


@pytest.mark.parametrize("event", ["ping", "keepalive", "heartbeat", "stream.keep_alive"])
@pytest.mark.parametrize("data", [b"{}", b"null", b"1764000000", b'{"x":1}', b""])
def test_an_event_of_a_heartbeats_name_is_noise_whatever_its_data(event: str, data: bytes) -> None:
    assert marked(data, event) is Mark.NOISE


def test_a_part_of_an_answer_is_one_under_any_events_name() -> None:
    assert marked(b'{"choices":[{"delta":{"content":"a"}}]}', "ping") is Mark.PIECE


def test_errors_have_the_vendors_shape() -> None:
    body = json.loads(DIALECT.error_body(ErrorText(404, "model_not_found", "m", "r")))
    shape = recorded.load("openai_authored")["errors"]["shape"]
    assert body.keys() == shape.keys()
    assert body["error"].keys() == shape["error"].keys()
    assert body["error"] == {"message": "m", "type": "not_found_error", "param": None, "code": "model_not_found"}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (415, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "server_error"),
        (504, "server_error"),
    ],
)
def test_the_error_type_follows_the_status(status: int, kind: str) -> None:
    assert json.loads(DIALECT.error_body(ErrorText(status, "c", "m", "r")))["error"]["type"] == kind


def test_an_error_in_a_stream_is_what_made_the_sdk_raise() -> None:
    seen: str = recorded.load("openai_authored")["errors"]["mid_stream"]
    expected = json.loads(seen[len("data: ") : seen.index("\n\n")])
    frame = DIALECT.error_frame(ErrorText(500, "c", "boom", "r"))
    assert frame.startswith(b"data: {")
    assert frame.endswith(b"\n\n")
    assert json.loads(frame.removeprefix(b"data: "))["error"] == {**expected["error"], "code": "c"}


def test_a_message_beside_the_error_is_read_too() -> None:
    """Older vLLM answers so, and older llama.cpp in its `error:` lines."""
    assert DIALECT.error_message(b'{"object":"error","message":"boom","code":400}') == "boom"


@pytest.mark.parametrize(
    ("body", "is_answer"),
    [(b'{"choices":[]}', True), (b'{"data":[]}', True), (b'{"choices":null}', False), (b'{"detail":"x"}', False)],
)
def test_a_whole_answer_has_choices_or_embeddings(body: bytes, *, is_answer: bool) -> None:
    assert (DIALECT.fault_of_whole(body, Usage()) is None) is is_answer


def test_half_an_emoji_in_an_answer_is_no_reason_to_refuse_it() -> None:
    body = rb'{"choices":[{"message":{"content":"\ud83d"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3}}'
    usage = Usage()
    assert DIALECTS[DialectName.OPENAI].fault_of_whole(body, usage) is None
    assert usage.input_tokens == 3
    frame = rb'data: {"choices":[{"delta":{"content":"\ude42"},"finish_reason":null}]}'
    assert DIALECTS[DialectName.OPENAI].mark(frame, usage) is Mark.PIECE


@pytest.mark.parametrize(
    ("dialect", "body"),
    [
        (DialectName.OPENAI, b'{"choices":[{"message":{"content":"la"},"finish_reason":%s}]}'),
        (DialectName.OPENAI, b'{"choices":[{"text":"la","finish_reason":%s}]}'),
        (DialectName.ANTHROPIC, b'{"content":[{"type":"text","text":"la"}],"stop_reason":%s}'),
        (DialectName.OLLAMA, b'{"message":{"content":"la"},"done":true,"done_reason":%s}'),
        (DialectName.OPENAI_RESPONSES, b'{"output":[{"type":"message","content":[]}],"status":%s}'),
        (DialectName.CLOUDFLARE, b'{"success":true,"result":{"choices":[{"finish_reason":%s}]}}'),
    ],
)
@pytest.mark.parametrize("reason", [b"null", b'""', b"{}"])
def test_a_whole_answer_need_not_say_why_it_stopped(dialect: DialectName, body: bytes, reason: bytes) -> None:
    """Its framing says that it is whole, and every SDK reads it."""
    assert DIALECTS[dialect].fault_of_whole(body % reason, Usage()) is None


def test_a_whole_answer_that_says_that_it_is_not_done_was_cut() -> None:
    fault = DIALECTS[DialectName.OLLAMA].fault_of_whole(b'{"message":{"content":"la"},"done":false}', Usage())
    assert "cut" in str(fault)


@pytest.mark.parametrize("error", [b"{}", b'""', b"[]", b"false", b'{"message":"","type":"","param":"","code":null}'])
def test_an_empty_error_beside_an_answer_is_none(error: bytes) -> None:
    body = b'{"choices":[{"index":0,"message":{"content":"a"},"finish_reason":"stop"}],"error":%s}' % error
    assert DIALECT.fault_of_whole(body, Usage()) is None
    assert "error inside" in str(DIALECT.fault_of_whole(b'{"error":{"message":"boom"},"choices":[]}', Usage()))


def test_a_cut_choice_of_a_whole_answer_makes_it_a_cut_one() -> None:
    one = b'{"choices":[{"index":0,"finish_reason":"stop"},{"index":1,"finish_reason":null}]}'
    none_told = b'{"choices":[{"index":0,"finish_reason":"stop"},{"index":1}]}'
    never = b'{"choices":[{"index":0},{"index":1}]}'
    assert "cut" in str(DIALECT.fault_of_whole(one, Usage()))
    assert "cut" in str(DIALECT.fault_of_whole(none_told, Usage()))
    assert DIALECT.fault_of_whole(never, Usage()) is None


def test_usage_of_an_odd_type_is_read_as_far_as_it_goes() -> None:
    usage = Usage()
    assert DIALECT.fault_of_whole(b'{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":"x"}}', usage) is None
    assert usage == Usage(3, None)


@pytest.mark.parametrize("later", [b"{}", b'{"completion_tokens_details":{}}', b'{"prompt_tokens":null}', b"[]"])
def test_what_a_later_count_leaves_out_stays(later: bytes) -> None:
    usage = Usage()
    DIALECT.mark(sse(b'{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":5}}'), usage)
    DIALECT.mark(sse(b'{"choices":[],"usage":%b}' % later), usage)
    assert usage == Usage(9, 5)
