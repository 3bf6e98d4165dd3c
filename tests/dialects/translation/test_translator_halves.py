"""A character that a stream cuts in two is one in every format; what of it never comes is U+FFFD, and nothing else is."""

import msgspec
import pytest

from masa_node.chat.request import Endpoint
from masa_node.dialects.translation.codecs import ANSWER_READERS, ANSWER_WRITERS
from masa_node.dialects.translation.conversation import Sampling
from masa_node.dialects.translation.events import (
    Begun,
    CallBegun,
    CallPiece,
    Ended,
    Event,
    Failed,
    Finished,
    Logprob,
    RefusalPiece,
    StopReason,
    TextPiece,
    ThoughtPiece,
    Tokens,
    Used,
)
from masa_node.dialects.translation.translator import AnswerTranslator, WholeCharacters
from tests.dialects.translation import gist, sdk_models
from tests.dialects.translation.test_pairs import CALLERS, CONTEXT, PAIRS

FACE = "\N{GRINNING FACE}"
BYTES = FACE.encode()
# The two parts of it: escapes, and bytes.
CUTS = [(rb"\ud83d", rb"\ude00"), (rb"\uD83D", rb"\uDE00"), *((BYTES[:at], BYTES[at:]) for at in (1, 2, 3))]
CHAT, MESSAGES = Endpoint.OPENAI_CHAT, Endpoint.ANTHROPIC_MESSAGES


def stream_of(server: Endpoint, first: bytes, rest: bytes) -> bytes:
    """An answer that says `a` and the face in its thoughts, words and arguments, each in pieces."""
    events: list[Event] = [
        Begun("", "m", 1_795_389_247),
        *(ThoughtPiece(text) for text in ("a<1>", "<2>b")),
        *(TextPiece(text) for text in ("a<1>", "<2>", "c")),
        *(each for call in (0, 1) for each in (CallBegun(call, f"call_{call}", "f"), CallPiece(call, '{"a":"<1>'))),
        *(CallPiece(call, '<2>"}') for call in (0, 1)),
        Finished(StopReason.TOOL_CALLS),
        Used(Tokens(11, 7)),
        Ended(),
    ]
    writer = ANSWER_WRITERS[server](CONTEXT)
    return b"".join(map(writer.write, events)).replace(b"<1>", first).replace(b"<2>", rest)


def said(caller: Endpoint, server: Endpoint, first: str, between: str) -> gist.Gist:
    has_thoughts = Endpoint.CLOUDFLARE_RUN not in (caller, server)
    calls = [("f", {"a": first + between})] * 2
    return gist.Gist(f"a{first}{between}c", f"a{first}{between}b" if has_thoughts else "", calls, "tools", (11, 7))


@pytest.mark.parametrize("parts", CUTS)
@pytest.mark.parametrize(("caller", "server"), PAIRS)
def test_a_character_in_two_pieces_is_one_in_every_format(
    caller: Endpoint, server: Endpoint, parts: tuple[bytes, bytes]
) -> None:
    stream, expected = stream_of(server, *parts), said(caller, server, FACE, "")
    translator = AnswerTranslator(caller, server, CONTEXT)
    pieces = [stream[at : at + 7] for at in range(0, len(stream), 7)]
    assert gist.of_stream(caller, b"".join([*map(translator.feed, pieces), translator.finish()])) == expected
    assert gist.of_whole(caller, AnswerTranslator(caller, server, CONTEXT).collected(stream)) == expected


def feed(*frames: bytes, caller: Endpoint = MESSAGES, server: Endpoint = CHAT) -> bytes:
    translator = AnswerTranslator(caller, server, CONTEXT)
    return b"".join([*map(translator.feed, frames), translator.finish()])


def chunk(**delta: object) -> bytes:
    """With `<` for the first half of the face, and `>` for the other."""
    data = msgspec.json.encode({"choices": [{"index": 0, "delta": delta}]})
    return b"data: %b\n\n" % data.replace(b"<", rb"\ud83d").replace(b">", rb"\ude00")


FINISHED = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"


def words(stream: bytes) -> tuple[str, str]:
    answer = gist.of_stream(MESSAGES, stream)
    return answer.text, answer.thought


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["a<", "b"], "a\ufffdb"),
        (["<", "<", ">"], "\ufffd" + FACE),
        ([">", "<"], "\ufffd\ufffd"),
        (["a<"], "a\ufffd"),
        (["<><", ">"], FACE + FACE),
        (["<>", "x", "<>"], f"{FACE}x{FACE}"),
        (["<", "", ">"], FACE),
        (["<", ">" + "\ufffd"], FACE + "\ufffd"),
        (["<\\ud83d", ">"], "\ufffd\\ud83d\ufffd"),
    ],
)
def test_what_never_comes_is_a_replacement_in_its_place(texts: list[str], expected: str) -> None:
    frames = [chunk(content=text) for text in texts]
    assert words(feed(*frames, FINISHED, DONE)) == (expected, "")
    assert words(feed(*frames, DONE)) == (expected, "")
    assert words(feed(*frames, FINISHED)) == (expected, "")


def test_thoughts_and_words_are_not_put_together() -> None:
    frames = [chunk(reasoning_content="a<"), chunk(content=">b<"), chunk(content=">c"), FINISHED, DONE]
    assert words(feed(*frames)) == (f"\ufffdb{FACE}c", "a\ufffd")


def test_choices_are_not_put_together() -> None:
    frames = [
        chunk(content="a<"),
        chunk(content=">b").replace(b'"index":0', b'"index":1'),
        chunk(content=">"),
        FINISHED,
    ]
    conversation = msgspec.structs.replace(CONTEXT.conversation, sampling=Sampling(choices=2))
    answer = ANSWER_READERS[CHAT](msgspec.structs.replace(CONTEXT, conversation=conversation))
    reader = WholeCharacters(answer)
    events = [event for frame in frames for event in reader.frame(frame)]
    text = ["".join(each.text for each in events if isinstance(each, TextPiece) and each.choice == at) for at in (0, 1)]
    assert text == [f"a{FACE}", "\ufffdb"]


def test_a_character_that_is_cut_in_the_middle_of_an_answer_is_told_before_what_follows() -> None:
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}
    stream = feed(chunk(content="a<"), chunk(tool_calls=[call]), FINISHED, DONE)
    assert [block.type for block in sdk_models.anthropic_message(stream).content] == ["text", "tool_use"]
    assert words(stream) == ("a\ufffd", "")


def test_arguments_that_come_before_the_name_are_put_together() -> None:
    first = chunk(tool_calls=[{"index": 0, "function": {"arguments": '{"a":"<'}}])
    rest = chunk(tool_calls=[{"index": 0, "id": "c", "function": {"name": "f", "arguments": '>"}'}}])
    assert gist.of_stream(MESSAGES, feed(first, rest, FINISHED, DONE)).calls == [("f", {"a": FACE})]


def test_names_ids_errors_and_tokens_with_half_a_character_are_readable() -> None:
    call = {"index": 0, "id": "c<", "function": {"name": "f<", "arguments": "{}"}}
    rated = chunk(content="<").replace(
        b'"index":0', rb'"index":0,"logprobs":{"content":[{"token":"\ud83d","logprob":-1}]}'
    )
    reader = WholeCharacters(ANSWER_READERS[CHAT](CONTEXT))
    events = [*reader.frame(rated), *reader.frame(chunk(tool_calls=[call]))]
    events += reader.frame(rb'data: {"error":{"message":"no \ud83d"}}' + b"\n\n")
    assert TextPiece("", 0, [Logprob("\ufffd", -1.0)]) in events
    assert CallBegun(0, "c\ufffd", "f\ufffd") in events
    assert [event.failure.message for event in events if isinstance(event, Failed)] == ["no \ufffd"]


@pytest.mark.parametrize("caller", [each for each in CALLERS if each is not CHAT])
@pytest.mark.parametrize("reason", [b"stop", b"length", b"content_filter"])
def test_reasons_are_told_behind_half_a_character_as_behind_a_whole_one(caller: Endpoint, reason: bytes) -> None:
    def reason_behind(text: str) -> str | None:
        frames = chunk(content=text) + FINISHED.replace(b'"stop"', b'"%b"' % reason) + DONE
        translator = AnswerTranslator(caller, CHAT, CONTEXT)
        return gist.of_stream(caller, translator.feed(frames) + translator.finish()).reason

    assert reason_behind("<") == reason_behind("a")


@pytest.mark.parametrize("caller", [each for each in CALLERS if each is not CHAT])
def test_errors_are_told_behind_half_a_character(caller: Endpoint) -> None:
    frames = chunk(content="<") + b'data: {"error":{"message":"boom","code":500}}\n\n'
    translator = AnswerTranslator(caller, CHAT, CONTEXT)
    assert b'"boom"' in translator.feed(frames)
    assert translator.is_over


def test_a_refusal_is_put_together() -> None:
    reader = WholeCharacters(ANSWER_READERS[CHAT](CONTEXT))
    events = [*reader.frame(chunk(refusal="no<")), *reader.frame(chunk(refusal=">"))]
    assert [event.text for event in events if isinstance(event, RefusalPiece)] == ["no", FACE]


@pytest.mark.parametrize("caller", [each for each in CALLERS if each is not CHAT])
@pytest.mark.parametrize(("half", "expected"), [(b"\\ud83d", "\ufffd"), (b"\xf0\x9f", "\ufffd")])
def test_a_whole_answer_with_half_a_character_is_read(caller: Endpoint, half: bytes, expected: str) -> None:
    body = (
        b'{"choices":[{"index":0,"message":{"content":"a<\\ud83d\\ude00 \\\\ud83d"},"finish_reason":"stop"}],'
        b'"usage":{"prompt_tokens":1,"completion_tokens":1}}'
    ).replace(b"<", half)
    text = f"a{expected}{FACE} \\ud83d"
    assert gist.of_whole(caller, AnswerTranslator(caller, CHAT, CONTEXT).whole(body)).text == text
    assert gist.of_stream(caller, AnswerTranslator(caller, CHAT, CONTEXT).streamed(body)).text == text
