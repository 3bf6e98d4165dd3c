"""A request keeps what both formats have: read, written, and read again.

Covers: `conversation`, `formats`, `wire`, `anthropic.request_reader`, `ollama.request_reader`,
`openai_chat.request_reader`, `openai_responses.request_reader`.
"""

import contextlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masa_node.chat.errors import NotTranslatable
from masa_node.chat.request import Endpoint
from masa_node.dialects.translation.codecs import REQUEST_READERS, REQUEST_WRITERS
from masa_node.dialects.translation.conversation import (
    ChoiceMode,
    Conversation,
    Image,
    OutputFormat,
    Role,
    Sampling,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Turn,
)
from masa_node.dialects.translation.formats import EMBEDDED_BY
from masa_node.dialects.translation.losses import Losses
from tests.dialects.chunking import FEW

FORMATS = [each for each in REQUEST_WRITERS if each not in (Endpoint.CLOUDFLARE_RUN, EMBEDDED_BY)]
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGP4z8DwHwAFAAH/iZk9HQAAAABJRU5ErkJggg=="
SCHEMA = msgspec.Raw(
    b'{"type":"object","properties":{"city":{"type":"string"}},"required":["city"],"additionalProperties":false}'
)

words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12).map(lambda text: f"w{text}w")
numbers = st.floats(0, 1).map(lambda number: round(number, 2))


@st.composite
def tool_rounds(draw: st.DrawFn, start: int) -> list[Turn]:
    """The assistant calls tools beside each other, and gets all their results."""
    count = draw(st.integers(1, 3))
    calls = tuple(
        ToolCall(f"call_{start}_{number}", f"tool_{number}", msgspec.json.encode({"city": draw(words)}).decode())
        for number in range(count)
    )
    results = tuple(ToolResult(call.id, call.name, (Text(draw(words)),)) for call in calls)
    said = (Text(draw(words)),) if draw(st.booleans()) else ()
    return [Turn(Role.ASSISTANT, (*said, *calls)), Turn(Role.USER, results)]


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    turns = [Turn(Role.SYSTEM, (Text(draw(words)),))] if draw(st.booleans()) else []
    for number in range(draw(st.integers(1, 3))):
        picture = (Image("image/png", PNG),) if draw(st.booleans()) else ()
        turns.append(Turn(Role.USER, (Text(draw(words)), *picture)))
        turns += draw(tool_rounds(number)) if draw(st.booleans()) else [Turn(Role.ASSISTANT, (Text(draw(words)),))]
    turns.append(Turn(Role.USER, (Text(draw(words)),)))
    return Conversation(
        model="m",
        turns=tuple(turns),
        stream=draw(st.booleans()),
        tools=tuple(Tool(f"tool_{number}", draw(words), SCHEMA) for number in range(3)),
        tool_choice=ToolChoice(ChoiceMode.AUTO) if draw(st.booleans()) else None,
        output=OutputFormat(SCHEMA) if draw(st.booleans()) else None,
        sampling=Sampling(
            max_tokens=draw(st.integers(1, 100_000)),
            temperature=draw(st.none() | numbers),
        ),
    )


def normal(conversation: Conversation) -> dict[str, Any]:
    """What has to be the same: everything but what the callers' names are, and how turns are grouped."""
    said: list[tuple[str, Any]] = []
    for turn in conversation.turns:
        said += [(turn.role.value, msgspec.structs.asdict(part)) for part in turn.parts]
    for _, part in said:
        if "call_id" in part:
            del part["name"]  # only Ollama's format says which tool a result is of
        if "arguments" in part:
            part["arguments"] = msgspec.json.decode(part["arguments"])
    return {
        "said": said,
        "tools": [(tool.name, tool.description, bytes(tool.schema or b"")) for tool in conversation.tools],
        "output": bytes(conversation.output.schema or b"") if conversation.output else None,
        "max_tokens": conversation.sampling.max_tokens,
        "temperature": conversation.sampling.temperature,
        "stream": conversation.stream,
    }


def through(endpoint: Endpoint, conversation: Conversation) -> tuple[Conversation, list[str]]:
    """Written in a format and read from it again; and what was left out."""
    losses = Losses()
    return REQUEST_READERS[endpoint](REQUEST_WRITERS[endpoint](conversation, losses), losses), losses.names


@pytest.mark.parametrize("endpoint", FORMATS)
@given(conversation=conversations())
@FEW
def test_a_conversation_comes_back_whole_from_every_format(endpoint: Endpoint, conversation: Conversation) -> None:
    read, dropped = through(endpoint, conversation)
    assert normal(read) == normal(conversation)
    assert dropped == []


@pytest.mark.parametrize("first", FORMATS)
@pytest.mark.parametrize("second", FORMATS)
@given(conversation=conversations())
@FEW
def test_a_conversation_comes_through_two_formats_with_its_ids_unchanged(
    first: Endpoint, second: Endpoint, conversation: Conversation
) -> None:
    read, _ = through(second, through(first, conversation)[0])
    assert normal(read) == normal(conversation)


@pytest.mark.parametrize("endpoint", FORMATS)
@given(
    body=st.binary(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["messages", "input", "content", "role", "type", "tools", "text", "tool_calls", "system"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    ).map(msgspec.json.encode)
)
@FEW
def test_any_body_is_read_or_refused_in_words(endpoint: Endpoint, body: bytes) -> None:
    with contextlib.suppress(NotTranslatable):
        conversation = REQUEST_READERS[endpoint](body, Losses())
        REQUEST_WRITERS[Endpoint.OPENAI_CHAT](conversation, Losses())
