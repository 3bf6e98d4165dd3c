"""From Anthropic's events and messages to neutral events."""

import msgspec

from masa_node.chat.errors import BrokenAnswer
from masa_node.dialects.fields import ABSENT, TEXT, is_given, read
from masa_node.dialects.framing import event_of
from masa_node.dialects.translation.calls import MAX_CALLS
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
    reason_in,
)
from masa_node.dialects.translation.failures import failure_of
from masa_node.dialects.translation.thoughts import thought_of
from masa_node.dialects.translation.wire import read_answer, text_of


class _Cited(msgspec.Struct):
    url: msgspec.Raw = ABSENT
    source: msgspec.Raw = ABSENT
    title: msgspec.Raw = ABSENT
    document_title: msgspec.Raw = ABSENT
    cited_text: msgspec.Raw = ABSENT
    start_char_index: int = 0
    end_char_index: int = 0


class _Block(msgspec.Struct):
    type: str = ""
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    id: str | None = None
    name: str | None = None
    input: msgspec.Raw = ABSENT
    citations: list[_Cited] | None = None


class _StopDetails(msgspec.Struct):
    explanation: str | None = None


class _Delta(msgspec.Struct):
    type: str = ""
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    partial_json: str | None = None
    citation: _Cited | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: _StopDetails | None = None


class _Message(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    content: list[_Block] | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: _StopDetails | None = None
    usage: msgspec.Raw = ABSENT


class _Event(msgspec.Struct):
    type: str = ""
    index: int | None = None
    message: _Message | None = None
    content_block: _Block | None = None
    delta: _Delta | None = None
    usage: msgspec.Raw = ABSENT


class _OutputDetails(msgspec.Struct):
    thinking_tokens: int | None = None


class _Usage(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    output_tokens_details: _OutputDetails | None = None


_EVENT = msgspec.json.Decoder(_Event, strict=False)
_MESSAGE = msgspec.json.Decoder(_Message, strict=False)
_USAGE = msgspec.json.Decoder(_Usage, strict=False)
_TYPE = msgspec.json.Decoder(dict[str, msgspec.Raw])
# Parts of an answer; any other event may be passed over.
_PARTS = frozenset({b'"content_block_start"', b'"content_block_delta"', b'"message_delta"', b'"message_start"'})


class AnthropicAnswerReader:
    """Reads one answer."""

    def __init__(self, context: AnswerContext) -> None:
        self._context = context
        self._calls: dict[int, tuple[int, bool]] = {}  # block's index -> number of the call, whether a piece came
        self._whole_input: dict[int, str] = {}
        self._count = 0

    def frame(self, frame: bytes) -> list[Event]:
        """See `AnswerReader`."""
        name, data = event_of(frame)
        if not data:
            return []
        if name == b"error":
            return [Failed(failure_of(data, 0))]
        event = read_answer(data, _EVENT)
        if event is None:
            return self._unreadable(data)
        return self._events_of(event, data)

    def _unreadable(self, data: bytes) -> list[Event]:
        fields = read(data, _TYPE)
        if fields is not None and bytes(fields.get("type", ABSENT)) in _PARTS:
            raise BrokenAnswer("a part of its answer could not be read, so the rest was not taken")
        return []

    def _events_of(self, event: _Event, data: bytes) -> list[Event]:
        index = event.index or 0
        match event.type:
            case "content_block_delta" if event.delta is not None:
                return self._delta(event.delta, index)
            case "content_block_start" if event.content_block is not None:
                return self._block(event.content_block, index)
            case "content_block_stop":
                return self._stopped(index)
            case "message_start" if event.message is not None:
                message = event.message
                return [Begun(message.id or "", message.model or "", None, tokens_of(message.usage))]
            case "message_delta":
                return self._finished(event)
            case "message_stop":
                return [Ended()]
            case "error":
                return [Failed(failure_of(data, 0))]
            case _:
                return []

    def _delta(self, delta: _Delta, index: int) -> list[Event]:
        match delta.type:
            case "text_delta":
                return [TextPiece(delta.text)] if delta.text else []
            case "input_json_delta":
                return self._arguments(index, delta.partial_json) if delta.partial_json else []
            case "thinking_delta":
                return [ThoughtPiece(delta.thinking)] if delta.thinking else []
            case "signature_delta":
                return _sealed(delta.signature, is_hidden=False) if delta.signature else []
            case "citations_delta":
                return [_citation(delta.citation)] if delta.citation is not None else []
            case _:
                return []

    def _arguments(self, index: int, text: str) -> list[Event]:
        known = self._calls.get(index)
        if known is None:
            return []
        self._calls[index] = (known[0], True)
        return [CallPiece(known[0], text)]

    def _block(self, block: _Block, index: int) -> list[Event]:
        """A block begins; in a whole message it is all there."""
        match block.type:
            case "tool_use" if self._count < MAX_CALLS:
                number, self._count = self._count, self._count + 1
                self._calls[index] = (number, False)
                given = text_of(block.input) if is_given(block.input) else ""
                if given and given != "{}":
                    self._whole_input[index] = given
                id_ = block.id or f"toolu_{self._context.answer_id}_{number}"
                return [CallBegun(number, id_, block.name or "")]
            case "thinking":
                seen: list[Event] = [ThoughtPiece(block.thinking)] if block.thinking else []
                return [*seen, *(_sealed(block.signature, is_hidden=False) if block.signature else ())]
            case "redacted_thinking":
                return _sealed(block.data or "", is_hidden=True)
            case "text":
                said: list[Event] = [TextPiece(block.text)] if block.text else []
                return [*said, *(_citation(cited) for cited in block.citations or ())]
            case _:
                return []

    def _stopped(self, index: int) -> list[Event]:
        """Some servers give the whole input where the block begins, and no piece of it."""
        known, given = self._calls.get(index), self._whole_input.pop(index, "")
        return [CallPiece(known[0], given)] if known is not None and given and not known[1] else []

    def _finished(self, event: _Event) -> list[Event]:
        events: list[Event] = []
        delta = event.delta
        if delta is not None and delta.stop_reason:
            events += self._reason(delta.stop_reason, delta.stop_sequence, delta.stop_details)
        tokens = tokens_of(event.usage)
        return [*events, Used(tokens)] if tokens is not None else events

    def _reason(self, word: str, stop_sequence: str | None, details: _StopDetails | None) -> list[Event]:
        reason = reason_in(word)
        if isinstance(reason, Failed):
            return [reason]
        if reason is StopReason.TOOL_CALLS and not self._count:
            reason = StopReason.END
        elif reason is StopReason.END and self._count:
            reason = StopReason.TOOL_CALLS
        said: list[Event] = [RefusalPiece(details.explanation)] if details is not None and details.explanation else []
        return [*said, Finished(reason, stop_sequence)]

    def whole(self, body: bytes) -> list[Event]:
        """See `AnswerReader`."""
        message = read_answer(body, _MESSAGE)
        if message is None:
            raise BrokenAnswer("its answer could not be read")
        events: list[Event] = [Begun(message.id or "", message.model or "")]
        for index, block in enumerate(message.content or ()):
            events += self._block(block, index)
            events += self._stopped(index)
        events += self._reason(message.stop_reason or "end_turn", message.stop_sequence, message.stop_details)
        tokens = tokens_of(message.usage)
        return [*events, *([Used(tokens)] if tokens is not None else ()), Ended()]


def tokens_of(raw: msgspec.Raw) -> Tokens | None:
    """Anthropic's counts: the cached tokens are not among its `input_tokens`."""
    usage = read(raw, _USAGE) if is_given(raw) else None
    if usage is None:
        return None
    cached, written = usage.cache_read_input_tokens, usage.cache_creation_input_tokens
    total = None if usage.input_tokens is None else usage.input_tokens + (cached or 0) + (written or 0)
    details = usage.output_tokens_details or _OutputDetails()
    return Tokens(total, usage.output_tokens, cached, written, details.thinking_tokens)


def _sealed(seal: str, *, is_hidden: bool) -> list[Event]:
    """The seal; one of ours, that came around through another node, is what it was."""
    thought = thought_of("", seal, Origin.ANTHROPIC, is_hidden=is_hidden)
    if not thought.seal:
        return []
    return [ThoughtSealed(thought.seal, thought.origin, thought.is_hidden)]


def _citation(cited: _Cited) -> Citation:
    url = read(cited.url, TEXT) or read(cited.source, TEXT) or ""
    title = read(cited.title, TEXT) or read(cited.document_title, TEXT) or ""
    return Citation(url, title, read(cited.cited_text, TEXT) or "", cited.start_char_index, cited.end_char_index)
