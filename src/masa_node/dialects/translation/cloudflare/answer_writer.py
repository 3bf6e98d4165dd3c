"""From events to Cloudflare's frames and bodies."""

from masa_node.chat.request import DialectName
from masa_node.dialects.translation.collecting import collected
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
    TextPiece,
    Tokens,
    Used,
    merged,
)
from masa_node.dialects.translation.failures import error_frame
from masa_node.dialects.translation.openai_chat.answer_writer import usage_fields
from masa_node.dialects.translation.wire import encode, object_of

Fields = dict[str, object]


class CloudflareAnswerWriter:
    """Writes one answer. Thoughts have no place here and are left out; calls are given whole."""

    def __init__(self, context: AnswerContext) -> None:
        del context  # its frames carry neither id nor model
        self._tokens = Tokens()
        self._is_failed = False
        self._calls: dict[int, tuple[CallBegun, list[str]]] = {}

    def write(self, event: Event) -> bytes:
        """See `AnswerWriter`."""
        match event:
            case TextPiece(text=text, choice=0) | RefusalPiece(text=text, choice=0):
                return b'data: {"response":' + encode(text) + b"}\n\n" if text else b""
            case CallBegun(call=call, choice=0):
                self._calls[call] = (event, [])
            case CallPiece(call=call, arguments=arguments, choice=0) if call in self._calls:
                self._calls[call][1].append(arguments)
            case Begun(tokens=Tokens() as tokens) | Used(tokens=tokens):
                self._tokens = merged(self._tokens, tokens)
            case Finished(choice=0):
                return self._tell_calls()
            case Failed(failure=failure):
                self._is_failed = True
                return error_frame(failure, DialectName.CLOUDFLARE, "")
            case Ended():
                return b"" if self._is_failed else self._tell_calls() + self._last()
            case _:
                pass
        return b""

    def _tell_calls(self) -> bytes:
        calls = [_call(begun.id, begun.name, "".join(pieces)) for begun, pieces in self._calls.values()]
        self._calls.clear()
        return b'data: {"response":"","tool_calls":' + encode(calls) + b"}\n\n" if calls else b""

    def _last(self) -> bytes:
        usage = b'data: {"response":"","usage":' + encode(usage_fields(self._tokens)) + b"}\n\n"
        return (b"" if self._tokens == Tokens() else usage) + b"data: [DONE]\n\n"

    def whole(self, events: list[Event]) -> bytes:
        """See `AnswerWriter`."""
        reply = collected(events)
        choice = reply.first
        result: Fields = {"response": choice.text or choice.refusal}
        if choice.calls:
            result["tool_calls"] = [_call(call.id, call.name, call.arguments) for call in choice.calls.values()]
        if reply.tokens != Tokens():
            result["usage"] = usage_fields(reply.tokens)
        return encode({"result": result, "success": True, "errors": [], "messages": []})


def _call(call_id: str, name: str, arguments: str) -> Fields:
    return {"id": call_id, "name": name, "arguments": object_of(arguments)}
