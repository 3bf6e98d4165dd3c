"""Odd answers that are read in their own format are read in a translation, too: nothing is missing silently.

Covers: `translator`, `anthropic.answer_reader`, `cloudflare.answer_reader`, `ollama.answer_reader`,
`openai_chat.answer_reader`, `openai_responses.answer_reader`.
"""

import json

import pytest

from masa_node.chat.errors import BrokenAnswer
from masa_node.chat.request import Endpoint
from masa_node.dialects.translation.translator import AnswerTranslator, translate

CHAT, MESSAGES, OLLAMA = Endpoint.OPENAI_CHAT, Endpoint.ANTHROPIC_MESSAGES, Endpoint.OLLAMA_CHAT
RESPONSES, CLOUDFLARE = Endpoint.OPENAI_RESPONSES, Endpoint.CLOUDFLARE_RUN
ASKED = b'{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}'


def translator(target: Endpoint) -> AnswerTranslator:
    source = MESSAGES if target is not MESSAGES else CHAT
    return translate(ASKED, "m", source, target).answer("id", 1)


def words_in(body: bytes) -> str:
    found = json.loads(body)
    if "choices" in found:
        return str(found["choices"][0]["message"]["content"])
    return "".join(str(block["text"]) for block in found["content"])


CHOICE = {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
BLOCK = {"type": "text", "text": "hi"}
LINE = {"message": {"role": "assistant", "content": "hi"}, "done": True}
ITEM = {"type": "message", "content": [{"type": "output_text", "text": "hi"}]}
WHOLE: list[tuple[Endpoint, dict[str, object]]] = [
    *(
        (CHAT, {"choices": [CHOICE], "error": error})
        for error in (None, False, "", {}, [], 0, {"code": 0, "message": ""}, {"message": None})
    ),
    (CHAT, {"choices": [{**CHOICE, "index": "0"}]}),
    (CHAT, {"choices": [CHOICE], "usage": {"prompt_tokens": "3", "completion_tokens": 2.0}}),
    *((OLLAMA, {**LINE, "error": error}) for error in (None, False, "", {})),
    (OLLAMA, {**LINE, "done": "true"}),
    (OLLAMA, {**LINE, "eval_count": 2.0, "prompt_eval_count": "7"}),
    (MESSAGES, {"content": [BLOCK], "stop_reason": "end_turn", "usage": {"input_tokens": 1.0, "output_tokens": "2"}}),
    *(
        (RESPONSES, {"status": "completed", "output": [ITEM], "error": error})
        for error in (None, {}, "", {"code": None})
    ),
    (CLOUDFLARE, {"result": {"response": "hi", "usage": {"prompt_tokens": "1"}}, "success": True, "errors": []}),
    (CHAT, {"id": 7, "model": 3.5, "created": "now", "choices": [CHOICE, None], "usage": []}),
    *(
        (CHAT, {"choices": [{**CHOICE, "message": {"content": "hi", **odd}}]})
        for odd in (
            {"refusal": False},
            {"tool_calls": {}},
            {"tool_calls": [None]},
            {"function_call": {}},
            {"reasoning_content": []},
            {"thinking_blocks": {}},
            {"role": 1},
        )
    ),
    (MESSAGES, {"id": 7, "content": [{**BLOCK, "citations": {}}, None], "stop_reason": 0, "stop_sequence": False}),
    (OLLAMA, {"model": 7, "message": {"content": "hi", "thinking": False, "tool_calls": {}}, "done_reason": 0}),
    (RESPONSES, {"id": 7, "model": False, "status": "completed", "output": [{**ITEM, "summary": {}}, None]}),
    (CLOUDFLARE, {"result": {"response": "hi", "tool_calls": {}}, "success": True}),
    (CLOUDFLARE, {"response": "hi", "usage": {"prompt_tokens": 1}}),
    (CLOUDFLARE, {"object": "chat.completion", "choices": [CHOICE]}),
]


@pytest.mark.parametrize(("target", "body"), WHOLE)
def test_a_whole_answer_keeps_its_words(target: Endpoint, body: dict[str, object]) -> None:
    assert words_in(translator(target).whole(json.dumps(body).encode())) == "hi"


STREAMED = [
    (CHAT, b'data: {"error":%s,"choices":[{"index":"0","delta":{"content":"hi"}}]}\n\n'),
    (OLLAMA, b'{"error":%s,"message":{"content":"hi"},"done":"false","eval_count":"1"}\n'),
    (CLOUDFLARE, b'data: {"error":%s,"response":"hi"}\n\n'),
]


@pytest.mark.parametrize("error", [b"null", b"false", b'""', b"{}", b'{"message":""}'])
@pytest.mark.parametrize(("target", "frame"), STREAMED)
def test_a_stream_keeps_its_words(target: Endpoint, frame: bytes, error: bytes) -> None:
    out = translator(target).translated(frame % error)
    assert b'"hi"' in out
    assert b"event: error" not in out


def test_an_id_and_arguments_of_another_type_are_taken_for_their_text() -> None:
    call = {"index": "0", "id": 5, "type": 0, "function": {"name": "w", "arguments": {"a": 1}}}
    frame = {"id": 1, "choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}
    out = translator(CHAT).translated(b"data: " + json.dumps(frame).encode() + b"\n\n")
    assert b'"id":"5"' in out
    assert json.dumps('{"a":1}').encode() in out.replace(b'\\"a\\": 1', b'\\"a\\":1')


@pytest.mark.parametrize("content", [{"text": "hi"}, {"type": "text"}])
def test_words_in_a_shape_that_nobody_knows_are_no_silence(content: object) -> None:
    frame = {"id": 1, "choices": [{"index": 0, "delta": {"content": content}}]}
    with pytest.raises(BrokenAnswer, match="could not be read"):
        translator(CHAT).translated(b"data: " + json.dumps(frame).encode() + b"\n\n")


def test_an_error_is_never_a_whole_answer_without_words() -> None:
    with pytest.raises(BrokenAnswer, match="out of memory"):
        translator(CHAT).whole(b'{"error":{"message":"out of memory"}}')
    with pytest.raises(BrokenAnswer, match="out of memory"):
        translator(CHAT).collected(b'data: {"error":{"message":"out of memory"}}\n\n')
