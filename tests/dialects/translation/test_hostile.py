"""Whatever a server or a caller sends: a translation, or one error in words; never anything else, and never without bound.

Covers: `translator`, `wire`, `cloudflare.answer_reader`, `completions.answer_writer`.
"""

import contextlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masa_node.chat.errors import NotAnAnswer, NotTranslatable, ProviderError
from masa_node.chat.request import DIALECT_OF_ENDPOINT, Endpoint
from masa_node.dialects.framing import SSE
from masa_node.dialects.registry import DIALECTS
from masa_node.dialects.translation import translator as translator_module
from masa_node.dialects.translation import wire
from masa_node.dialects.translation.codecs import ANSWER_WRITERS, REQUEST_WRITERS
from masa_node.dialects.translation.translator import AnswerTranslator, translate
from tests.dialects.chunking import cut
from tests.dialects.translation.calling import (
    CHAT,
    HI,
    MESSAGES,
    NOW,
    OLLAMA,
    RESPONSES,
    call,
    delta,
    frames,
    request,
    translation_of,
)
from tests.dialects.translation.test_pairs import CONTEXT

KEYS = [
    "type", "index", "delta", "content_block", "message", "usage", "id", "name", "input", "choices", "content", "tool_calls",
    "function", "arguments", "finish_reason", "error", "done", "response", "output", "item", "output_index", "text", "thinking",
    "done_reason", "output_tokens", "prompt_eval_count", "stop_reason", "partial_json", "logprobs", "result", "success",
]  # fmt: skip
WORDS = [
    "content_block_start", "content_block_delta", "content_block_stop", "message_delta", "message_start", "message_stop",
    "tool_use", "text_delta", "input_json_delta", "thinking_delta", "stop", "tool_calls", "response.created",
    "response.output_item.added", "response.output_item.done", "response.function_call_arguments.delta", "response.completed",
    "function_call", "reasoning", "x",
]  # fmt: skip
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=14,
)
events = st.dictionaries(st.sampled_from(KEYS), values, max_size=6).map(
    lambda event: {"type": "content_block_delta", **event}
)


@pytest.mark.parametrize("server", list(REQUEST_WRITERS))
@given(
    sent=st.lists(events | values, max_size=6),
    caller=st.sampled_from(list(ANSWER_WRITERS)),
    ends=st.lists(st.integers(0, 100)),
)
def test_events_of_a_hostile_server_are_translated_or_end_the_answer(
    server: Endpoint, sent: list[Any], caller: Endpoint, ends: list[int]
) -> None:
    raw = [msgspec.json.encode(event) for event in sent]
    is_sse = DIALECTS[DIALECT_OF_ENDPOINT[server]].framing is SSE
    stream = b"".join(b"data: " + event + b"\n\n" if is_sse else event + b"\n" for event in raw)
    translator = AnswerTranslator(caller, server, CONTEXT)
    with contextlib.suppress(ProviderError):
        for piece in cut(stream, [end * len(stream) // 100 for end in ends]):
            translator.feed(piece)
        translator.finish()
        for event in raw:
            AnswerTranslator(caller, server, CONTEXT).whole(event)


@pytest.mark.parametrize("server", list(REQUEST_WRITERS))
@given(raw=st.binary(max_size=300))
def test_bytes_that_are_no_answer_are_translated_or_end_the_answer(server: Endpoint, raw: bytes) -> None:
    translator = AnswerTranslator(Endpoint.ANTHROPIC_MESSAGES, server, CONTEXT)
    with contextlib.suppress(ProviderError):
        translator.feed(raw)
        translator.finish()


def test_an_answer_without_end_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(translator_module, "MAX_ANSWER_BYTES", 1_000)
    translator = translation_of(MESSAGES, CHAT, stream=True).answer("r", NOW)
    piece = frames(delta(content="x" * 800))
    translator.feed(piece)
    with pytest.raises(NotAnAnswer, match="1000"):
        translator.feed(piece)


def test_calls_without_number_are_bounded() -> None:
    raw = frames(
        *(delta(tool_calls=[call(number, "{}", "f", f"c{number}")]) for number in range(1_000)), delta("tool_calls")
    )
    translator = translation_of(MESSAGES, CHAT, stream=True).answer("r", NOW)
    assert translator.feed(raw).count(b"content_block_start\n") == 256


def test_depth_of_a_body_is_bounded() -> None:
    deep = b'{"model":"m","messages":[{"role":"user","content":"hi"}],"tools":[{"type":"function","function":{"name":"f","parameters":%b}}]}'
    body = deep % (b'{"a":' * 5_000 + b"1" + b"}" * 5_000)
    with pytest.raises(NotTranslatable):
        translate(body, "m", CHAT, MESSAGES)


def test_number_of_tools_and_size_of_a_picture_are_bounded() -> None:
    tool = {"type": "function", "function": {"name": "f"}}
    with pytest.raises(NotTranslatable, match="tools"):
        request(CHAT, MESSAGES, tools=[tool] * 2_049)
    with pytest.raises(NotTranslatable, match="base64"):
        request(OLLAMA, CHAT, messages=[{"role": "user", "content": "x", "images": ["A" * (8 * 1024 * 1024 + 1)]}])
    with pytest.raises(NotTranslatable, match="messages"):
        request(CHAT, MESSAGES, messages=HI * 20_001)


def test_half_an_emoji_is_no_reason_to_refuse() -> None:
    translation = translate(b'{"model":"m","messages":[{"role":"user","content":"\\ud83d"}]}', "m", CHAT, MESSAGES)
    assert "\ufffd".encode() in translation.body


OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
BITS = st.sampled_from(['{"a":', '"x"', "}", "{", "[", "]", '"', "\\", '\\"', " ", "\n", ",", "1", "{}", '{"a":"}"}'])


def is_object(text: str) -> bool:
    try:
        OBJECT.decode(text.encode())
    except msgspec.DecodeError:
        return False
    return True


@given(pieces=st.lists(BITS, max_size=12), asked=st.lists(st.booleans(), min_size=12, max_size=12))
def test_what_grows_is_a_whole_object_exactly_when_its_text_is(pieces: list[str], asked: list[bool]) -> None:
    growing = wire.GrowingObject()
    for number, piece in enumerate(pieces):
        growing.add(piece)
        if asked[number]:
            assert growing.is_whole() is is_object("".join(pieces[: number + 1]))
    assert growing.is_whole() is is_object("".join(pieces))
    assert growing.text == "".join(pieces)


def test_arguments_that_grow_are_read_once_however_often_it_is_asked_whether_they_are_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A server may send a thought or a word between any two pieces of them, and megabytes of them."""
    read: list[str] = []
    monkeypatch.setattr(wire, "_is_object", lambda text: read.append(text) or True)
    pieces = [call(0, '{"a":"', "f", "c1"), *(call(0, "}") for _ in range(50)), call(0, '"}')]
    words = [delta(content="x"), delta(reasoning_content="y")]
    events = [event for piece in pieces for event in (delta(tool_calls=[piece]), *words)]
    for source, more in ((MESSAGES, {"max_tokens": 9}), (OLLAMA, {}), (RESPONSES, {"input": "hi"})):
        read.clear()
        translator = translation_of(source, CHAT, stream=True, **more).answer("r", NOW)
        for event in events:
            translator.feed(frames(event))
        assert len(read) <= 1


def test_spaces_between_the_pieces_of_a_call_are_not_gathered_without_bound() -> None:
    begun = delta(tool_calls=[call(0, "{}", "f", "c1")])
    spaces = [delta(content=" " * 50) for _ in range(100)]
    raw = frames(begun, *spaces, delta(content="x"), delta("stop"), b"[DONE]")
    translated = translation_of(MESSAGES, CHAT, max_tokens=9, stream=True).answer("r", NOW).feed(raw)
    assert 0 < translated.count(b" ") < 1_000
    assert b' x"' in translated
