"""Whole answers read in one go are judged as the lenient reader judges them. Covers: `dialects/formats/openai.py`."""

from collections.abc import Sequence
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masa_node.chat.answer import Usage
from masa_node.chat.request import DialectName
from masa_node.dialects.choices import Choices, Endings
from masa_node.dialects.formats import openai
from masa_node.dialects.registry import DIALECTS

USUAL = (
    b'{"id":"x","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"la"},'
    b'"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8}}'
)
NUMBERS = (b"0", b"1", b"-0", b"0.0", b"1.0", b"7e0", b"-1", b"9007199254740993", b"1" * 400, b'"0"', b"null", b"NaN")
NO_REASONS = (b'""', b'"null"', b"null", b"false")
REASONS = (*NO_REASONS, b'"stop"', b'"length"', b'"\\ud83d"', b'"\\u0073"', b"{}", b"2", b'["stop"]', b"Infinity")
ERRORS = (b"null", b"{}", b'""', b"false", b'"boom"', b'{"message":"boom"}', b'{"code":null}', b"[]", b"0")
ODD = (b"null", b"[]", b"{}", b'"x"', b"3", b"[[]]", b"[null]", b'{"x":"\xff"}')
SPACES = st.sampled_from([b"", b" ", b"\n\t"])


def objects(fields: dict[bytes, st.SearchStrategy[bytes]]) -> st.SearchStrategy[bytes]:
    """JSON objects of these fields, in any order, some missing and some twice."""
    pairs = st.one_of([st.tuples(st.just(name), SPACES, value) for name, value in fields.items()])
    return st.lists(pairs, max_size=len(fields) + 2).map(joined)


def joined(pairs: Sequence[tuple[bytes, bytes, bytes]]) -> bytes:
    return b"{%b}" % b",".join(b'"%b":%b%b' % pair for pair in pairs)


def one_of(values: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    return st.sampled_from(values)


def lists_of(parts: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.lists(parts, max_size=3).map(lambda listed: b"[%b]" % b",".join(listed))


CHOICE = objects(
    {
        b"index": one_of(NUMBERS),
        b"finish_reason": one_of(REASONS),
        b"finishReason": one_of(REASONS),
        b"message": one_of(ODD),
    }
)
COUNTS = objects({b"prompt_tokens": one_of(NUMBERS), b"completion_tokens": one_of(NUMBERS)})
ENDED = one_of(NUMBERS[:5]).map(lambda index: b'[{"index":%b,"finish_reason":"stop"}]' % index)
BODIES = objects(
    {
        b"choices": ENDED | lists_of(CHOICE) | one_of(ODD),
        b"usage": COUNTS | one_of(ODD),
        b"error": one_of(ERRORS),
        b"object": one_of((b'"chat.completion"', b'"error"', b"null")),
        b"data": one_of(ODD),
    }
)


def judged(dialect: DialectName, body: bytes) -> tuple[object, ...]:
    """All that becomes of it."""
    usage, choices, endings = Usage(), Choices(), Endings()
    fault = DIALECTS[dialect].fault_of_whole(body, usage, choices)
    return fault, usage, choices.have_ended, choices.are_open, choices.any_done, endings.judge_whole(choices)


def judged_leniently(dialect: DialectName, body: bytes) -> tuple[object, ...]:
    """The same, without the quick way."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(openai, "is_usual", lambda *_: False)
        return judged(dialect, body)


@pytest.mark.parametrize("dialect", list(DIALECTS))
@given(body=BODIES)
def test_any_answer_is_judged_as_without_the_quick_way(dialect: DialectName, body: bytes) -> None:
    assert judged(dialect, body) == judged_leniently(dialect, body)


@given(
    body=BODIES | st.just(USUAL), at=st.integers(0, 300), bad=st.sampled_from([b"", b"\xff", b"NaN", b"\xef\xbb\xbf"])
)
def test_so_is_one_that_was_cut_or_spoilt(body: bytes, at: int, bad: bytes) -> None:
    spoilt = body[:at] + bad + (body[at + 1 :] if bad else b"")
    assert judged(DialectName.OPENAI, spoilt) == judged_leniently(DialectName.OPENAI, spoilt)


def test_the_usual_answer_is_taken_quickly() -> None:
    usage, choices = Usage(), Choices()
    assert openai.is_usual(USUAL, usage, choices)
    assert usage == Usage(3, 5)
    assert choices.have_ended


@pytest.mark.parametrize("body", [USUAL.replace(b'"index":0', b'"index":1'), USUAL[:-1], b'{"data":[]}', b"\xff"])
def test_another_is_left_to_the_lenient_reader(body: bytes) -> None:
    usage = Usage()
    assert not openai.is_usual(body, usage, Choices())
    assert usage == Usage()


WORDS = (*REASONS, *ODD, b'"la"', b'"0"', b'" "', b'[{"index":0}]')
NAMES = ("role", "content", "refusal", "reasoning", "reasoning_content", "tool_calls", "function_call", "audio", "x")
DELTA = objects({name.encode(): one_of(WORDS) for name in NAMES})
PART = objects(
    {
        b"index": one_of(NUMBERS),
        b"finish_reason": one_of(REASONS),
        b"finishReason": one_of(REASONS),
        b"text": one_of(WORDS),
        b"message": one_of(WORDS),
        b"logprobs": one_of(ODD),
        b"delta": DELTA | one_of(WORDS),
    }
)
USUAL_PART = st.tuples(objects({b"content": one_of(WORDS), b"role": one_of(WORDS)}), one_of(REASONS)).map(
    lambda parts: b'[{"index":0,"delta":%b,"finish_reason":%b}]' % parts
)
CHUNKS = objects(
    {
        b"choices": USUAL_PART | lists_of(PART) | one_of(ODD),
        b"usage": COUNTS | one_of(ODD),
        b"error": one_of(ERRORS),
        b"object": one_of((b'"chat.completion.chunk"', b'"error"', b"null")),
    }
)


@pytest.mark.parametrize("is_quick", [True, False])
@pytest.mark.parametrize(("reason", "is_done"), [(b"stop", True), (b"length", False)])
def test_a_limit_is_no_end_by_itself(reason: bytes, *, is_done: bool, is_quick: bool) -> None:
    body = USUAL.replace(b'"stop"', b'"%b"' % reason)
    body = body if is_quick else b"\xef\xbb\xbf" + body
    whole, streamed = Choices(), Choices()
    assert DIALECTS[DialectName.OPENAI].fault_of_whole(body, Usage(), whole) is None
    DIALECTS[DialectName.OPENAI].mark(b"data: %b\n\n" % body, Usage(), streamed)
    assert (whole.any_done, streamed.any_done) == (is_done, is_done)
    assert whole.have_ended
    assert streamed.have_ended


@given(st.lists(CHUNKS | one_of((b"[DONE]", b"{}", *ODD)), max_size=3))
def test_what_is_seen_quickly_of_a_frame_is_what_a_longer_look_says(frames: list[bytes]) -> None:
    def seen() -> list[object]:
        usage, choices = Usage(), Choices()
        marks = [DIALECTS[DialectName.OPENAI].mark(b"data: %b\n\n" % frame, usage, choices) for frame in frames]
        ends = (choices.any_ended, choices.any_done, choices.have_ended, choices.are_cut_of_whole)
        said = (choices.open, choices.is_told, *ends)
        return [*marks, usage, said]

    quickly = seen()
    with mock.patch.object(openai, "_mark_of_usual", return_value=None):
        assert quickly == seen()
