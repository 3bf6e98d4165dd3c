import msgspec
import pytest

from masa_node.chat.answer import Usage
from masa_node.dialects.dialect import ErrorText, Mark
from masa_node.dialects.formats.gemini import Gemini, status_name
from tests.dialects.recorded import sse

GEMINI = Gemini()


@pytest.mark.parametrize(
    ("data", "mark"),
    [
        (b'{"candidates":[{"content":{"parts":[{"text":"a"}]}}]}', Mark.PIECE),
        (b'{"candidates":[{"content":{"parts":[{"text":""}]},"finishReason":"STOP"}]}', Mark.FINISH),
        (b'{"candidates":[{"finishReason":null}]}', Mark.PIECE),
        (b'{"usageMetadata":{"promptTokenCount":3}}', Mark.META),
        (b'{"error":{"code":503,"message":"busy","status":"UNAVAILABLE"}}', Mark.ERROR),
        (b'{"choices":[{"delta":{"content":"a"}}]}', Mark.ALIEN),
        (b'{"queue":3}', Mark.NOISE),
        (b"words", Mark.ALIEN),
        (b"", Mark.NOISE),
    ],
)
def test_what_a_frame_is(data: bytes, mark: Mark) -> None:
    assert GEMINI.mark(sse(data), Usage()) is mark


def test_tokens_are_counted_as_google_does() -> None:
    usage = Usage()
    counts = {"promptTokenCount": 3, "candidatesTokenCount": 5}
    body = msgspec.json.encode({"candidates": [{"finishReason": "STOP"}], "usageMetadata": counts})
    assert GEMINI.fault_of_whole(body, usage) is None
    assert usage == Usage(3, 5)


def test_a_prompt_that_was_refused_is_an_answer_without_candidates() -> None:
    assert GEMINI.fault_of_whole(b'{"promptFeedback":{"blockReason":"SAFETY"}}', Usage()) is None
    assert GEMINI.fault_of_whole(b'{"candidates":[]}', Usage()) is not None


@pytest.mark.parametrize(
    ("status", "name"),
    [(400, "INVALID_ARGUMENT"), (404, "NOT_FOUND"), (422, "INVALID_ARGUMENT"), (429, "RESOURCE_EXHAUSTED"),
     (502, "UNAVAILABLE"), (504, "DEADLINE_EXCEEDED"), (508, "INTERNAL")],
)  # fmt: skip
def test_an_error_has_googles_name_for_its_status(status: int, name: str) -> None:
    assert status_name(status) == name
    told = msgspec.json.decode(GEMINI.error_body(ErrorText(status, "c", "words", "r")))
    assert told == {"error": {"code": status, "message": "words", "status": name}}
