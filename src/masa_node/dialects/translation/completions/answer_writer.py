"""From events to chunks and bodies of completions."""

from masa_node.chat.request import DialectName
from masa_node.dialects.translation.collecting import Choice, collected
from masa_node.dialects.translation.events import (
    AnswerContext,
    Begun,
    Ended,
    Event,
    Failed,
    Finished,
    RefusalPiece,
    StopReason,
    TextPiece,
    Tokens,
    Used,
    merged,
)
from masa_node.dialects.translation.failures import error_frame
from masa_node.dialects.translation.openai_chat.answer_writer import usage_fields
from masa_node.dialects.translation.wire import encode

Fields = dict[str, object]
_REASONS = {StopReason.LENGTH: "length", StopReason.REFUSAL: "content_filter"}


class CompletionsAnswerWriter:
    """Writes one answer."""

    def __init__(self, context: AnswerContext) -> None:
        self._context = context
        self._begun = Begun()
        self._tokens = Tokens()
        self._is_failed = False
        self._unfinished: set[int] = set()

    def write(self, event: Event) -> bytes:
        """See `AnswerWriter`."""
        match event:
            case TextPiece(text=text, choice=choice) | RefusalPiece(text=text, choice=choice):
                self._unfinished.add(choice)
                return self._chunk(choice, text, None) if text else b""
            case Begun():
                self._begun = event
                self._tokens = merged(self._tokens, event.tokens or Tokens())
            case Used(tokens=tokens):
                self._tokens = merged(self._tokens, tokens)
            case Finished(reason=reason, choice=choice):
                self._unfinished.discard(choice)
                return self._chunk(choice, "", _REASONS.get(reason, "stop"))
            case Failed(failure=failure):
                self._is_failed = True
                return error_frame(failure, DialectName.OPENAI, "")
            case Ended():
                last = [self._chunk(choice, "", "stop") for choice in sorted(self._unfinished)]
                return b"" if self._is_failed else b"".join(last) + self._usage() + b"data: [DONE]\n\n"
            case _:
                pass
        return b""

    def _envelope(self) -> Fields:
        begun, context = self._begun, self._context
        created = begun.created_unix_s if begun.created_unix_s is not None else context.now_unix_s
        model = begun.model or context.conversation.model
        return {"id": f"cmpl-{context.answer_id}", "object": "text_completion", "created": created, "model": model}

    def _chunk(self, choice: int, text: str, finish: str | None) -> bytes:
        fields = {"index": choice, "text": text, "logprobs": None, "finish_reason": finish}
        return b"data: " + encode({**self._envelope(), "choices": [fields]}) + b"\n\n"

    def _usage(self) -> bytes:
        if not self._context.conversation.with_usage or self._tokens == Tokens():
            return b""
        return b"data: " + encode({**self._envelope(), "choices": [], "usage": usage_fields(self._tokens)}) + b"\n\n"

    def whole(self, events: list[Event]) -> bytes:
        """See `AnswerWriter`."""
        reply = collected(events)
        self._begun = reply.begun
        choices = reply.choices or {0: Choice()}
        body = self._envelope()
        body["choices"] = [
            {
                "index": index,
                "text": choice.text or choice.refusal,
                "logprobs": None,
                "finish_reason": _REASONS.get(choice.reason or StopReason.END, "stop"),
            }
            for index, choice in sorted(choices.items())
        ]
        if reply.tokens != Tokens():
            body["usage"] = usage_fields(reply.tokens)
        return encode(body)
