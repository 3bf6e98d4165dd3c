"""From neutral events to Anthropic's: blocks one after the other, each of one kind, whatever order the source has."""

from masa_node.chat.request import DialectName
from masa_node.dialects.translation.anthropic.blocks import block_fields, citation_fields, usage_fields
from masa_node.dialects.translation.collecting import collected
from masa_node.dialects.translation.conversation import Origin
from masa_node.dialects.translation.events import (
    AnswerContext,
    Begun,
    CallBegun,
    CallPiece,
    Citation,
    Ended,
    Event,
    Failed,
    Finished,
    RefusalPiece,
    StopReason,
    TextPiece,
    ThoughtPiece,
    ThoughtSealed,
    Tokens,
    Used,
    merged,
)
from masa_node.dialects.translation.failures import error_frame
from masa_node.dialects.translation.thoughts import sealed_for_caller
from masa_node.dialects.translation.wire import GrowingObject, encode

_MAX_SPACE_CHARS = 256  # of what lies between two calls, and may begin words
_REASONS = {
    StopReason.END: "end_turn",
    StopReason.STOP_SEQUENCE: "stop_sequence",
    StopReason.LENGTH: "max_tokens",
    StopReason.TOOL_CALLS: "tool_use",
    StopReason.REFUSAL: "refusal",
    StopReason.PAUSE: "pause_turn",
}
_EMPTY_BLOCKS: dict[str, dict[str, object]] = {
    "text": {"type": "text", "text": ""},
    "thinking": {"type": "thinking", "thinking": "", "signature": ""},
}
# Thoughts of open models have no seal; Anthropic's clients want one, and give it back with the next turn.
OPEN_SEAL = sealed_for_caller("", Origin.OPEN, Origin.ANTHROPIC)

Fields = dict[str, object]


class AnthropicAnswerWriter:
    """Writes one answer. Events of a second choice are not of this format and are passed over."""

    def __init__(self, context: AnswerContext) -> None:
        self._context = context
        self._begun = Begun()
        self._tokens = Tokens()
        self._is_begun = False
        self._is_failed = False
        self._index = -1
        self._open = ""  # the kind of the open block; "" if there is none
        self._open_call = -1
        self._arguments = GrowingObject()
        self._deferred: list[Event] = []  # what came between the pieces of a call that is not complete
        self._space = ""  # what some servers' parsers leave between two calls; it may also be how words begin
        self._finished: Finished | None = None
        self._refusal: list[str] = []

    def write(self, event: Event) -> bytes:
        """See `AnswerWriter`."""
        match event:
            case TextPiece(text=text, choice=0) if self._open == "text":
                return self._delta(b"text_delta", b"text", text) if text else b""
            case CallPiece(call=call, arguments=arguments) if call == self._open_call:
                self._arguments.add(arguments)
                return self._delta(b"input_json_delta", b"partial_json", arguments)
            case ThoughtPiece(text=text, choice=0) if self._open == "thinking":
                return self._delta(b"thinking_delta", b"thinking", text)
            case Begun() | Used() | Failed() | Ended():
                return self._of_answer(event)
            case _:
                return b"" if event.choice else self._begin_if_needed() + self._content(event)

    def _of_answer(self, event: Begun | Used | Failed | Ended) -> bytes:
        match event:
            case Begun():
                return self._begin(event)
            case Used(tokens=tokens):
                self._tokens = merged(self._tokens, tokens)
                return b""
            case Failed(failure=failure):
                self._is_failed = True
                return error_frame(failure, DialectName.ANTHROPIC, self._context.answer_id)
            case Ended():
                return self._end()

    def _begin(self, event: Begun) -> bytes:
        if self._is_begun:
            return b""
        self._is_begun = True
        self._begun = event
        if event.tokens is not None:
            self._tokens = merged(self._tokens, event.tokens)
        message: Fields = {**self._envelope(), "content": [], "stop_reason": None, "stop_sequence": None}
        message["usage"] = usage_fields(self._tokens)
        return _frame("message_start", {"message": message})

    def _begin_if_needed(self) -> bytes:
        return b"" if self._is_begun else self._begin(Begun())

    def _envelope(self) -> Fields:
        begun, context = self._begun, self._context
        id_ = begun.id if begun.id.startswith("msg_") else f"msg_{context.answer_id}"
        return {"id": id_, "type": "message", "role": "assistant", "model": begun.model or context.conversation.model}

    def _content(self, event: Event) -> bytes:
        if isinstance(event, Finished):
            self._finished = event
            return self._flush()
        if isinstance(event, CallBegun):
            self._space = ""
        elif isinstance(event, TextPiece) and self._open_call >= 0:
            event = TextPiece(self._space + event.text)
            if not event.text.strip() and not (self._deferred and isinstance(self._deferred[-1], TextPiece)):
                self._space = event.text[:_MAX_SPACE_CHARS]
                return b""
            self._space = ""
        if self._deferred or (self._open_call >= 0 and not self._arguments.is_whole()):
            self._deferred.append(event)
            return b""
        return self._piece(event)

    def _flush(self) -> bytes:
        """All that waited, call by call, each in one piece; then nothing is open."""
        waiting, self._deferred = self._deferred, []
        own = [event for event in waiting if isinstance(event, CallPiece) and event.call == self._open_call]
        frames = [self.write(event) for event in own]
        frames += [
            self.write(event) if isinstance(event, CallPiece) else self._piece(event)
            for event in _call_by_call(waiting, self._open_call)
        ]
        return b"".join((*frames, self._close()))

    def _piece(self, event: Event) -> bytes:
        match event:
            case TextPiece(text=text) if text:
                return self._opened("text") + self._delta(b"text_delta", b"text", text)
            case ThoughtPiece(text=text) if text:
                return self._opened("thinking") + self._delta(b"thinking_delta", b"thinking", text)
            case ThoughtSealed():
                return self._sealed(event)
            case CallBegun(call=call, id=id_, name=name):
                frames = self._close() + self._start({"type": "tool_use", "id": id_, "name": name, "input": {}})
                self._open, self._open_call, self._arguments = "tool_use", call, GrowingObject()
                return frames
            case RefusalPiece(text=text):
                self._refusal.append(text)
                return self._opened("text") + self._delta(b"text_delta", b"text", text) if text else b""
            case Citation():
                opened = self._opened("text")
                delta: Fields = {"type": "citations_delta", "citation": citation_fields(event)}
                return opened + _frame("content_block_delta", {"index": self._index, "delta": delta})
            case _:
                return b""

    def _sealed(self, event: ThoughtSealed) -> bytes:
        seal = sealed_for_caller(event.seal, event.origin, Origin.ANTHROPIC, is_hidden=event.is_hidden)
        if event.is_hidden:
            return self._close() + self._start({"type": "redacted_thinking", "data": seal}) + self._stop()
        opened = self._opened("thinking")
        self._open = ""
        return opened + self._delta(b"signature_delta", b"signature", seal) + self._stop()

    def _opened(self, kind: str) -> bytes:
        """Frames after which a block of this kind is open."""
        if self._open == kind:
            return b""
        frames = self._close() + self._start(_EMPTY_BLOCKS[kind])
        self._open = kind
        return frames

    def _start(self, block: Fields) -> bytes:
        self._index += 1
        return _frame("content_block_start", {"index": self._index, "content_block": block})

    def _close(self) -> bytes:
        kind, self._open, self._open_call = self._open, "", -1
        if not kind:
            return b""
        seal = self._delta(b"signature_delta", b"signature", OPEN_SEAL) if kind == "thinking" else b""
        return seal + self._stop()

    def _stop(self) -> bytes:
        return _frame("content_block_stop", {"index": self._index})

    def _delta(self, kind: bytes, field: bytes, text: str) -> bytes:
        return (
            b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":"%b","%b":%b}}'
            b"\n\n" % (self._index, kind, field, encode(text))
        )

    def _end(self) -> bytes:
        if self._is_failed:
            return b""
        begun = self._begin_if_needed() + self._flush()
        delta = {**self._reason(), "container": None}
        usage = usage_fields(self._tokens)
        return begun + _frame("message_delta", {"delta": delta, "usage": usage}) + _frame("message_stop", {})

    def _reason(self) -> Fields:
        finished = self._finished or Finished(StopReason.END)
        reason = finished.reason
        if self._refusal and reason is StopReason.END:
            reason = StopReason.REFUSAL
        fields: Fields = {"stop_reason": _REASONS[reason], "stop_sequence": finished.stop_sequence}
        if reason is StopReason.REFUSAL:
            fields["stop_details"] = {
                "type": "refusal",
                "category": None,
                "explanation": "".join(self._refusal) or None,
            }
        return fields

    def whole(self, events: list[Event]) -> bytes:
        """See `AnswerWriter`."""
        reply = collected(events)
        self._begun = reply.begun
        choice = reply.first
        self._finished = Finished(choice.reason or StopReason.END, choice.stop_sequence)
        self._refusal = [choice.refusal] if choice.refusal else []
        content = [fields for block in choice.blocks if (fields := block_fields(block)) is not None]
        body = {**self._envelope(), "content": content, **self._reason(), "usage": usage_fields(reply.tokens)}
        return encode(body)


def _call_by_call(events: list[Event], open_call: int) -> list[Event]:
    """The same, each call's pieces right behind its beginning; those of the open call are out."""
    pieces: dict[int, list[Event]] = {}
    for event in events:
        if isinstance(event, CallPiece):
            pieces.setdefault(event.call, []).append(event)
    ordered: list[Event] = []
    for event in events:
        if isinstance(event, CallBegun):
            ordered += [event, *pieces.get(event.call, ())]
        elif not isinstance(event, CallPiece):
            ordered.append(event)
    return [event for event in ordered if not (isinstance(event, CallPiece) and event.call == open_call)]


def _frame(name: str, fields: Fields) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), encode({"type": name, **fields}))
