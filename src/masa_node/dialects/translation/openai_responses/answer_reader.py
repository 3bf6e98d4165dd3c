"""From the events and bodies of responses to neutral events."""

import msgspec

from masa_node.chat.errors import BrokenAnswer
from masa_node.dialects.fields import ABSENT, TEXT, is_error, is_given, read
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
    Logprob,
    RefusalPiece,
    StopReason,
    TextPiece,
    ThoughtPiece,
    ThoughtSealed,
    Tokens,
    Used,
)
from masa_node.dialects.translation.failures import failure_of
from masa_node.dialects.translation.openai_responses.items import own_seal
from masa_node.dialects.translation.thoughts import thought_of
from masa_node.dialects.translation.wire import encode, read_answer


class _Annotation(msgspec.Struct):
    url: msgspec.Raw = ABSENT
    title: msgspec.Raw = ABSENT
    start_index: int = 0
    end_index: int = 0


class _Part(msgspec.Struct):
    type: str = ""
    text: str | None = None
    refusal: str | None = None
    annotations: list[_Annotation] | None = None
    logprobs: list[Logprob] | None = None


class _Item(msgspec.Struct):
    type: str = ""
    id: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    input: str | None = None
    content: list[_Part] | None = None
    summary: list[_Part] | None = None
    encrypted_content: str | None = None


class _Incomplete(msgspec.Struct):
    reason: str | None = None


class _Response(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    created_at: msgspec.Raw = ABSENT
    status: str | None = None
    output: list[_Item] | None = None
    usage: msgspec.Raw = ABSENT
    error: msgspec.Raw = ABSENT
    incomplete_details: _Incomplete | None = None


class _Event(msgspec.Struct):
    type: str = ""
    delta: str | None = None
    text: str | None = None
    arguments: str | None = None
    refusal: str | None = None
    output_index: int | None = None
    item_id: str | None = None
    item: _Item | None = None
    annotation: _Annotation | None = None
    response: _Response | None = None
    logprobs: list[Logprob] | None = None


class _InputDetails(msgspec.Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: _InputDetails | None = None
    output_tokens_details: _OutputDetails | None = None


_EVENT = msgspec.json.Decoder(_Event, strict=False)
_RESPONSE = msgspec.json.Decoder(_Response, strict=False)
_USAGE = msgspec.json.Decoder(_Usage, strict=False)
_NUMBER = msgspec.json.Decoder(float)
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_CALLS = ("function_call", "custom_tool_call")
_ENDS = ("response.completed", "response.done", "response.incomplete", "response.failed", "response.cancelled")


class ResponsesAnswerReader:
    """Reads one answer. What a server gives only in an item's last event is taken from there."""

    def __init__(self, context: AnswerContext) -> None:
        self._context = context
        self._calls: dict[int, int] = {}  # output's index -> number of the call
        self._places: dict[str | None, int] = {}  # where a call with this id is, or any item without an index
        self._last = -1  # of those without one
        self._seen: set[int] = set()  # outputs of which pieces came
        self._is_begun = False
        self._has_items = False  # did any come by itself?

    def frame(self, frame: bytes) -> list[Event]:
        """See `AnswerReader`."""
        name, data = event_of(frame)
        if not data:
            return []
        event = read_answer(data, _EVENT)
        if name == b"error" or (event is not None and event.type == "error"):
            return [Failed(failure_of(data, 0))]
        if event is None:
            return self._unreadable(data)
        at = self._place(event) if event.output_index is None else event.output_index
        return self._piece(event, at) if event.delta is not None else self._other(event, at, data)

    def _place(self, event: _Event) -> int:
        """Of llama.cpp's events, which have no index: where their item is, or else the last one."""
        item = event.item or _Item()
        ids = (event.item_id, item.id, item.call_id)
        known = next((self._places[id_] for id_ in ids if id_ in self._places), None)
        if known is None and event.item is not None and (any(ids) or event.type == "response.output_item.added"):
            self._last += 1
            self._places.update({id_: self._last for id_ in ids if id_})
        return max(self._last, 0) if known is None else known

    def _unreadable(self, data: bytes) -> list[Event]:
        fields = read(data, _FIELDS)
        if fields is not None and bytes(fields.get("type", ABSENT)).startswith(b'"response.'):
            raise BrokenAnswer("a part of its answer could not be read, so the rest was not taken")
        return []

    def _piece(self, event: _Event, at: int) -> list[Event]:
        delta = event.delta or ""
        if not delta:
            return []
        self._seen.add(at)
        match event.type:
            case "response.output_text.delta":
                return [TextPiece(delta, 0, event.logprobs or None)]
            case "response.reasoning_summary_text.delta" | "response.reasoning_text.delta":
                return [ThoughtPiece(delta)]
            case "response.function_call_arguments.delta" if at in self._calls:
                return [CallPiece(self._calls[at], delta)]
            case "response.refusal.delta":
                return [RefusalPiece(delta)]
            case _:
                self._seen.discard(at)
                return []

    def _other(self, event: _Event, at: int, data: bytes) -> list[Event]:
        match event:
            case _Event(type="response.created" | "response.in_progress", response=_Response() as response):
                return self._begin(response)
            case _Event(type="response.output_item.added", item=_Item() as item):
                return self._added(item, at)
            case _Event(type="response.output_item.done", item=_Item() as item):
                return self._done(item, at)
            case _Event(type="response.function_call_arguments.done", arguments=str(arguments)):
                return self._arguments(at, arguments)
            case _Event(type="response.reasoning_summary_part.added") if at in self._seen:
                return [ThoughtPiece("\n\n")]
            case _Event(type="response.output_text.annotation.added", annotation=_Annotation() as annotation):
                return [_citation(annotation)]
            case _Event(type=kind, response=_Response() as response) if kind in _ENDS:
                return [*self._late(response), *self._end(response, data)]
            case _:
                return []

    def _late(self, response: _Response) -> list[Event]:
        """What only the last event tells: all items where nothing came before, or else calls and their arguments."""
        items = list(enumerate(response.output or ()))
        if not (self._seen or self._calls or self._has_items):
            return [event for at, item in items for event in self._done(item, at)]
        calls = [(at, item) for at, item in items if item.type in _CALLS]
        return [event for at, item in calls for event in self._done(item, self._place_of(item, at))]

    def _place_of(self, item: _Item, at: int) -> int:
        """Where the events had this call; a place of its own if they had none. Not all servers count as they list."""
        known = next((self._places[id_] for id_ in (item.call_id, item.id) if id_ in self._places), None)
        if known is not None:
            return known
        return at if at in self._calls else -1 - at

    def _begin(self, response: _Response) -> list[Event]:
        if self._is_begun:
            return []
        self._is_begun = True
        created = read(response.created_at, _NUMBER)
        return [Begun(response.id or "", response.model or "", None if created is None else int(created))]

    def _added(self, item: _Item, at: int) -> list[Event]:
        if item.type not in _CALLS or at in self._calls or len(self._calls) >= MAX_CALLS:
            return []
        number = self._calls[at] = len(self._calls)
        self._places.update({id_: at for id_ in (item.call_id, item.id) if id_})
        id_ = item.call_id or item.id or f"call_{self._context.answer_id}_{number}"
        return [CallBegun(number, id_, item.name or "")]

    def _arguments(self, at: int, arguments: str) -> list[Event]:
        if at in self._seen or at not in self._calls or not arguments:
            return []
        self._seen.add(at)
        return [CallPiece(self._calls[at], arguments)]

    def _done(self, item: _Item, at: int) -> list[Event]:
        """An item is complete: what of it did not come in pieces, and a thought's seal."""
        self._has_items = True
        match item.type:
            case "message":
                return [] if at in self._seen else _words(item)
            case "function_call":
                return [*self._added(item, at), *self._arguments(at, item.arguments or "")]
            case "custom_tool_call":
                arguments = encode({"input": item.input or ""}).decode()
                return [*self._added(item, at), *self._arguments(at, arguments)]
            case "reasoning":
                return self._thought(item, at)
            case _:
                return []

    def _thought(self, item: _Item, at: int) -> list[Event]:
        text = "\n\n".join(part.text for part in item.summary or item.content or () if part.text)
        said: list[Event] = [ThoughtPiece(text)] if text and at not in self._seen else []
        if not item.encrypted_content or item.encrypted_content == text:  # Ollama puts the thought itself there
            return said
        is_hidden = not text and at not in self._seen
        thought = thought_of(text, item.encrypted_content, Origin.OPENAI, is_hidden=is_hidden)
        if thought.origin is Origin.OPEN:
            return said
        seal = thought.seal or ""
        if thought.origin is Origin.OPENAI:
            seal = own_seal(item.id or "", seal)
        return [*said, ThoughtSealed(seal, thought.origin, thought.is_hidden)]

    def _end(self, response: _Response, data: bytes) -> list[Event]:
        if is_error(response.error):
            return [Failed(failure_of(b'{"error":' + bytes(response.error) + b"}", 0))]
        if response.status in ("failed", "cancelled"):
            return [Failed(failure_of(data, 0))]
        return [*self._reason(response), Ended()]

    def _reason(self, response: _Response) -> list[Event]:
        reason = StopReason.TOOL_CALLS if self._calls else StopReason.END
        if response.incomplete_details is not None:
            is_filtered = response.incomplete_details.reason == "content_filter"
            reason = StopReason.REFUSAL if is_filtered else StopReason.LENGTH
        tokens = tokens_of(response.usage)
        used: list[Event] = [Used(tokens)] if tokens is not None else []
        return [Finished(reason), *used]

    def whole(self, body: bytes) -> list[Event]:
        """See `AnswerReader`."""
        response = read_answer(body, _RESPONSE)
        if response is None:
            raise BrokenAnswer("its answer could not be read")
        events = self._begin(response)
        for at, item in enumerate(response.output or ()):
            events += self._done(item, at)
        return [*events, *self._end(response, body)]


def tokens_of(raw: msgspec.Raw) -> Tokens | None:
    """The counts of responses."""
    usage = read(raw, _USAGE) if is_given(raw) else None
    if usage is None:
        return None
    before = usage.input_tokens_details or _InputDetails()
    after = usage.output_tokens_details or _OutputDetails()
    return Tokens(
        usage.input_tokens, usage.output_tokens, before.cached_tokens, before.cache_write_tokens, after.reasoning_tokens
    )


def _words(item: _Item) -> list[Event]:
    events: list[Event] = []
    for part in item.content or ():
        if part.text:
            events.append(TextPiece(part.text, 0, part.logprobs or None))
        if part.refusal:
            events.append(RefusalPiece(part.refusal))
        events += [_citation(annotation) for annotation in part.annotations or ()]
    return events


def _citation(annotation: _Annotation) -> Citation:
    url, title = read(annotation.url, TEXT) or "", read(annotation.title, TEXT) or ""
    return Citation(url, title, "", annotation.start_index, annotation.end_index)
