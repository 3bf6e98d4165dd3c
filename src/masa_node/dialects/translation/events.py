"""The neutral answer: events as they come, in a stream or out of a whole body; and the protocols of what reads and
writes them.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

import msgspec

from masa_node.dialects.translation.conversation import Conversation, Origin
from masa_node.dialects.translation.failures import Failure, Kind


class StopReason(StrEnum):
    """Why the model stopped."""

    END = "end"
    STOP_SEQUENCE = "stop_sequence"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    REFUSAL = "refusal"
    PAUSE = "pause"


# The words of all formats, and of the vendors that add their own to one: Mistral, Z.ai, Google. Any other is an end.
_REASONS = {
    "stop_sequence": StopReason.STOP_SEQUENCE,
    "pause_turn": StopReason.PAUSE,
    **dict.fromkeys(("tool_calls", "tool_use", "function_call"), StopReason.TOOL_CALLS),
    **dict.fromkeys(("length", "max_tokens", "model_length", "model_context_window_exceeded"), StopReason.LENGTH),
    **dict.fromkeys(
        ("content_filter", "refusal", "sensitive", "safety", "recitation", "blocklist", "prohibited_content", "spii"),
        StopReason.REFUSAL,
    ),
}
# Of OpenRouter, Z.ai, DeepSeek, SGLang and Google: the model did not come to an end.
_BROKE_OFF = frozenset(
    {
        *("error", "network_error", "insufficient_system_resource", "abort"),
        *("malformed_function_call", "unexpected_tool_call", "malformed_response"),
    }
)


def reason_in(word: str) -> "StopReason | Failed":
    """What this word stands for: a reason, or that the answer broke off."""
    # Of Google: `function_call_filter: MALFORMED_FUNCTION_CALL`, IMAGE_SAFETY.
    plain = word.lower().rpartition(": ")[2].removeprefix("image_")
    if plain in _BROKE_OFF:
        return Failed(Failure(Kind.SERVER, f"the LLM server broke its answer off, with the reason `{plain}`"))
    return _REASONS.get(plain, StopReason.END)


class Logprob(msgspec.Struct, frozen=True, gc=False):
    """How likely a token was, and its rivals. `bytes` are its UTF-8."""

    token: str
    logprob: float
    bytes: list[int] | None = None
    top_logprobs: list["Logprob"] = []


class Tokens(msgspec.Struct, frozen=True, gc=False):
    """What was used. `input` counts the cached ones too; None: not said."""

    input: int | None = None
    output: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    reasoning: int | None = None


class Begun(msgspec.Struct, frozen=True, gc=False):
    """The answer begins. `id` is the server's, "" if it has none; `tokens` an early estimate."""

    id: str = ""
    model: str = ""
    created_unix_s: int | None = None
    tokens: Tokens | None = None


class TextPiece(msgspec.Struct, frozen=True, gc=False):
    """More visible words."""

    text: str
    choice: int = 0
    logprobs: list[Logprob] | None = None


class RefusalPiece(msgspec.Struct, frozen=True, gc=False):
    """More words of a refusal."""

    text: str
    choice: int = 0


class ThoughtPiece(msgspec.Struct, frozen=True, gc=False):
    """More of a thought."""

    text: str
    choice: int = 0


class ThoughtSealed(msgspec.Struct, frozen=True, gc=False):
    """The thought before it is over; `is_hidden`: there was none to be seen, only this."""

    seal: str
    origin: Origin
    is_hidden: bool = False
    choice: int = 0


class CallBegun(msgspec.Struct, frozen=True, gc=False):
    """The model begins to call a tool; `call` counts the calls of this choice."""

    call: int
    id: str
    name: str
    choice: int = 0


class CallPiece(msgspec.Struct, frozen=True, gc=False):
    """More of a call's arguments, as JSON text."""

    call: int
    arguments: str
    choice: int = 0


class Citation(msgspec.Struct, frozen=True, gc=False):
    """Where the words before come from; `start` and `end` are characters of the cited source or of the answer."""

    url: str = ""
    title: str = ""
    cited_text: str = ""
    start: int = 0
    end: int = 0
    choice: int = 0


class Finished(msgspec.Struct, frozen=True, gc=False):
    """One choice is complete."""

    reason: StopReason
    stop_sequence: str | None = None
    choice: int = 0


class Used(msgspec.Struct, frozen=True, gc=False):
    """Token counts; a later one replaces what it says."""

    tokens: Tokens


class Failed(msgspec.Struct, frozen=True, gc=False):
    """The server ended its answer with an error."""

    failure: Failure


class Ended(msgspec.Struct, frozen=True, gc=False):
    """The answer is whole."""


Event = (
    Begun
    | TextPiece
    | RefusalPiece
    | ThoughtPiece
    | ThoughtSealed
    | CallBegun
    | CallPiece
    | Citation
    | Finished
    | Used
    | Failed
    | Ended
)


def merged(old: Tokens, new: Tokens) -> Tokens:
    """The counts, the new ones where they are given."""
    return Tokens(
        old.input if new.input is None else new.input,
        old.output if new.output is None else new.output,
        old.cache_read if new.cache_read is None else new.cache_read,
        old.cache_write if new.cache_write is None else new.cache_write,
        old.reasoning if new.reasoning is None else new.reasoning,
    )


def not_timed() -> int:
    """Of an answer that takes no time."""
    return 0


class AnswerContext(msgspec.Struct, frozen=True):
    """What is known of an answer beside its bytes. `answer_id` is an id without a prefix, `now_unix_s` calendar time,
    `took_ns` tells how long ago the request went to its server: all given, so that translating stays pure.
    """

    conversation: Conversation
    answer_id: str
    now_unix_s: int
    took_ns: Callable[[], int] = not_timed


class AnswerReader(Protocol):
    """Reads one answer in a format. Raises `ProviderError` for a frame of the format that cannot be read."""

    def frame(self, frame: bytes) -> list[Event]:
        """What one frame of a stream says; nothing for noise."""
        ...

    def whole(self, body: bytes) -> list[Event]:
        """What a complete body says."""
        ...


class AnswerWriter(Protocol):
    """Writes one answer in a format."""

    def write(self, event: Event) -> bytes:
        """The frames for this event of a stream; b"" where it has to wait for others, or says nothing here."""
        ...

    def whole(self, events: list[Event]) -> bytes:
        """The complete body for these events."""
        ...
