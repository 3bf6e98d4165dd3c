"""From Cloudflare's frames and bodies to events; newer models give OpenAI's chunks there."""

import msgspec

from masa_node.chat.errors import BrokenAnswer
from masa_node.dialects.fields import ABSENT, TEXT, is_error, is_given, read
from masa_node.dialects.framing import event_of
from masa_node.dialects.translation.calls import CallTracker
from masa_node.dialects.translation.events import (
    AnswerContext,
    Begun,
    Ended,
    Event,
    Failed,
    Finished,
    StopReason,
    TextPiece,
    Used,
)
from masa_node.dialects.translation.failures import failure_of
from masa_node.dialects.translation.openai_chat.answer_reader import ChatAnswerReader, arguments_of, tokens_of
from masa_node.dialects.translation.wire import read_answer

_DONE = b"[DONE]"


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: msgspec.Raw = ABSENT


class _Call(msgspec.Struct):
    id: str | None = None
    name: str | None = None
    arguments: msgspec.Raw = ABSENT
    function: _Function | None = None


class _Frame(msgspec.Struct):
    response: msgspec.Raw = ABSENT
    tool_calls: list[_Call] | None = None
    usage: msgspec.Raw = ABSENT
    choices: msgspec.Raw = ABSENT
    success: msgspec.Raw = ABSENT
    error: msgspec.Raw = ABSENT
    result: msgspec.Raw = ABSENT


_FRAME = msgspec.json.Decoder(_Frame, strict=False)


class CloudflareAnswerReader:
    """Reads one answer."""

    def __init__(self, context: AnswerContext) -> None:
        self._chat = ChatAnswerReader(context)
        self._calls = CallTracker(0, context.answer_id)
        self._is_begun = False
        self._is_chat = False

    def frame(self, frame: bytes) -> list[Event]:
        """See `AnswerReader`."""
        name, data = event_of(frame)
        if not data:
            return []
        if data.strip() == _DONE:
            return [Ended()] if self._is_chat else [self._finished(), Ended()]
        fields = read_answer(data, _FRAME)
        if fields is None:
            return []
        if name == b"error" or is_error(fields.error) or bytes(fields.success) == b"false":
            return [Failed(failure_of(data, 0))]
        if is_given(fields.choices):
            self._is_chat = True
            return self._chat.frame(frame)
        return self._events_of(fields)

    def _events_of(self, fields: _Frame) -> list[Event]:
        events: list[Event] = []
        if not self._is_begun:
            self._is_begun = True
            events.append(Begun())
        if is_given(fields.response):  # a number or an object is the text of it
            text = read(fields.response, TEXT)
            said = bytes(fields.response).decode("utf-8", "replace") if text is None else text
            if said:
                events.append(TextPiece(said))
        for call in fields.tool_calls or ():
            function = call.function or _Function(call.name, call.arguments)
            arguments = arguments_of(function.arguments) or "{}"
            events += self._calls.piece(self._calls.count, call.id or "", function.name or "", arguments)
        if is_given(fields.usage):
            tokens = tokens_of(fields.usage)
            if tokens is not None:
                events.append(Used(tokens))
        return events

    def _finished(self) -> Finished:
        return Finished(StopReason.TOOL_CALLS if self._calls.are_named else StopReason.END)

    def whole(self, body: bytes) -> list[Event]:
        """See `AnswerReader`."""
        fields = read_answer(body, _FRAME)
        if fields is None:
            raise BrokenAnswer("its answer could not be read")
        result = bytes(fields.result) or body  # gateways give it without its envelope
        inner = read_answer(result, _FRAME)
        if inner is None:
            text = read(fields.result, TEXT) or ""
            return [Begun(), *([TextPiece(text)] if text else ()), self._finished(), Ended()]
        if is_given(inner.choices):
            return self._chat.whole(result)
        return [*self._events_of(inner), self._finished(), Ended()]
