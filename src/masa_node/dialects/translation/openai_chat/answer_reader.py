"""From chunks and bodies of chat completions to events. Nothing a server may send makes it raise but `BrokenAnswer`."""

import msgspec

from masa_node.chat.errors import BrokenAnswer
from masa_node.dialects.fields import ABSENT, TEXT, is_error, is_given, is_reason, read
from masa_node.dialects.framing import event_of, is_heartbeat_name
from masa_node.dialects.translation.calls import CallTracker
from masa_node.dialects.translation.conversation import Origin
from masa_node.dialects.translation.events import (
    AnswerContext,
    Begun,
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
    reason_in,
)
from masa_node.dialects.translation.failures import failure_of
from masa_node.dialects.translation.openai_chat.answer_thoughts import (
    Block,
    Details,
    Part,
    seals_of,
    signed,
    words_of,
)
from masa_node.dialects.translation.thoughts import Extra
from masa_node.dialects.translation.wire import read_answer

_DONE = b"[DONE]"
_OBJECT = b"{"
MAX_CHOICES = 128  # OpenAI's own bound of `n`


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: msgspec.Raw = ABSENT


class _Custom(msgspec.Struct, gc=False):
    name: str | None = None
    input: str | None = None


class _Call(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None
    custom: _Custom | None = None
    extra_content: Extra | None = None


class _UrlCitation(msgspec.Struct):
    url: str = ""
    title: str = ""
    start_index: int = 0
    end_index: int = 0


class _Annotation(msgspec.Struct):
    url_citation: _UrlCitation | None = None


class _Delta(msgspec.Struct):
    content: str | list[Part] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: msgspec.Raw = ABSENT
    tool_calls: list[_Call] | None = None
    function_call: _Function | None = None
    annotations: msgspec.Raw = ABSENT
    thinking_blocks: list[Block] | None = None
    reasoning_details: msgspec.Raw = ABSENT
    reasoning_text: str | None = None  # Copilot's name, and its seal
    reasoning_opaque: str | None = None
    extra_content: Extra | None = None


class _Choice(msgspec.Struct):
    index: int | None = None
    delta: _Delta | None = None
    message: _Delta | None = None
    finish_reason: msgspec.Raw = ABSENT
    stop_reason: msgspec.Raw = ABSENT
    logprobs: msgspec.Raw = ABSENT
    text: str | None = None
    usage: msgspec.Raw = ABSENT  # Moonshot's place
    error: msgspec.Raw = ABSENT  # OpenRouter's, of one that broke off


class _Chunk(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    created: msgspec.Raw = ABSENT
    choices: list[_Choice] | None = None
    usage: msgspec.Raw = ABSENT
    error: msgspec.Raw = ABSENT


class _Details(msgspec.Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    prompt_cache_hit_tokens: int | None = None  # DeepSeek's name
    cached_tokens: int | None = None  # Moonshot's
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None


class _Logprobs(msgspec.Struct):
    content: list[Logprob] | None = None


class _Finish(msgspec.Struct):
    type: str = ""


_CHUNK = msgspec.json.Decoder(_Chunk, strict=False)
_USAGE = msgspec.json.Decoder(_Usage, strict=False)
_LOGPROBS = msgspec.json.Decoder(_Logprobs, strict=False)
_FINISH = msgspec.json.Decoder(_Finish)
_ANNOTATIONS = msgspec.json.Decoder(list[_Annotation])
_COUNT = msgspec.json.Decoder(int)
_ENVELOPE = msgspec.json.Decoder(dict[str, msgspec.Raw])


class ChatAnswerReader:
    """Reads one answer. Also Cloudflare's newer models answer so, inside an envelope."""

    def __init__(self, context: AnswerContext) -> None:
        self._context = context
        # Where one answer was asked for, all is of that: some servers count their pieces, or part words from calls.
        self._are_several = (context.conversation.sampling.choices or 1) > 1
        self._calls: dict[int, CallTracker] = {}
        self._details: dict[int, Details] = {}  # of the thought that each choice is at
        self._is_begun = False

    def frame(self, frame: bytes) -> list[Event]:
        """See `AnswerReader`."""
        name, data = event_of(frame)
        if not data:
            return []
        if not data.startswith(_OBJECT) and data.strip() == _DONE:
            return [*self._seals(*self._details), Ended()]
        return self._read(data, is_named_error=name == b"error")

    def whole(self, body: bytes) -> list[Event]:
        """See `AnswerReader`."""
        events = self._read(body, is_named_error=False)
        if not events:
            raise BrokenAnswer("its answer could not be read")
        return [*events, *self._seals(*self._details), Ended()]

    def _seals(self, *choices: int) -> list[Event]:
        """The thoughts of these choices are over."""
        over = [(choice, self._details.pop(choice)) for choice in choices if choice in self._details]
        return [seal for choice, details in over for seal in details.sealed(choice)]

    def _read(self, data: bytes, *, is_named_error: bool) -> list[Event]:
        chunk = read_answer(data, _CHUNK)
        if chunk is None:
            return self._unreadable(data)
        if is_named_error or is_error(chunk.error):
            return [Failed(failure_of(data, 0))]
        has_usage = chunk.usage is not ABSENT and is_given(chunk.usage)
        words = _words_alone(chunk.choices) if self._is_begun and not (has_usage or self._details) else None
        return [words] if words else self.events_of(chunk)

    def _unreadable(self, data: bytes) -> list[Event]:
        """Noise is passed over; a part of an answer that is not understood must not be missing silently."""
        fields = read(data, _ENVELOPE)
        if fields is not None and "choices" in fields:
            raise BrokenAnswer("a part of its answer could not be read, so the rest was not taken")
        return []

    def events_of(self, chunk: "_Chunk") -> list[Event]:
        """What a chunk, or a whole body, says."""
        events: list[Event] = []
        if not (self._is_begun or is_heartbeat_name(chunk.model or "")):  # oMLX has one in the shape of a chunk
            self._is_begun = True
            events.append(Begun(chunk.id or "", chunk.model or "", read(chunk.created, _COUNT)))
        for choice in chunk.choices or ():
            self._add_choice(events, choice)
        _add_usage(events, chunk.usage)
        return events

    def _add_choice(self, events: list[Event], choice: _Choice) -> None:
        index = choice.index or 0 if self._are_several else 0
        if not 0 <= index < MAX_CHOICES:
            return
        delta = choice.delta or choice.message
        if delta is not None:
            logprobs = read(choice.logprobs, _LOGPROBS) if is_given(choice.logprobs) else None
            self._add_delta(events, delta, index, logprobs)
        elif choice.text:
            events.append(TextPiece(choice.text, index))
        if is_reason(choice.finish_reason):
            events += self._seals(index)
            self._add_finish(events, choice, index)
        _add_usage(events, choice.usage)

    def _add_delta(self, events: list[Event], delta: _Delta, index: int, logprobs: _Logprobs | None) -> None:
        named = (read(delta.reasoning, TEXT) or "") if is_given(delta.reasoning) else ""
        details = None
        if delta.reasoning_details is not ABSENT or (named and not delta.reasoning_content):
            details = self._details.setdefault(index, Details())
            details.is_named = details.is_named or bool(named)
        _add_thoughts(events, delta, index, named, details)
        content = delta.content
        if self._details and (content or delta.tool_calls or delta.refusal):
            events += self._seals(index)
        if content:
            _add_content(events, content, index, logprobs)
        elif logprobs is not None and logprobs.content:
            events.append(TextPiece("", index, logprobs.content))
        if delta.refusal:
            events.append(RefusalPiece(delta.refusal, index))
        older = delta.function_call
        calls = delta.tool_calls or ([_Call(0, None, older)] if older is not None and older != _Function() else None)
        if calls:
            self._add_calls(events, calls, index)
        if is_given(delta.annotations):
            _add_citations(events, delta.annotations, index)

    def _add_calls(self, events: list[Event], calls: list[_Call], index: int) -> None:
        tracker = self._calls.get(index)
        if tracker is None:
            tracker = self._calls[index] = CallTracker(index, self._context.answer_id)
        for position, call in enumerate(calls):
            at = position if call.index is None else call.index
            function = call.function or _Function()
            name, arguments = function.name, arguments_of(function.arguments)
            if call.custom is not None:
                name, arguments = call.custom.name, msgspec.json.encode({"input": call.custom.input or ""}).decode()
            made = tracker.piece(at, call.id or "", name or "", arguments)
            if call.extra_content is not None:  # before the call: a thought comes first
                events += signed(tracker.id_at(at), call.extra_content, index)
            events += made

    def _add_finish(self, events: list[Event], choice: _Choice, index: int) -> None:
        word = read(choice.finish_reason, TEXT)
        if word is None:
            finish = read(choice.finish_reason, _FINISH)
            word = finish.type if finish is not None else "stop"
        tracker = self._calls.get(index)
        stop_sequence = read(choice.stop_reason, TEXT)  # vLLM's: the sequence itself
        said = reason_in(word)
        if isinstance(said, Failed):
            error = b'{"error":' + bytes(choice.error) + b"}"
            events.append(Failed(failure_of(error, 0)) if is_error(choice.error) else said)
            return
        reason = reason_of(said, has_calls=tracker is not None and tracker.are_named)
        if reason is StopReason.END and stop_sequence:
            reason = StopReason.STOP_SEQUENCE
        events.append(Finished(reason, stop_sequence, index))


def _words_alone(choices: list[_Choice] | None) -> TextPiece | None:
    """What most chunks are: more words of the first choice, and nothing else."""
    if choices is None or len(choices) != 1:
        return None
    choice, delta = choices[0], choices[0].delta
    if delta is None or not delta.content or choice.index or type(delta.content) is not str:
        return None
    if choice.finish_reason is not ABSENT and is_reason(choice.finish_reason):
        return None
    if choice.logprobs is not ABSENT and is_given(choice.logprobs):
        return None
    if choice.usage is not ABSENT:
        return None
    return TextPiece(delta.content) if _is_bare(delta) else None


def _any_given(*raws: msgspec.Raw) -> bool:
    return any(is_given(raw) for raw in raws)


def _is_bare(delta: _Delta) -> bool:
    return (
        delta.tool_calls is None
        and delta.reasoning_content is None
        and delta.refusal is None
        and delta.function_call is None
        and delta.thinking_blocks is None
        and delta.extra_content is None
        and delta.reasoning_details is ABSENT
        and delta.reasoning_text is None
        and delta.reasoning_opaque is None
        and (delta.reasoning is delta.annotations is ABSENT or not _any_given(delta.reasoning, delta.annotations))
    )


def reason_of(reason: StopReason, *, has_calls: bool) -> StopReason:
    """The reason, put right: some servers say `stop` after tool calls, or name calls that never came."""
    if has_calls and reason in (StopReason.END, StopReason.STOP_SEQUENCE):
        return StopReason.TOOL_CALLS
    if reason is StopReason.TOOL_CALLS and not has_calls:
        return StopReason.END
    return reason


def arguments_of(raw: msgspec.Raw) -> str:
    """The arguments of a call as JSON text: some servers give an object instead of its text."""
    if not is_given(raw):
        return ""
    text = read(raw, TEXT)
    return text if text is not None else bytes(raw).decode("utf-8", "replace")


def _add_usage(events: list[Event], raw: msgspec.Raw) -> None:
    tokens = tokens_of(raw) if is_given(raw) else None
    if tokens is not None:
        events.append(Used(tokens))


def tokens_of(raw: msgspec.Raw) -> Tokens | None:
    """OpenAI's counts."""
    usage = read(raw, _USAGE)
    if usage is None:
        return None
    prompt = usage.prompt_tokens_details or _Details()
    completion = usage.completion_tokens_details or _Details()
    cached = (prompt.cached_tokens, usage.prompt_cache_hit_tokens, usage.cached_tokens)
    return Tokens(
        usage.prompt_tokens,
        usage.completion_tokens,
        next((count for count in cached if count is not None), None),
        prompt.cache_write_tokens,
        completion.reasoning_tokens,
    )


def _add_content(events: list[Event], content: str | list[Part], index: int, logprobs: _Logprobs | None) -> None:
    rated = logprobs.content if logprobs is not None else None
    if isinstance(content, str):
        events.append(TextPiece(content, index, rated))
        return
    for part in content:
        events += words_of(part, index)


def _add_thoughts(events: list[Event], delta: _Delta, index: int, named: str, details: Details | None) -> None:
    seen = details.add(delta.reasoning_details) if details is not None else ""
    thought = delta.reasoning_content or delta.reasoning_text or named or seen
    if thought:
        events.append(ThoughtPiece(thought, index))
    if delta.reasoning_opaque:
        events.append(ThoughtSealed(delta.reasoning_opaque, Origin.COPILOT, choice=index))
    if delta.thinking_blocks:
        events += seals_of(delta.thinking_blocks, index)
    if delta.extra_content is not None:
        events += signed("", delta.extra_content, index)


def _add_citations(events: list[Event], raw: msgspec.Raw, index: int) -> None:
    for annotation in read(raw, _ANNOTATIONS) or ():
        cited = annotation.url_citation
        if cited is not None:
            events.append(Citation(cited.url, cited.title, "", cited.start_index, cited.end_index, index))
