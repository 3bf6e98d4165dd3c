"""From events to Gemini's frames and bodies. A stream ends with why it stopped, and has no terminal frame."""

from masa_node.chat.request import DialectName
from masa_node.dialects.translation.calls import WholeCall, WholeCalls, signatures_in
from masa_node.dialects.translation.collecting import CallBlock, Choice, ThoughtBlock, collected
from masa_node.dialects.translation.events import (
    AnswerContext,
    Begun,
    CallBegun,
    CallPiece,
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
from masa_node.dialects.translation.wire import encode, object_of

Fields = dict[str, object]
_REASONS = {StopReason.LENGTH: "MAX_TOKENS", StopReason.REFUSAL: "SAFETY"}  # any other is an end


class GeminiAnswerWriter:
    """Writes one answer. Calls are given whole, thoughts only to callers that have asked for them, as Google does."""

    def __init__(self, context: AnswerContext) -> None:
        self._context = context
        self._begun = Begun()
        self._tail = b""
        self._tokens = Tokens()
        self._calls: dict[int, WholeCalls] = {}
        self._finished: dict[int, StopReason] = {}
        self._is_failed = False

    def write(self, event: Event) -> bytes:
        """See `AnswerWriter`."""
        match event:
            case TextPiece(text=text, choice=choice) | RefusalPiece(text=text, choice=choice):
                return self._frame(choice, [{"text": text}]) if text else b""
            case ThoughtPiece(text=text, choice=choice):
                is_shown = self._context.conversation.thinking.is_shown
                return self._frame(choice, [_thought(text)]) if text and is_shown else b""
            case CallBegun(choice=choice):
                return self._tell(choice, self._calls_of(choice).begin(event))
            case CallPiece(choice=choice):
                self._calls_of(choice).add(event)
            case ThoughtSealed(choice=choice):
                self._calls_of(choice).seal(event)
            case Finished(reason=reason, choice=choice):
                self._finished[choice] = reason
                return self._tell(choice, self._calls_of(choice).rest())
            case _:
                return self._write_other(event)
        return b""

    def _write_other(self, event: Event) -> bytes:
        match event:
            case Begun(tokens=tokens):
                self._begun = event
                self._tokens = merged(self._tokens, tokens) if tokens is not None else self._tokens
            case Used(tokens=tokens):
                self._tokens = merged(self._tokens, tokens)
            case Failed(failure=failure):
                self._is_failed = True
                return error_frame(failure, DialectName.GEMINI, "")
            case Ended():
                return b"" if self._is_failed else self._last()
            case _:
                pass
        return b""

    def _calls_of(self, choice: int) -> WholeCalls:
        return self._calls.setdefault(choice, WholeCalls())

    def _tell(self, choice: int, calls: list[WholeCall]) -> bytes:
        return self._frame(choice, [_call(call) for call in calls]) if calls else b""

    def _frame(self, choice: int, parts: list[Fields]) -> bytes:
        content: Fields = {"parts": parts, "role": "model"}
        return b'data: {"candidates":[' + encode({"content": content, "index": choice}) + b"]" + self._end() + b"\n\n"

    def _end(self) -> bytes:
        """Of a frame: the same in all but the last."""
        if not self._tail:
            self._tail = b"," + encode(self._facts())[1:]
        return self._tail

    def _facts(self) -> Fields:
        model = self._begun.model or self._context.conversation.model
        return {"modelVersion": model, "responseId": self._begun.id or self._context.answer_id}

    def _last(self) -> bytes:
        rest = b"".join([self._tell(choice, calls.rest()) for choice, calls in self._calls.items()])
        finished = self._finished or {0: StopReason.END}
        candidates = [_candidate(index, [{"text": ""}], reason) for index, reason in sorted(finished.items())]
        return rest + b"data: " + encode(self._body(candidates)) + b"\n\n"

    def _body(self, candidates: list[Fields]) -> Fields:
        return {"candidates": candidates, "usageMetadata": usage_fields(self._tokens), **self._facts()}

    def whole(self, events: list[Event]) -> bytes:
        """See `AnswerWriter`."""
        reply = collected(events)
        self._begun, self._tokens = reply.begun, reply.tokens
        choices = sorted(reply.choices.items()) or [(0, Choice())]
        return encode(
            self._body([_candidate(index, self._parts(each), each.reason or StopReason.END) for index, each in choices])
        )

    def _parts(self, choice: Choice) -> list[Fields]:
        is_shown = self._context.conversation.thinking.is_shown
        signatures = signatures_in(choice.thoughts)
        parts: list[Fields] = []
        for block in choice.blocks:
            if isinstance(block, CallBlock):
                signature = signatures.get(block.id, "")
                parts.append(_call(WholeCall(block.id, block.name, block.arguments, signature)))
            elif block.text and (is_shown or not isinstance(block, ThoughtBlock)):
                parts.append(_thought(block.text) if isinstance(block, ThoughtBlock) else {"text": block.text})
        return parts or [{"text": ""}]


def _thought(text: str) -> Fields:
    return {"text": text, "thought": True}


def _call(call: WholeCall) -> Fields:
    function: Fields = {"id": call.id, "name": call.name, "args": object_of(call.arguments)}
    return {"functionCall": function, **({"thoughtSignature": call.signature} if call.signature else {})}


def _candidate(index: int, parts: list[Fields], reason: StopReason) -> Fields:
    return {
        "content": {"parts": parts, "role": "model"},
        "finishReason": _REASONS.get(reason, "STOP"),
        "index": index,
    }


def usage_fields(tokens: Tokens) -> Fields:
    """Google counts thoughts beside the answer; others as a part of it."""
    thoughts = tokens.reasoning or 0
    said = None if tokens.output is None else max(0, tokens.output - thoughts)
    counts = {
        "promptTokenCount": tokens.input,
        "candidatesTokenCount": said,
        "thoughtsTokenCount": thoughts or None,
        "cachedContentTokenCount": tokens.cache_read or None,
        "totalTokenCount": None
        if tokens.input is None and said is None
        else (tokens.input or 0) + (tokens.output or 0),
    }
    return {name: count for name, count in counts.items() if count is not None}
