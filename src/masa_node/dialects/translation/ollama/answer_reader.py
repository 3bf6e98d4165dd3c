"""From Ollama's lines and bodies, of chat and generate, to events."""

import msgspec

from masa_node.chat.errors import BrokenAnswer
from masa_node.dialects.fields import ABSENT, is_error, read
from masa_node.dialects.translation.calls import CallTracker
from masa_node.dialects.translation.events import (
    AnswerContext,
    Begun,
    Ended,
    Event,
    Failed,
    Finished,
    Logprob,
    TextPiece,
    ThoughtPiece,
    Tokens,
    Used,
    reason_in,
)
from masa_node.dialects.translation.failures import failure_of
from masa_node.dialects.translation.openai_chat.answer_reader import arguments_of, reason_of
from masa_node.dialects.translation.wire import read_answer


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: msgspec.Raw = ABSENT


class _Call(msgspec.Struct):
    id: str | None = None
    function: _Function | None = None


class _Message(msgspec.Struct):
    content: str | None = None
    thinking: str | None = None
    tool_calls: list[_Call] | None = None


class _Line(msgspec.Struct):
    model: str | None = None
    message: _Message | None = None
    response: str | None = None
    thinking: str | None = None
    done: bool | None = None
    done_reason: str | None = None
    prompt_eval_count: int | None = None
    eval_count: int | None = None
    logprobs: list[Logprob] | None = None
    error: msgspec.Raw = ABSENT


_LINE = msgspec.json.Decoder(_Line, strict=False)
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])


class OllamaAnswerReader:
    """Reads one answer."""

    def __init__(self, context: AnswerContext) -> None:
        self._calls = CallTracker(0, context.answer_id)
        self._is_begun = False

    def frame(self, frame: bytes) -> list[Event]:
        """See `AnswerReader`."""
        if not frame.strip():
            return []
        line = read_answer(frame, _LINE)
        if line is None:
            return self._unreadable(frame)
        if is_error(line.error):
            return [Failed(failure_of(frame, 0))]
        return self._events_of(line, is_done=line.done is True)

    def _unreadable(self, frame: bytes) -> list[Event]:
        fields = read(frame, _FIELDS)
        if fields is not None and ("message" in fields or "response" in fields or "done" in fields):
            raise BrokenAnswer("a part of its answer could not be read, so the rest was not taken")
        return []

    def whole(self, body: bytes) -> list[Event]:
        """See `AnswerReader`."""
        line = read_answer(body, _LINE)
        if line is None:
            raise BrokenAnswer("its answer could not be read")
        return self._events_of(line, is_done=True)

    def _events_of(self, line: _Line, *, is_done: bool) -> list[Event]:
        events: list[Event] = []
        if not self._is_begun:
            self._is_begun = True
            events.append(Begun("", line.model or ""))
        message = line.message
        thought = line.thinking or (message.thinking if message is not None else None)
        if thought:
            events.append(ThoughtPiece(thought))
        text = line.response or (message.content if message is not None else None)
        if text or line.logprobs:
            events.append(TextPiece(text or "", 0, line.logprobs or None))
        for call in (message.tool_calls if message is not None else None) or ():
            function = call.function or _Function()
            # Every call comes whole; its index says nothing (older versions count none, others from nought each time).
            arguments = arguments_of(function.arguments) or "{}"
            events += self._calls.piece(self._calls.count, call.id or "", function.name or "", arguments)
        if is_done:
            self._add_end(events, line)
        return events

    def _add_end(self, events: list[Event], line: _Line) -> None:
        reason = reason_in(line.done_reason or "")
        if isinstance(reason, Failed):
            events.append(reason)
            return
        events.append(Finished(reason_of(reason, has_calls=self._calls.are_named)))
        if line.prompt_eval_count is not None or line.eval_count is not None:
            events.append(Used(Tokens(line.prompt_eval_count, line.eval_count)))
        events.append(Ended())
