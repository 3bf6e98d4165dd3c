"""One request and its answer, translated: the caller's format on one side, the server's on the other."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar, cast

import msgspec

from masa_node.chat.errors import BrokenAnswer, NotAnAnswer
from masa_node.chat.request import DIALECT_OF_ENDPOINT, Endpoint, Headers
from masa_node.dialects.framing import FrameCutter, is_silent, parts_of
from masa_node.dialects.halves import at_last, has_halves, joined, marked
from masa_node.dialects.registry import DIALECTS
from masa_node.dialects.translation.codecs import ANSWER_READERS, ANSWER_WRITERS, REQUEST_READERS, REQUEST_WRITERS
from masa_node.dialects.translation.conversation import ChoiceMode, Conversation, Origin
from masa_node.dialects.translation.events import (
    AnswerContext,
    AnswerReader,
    CallBegun,
    CallPiece,
    Citation,
    Ended,
    Event,
    Failed,
    Finished,
    RefusalPiece,
    TextPiece,
    ThoughtPiece,
    ThoughtSealed,
    not_timed,
)
from masa_node.dialects.translation.failures import Kind, error_body, failure_of
from masa_node.dialects.translation.formats import CARRIED, label_of
from masa_node.dialects.translation.losses import Losses, refuse
from masa_node.dialects.translation.tools import CallerNames, respelt_names

T = TypeVar("T")

# What a caller's format has no room for in an answer, by the names that thoughts have there.
_NO_SEAL: dict[type[Event], str] = {ThoughtSealed: "thinking.signature", Citation: "annotations"}
_NO_THOUGHT: dict[type[Event], str] = {ThoughtPiece: "thinking", **_NO_SEAL}
UNSAID: dict[Endpoint, dict[type[Event], str]] = {
    Endpoint.OLLAMA_CHAT: _NO_SEAL,
    Endpoint.OLLAMA_GENERATE: {**_NO_SEAL, CallBegun: "tool_calls"},
    Endpoint.CLOUDFLARE_RUN: _NO_THOUGHT,
    Endpoint.GEMINI_GENERATE: _NO_SEAL,
    Endpoint.GEMINI_STREAM: _NO_SEAL,
    Endpoint.OPENAI_COMPLETIONS: {**_NO_THOUGHT, CallBegun: "tool_calls"},
}

TRANSLATED = "x-masa-translated"
DROPPED = "x-masa-dropped"
# Of an answer that is kept for its last events, or read at once, which takes 2 ms a megabyte. Words never have so many.
MAX_ANSWER_BYTES = 8 * 1024 * 1024
_LAST = frozenset({Ended, Failed})
_BAD_REQUEST, _SERVER_FAULT = 400, 500
# What ends a part of an answer repeats all of it, in some formats thrice: 1 ms for so many bytes.
MUCH_BYTES = 256 * 1024


class Translation(msgspec.Struct, frozen=True):
    """A request of the `source` endpoint as the server of the `target` endpoint takes it: `body`.

    `headers` tell the caller that it was translated, and which fields were left out; `headers_with` tells also of those
    of the answer.
    """

    source: Endpoint
    target: Endpoint
    conversation: Conversation
    body: bytes
    headers: Headers

    def answer(self, answer_id: str, now_unix_s: int, took_ns: Callable[[], int] = not_timed) -> "AnswerTranslator":
        """What translates one answer to it. See `AnswerContext`: its id is for servers that give none of the kind."""
        context = AnswerContext(self.conversation, answer_id, now_unix_s, took_ns)
        return AnswerTranslator(self.source, self.target, context)

    def headers_with(self, left_out: Iterable[str]) -> Headers:
        """The headers where there was no room for these parts of the answer either."""
        known = dict(self.headers)
        before = known.get(DROPPED)
        names = [*([before] if before else ()), *left_out]
        return tuple({**known, DROPPED: ", ".join(names)}.items()) if names else self.headers

    def error(self, status: int, body: bytes, request_id: str) -> bytes:
        """An error that the server answered with, in the caller's format."""
        return error_body(failure_of(body, status), DIALECT_OF_ENDPOINT[self.source], request_id)

    def error_status(self, status: int, body: bytes) -> int:
        """The status of such an error: 400 for a prompt that is too long, which no SDK shall send again as it is."""
        is_fault = status >= _SERVER_FAULT and failure_of(body, status).kind is Kind.CONTEXT
        return _BAD_REQUEST if is_fault else status


def translate(body: bytes, model: str, source: Endpoint, target: Endpoint) -> Translation:
    """Raises `NotTranslatable`, which names the field, for what the target cannot carry without being wrong."""
    losses = Losses(CARRIED.get(target, frozenset()))
    conversation = REQUEST_READERS[source](body, losses)
    choice = conversation.tool_choice
    if choice is not None and choice.mode in (ChoiceMode.REQUIRED, ChoiceMode.NAMED) and not conversation.tools:
        raise refuse("tool_choice", "a tool has to be called, and none is offered.")
    if not conversation.model:  # some formats have it in the path
        conversation = msgspec.structs.replace(conversation, model=model)
    written = REQUEST_WRITERS[target](conversation, losses)
    headers = [(TRANSLATED, label_of(source, target))]
    if losses.names:
        headers.append((DROPPED, ", ".join(losses.names)))
    return Translation(source, target, conversation, written, tuple(headers))


def _is_no_loss(sealed: ThoughtSealed, unsaid: dict[type[Event], str]) -> bool:
    """Gemini's signature of a call stands beside it, where calls and thoughts are told. An open thought has none."""
    if sealed.origin is not Origin.GOOGLE:
        return sealed.origin is Origin.OPEN
    return ThoughtPiece not in unsaid and CallBegun not in unsaid and not sealed.seal.startswith(" ")


class AnswerTranslator:
    """Translates one answer, of a stream or in one piece. Raises nothing but `ProviderError`.

    `is_over`: the terminal frame was given, or an error. `left_out` are the names of what there was no room for so far.
    """

    __slots__ = (
        *("_cutter", "_framing", "_halves", "_last", "_reader", "_size", "_unsaid", "_writer", "is_over", "left_out"),
    )

    def __init__(self, source: Endpoint, target: Endpoint, context: AnswerContext) -> None:
        self._framing = DIALECTS[DIALECT_OF_ENDPOINT[target]].framing
        self._cutter = FrameCutter(self._framing)
        reader: AnswerReader = ANSWER_READERS[target](context)
        names = respelt_names(context.conversation.tools)
        self._reader = CallerNames(reader, names) if names else reader
        self._halves: WholeCharacters | None = None  # once there was half a character
        self._writer = ANSWER_WRITERS[source](context)
        self.is_over = False
        self.left_out: dict[str, None] = {}
        self._unsaid = UNSAID.get(source)
        self._size = 0
        self._last: type[Event] | None = None

    def feed(self, piece: bytes) -> bytes:
        """What this piece of the server's stream is in the caller's format; b"" where it says nothing there (yet)."""
        whole = self.cut(piece)
        return self.translated(whole) if whole else b""

    def cut(self, piece: bytes) -> bytes:
        """The frames that this piece of the server's stream completes, b"" if none: `translated` takes them."""
        self._size += len(piece)
        if self._size > MAX_ANSWER_BYTES:
            self.check_size(self._size)
        return self._cutter.feed(piece)

    def parts(self, frames: bytes, size: int) -> Iterator[bytes]:
        """See `parts_of`."""
        return parts_of(self._framing, frames, size)

    def finish(self) -> bytes:
        """The server's stream has ended whole: the rest, and the terminal frame if it was not given yet."""
        rest = self._cutter.rest()
        out = self.translated(rest) if rest.strip() else b""
        return out if self.is_over else out + self.written([*self._begun_halves(), Ended()])

    def translated(self, frames: bytes) -> bytes:
        """What these whole frames are in the caller's format; b"" where they say nothing there (yet)."""
        return self.written(self.events_of(frames))

    def events_of(self, frames: bytes) -> list[Event]:
        """What these whole frames say; `written` writes it."""
        if is_silent(self._framing, frames):
            return []
        is_plain = self._halves is None and frames.isascii() and frames.find(b"\\u") < 0  # as most are, in 0.1 us
        read = self._reader.frame if is_plain else self._reader_of(frames).frame
        cut = self._framing.frames(frames)
        if len(cut) == 1:
            return read(cut[0])
        return [event for frame in cut for event in read(frame)]

    def takes_long(self, events: list[Event]) -> bool:
        """May it take milliseconds to write them? So it does where another kind of part begins behind much."""
        if not events:
            return False
        before, self._last = self._last, type(events[-1])
        return self._size > MUCH_BYTES and any(type(event) is not before for event in events)

    @property
    def has_much(self) -> bool:
        """May it take milliseconds to `finish`?"""
        return self._size > MUCH_BYTES

    def _reader_of(self, data: bytes) -> AnswerReader:
        if self._halves is None:
            if not has_halves(data):
                return self._reader
            self._halves = WholeCharacters(self._reader)
        return self._halves

    def _begun_halves(self) -> list[Event]:
        return self._halves.rest() if self._halves is not None else []

    def _note(self, events: list[Event], unsaid: dict[type[Event], str]) -> None:
        for event in events:
            name = unsaid.get(type(event))
            if name is not None and not (isinstance(event, ThoughtSealed) and _is_no_loss(event, unsaid)):
                self.left_out[name] = None

    def written(self, events: list[Event]) -> bytes:
        """These events in the caller's format."""
        out = b""
        if self._unsaid is not None:
            self._note(events, self._unsaid)
        for event in events:
            if self.is_over:
                break  # what comes after the end belongs to nobody
            self.is_over = type(event) in _LAST
            out += self._writer.write(event)
        return out

    def whole(self, body: bytes) -> bytes:
        """A complete body in the caller's format."""
        self.check_size(len(body))
        return self._whole(self._reader_of(body).whole(body))

    def streamed(self, body: bytes) -> bytes:
        """A complete body as the stream that the caller asked for."""
        self.check_size(len(body))
        return self.written(self._reader_of(body).whole(body))

    def collected(self, stream: bytes) -> bytes:
        """A whole stream as the complete body that the caller asked for."""
        self.check_size(len(stream))
        read = self._reader_of(stream).frame
        events = [event for frame in self._framing.frames(stream) for event in read(frame)]
        return self._whole([*events, *self._begun_halves()])

    def _whole(self, events: list[Event]) -> bytes:
        """Raises `BrokenAnswer` for an error among them: it must not be a whole answer without words."""
        for event in events:
            if isinstance(event, Failed):
                raise BrokenAnswer(f"its answer holds an error: {event.failure.message}")
        if self._unsaid is not None:
            self._note(events, self._unsaid)
        return self._writer.whole(events)

    @staticmethod
    def check_size(size: int) -> None:
        """Raises `NotAnAnswer` for an answer of more bytes than are translated."""
        if size > MAX_ANSWER_BYTES:
            raise NotAnAnswer(f"its answer is larger than {MAX_ANSWER_BYTES} bytes, which is all that is translated.")


_Words = TextPiece | ThoughtPiece | RefusalPiece | CallPiece
_Text = tuple[type[_Words], int, int]  # of what kind, of which choice, and of which of its calls


class WholeCharacters:
    """Reads an answer with `reader`, and puts characters together of which one piece has a part, and the next the rest.

    A part is held back until more of its text comes, or something else instead: then U+FFFD stands for it. Of each text
    that is begun it is a few bytes.
    """

    def __init__(self, reader: AnswerReader) -> None:
        self._reader = reader
        self._held: dict[_Text, _Words] = {}

    def frame(self, frame: bytes) -> list[Event]:
        """See `AnswerReader`."""
        return self._joined(self._reader.frame(marked(frame)))

    def whole(self, body: bytes) -> list[Event]:
        """See `AnswerReader`."""
        return self._joined(self._reader.whole(marked(body)))

    def rest(self) -> list[Event]:
        """What is held, when nothing more comes."""
        return self._given_up(set(self._held))

    def _joined(self, events: list[Event]) -> list[Event]:
        out: list[Event] = []
        for event in events:
            if isinstance(event, _Words):
                out += self._words(event)
            else:
                out += [*self._given_up(self._ended_by(event)), _in_whole_characters(event)]
        return out

    def _words(self, event: _Words) -> list[Event]:
        text: _Text = (type(event), event.choice, event.call if isinstance(event, CallPiece) else 0)
        ended = {other for other in self._held if other[1] == event.choice and other[0] is not text[0]}
        before = self._held.pop(text, None)
        words, begun = joined((_text_of(before) if before is not None else "") + _text_of(event))
        if begun:
            self._held[text] = _another(event, begun)
        rated = _in_whole_characters(event.logprobs) if isinstance(event, TextPiece) else None
        more = TextPiece(words, event.choice, rated) if rated else _another(event, words)
        return [*self._given_up(ended), *([more] if words or rated else ())]

    def _ended_by(self, event: Event) -> set[_Text]:
        """The texts of which nothing comes after this."""
        match event:
            case Ended() | Failed():
                return set(self._held)
            case Finished(choice=choice):
                return {text for text in self._held if text[1] == choice}
            case CallBegun(choice=choice) | ThoughtSealed(choice=choice):
                return {text for text in self._held if text[1] == choice and text[0] is not CallPiece}
            case _:
                return set()

    def _given_up(self, texts: set[_Text]) -> list[Event]:
        parts = [self._held.pop(text) for text in list(self._held) if text in texts]
        return [_another(part, at_last(_text_of(part))) for part in parts]


def _text_of(event: _Words) -> str:
    return event.arguments if isinstance(event, CallPiece) else event.text


def _another(event: _Words, text: str) -> _Words:
    """A piece of the same text."""
    return (
        CallPiece(event.call, text, event.choice) if isinstance(event, CallPiece) else type(event)(text, event.choice)
    )


def _in_whole_characters(value: T) -> T:
    """The same with U+FFFD for each part of a character in it."""
    if isinstance(value, str):  # a reason is one, and a kind of failure
        return cast("T", at_last(value)) if type(value) is str else value
    if isinstance(value, list):
        return cast("T", [_in_whole_characters(each) for each in cast("list[object]", value)])
    if isinstance(value, msgspec.Struct):
        names = value.__struct_fields__
        return msgspec.structs.replace(value, **{name: _in_whole_characters(getattr(value, name)) for name in names})
    return value
