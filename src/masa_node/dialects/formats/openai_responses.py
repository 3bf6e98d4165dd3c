"""OpenAI's responses: named server-sent events from `response.created` to one that says how the response ended.

No `[DONE]`. Ollama and llama.cpp speak it too; errors have the shape of OpenAI's other endpoints.
"""

import msgspec

from masa_node.chat.answer import Usage
from masa_node.chat.request import DialectName
from masa_node.dialects.choices import Choices
from masa_node.dialects.dialect import ErrorText, Mark, mark_of_other
from masa_node.dialects.faults import no_answer
from masa_node.dialects.fields import ABSENT, FIELDS, LIST, TEXT, TOKENS, is_empty, is_error, is_given, read
from masa_node.dialects.formats.openai import DONE, OpenAi, mark_of_error
from masa_node.dialects.framing import NOTHING, SSE, event_of, is_heartbeat_name

# `response.done`: so Codex's own server has it at times, and Codex and others take it for `response.completed`.
_ENDS = frozenset({"response.completed", "response.done", "response.incomplete", "response.cancelled"})
_FAILED = frozenset({"error", "response.failed"})
# Said of what is to come; a call or the like, which has a name or more, is a part of the answer already.
_BEGUN = frozenset(
    {"response.output_item.added", "response.content_part.added", "response.reasoning_summary_part.added"}
)
_WORDLESS = frozenset({"id", "type", "role", "status", "annotations", "logprobs"})
_BEGIN = b"event: response."
_NOT_PLAIN = (b"error", b"response.failed", *(name.encode() for name in _ENDS))
_OVER = frozenset({"completed", "incomplete"})
_OURS = "response."
_OTHERS = ("message_", "content_block_")  # Anthropic's


class _Response(msgspec.Struct):
    output: msgspec.Raw = ABSENT
    usage: msgspec.Raw = ABSENT
    error: msgspec.Raw = ABSENT
    type: msgspec.Raw = ABSENT
    status: msgspec.Raw = ABSENT
    response: msgspec.Raw = ABSENT
    delta: msgspec.Raw = ABSENT
    item: msgspec.Raw = ABSENT
    part: msgspec.Raw = ABSENT


class _Usage(msgspec.Struct):
    input_tokens: msgspec.Raw = ABSENT
    output_tokens: msgspec.Raw = ABSENT


_RESPONSE = msgspec.json.Decoder(_Response)
_NONE = _Response()
_USAGE = msgspec.json.Decoder(_Usage)


def _note_usage(response: _Response | None, usage: Usage) -> None:
    counts = read(response.usage, _USAGE) if response is not None else None
    if counts is not None:
        usage.input_tokens = read(counts.input_tokens, TOKENS)
        usage.output_tokens = read(counts.output_tokens, TOKENS)


def _note_items(response: _Response | None, choices: Choices) -> None:
    """The items of a response that says that it is over; one that is still under way was cut."""
    if response is None or (read(response.status, TEXT) or "") not in _OVER:
        return
    items = read(response.output, LIST) or []
    for index, item in enumerate(items):
        fields = read(item, _RESPONSE)
        if fields is not None and read(fields.status, TEXT) == "in_progress":
            choices.seen(index + 1, is_told=True)
        else:
            choices.ended(index + 1)
    choices.ended(0)  # behind them, so that they are not taken for counted pieces


def _is_part(kind: str, event: _Response) -> bool:
    if kind.endswith(".delta"):
        return not is_empty(event.delta)
    if kind in _BEGUN:
        fields = read(event.item, FIELDS) or read(event.part, FIELDS) or {}
        return any(name not in _WORDLESS and not is_empty(value) for name, value in fields.items())
    return kind.endswith(".done")


def _mark_of_kind(kind: str, event: _Response) -> Mark:
    if is_heartbeat_name(kind):
        return Mark.NOISE
    if event is _NONE:  # only the name came, or what is no JSON
        return Mark.ALIEN
    return Mark.PIECE if _is_part(kind, event) else Mark.META


def _mark_of_other(kind: str, fields: _Response, data: bytes) -> Mark:
    """SDKs read over types that they do not know; what another dialect begins with is none of this one."""
    other = mark_of_other(kind.encode(), data, is_ours=not is_empty(fields.type))
    return Mark.ALIEN if other is Mark.META and kind.startswith(_OTHERS) else other


class OpenAiResponses(OpenAi):
    """See the module."""

    name = DialectName.OPENAI_RESPONSES
    needs_end = True
    needs_finish = False

    def plain_frames(self, frames: bytes) -> int:
        """See `Dialect`."""
        begun = frames.count(_BEGIN) if frames.startswith(_BEGIN) else 0
        return 0 if begun != SSE.count(frames) or any(map(frames.count, _NOT_PLAIN)) else begun

    def mark(self, frame: bytes, usage: Usage, choices: Choices | None = None) -> Mark:
        """See `Dialect`."""
        event, data = event_of(frame)
        data = data.strip()
        if not data or (not event and data in NOTHING):
            return Mark.NOISE
        if data == DONE:
            return Mark.CUT
        fields = read(data, _RESPONSE) or _NONE
        kind = read(fields.type, TEXT) or event.decode("utf-8", "replace")
        if event == b"error" or kind in _FAILED or is_error(fields.error):
            return Mark.ERROR if kind in _FAILED else mark_of_error(fields.error, data)
        if not kind.startswith(_OURS):
            return _mark_of_other(kind, fields, data)
        if kind not in _ENDS or fields is _NONE:
            return _mark_of_kind(kind, fields)
        response = read(fields.response, _RESPONSE)
        _note_usage(response, usage)
        _note_items(response, choices or Choices())
        return Mark.END

    def fault_of_whole(self, body: bytes, usage: Usage, choices: Choices | None = None) -> str | None:
        """See `Dialect`."""
        response = read(body, _RESPONSE)
        if response is None:
            return no_answer(body, "the body is not a JSON object")
        if not (is_given(response.output) or (read(response.status, TEXT) or "") in _OVER):
            return no_answer(body, "the body has no `output`")
        _note_usage(response, usage)
        noted = choices or Choices()
        _note_items(response, noted)
        return "one of its items is still in progress, so the answer was cut" if noted.are_open else None

    def error_frame(self, error: ErrorText) -> bytes:
        """See `Dialect`."""
        fields = {"type": "error", "code": error.code, "message": error.message, "param": None, "sequence_number": 0}
        return b"event: error\ndata: " + msgspec.json.encode(fields) + b"\n\n"
