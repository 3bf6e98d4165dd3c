"""Embeddings, asked for in Gemini's format: of one text, or of several. See `ollama/embeddings.py`."""

import msgspec

from masa_node.chat.request import DialectName
from masa_node.dialects.fields import ABSENT
from masa_node.dialects.translation.conversation import Conversation, Role, Text, Turn
from masa_node.dialects.translation.events import AnswerContext, Event, Failed, TextPiece
from masa_node.dialects.translation.failures import error_frame
from masa_node.dialects.translation.gemini.body import Content, in_camel_case, several
from masa_node.dialects.translation.losses import Losses, refuse
from masa_node.dialects.translation.wire import BodyReader, check_count, encode, given

MAX_TEXTS = 2_048  # OpenAI's bound
_NUANCES = ("task_type", "title", "auto_truncate")


class _Asked(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    model: str | None = None
    content: Content | None = None
    output_dimensionality: int | None = None
    task_type: msgspec.Raw = ABSENT
    title: msgspec.Raw = ABSENT
    auto_truncate: msgspec.Raw = ABSENT
    embed_content_config: "_Asked | None" = None


class _Batch(msgspec.Struct, forbid_unknown_fields=True):
    requests: list[_Asked] | None = None


_ONE = BodyReader(_Asked, in_camel_case)
_MANY = BodyReader(_Batch, in_camel_case)


def read_one(body: bytes, losses: Losses) -> Conversation:
    """A request to `:embedContent`. Raises `NotTranslatable`."""
    return _conversation([_ONE.read(body, losses)], losses)


def read_batch(body: bytes, losses: Losses) -> Conversation:
    """A request to `:batchEmbedContents`. Raises `NotTranslatable`."""
    asked = _MANY.read(body, losses).requests or []
    check_count(len(asked), MAX_TEXTS, "texts")
    return _conversation(asked, losses)


def _conversation(asked: list[_Asked], losses: Losses) -> Conversation:
    turns = tuple([Turn(Role.USER, (Text(_text(each)),)) for each in asked])
    if not turns:
        raise refuse("requests", "there are none.")
    sizes = {_size(each) for each in asked}
    if len(sizes) > 1:
        raise refuse("outputDimensionality", "it has to be the same for all texts.")
    losses.drop(*(in_camel_case(name) for each in asked for name in _NUANCES if given(getattr(each, name))))
    return Conversation(model="", turns=turns, stream=False, dimensions=sizes.pop())


def _size(asked: _Asked) -> int | None:
    config = asked.embed_content_config
    return asked.output_dimensionality or (config.output_dimensionality if config is not None else None)


def _text(asked: _Asked) -> str:
    parts = asked.content.parts if asked.content is not None else None
    texts = [part.text for part in several(parts) if part.text]
    if not texts or len(texts) != len(several(parts)):
        raise refuse("content", "it has to be text, and some.")
    return "\n".join(texts)


class EmbeddingsWriter:
    """Writes an answer of `:batchEmbedContents`, or with `is_one` of `:embedContent`."""

    def __init__(self, context: AnswerContext, *, is_one: bool = False) -> None:
        del context  # nothing of it is told
        self._is_one = is_one

    def write(self, event: Event) -> bytes:
        """See `AnswerWriter`. Nothing is streamed here; an error is told."""
        return error_frame(event.failure, DialectName.GEMINI, "") if isinstance(event, Failed) else b""

    def whole(self, events: list[Event]) -> bytes:
        """See `AnswerWriter`."""
        vectors = [{"values": msgspec.Raw(event.text.encode())} for event in events if isinstance(event, TextPiece)]
        return encode({"embedding": vectors[0] if vectors else {}} if self._is_one else {"embeddings": vectors})
