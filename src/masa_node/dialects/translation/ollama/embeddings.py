"""Embeddings: asked for in Ollama's formats, of a server that speaks OpenAI's. Each text is a turn.

Of the answer each vector is the text of a choice: a list of numbers, as JSON.
"""

import base64
import binascii
from array import array
from math import isfinite
from sys import byteorder

import msgspec

from masa_node.chat.errors import NotAnAnswer
from masa_node.chat.request import DialectName
from masa_node.dialects.fields import ABSENT, TEXT, is_error, read
from masa_node.dialects.translation.conversation import Conversation, Role, Text, Turn
from masa_node.dialects.translation.events import AnswerContext, Ended, Event, Failed, TextPiece, Tokens, Used
from masa_node.dialects.translation.failures import error_frame, failure_of
from masa_node.dialects.translation.losses import Losses, refuse
from masa_node.dialects.translation.ollama.answer_writer import durations
from masa_node.dialects.translation.wire import BodyReader, encode, given, read_answer

_FLOAT_BYTES = 4
_OF_NUMBERS = b"0123456789+-.eE, \t\r\n[]"
_NUANCES = ("keep_alive", "options")
_IS_IT_FOR_THIS = "Does its server run this model for embeddings?"


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    model: str = ""
    input: str | list[str] | None = None
    prompt: str | None = None
    dimensions: int | None = None
    truncate: bool | None = None
    stream: bool | None = None
    keep_alive: msgspec.Raw = ABSENT
    options: msgspec.Raw = ABSENT


class _Item(msgspec.Struct):
    embedding: msgspec.Raw = ABSENT
    index: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None


class _Answer(msgspec.Struct):
    data: list[_Item] | None = None
    usage: _Usage | None = None
    error: msgspec.Raw = ABSENT


_BODY = BodyReader(_Body)
_ANSWER = msgspec.json.Decoder(_Answer, strict=False)


def read_embed(body: bytes, losses: Losses) -> Conversation:
    """A request to `/api/embed`. Raises `NotTranslatable`."""
    asked = _BODY.read(body, losses)
    texts = [asked.input] if isinstance(asked.input, str) else asked.input or []
    return _conversation(asked, texts, "input", losses)


def read_embeddings(body: bytes, losses: Losses) -> Conversation:
    """A request to `/api/embeddings`, for one text. Raises `NotTranslatable`."""
    asked = _BODY.read(body, losses)
    return _conversation(asked, [asked.prompt] if asked.prompt else [], "prompt", losses)


def _conversation(asked: _Body, texts: list[str], name: str, losses: Losses) -> Conversation:
    if not texts:
        raise refuse(name, "there is no text in it, and a server of the other format takes none.")
    losses.drop(*(each for each in _NUANCES if given(getattr(asked, each))))
    if asked.truncate:  # a text that is too long is refused there
        losses.drop("truncate")
    turns = tuple([Turn(Role.USER, (Text(text),)) for text in texts])
    return Conversation(model=asked.model, turns=turns, stream=False, dimensions=asked.dimensions)


def write_request(conversation: Conversation, losses: Losses) -> bytes:
    """The body for `/v1/embeddings`."""
    del losses  # there is room for all of it
    texts = [part.text for turn in conversation.turns for part in turn.parts if isinstance(part, Text)]
    body = {"model": conversation.model, "input": texts, "encoding_format": "float"}
    return encode(body if conversation.dimensions is None else {**body, "dimensions": conversation.dimensions})


class EmbeddingsReader:
    """Reads the answer of `/v1/embeddings`, which is never a stream."""

    def __init__(self, context: AnswerContext) -> None:
        self._count = len(context.conversation.turns)

    def frame(self, frame: bytes) -> list[Event]:
        """See `AnswerReader`."""
        return self.whole(frame)

    def whole(self, body: bytes) -> list[Event]:
        """See `AnswerReader`. Raises `NotAnAnswer` unless there is one vector for each text."""
        answer = read_answer(body, _ANSWER)
        if answer is not None and is_error(answer.error):
            return [Failed(failure_of(body, 0))]
        items = answer.data if answer is not None and answer.data is not None else []
        given_at = [number if item.index is None else item.index for number, item in enumerate(items)]
        if answer is None or sorted(given_at) != list(range(self._count)):
            raise NotAnAnswer(
                f"of {self._count} texts it gave {len(items)} embeddings, or not one for each. {_IS_IT_FOR_THIS}"
            )
        vectors = dict(zip(given_at, items, strict=True))
        events: list[Event] = [TextPiece(_numbers(vectors[at].embedding), at) for at in range(self._count)]
        tokens = answer.usage.prompt_tokens if answer.usage is not None else None
        return [*events, Used(Tokens(input=tokens)), Ended()]


def _numbers(vector: msgspec.Raw) -> str:
    """As a list; some servers give what OpenAI's SDKs ask for whatever was asked: 32-bit floats in base64."""
    written = bytes(vector)
    if written.startswith(b"[") and written.count(b"[") == 1 and not written.translate(None, _OF_NUMBERS):
        return written.decode()
    text = read(vector, TEXT)
    try:
        raw = base64.b64decode(text or "", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if not raw or len(raw) % _FLOAT_BYTES:
        raise NotAnAnswer(f"an embedding of its answer is no list of numbers. {_IS_IT_FOR_THIS}")
    numbers = array("f", raw)
    if byteorder == "big":
        numbers.byteswap()
    if not all(map(isfinite, numbers)):
        raise NotAnAnswer(f"an embedding of its answer holds what is no number. {_IS_IT_FOR_THIS}")
    return encode(numbers.tolist()).decode()


class EmbeddingsWriter:
    """Writes an answer of `/api/embed`, or with `is_one` of `/api/embeddings`."""

    def __init__(self, context: AnswerContext, *, is_one: bool = False) -> None:
        self._model = context.conversation.model
        self._took_ns = context.took_ns
        self._is_one = is_one

    def write(self, event: Event) -> bytes:
        """See `AnswerWriter`. Nothing is streamed here; an error is told."""
        return error_frame(event.failure, DialectName.OLLAMA, "") if isinstance(event, Failed) else b""

    def whole(self, events: list[Event]) -> bytes:
        """See `AnswerWriter`."""
        vectors = [msgspec.Raw(event.text.encode()) for event in events if isinstance(event, TextPiece)]
        if self._is_one:
            return encode({"embedding": vectors[0] if vectors else []})
        body = {"model": self._model, "embeddings": vectors, **durations(self._took_ns())}
        used = next((event.tokens.input for event in events if isinstance(event, Used)), None)
        return encode(body if used is None else {**body, "prompt_eval_count": used})
