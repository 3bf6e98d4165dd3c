"""Each caller's format with each server's: an answer says the same, streamed or whole, and each SDK reads it.

Covers: `events`, `formats`, `cloudflare.answer_writer`, `anthropic.answer_writer`, `ollama.answer_writer`,
`openai_chat.answer_writer`, `openai_responses.answer_writer`.
"""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masa_node.chat.request import Endpoint
from masa_node.dialects.translation.codecs import ANSWER_READERS, ANSWER_WRITERS, REQUEST_READERS, REQUEST_WRITERS
from masa_node.dialects.translation.conversation import Conversation, Thinking
from masa_node.dialects.translation.events import (
    AnswerContext,
    Begun,
    CallBegun,
    CallPiece,
    Ended,
    Event,
    Finished,
    StopReason,
    TextPiece,
    ThoughtPiece,
    Tokens,
    Used,
)
from masa_node.dialects.translation.formats import COUNTS, EMBEDDED_BY, EMBEDDED_FROM, SOURCES, TARGETS
from masa_node.dialects.translation.translator import AnswerTranslator
from tests.dialects.chunking import FEW, cut
from tests.dialects.translation import gist

SHOWN = Thinking(is_shown=True)  # Gemini's callers are shown what they ask for
CONTEXT = AnswerContext(Conversation(model="m", turns=(), stream=True, thinking=SHOWN), "r1", 1_795_389_247)
SERVERS = list(TARGETS)
CALLERS = [
    endpoint
    for endpoint in ANSWER_WRITERS
    if endpoint not in {Endpoint.OPENAI_COMPLETIONS, Endpoint.OLLAMA_GENERATE, *EMBEDDED_FROM}
]
PAIRS = [(caller, server) for caller in CALLERS for server in SERVERS if caller is not server]


def test_all_that_is_said_to_be_translated_can_be() -> None:
    assert set(REQUEST_READERS) == SOURCES | EMBEDDED_FROM
    assert set(REQUEST_READERS) - COUNTS == set(ANSWER_WRITERS)
    assert {*TARGETS, EMBEDDED_BY} == set(REQUEST_WRITERS) == set(ANSWER_READERS)


def answer_events(text: list[str], thought: list[str], calls: list[str], *, is_cut: bool) -> list[Event]:
    """The events of an answer; every call has these pieces of arguments."""
    reason = StopReason.LENGTH if is_cut else StopReason.TOOL_CALLS if calls else StopReason.END
    made: list[Event] = [Begun("", "m", 1_795_389_247)]
    made += [ThoughtPiece(piece) for piece in thought]
    made += [TextPiece(piece) for piece in text]
    for number, arguments in enumerate(calls):
        made.append(CallBegun(number, f"call_{number}", f"tool_{number}"))
        made += [CallPiece(number, arguments[at : at + 3]) for at in range(0, len(arguments), 3)]
    return [*made, Finished(reason), Used(Tokens(11, 7)), Ended()]


def translated_stream(caller: Endpoint, server: Endpoint, stream: bytes, sizes: list[int]) -> bytes:
    """The server's stream in the caller's format, fed in pieces that end at these hundredths."""
    translator = AnswerTranslator(caller, server, CONTEXT)
    pieces = cut(stream, [size * len(stream) // 100 for size in sizes])
    return b"".join([*(translator.feed(piece) for piece in pieces), translator.finish()])


words = st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=6), max_size=4)
arguments = st.dictionaries(st.sampled_from("abc"), st.integers() | st.text(max_size=3), max_size=2)


@pytest.mark.parametrize(("caller", "server"), PAIRS)
@given(text=words, thought=words, calls=st.lists(arguments, max_size=3), sizes=st.lists(st.integers(0, 100)))
@FEW
def test_an_answer_says_the_same_in_every_format_however_its_stream_is_cut_into_pieces(
    caller: Endpoint,
    server: Endpoint,
    text: list[str],
    thought: list[str],
    calls: list[dict[str, object]],
    sizes: list[int],
) -> None:
    told = [msgspec.json.encode(call).decode() for call in calls]
    events = answer_events(text, thought, told, is_cut=False)
    writer = ANSWER_WRITERS[server](CONTEXT)
    stream = b"".join(writer.write(event) for event in events)
    body = ANSWER_WRITERS[server](CONTEXT).whole(events)
    has_thoughts = Endpoint.CLOUDFLARE_RUN not in (caller, server)
    expected = gist.Gist(
        "".join(text),
        "".join(thought) if has_thoughts else "",
        [(f"tool_{number}", call) for number, call in enumerate(calls)],
        "tools" if calls else "end",
        (11, 7),
    )
    assert gist.of_stream(server, stream) == expected._replace(
        thought="" if server is Endpoint.CLOUDFLARE_RUN else "".join(thought)
    )
    assert gist.of_stream(caller, translated_stream(caller, server, stream, sizes)) == expected
    translator = AnswerTranslator(caller, server, CONTEXT)
    assert gist.of_whole(caller, translator.whole(body)) == expected
    assert gist.of_stream(caller, AnswerTranslator(caller, server, CONTEXT).streamed(body)) == expected
    assert gist.of_whole(caller, AnswerTranslator(caller, server, CONTEXT).collected(stream)) == expected
