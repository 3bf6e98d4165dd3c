"""A provider asked in another format than the caller's: the request is translated on its way, and the answer too.

The rest of routing sees one more provider of the same name.
"""

import time
from collections.abc import Sequence

import msgspec

from masa_node.chat.answer import Answer, StreamedAnswer, WholeAnswer
from masa_node.chat.errors import EndpointMissing, ErrorAnswer, NotTranslatable, ProviderError
from masa_node.chat.request import DIALECT_OF_DOOR, Ask, DialectName, Door, Headers
from masa_node.dialects.framing import NDJSON
from masa_node.dialects.registry import DIALECTS
from masa_node.dialects.translation.counting import ESTIMATED, counted
from masa_node.dialects.translation.formats import is_translated_from, targets_for
from masa_node.dialects.translation.translator import AnswerTranslator, Translation, translate
from masa_node.routing.provider import Provider, Sign, no_sign

# Headers that are about a vendor's own API: those of the caller's say nothing to another one's server.
_VENDORS = ("anthropic-", "openai-")
_JSON = "application/json"


def may_be_translated(ask: Ask) -> bool:
    """A peer's ask is in its own server's format already: the node that asks translates."""
    return ask.may_translate and ask.asked_by is None and is_translated_from(ask.door)


def translation_of(ask: Ask, doors: Sequence[Door]) -> Translation | None:
    """The ask as one of these doors takes it, the best first; None where none of them is a conversation's.

    Raises `NotTranslatable`, the first one, when none of them can carry it.
    """
    refused: NotTranslatable | None = None
    for door in doors:
        try:
            return translate(ask.body, ask.model, ask.door, door)
        except NotTranslatable as refusal:
            refused = refused or refusal
    if refused is not None:
        raise refused
    return None


def translated_ask(ask: Ask, translation: Translation) -> Ask:
    """The ask that is sent."""
    headers = tuple(pair for pair in ask.headers if not pair[0].startswith(_VENDORS) and pair[0] != "content-type")
    headers = (("content-type", _JSON), *headers)
    return msgspec.structs.replace(ask, door=translation.target, body=translation.body, headers=headers)


class TranslatingProvider:
    """Another provider under its own name, asked in the format of the translation's target."""

    def __init__(self, provider: Provider, translation: Translation) -> None:
        self.provider = provider
        self._translation = translation
        self.target = translation.target
        self.name = provider.name
        self.place = provider.place
        self.is_local = provider.is_local
        self.is_hosted = provider.is_hosted

    @property
    def is_trusted(self) -> bool:
        """See `Provider`."""
        return self.provider.is_trusted

    async def answer(self, ask: Ask, sign: Sign = no_sign) -> Answer:
        """See `Provider`."""
        translation = self._translation
        try:
            answer = await self.provider.answer(translated_ask(ask, translation), sign)
        except ErrorAnswer as exc:
            raise _told(exc, translation, ask) from exc
        try:
            return await _translated(answer, translation, ask)
        except BaseException as exc:
            answer.close()
            if isinstance(exc, ProviderError):
                exc.place = exc.place or self.place
            raise


class Estimating:
    """Counts tokens for a model whose server does not: an estimate, and nobody is asked."""

    name = "estimate"
    place = "this node"
    is_local = True
    is_hosted = False
    is_trusted = True

    async def answer(self, ask: Ask, sign: Sign = no_sign) -> Answer:
        """See `Provider`."""
        del sign
        return estimate(ask)


async def answered(provider: Provider, ask: Ask, sign: Sign = no_sign) -> Answer:
    """As `Provider.answer`; where an own server turns out not to have the endpoint, the ask is translated for another.

    That one may turn out to be missing, too: each is tried once. When all are missing, the caller is told of the
    endpoint that they asked for.
    """
    asked, tried = provider, {ask.door}
    first: EndpointMissing | None = None
    while True:
        try:
            return await asked.answer(ask, sign)
        except EndpointMissing as missing:
            first = first or missing
            fallback = _fallback(asked, ask, missing, tried)
            if fallback is None:
                raise first from None
        asked = fallback


def _fallback(asked: Provider, ask: Ask, missing: EndpointMissing, tried: set[Door]) -> Provider | None:
    provider = asked
    if isinstance(asked, TranslatingProvider):
        provider = asked.provider
        tried.add(asked.target)
    doors = [door for door in targets_for(ask.door) if door in missing.doors and door not in tried]
    if not doors or not may_be_translated(ask):
        return None
    if ask.door is Door.ANTHROPIC_COUNT_TOKENS:
        return Estimating()
    try:
        translation = translation_of(ask, doors)
    except NotTranslatable as refusal:
        error = ErrorAnswer(refusal.message, status=400, headers=(), body=b"", is_json=False)
        error.place = provider.place
        raise error from refusal
    return TranslatingProvider(provider, translation) if translation is not None else None


def estimate(ask: Ask) -> WholeAnswer:
    """The answer to a request to count tokens. Raises `NotTranslatable`."""
    headers = (("content-type", _JSON), (ESTIMATED, "input_tokens"))
    return WholeAnswer(200, headers, counted(ask.body), DialectName.ANTHROPIC)


def _told(error: ErrorAnswer, translation: Translation, ask: Ask) -> ErrorAnswer:
    """The server's error in the caller's format; one without JSON is told by the node, in the same."""
    if not error.is_json:
        return error
    told = ErrorAnswer(
        error.message,
        status=error.status,
        headers=_headers(error.headers, translation, _JSON),
        body=translation.error(error.status, error.body, ask.request_id),
        is_json=True,
    )
    told.place = error.place
    return told


async def _translated(answer: Answer, translation: Translation, ask: Ask) -> Answer:
    translator = translation.answer(ask.request_id, int(time.time()))
    if isinstance(answer, StreamedAnswer):
        return await _Stream(answer, translator).begun(translation, ask)
    body = translator.streamed(answer.body) if ask.wants_stream else translator.whole(answer.body)
    return _whole(answer, body, translation, ask)


def _whole(answer: Answer, body: bytes, translation: Translation, ask: Ask) -> WholeAnswer:
    headers = _headers(answer.headers, translation, _stream_type(translation) if ask.wants_stream else _JSON)
    dialect = DIALECT_OF_DOOR[translation.source]
    return WholeAnswer(answer.status, headers, body, dialect, answer.usage, answer.close)


def _headers(headers: Headers, translation: Translation, content_type: str) -> Headers:
    kept = (pair for pair in headers if pair[0] != "content-type")
    return (("content-type", content_type), *kept, *translation.headers)


def _stream_type(translation: Translation) -> str:
    is_lines = DIALECTS[DIALECT_OF_DOOR[translation.source]].framing is NDJSON
    return "application/x-ndjson" if is_lines else "text/event-stream; charset=utf-8"


class _Stream:
    """One streamed answer on its way back: piece by piece, as they come."""

    __slots__ = ("_answer", "_translator")

    def __init__(self, answer: StreamedAnswer, translator: AnswerTranslator) -> None:
        self._answer = answer
        self._translator = translator

    async def begun(self, translation: Translation, ask: Ask) -> Answer:
        """The answer with its first words; a whole one where the caller asked for no stream."""
        if not ask.wants_stream:
            return _whole(self._answer, await self._collected(), translation, ask)
        answer = self._answer
        return StreamedAnswer(
            status=answer.status,
            headers=_headers(answer.headers, translation, _stream_type(translation)),
            dialect=DIALECT_OF_DOOR[translation.source],
            first=self._translator.feed(answer.first) or await self.next_piece(),
            next_piece=self.next_piece,
            close=answer.close,
            frames=answer.frames,
            usage=answer.usage,
            is_whole=self.is_whole,
            received=answer.received,
        )

    def is_whole(self) -> bool:
        """See `StreamedAnswer`."""
        return self._translator.is_over and self._answer.is_whole()

    async def next_piece(self) -> bytes:
        """See `StreamedAnswer`."""
        while piece := await self._source_piece():
            out = self._translator.feed(piece)
            if out:
                return out
        return b"" if self._translator.is_over else self._translator.finish()

    async def _source_piece(self) -> bytes:
        """The next one of the source. What breaks behind the end of a whole answer is no matter."""
        try:
            return await self._answer.next_piece()
        except ProviderError:
            if self._answer.is_whole():
                return b""
            raise

    async def _collected(self) -> bytes:
        pieces = [self._answer.first]
        size = len(self._answer.first)
        while piece := await self._source_piece():
            pieces.append(piece)
            size += len(piece)
            self._translator.check_size(size)
        return self._translator.collected(b"".join(pieces))
