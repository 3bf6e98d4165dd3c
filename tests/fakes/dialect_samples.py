"""What a fake LLM says in each dialect, how the node is told about it, and what an error looks like there."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.fakes.http_bytes import JSON, NDJSON, SSE, chunk, chunked, stream_head, whole
from tests.fakes.llm_server import FakeLlm, Script, Step, close, send

MODEL = "m"
NO_LIST = whole(b"", status=404, headers=[("Connection", "close")])


@dataclass(frozen=True, slots=True)
class DialectSample:
    """One dialect at its own endpoint. `frames` is a whole stream, frame by frame; the last one is the terminal frame.

    What only leads to the first piece is in one with it.

    `location` is how errors name the server.
    """

    dialect: str
    endpoint: str
    listing: str
    settings: Callable[[str], dict[str, str]]
    provider: str
    content_type: str
    frames: tuple[bytes, ...]
    answer: bytes
    error_answer: bytes
    error_frame: bytes

    def ask(self, *, stream: bool = True) -> bytes:
        fields = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 9, "stream": stream}
        return json.dumps(fields).encode()

    def fake(self, *steps: Step, listings: tuple[Script, ...] = ((send(NO_LIST), close),)) -> FakeLlm:
        """A server that answers each request like this, and is asked for its models like `listings`.

        By default it has no list, so that any model may be asked for, and is asked on a fresh connection.
        """
        fake = FakeLlm().answer(self.listing, *listings).answer(self.endpoint, steps)
        fake.refuses_the_empty = True
        return fake

    def __str__(self) -> str:
        return self.dialect

    @property
    def stream(self) -> bytes:
        """A whole streamed response."""
        return stream_head(self.content_type) + chunked(self.frames)

    @property
    def whole(self) -> bytes:
        """A whole response that is not streamed."""
        return whole(self.answer)

    def begun(self, *more: bytes) -> bytes:
        """A streamed response up to and with its first valid piece, and these raw bytes."""
        return stream_head(self.content_type) + chunk(self.first) + b"".join(more)

    @property
    def first(self) -> bytes:
        """What the caller gets of `begun`."""
        return self.frames[0]

    def message_in(self, body: bytes) -> str:
        """The message of a whole error in this dialect's shape; fails the test on any other shape."""
        error: Any = json.loads(body)
        match self.dialect:
            case "openai":
                assert set(error) == {"error"}
                assert set(error["error"]) == {"message", "type", "param", "code"}
                return str(error["error"]["message"])
            case "anthropic":
                assert set(error) == {"type", "error", "request_id"}
                assert error["type"] == "error"
                assert set(error["error"]) == {"type", "message"}
                return str(error["error"]["message"])
            case _:
                assert set(error) == {"error"}
                return str(error["error"])

    def message_in_frame(self, frame: bytes) -> str:
        """The message of an error frame in this dialect's shape."""
        if self.dialect == "ollama":
            assert frame.endswith(b"\n")
            assert frame.count(b"\n") == 1
            return self.message_in(frame)
        start = b"event: error\ndata: " if self.dialect == "anthropic" else b"data: "
        assert frame.startswith(start)
        assert frame.endswith(b"\n\n")
        return self.message_in(frame.removeprefix(start))


def _sse(data: str, event: str = "") -> bytes:
    return (f"event: {event}\ndata: {data}\n\n" if event else f"data: {data}\n\n").encode()


def _event(**data: object) -> bytes:
    return _sse(json.dumps(data), str(data["type"]))


def _choice(**choice: object) -> bytes:
    head = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": MODEL}
    return _sse(json.dumps({**head, "choices": [{"index": 0, **choice}]}))


def _line(**data: object) -> bytes:
    return json.dumps({"model": MODEL, "created_at": "2026-11-22T23:14:02.37Z", **data}).encode() + b"\n"


def _message(content: list[object], stop_reason: str | None) -> dict[str, object]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": {"input_tokens": 9, "output_tokens": 2},
    }


OPENAI = DialectSample(
    dialect="openai",
    endpoint="/v1/chat/completions",
    listing="/v1/models",
    settings=lambda url: {"OPENAI_API_KEY": "sk-upstream", "OPENAI_BASE_URL": f"{url}/v1"},
    provider="openai",
    content_type=SSE,
    frames=(
        _choice(delta={"role": "assistant", "content": "Hel"}, finish_reason=None),
        _choice(delta={"content": "lo"}, finish_reason=None),
        _choice(delta={}, finish_reason="stop"),
        b"data: [DONE]\n\n",
    ),
    answer=json.dumps(
        {
            "id": "c1",
            "object": "chat.completion",
            "created": 1,
            "model": MODEL,
            "choices": [
                {"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"},
            ],
            "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11},
        }
    ).encode(),
    error_answer=b'{"error" : {"message":"boom","type":"server_error","param":null,"code":"own"}}',
    error_frame=b'data: {"error":{"message":"boom","type":"server_error","param":null,"code":null}}\n\n',
)

ANTHROPIC = DialectSample(
    dialect="anthropic",
    endpoint="/v1/messages",
    listing="/v1/models",
    settings=lambda url: {"ANTHROPIC_API_KEY": "sk-upstream", "ANTHROPIC_BASE_URL": url},
    provider="anthropic",
    content_type=SSE,
    frames=(
        _event(type="message_start", message=_message([], None))
        + _event(type="content_block_start", index=0, content_block={"type": "text", "text": ""})
        + _event(type="content_block_delta", index=0, delta={"type": "text_delta", "text": "Hel"}),
        _event(type="content_block_delta", index=0, delta={"type": "text_delta", "text": "lo"}),
        _event(type="content_block_stop", index=0),
        _event(
            type="message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": 2}
        ),
        _event(type="message_stop"),
    ),
    answer=json.dumps(_message([{"type": "text", "text": "Hello"}], "end_turn")).encode(),
    error_answer=b'{"type":"error" ,"error":{"type":"api_error","message":"boom"},"request_id":"req_own"}',
    error_frame=b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"boom"}}\n\n',
)

OLLAMA = DialectSample(
    dialect="ollama",
    endpoint="/api/chat",
    listing="/api/tags",
    settings=lambda url: {"LLM_CHAT_URL": f"{url}/api/chat"},
    provider="llm",
    content_type=NDJSON,
    frames=(
        _line(message={"role": "assistant", "content": "Hel"}, done=False),
        _line(message={"role": "assistant", "content": "lo"}, done=False),
        _line(message={"role": "assistant", "content": ""}, done=True, done_reason="stop", eval_count=2),
    ),
    answer=_line(message={"role": "assistant", "content": "Hello"}, done=True, done_reason="stop").strip(),
    error_answer=b'{"error" : "boom"}',
    error_frame=b'{"error":"boom"}\n',
)

SAMPLES = (OPENAI, ANTHROPIC, OLLAMA)


def listed(*models: str) -> Script:
    """A list of models as every OpenAI-compatible server, and Anthropic, gives it."""
    entries = [{"id": model, "object": "model", "created": 1, "owned_by": "me"} for model in models]
    return (send(whole(json.dumps({"object": "list", "data": entries}).encode(), content_type=JSON)),)
