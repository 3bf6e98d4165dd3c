"""From events to chunks and bodies of chat completions."""

from collections import Counter

from masa_node.chat.request import DialectName
from masa_node.dialects.translation.collecting import CallBlock, Choice, TextBlock, ThoughtBlock, collected
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
    merged,
)
from masa_node.dialects.translation.failures import error_frame
from masa_node.dialects.translation.thoughts import sealed_for_caller
from masa_node.dialects.translation.tools import input_of
from masa_node.dialects.translation.wire import encode

_REASONS = {
    StopReason.END: "stop",
    StopReason.STOP_SEQUENCE: "stop",
    StopReason.PAUSE: "stop",
    StopReason.LENGTH: "length",
    StopReason.TOOL_CALLS: "tool_calls",
    StopReason.REFUSAL: "content_filter",
}
_END_OF_CHUNK = b',"logprobs":null,"finish_reason":null}]}\n\n'

Fields = dict[str, object]


class ChatAnswerWriter:
    """Writes one answer."""

    def __init__(self, context: AnswerContext) -> None:
        self._context = context
        self._begun = Begun()
        self._tokens = Tokens()
        self._roles: set[int] = set()
        self._head = b""
        self._heads: dict[int, bytes] = {}
        self._is_failed = False
        self._finished: set[int] = set()
        self._free_form = frozenset(tool.name for tool in context.conversation.tools if tool.is_free_form)
        self._inputs: dict[tuple[int, int], list[str]] = {}  # for such tools: their text is inside the JSON
        self._bare: set[tuple[int, int]] = set()  # calls of which no arguments came yet, each with its choice
        self._thought: list[str] = []  # since the last seal: a client sends both back together
        self._listed: Counter[tuple[int, str]] = Counter()
        self._text_chars = self._calls_begun = 0  # so far: where a thought is

    def write(self, event: Event) -> bytes:
        """See `AnswerWriter`."""
        match event:
            case TextPiece(text=text, choice=choice, logprobs=None):
                self._text_chars += len(text)
                return self._delta(choice, b'{"content":' + encode(text))
            case TextPiece(text=text, choice=choice, logprobs=logprobs):
                self._text_chars += len(text)
                return self._chunk(choice, {"content": text}, {"content": _logprobs(logprobs or []), "refusal": None})
            case ThoughtPiece(text=text, choice=choice):
                self._thought.append(text)
                return self._delta(choice, b'{"reasoning_content":' + encode(text))
            case CallPiece(call=call, arguments=arguments, choice=choice):
                return self._arguments(choice, call, arguments)
            case _:
                return self._write_other(event)

    def _write_other(self, event: Event) -> bytes:
        match event:
            case Begun():
                self._begin(event)
                return self._chunk(0, {}) if not self._roles else b""
            case CallBegun():
                return self._call(event)
            case RefusalPiece(text=text, choice=choice):
                return self._chunk(choice, {"refusal": text})
            case ThoughtSealed(origin=Origin.OPEN):
                self._thought = []
                return b""
            case ThoughtSealed(choice=choice):
                thought, self._thought = "".join(self._thought), []
                block = _sealed(thought, event.seal, event.origin, event.is_hidden)
                placed = _placed(block, self._text_chars, self._calls_begun)
                return self._one_more(choice, "thinking_blocks", placed)
            case Citation(choice=choice):
                return self._one_more(choice, "annotations", _annotation(event))
            case Finished(choice=choice, reason=reason):
                return self._finish(choice, reason)
            case _:
                return self._write_last(event)

    def _write_last(self, event: Event) -> bytes:
        match event:
            case Used(tokens=tokens):
                self._tokens = merged(self._tokens, tokens)
            case Failed(failure=failure):
                self._is_failed = True
                return error_frame(failure, DialectName.OPENAI, self._context.answer_id)
            case Ended():
                return b"" if self._is_failed else self._end()
            case _:
                pass
        return b""

    def _call(self, event: CallBegun) -> bytes:
        self._calls_begun += 1
        place = (event.choice, event.call)
        if event.name in self._free_form:
            self._inputs[place] = []
        else:
            self._bare.add(place)
        fields = {"index": event.call, **_called(event.id, event.name, "", self._free_form)}
        return self._chunk(event.choice, {"tool_calls": [fields]})

    def _arguments(self, choice: int, call: int, arguments: str) -> bytes:
        if self._inputs and (choice, call) in self._inputs:
            self._inputs[choice, call].append(arguments)
            return b""
        if self._bare and arguments:
            self._bare.discard((choice, call))
        head = b'{"tool_calls":[{"index":%d,"function":{"arguments":' % call
        return self._delta(choice, head + encode(arguments) + b"}}]")

    def _finish(self, choice: int, reason: StopReason) -> bytes:
        """The choice's last chunk. A call without arguments has an object without fields: clients read it as JSON."""
        self._finished.add(choice)
        bare = sorted(call for of, call in self._bare if of == choice)
        last = [self._arguments(choice, call, "{}") for call in bare]
        for place in sorted(place for place in self._inputs if place[0] == choice):
            text = input_of("".join(self._inputs.pop(place)))
            last.append(self._chunk(choice, {"tool_calls": [{"index": place[1], "custom": {"input": text}}]}))
        return b"".join(last) + self._chunk(choice, {}, finish=_REASONS[reason])

    def _end(self) -> bytes:
        """What is behind all words. Clients take a choice without a reason for a cut one, and this answer is whole."""
        unfinished = sorted(self._roles - self._finished)
        last = [self._finish(choice, StopReason.END) for choice in unfinished]
        return b"".join(last) + self._usage() + b"data: [DONE]\n\n"

    def _begin(self, event: Begun) -> None:
        self._begun = event
        if event.tokens is not None:
            self._tokens = merged(self._tokens, event.tokens)
        head = encode(self._envelope("chat.completion.chunk"))
        self._head = b"data: " + head[:-1] + b',"choices":[{"index":%d,"delta":'
        self._heads.clear()

    def _envelope(self, kind: str) -> Fields:
        begun, context = self._begun, self._context
        id_ = begun.id if begun.id.startswith("chatcmpl-") else f"chatcmpl-{context.answer_id}"
        created = begun.created_unix_s if begun.created_unix_s is not None else context.now_unix_s
        return {"id": id_, "object": kind, "created": created, "model": begun.model or context.conversation.model}

    def _delta(self, choice: int, open_object: bytes) -> bytes:
        if choice not in self._roles:
            open_object = self._with_role(choice, open_object)
        return self._head_of(choice) + open_object + b"}" + _END_OF_CHUNK

    def _with_role(self, choice: int, open_object: bytes) -> bytes:
        self._roles.add(choice)
        return b'{"role":"assistant",' + open_object[1:]

    def _head_of(self, choice: int) -> bytes:
        if not self._head:
            self._begin(self._begun)
        known = self._heads.get(choice)
        if known is None:
            head, _, rest = self._head.rpartition(b"%d")
            known = self._heads[choice] = b"%b%d%b" % (head, choice, rest)
        return known

    def _chunk(self, choice: int, delta: Fields, logprobs: object = None, finish: str | None = None) -> bytes:
        if choice not in self._roles:
            self._roles.add(choice)
            delta = {"role": "assistant", "content": "", **delta}
        tail = b',"logprobs":' + encode(logprobs) + b',"finish_reason":' + encode(finish) + b"}]}\n\n"
        return self._head_of(choice) + encode(delta) + tail

    def _one_more(self, choice: int, name: str, fields: Fields) -> bytes:
        """One more of a list: OpenAI's SDK puts lists of several chunks together by index, and raises without."""
        index = self._listed[choice, name]
        self._listed[choice, name] += 1
        return self._chunk(choice, {name: [{"index": index, **fields}]})

    def _usage(self) -> bytes:
        if not self._context.conversation.with_usage or self._tokens == Tokens():
            return b""
        fields = self._envelope("chat.completion.chunk")
        fields["choices"], fields["usage"] = [], usage_fields(self._tokens)
        return b"data: " + encode(fields) + b"\n\n"

    def whole(self, events: list[Event]) -> bytes:
        """See `AnswerWriter`."""
        reply = collected(events)
        self._begun = reply.begun
        choices = reply.choices or {0: Choice()}
        body = self._envelope("chat.completion")
        body["choices"] = [_choice(index, choice, self._free_form) for index, choice in sorted(choices.items())]
        if reply.tokens != Tokens():
            body["usage"] = usage_fields(reply.tokens)
        return encode(body)


def _choice(index: int, choice: Choice, free_form: frozenset[str]) -> Fields:
    message: Fields = {"role": "assistant", "content": choice.text or None, "refusal": choice.refusal or None}
    if choice.thought:
        message["reasoning_content"] = choice.thought
    sealed = _sealed_blocks(choice)
    if sealed:
        message["thinking_blocks"] = sealed
    if choice.citations:
        message["annotations"] = [_annotation(each) for each in choice.citations]
    if choice.calls:
        message["tool_calls"] = [_made(call, free_form) for call in choice.calls.values()]
    elif not choice.text and not choice.refusal:
        message["content"] = ""
    logprobs = {"content": _logprobs(choice.logprobs), "refusal": None} if choice.logprobs else None
    reason = _REASONS[choice.reason or StopReason.END]
    return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": reason}


def _made(call: CallBlock, free_form: frozenset[str]) -> Fields:
    said = input_of(call.arguments) if call.name in free_form else call.arguments or "{}"
    return _called(call.id, call.name, said, free_form)


def _called(call_id: str, name: str, said: str, free_form: frozenset[str]) -> Fields:
    """A call as it was offered: of a function, or of a tool that takes any text."""
    if name in free_form:
        return {"id": call_id, "type": "custom", "custom": {"name": name, "input": said}}
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": said}}


def _sealed_blocks(choice: Choice) -> list[Fields]:
    blocks: list[Fields] = []
    chars = calls = 0
    for block in choice.blocks:
        match block:
            case TextBlock():
                chars += len(block.text)
            case CallBlock():
                calls += 1
            case ThoughtBlock(seal=str()) if block.origin is not Origin.OPEN:
                blocks.append(_placed(_block(block), chars, calls))
            case _:
                pass
    return blocks


def _placed(block: Fields, chars: int, calls: int) -> Fields:
    """The thought, and behind what it was: Anthropic refuses a turn whose thoughts have moved."""
    return {**block, "after": [chars, calls]} if chars or calls else block


def _block(block: ThoughtBlock) -> Fields:
    return _sealed(block.text, block.seal or "", block.origin, block.is_hidden)


def _sealed(text: str, seal: str, origin: Origin, is_hidden: bool) -> Fields:  # noqa: FBT001 - as the event has it
    sealed = sealed_for_caller(seal, origin, Origin.ANTHROPIC, is_hidden=is_hidden)
    if is_hidden:
        return {"type": "redacted_thinking", "data": sealed}
    return {"type": "thinking", "thinking": text, "signature": sealed}


def _annotation(cited: Citation) -> Fields:
    where = {"url": cited.url, "title": cited.title, "start_index": cited.start, "end_index": cited.end}
    return {"type": "url_citation", "url_citation": where}


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


def usage_fields(tokens: Tokens) -> Fields:
    """OpenAI's counts; the cached ones are among the prompt's."""
    prompt, completion = tokens.input or 0, tokens.output or 0
    usage: Fields = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    cached = {"cached_tokens": tokens.cache_read, "cache_write_tokens": tokens.cache_write}
    given = {name: count for name, count in cached.items() if count is not None}
    if given:
        usage["prompt_tokens_details"] = given
    if tokens.reasoning is not None:
        usage["completion_tokens_details"] = {"reasoning_tokens": tokens.reasoning}
    return usage
