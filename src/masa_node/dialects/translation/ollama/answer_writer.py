"""From events to Ollama's lines and bodies, of chat and generate."""

from datetime import UTC, datetime

from masa_node.chat.request import DialectName
from masa_node.dialects.translation.calls import WholeCall, WholeCalls, signatures_in
from masa_node.dialects.translation.collecting import Reply, collected
from masa_node.dialects.translation.events import (
    AnswerContext,
    Begun,
    CallBegun,
    CallPiece,
    Ended,
    Event,
    Failed,
    Finished,
    Logprob,
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
from masa_node.dialects.translation.thoughts import beside_a_call
from masa_node.dialects.translation.wire import encode, object_of

Fields = dict[str, object]


class OllamaAnswerWriter:
    """Writes one answer. Calls are given whole, as Ollama does: each as soon as it is complete."""

    def __init__(self, context: AnswerContext, *, is_generate: bool = False) -> None:
        self._context = context
        self._is_generate = is_generate
        self._begun = Begun()
        self._head = b""
        self._tokens = Tokens()
        self._reason = StopReason.END
        self._is_failed = False
        self._calls = WholeCalls()
        self._calls_sent = 0

    def write(self, event: Event) -> bytes:
        """See `AnswerWriter`."""
        match event:
            case TextPiece(text=text, choice=0, logprobs=None):
                return self._text(text) if text else b""
            case TextPiece(text=text, choice=0, logprobs=logprobs):
                return self._line(self._said(text), {"logprobs": _logprobs(logprobs or [])})
            case RefusalPiece(text=text, choice=0):
                return self._text(text) if text else b""
            case ThoughtPiece(text=text, choice=0):
                return self._line(self._thought(text)) if text else b""
            case CallBegun(choice=0):
                return self._tell(self._calls.begin(event))
            case CallPiece(choice=0):
                self._calls.add(event)
                return b""
            case _:
                return self._write_other(event)

    def _write_other(self, event: Event) -> bytes:
        match event:
            case ThoughtSealed():
                self._calls.seal(event)
            case Begun():
                self._begun = event
                self._tokens = merged(self._tokens, event.tokens) if event.tokens is not None else self._tokens
            case Used(tokens=tokens):
                self._tokens = merged(self._tokens, tokens)
            case Finished(reason=reason, choice=0):
                self._reason = reason
                return self._tell(self._calls.rest())
            case Failed(failure=failure):
                self._is_failed = True
                return error_frame(failure, DialectName.OLLAMA, "")
            case Ended():
                return b"" if self._is_failed else self._tell(self._calls.rest()) + self._last()
            case _:
                pass
        return b""

    def _tell(self, calls: list[WholeCall]) -> bytes:
        lines: list[bytes] = []
        for call in calls:
            fields = call_fields(call, self._calls_sent)
            self._calls_sent += 1
            lines.append(self._line({"message": {"role": "assistant", "content": "", "tool_calls": [fields]}}))
        return b"".join(lines)

    def _text(self, text: str) -> bytes:
        """The one line of every token: put together without an object for it."""
        start = b',"response":' if self._is_generate else b',"message":{"role":"assistant","content":'
        end = b',"done":false}\n' if self._is_generate else b'},"done":false}\n'
        return self._opening() + start + encode(text) + end

    def _said(self, text: str) -> Fields:
        return {"response": text} if self._is_generate else {"message": {"role": "assistant", "content": text}}

    def _thought(self, text: str) -> Fields:
        if self._is_generate:
            return {"response": "", "thinking": text}
        return {"message": {"role": "assistant", "content": "", "thinking": text}}

    def _opening(self) -> bytes:
        if not self._head:
            self._head = encode(self._envelope())[:-1]
        return self._head

    def _line(self, fields: Fields, more: Fields | None = None) -> bytes:
        return self._opening() + b"," + encode({**fields, "done": False, **(more or {})})[1:] + b"\n"

    def _envelope(self) -> Fields:
        at = datetime.fromtimestamp(self._context.now_unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {"model": self._begun.model or self._context.conversation.model, "created_at": at}

    def _last(self) -> bytes:
        return (
            encode({**self._envelope(), **self._said(""), **_end(self._reason, self._tokens, self._context.took_ns())})
            + b"\n"
        )

    def whole(self, events: list[Event]) -> bytes:
        """See `AnswerWriter`."""
        reply = collected(events)
        self._begun = reply.begun
        reason = reply.first.reason or StopReason.END
        body = {**self._envelope(), **self._message(reply), **_end(reason, reply.tokens, self._context.took_ns())}
        if reply.first.logprobs:
            body["logprobs"] = _logprobs(reply.first.logprobs)
        return encode(body)

    def _message(self, reply: Reply) -> Fields:
        choice = reply.first
        text = choice.text or choice.refusal
        if self._is_generate:
            return {"response": text, "thinking": choice.thought} if choice.thought else {"response": text}
        message: Fields = {"role": "assistant", "content": text}
        if choice.thought:
            message["thinking"] = choice.thought
        if choice.calls:
            signed = signatures_in(choice.thoughts)
            message["tool_calls"] = [
                call_fields(WholeCall(call.id, call.name, call.arguments, signed.get(call.id, "")), index)
                for index, call in enumerate(choice.calls.values())
            ]
        return {"message": message}


def call_fields(call: WholeCall, index: int) -> Fields:
    """A call as Ollama has it. Gemini's signature is beside it: clients that send calls back whole bring it along."""
    function = {"index": index, "name": call.name, "arguments": object_of(call.arguments)}
    fields: Fields = {"id": call.id, "function": function}
    return {**fields, **beside_a_call(call.signature)} if call.signature else fields


def _end(reason: StopReason, tokens: Tokens, took_ns: int) -> Fields:
    fields: Fields = {"done": True, "done_reason": "length" if reason is StopReason.LENGTH else "stop"}
    fields.update(durations(took_ns))
    if tokens.input is not None:
        fields["prompt_eval_count"] = tokens.input
    if tokens.output is not None:
        fields["eval_count"] = tokens.output
    return fields


def durations(took_ns: int) -> Fields:
    """What each answer of Ollama's has: there are clients that compute with them, and fail without. Nothing is loaded
    here; what the server had to load is in the whole. Nothing for an answer that is not timed.
    """
    return {"total_duration": took_ns, "load_duration": 0} if took_ns else {}


def _logprobs(logprobs: list[Logprob]) -> list[Fields]:
    return [
        {
            "token": each.token,
            "logprob": each.logprob,
            "bytes": each.bytes,
            "top_logprobs": [
                {"token": other.token, "logprob": other.logprob, "bytes": other.bytes} for other in each.top_logprobs
            ],
        }
        for each in logprobs
    ]
