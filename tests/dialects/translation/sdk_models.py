"""Answers parsed by the SDKs' own types, strictly: what they would only guess at is an error here."""

from collections.abc import Callable
from typing import Any

import msgspec
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message, RawMessageStreamEvent
from google.genai.types import GenerateContentResponse
from ollama import ChatResponse, GenerateResponse
from openai.lib.streaming.chat._completions import ChatCompletionStreamState
from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from masa_node.chat.request import Endpoint
from masa_node.dialects.framing import event_of

_ANTHROPIC_EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
_RESPONSES_EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def whole(endpoint: Endpoint, body: bytes) -> Any:
    """The SDK's object for a complete body."""
    kinds: dict[Endpoint, Any] = {
        Endpoint.OPENAI_CHAT: ChatCompletion,
        Endpoint.OPENAI_COMPLETIONS: Completion,
        Endpoint.OPENAI_RESPONSES: Response,
        Endpoint.ANTHROPIC_MESSAGES: Message,
        Endpoint.OLLAMA_CHAT: ChatResponse,
        Endpoint.OLLAMA_GENERATE: GenerateResponse,
        Endpoint.GEMINI_GENERATE: GenerateContentResponse,
        Endpoint.GEMINI_STREAM: GenerateContentResponse,
    }
    return kinds[endpoint].model_validate_json(body) if endpoint in kinds else msgspec.json.decode(body)


def sse(stream: bytes) -> list[tuple[str, Any]]:
    """The events of a stream: name and JSON; `[DONE]` as it is."""
    found = []
    for frame in stream.split(b"\n\n"):
        name, data = event_of(frame)
        if data:
            found.append((name.decode(), data.decode() if data == b"[DONE]" else msgspec.json.decode(data)))
    return found


def chat_chunks(stream: bytes) -> list[ChatCompletionChunk]:
    """The chunks of a chat stream; asserts the terminal frame."""
    events = sse(stream)
    assert events[-1][1] == "[DONE]"
    return [ChatCompletionChunk.model_validate(data) for _, data in events[:-1]]


def chat_message(stream: bytes) -> Any:
    """The message that OpenAI's SDK puts together from a chat stream, as its `stream()` does."""
    state: ChatCompletionStreamState[Any] = ChatCompletionStreamState()
    for chunk in chat_chunks(stream):
        list(state.handle_chunk(chunk))
    return state.get_final_completion().choices[0].message


def gemini_chunks(stream: bytes) -> list[GenerateContentResponse]:
    """The chunks of a Gemini stream; asserts that the last one alone says why it stopped."""
    chunks = [GenerateContentResponse.model_validate(data) for _, data in sse(stream)]
    finished = [bool(chunk.candidates and chunk.candidates[0].finish_reason) for chunk in chunks]
    assert finished == [*[False] * (len(chunks) - 1), True]
    return chunks


def anthropic_message(stream: bytes) -> Message:
    """The message that Anthropic's SDK makes of a stream; asserts the order of blocks and the terminal frame."""
    events = sse(stream)
    assert events[0][0] == "message_start"
    assert events[-1][0] == "message_stop"
    assert [name for name, _ in events].count("message_start") == 1
    opened: list[int] = []
    message: Any = None
    inputs: dict[int, bytes] = {}
    for name, data in events:
        assert name == data["type"]
        if name == "content_block_start":
            assert not opened
            opened.append(data["index"])
        elif name == "content_block_delta":
            assert opened == [data["index"]]
        elif name == "content_block_stop":
            assert opened == [data["index"]]
            opened.clear()
        event = _ANTHROPIC_EVENT.validate_python(data)
        message = accumulate_event(event=event, current_snapshot=message, json_bufs=inputs)
    assert not opened
    return message


def responses_events(stream: bytes) -> list[Any]:
    """The SDK's events of a responses stream; asserts their numbers and names."""
    events = sse(stream)
    assert [data["sequence_number"] for _, data in events] == list(range(len(events)))
    assert all(name == data["type"] for name, data in events)
    return [_RESPONSES_EVENT.validate_python(data) for _, data in events]


def response_of(stream: bytes) -> Response:
    """The response at the end of a stream; asserts that each item in it was told as done."""
    events = responses_events(stream)
    last = events[-1]
    assert last.type in ("response.completed", "response.incomplete")
    done = [event.item for event in events if event.type == "response.output_item.done"]
    assert sorted(item.id for item in done) == sorted(item.id for item in last.response.output)
    return last.response


def ollama_lines(stream: bytes, kind: Callable[..., Any] = ChatResponse) -> list[Any]:
    """The lines of an Ollama stream; asserts that none is blank and that the last is the end."""
    lines = [kind.model_validate_json(line) for line in stream.splitlines()]
    assert [line.done for line in lines] == [False] * (len(lines) - 1) + [True]
    return lines
