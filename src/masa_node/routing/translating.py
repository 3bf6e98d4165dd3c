"""A provider asked in another format than the caller's: the request is translated on its way, and the answer too.

The rest of routing sees one more provider of the same name.
"""

import asyncio
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import msgspec

from masa_node.chat.answer import Answer, StreamedAnswer, WholeAnswer
from masa_node.chat.errors import (
    EndpointMissing,
    ErrorAnswer,
    MasaError,
    NotAnAnswer,
    NotTranslatable,
    ProviderError,
)
from masa_node.chat.request import DIALECT_OF_ENDPOINT, Endpoint, Headers, Request
from masa_node.dialects.condensing import ANSWER_DEPTH, at_once, weight_ms
from masa_node.dialects.fields import in_utf8
from masa_node.dialects.framing import NDJSON
from masa_node.dialects.registry import DIALECTS
from masa_node.dialects.translation.formats import COUNTS, EMBEDDED_FROM, is_translated_from, targets_for
from masa_node.routing.provider import Begun, Provider, Sign, no_sign
from masa_node.routing.running.steps import readable

if TYPE_CHECKING:
    from masa_node.dialects.translation.events import Event
    from masa_node.dialects.translation.translator import AnswerTranslator, Translation

Result = TypeVar("Result")
_TRANSLATOR = "masa_node.dialects.translation.translator"
# Headers that are about a vendor's own API: those of the caller's say nothing to another one's server.
_VENDORS = ("anthropic-", "openai-")
_JSON = "application/json"
# What is larger, or has more objects, is translated in a thread: in one go it takes some milliseconds.
IN_A_THREAD_BYTES = 64 * 1024
IN_A_THREAD_OBJECTS = 200  # 10 to 20 us for each
AT_ONCE_BYTES = 4 * 1024  # of a stream's frames: hundreds of the smallest
# While a reader of JSON is at work no other thread is. What takes longer is not translated: 7 MB of text with its line
# ends, or 15 000 messages, parts of messages and definitions of tools.
MOST_MS = 15.0
_WHAT_IS_TRANSLATED = (
    "At most about 7 MB of text, 15 000 messages, parts and definitions, or 300 embeddings of 1 024 numbers, are "
    "translated"
)


def may_be_translated(request: Request) -> bool:
    """A peer's request is in its own server's format already: the node that asks translates."""
    return request.may_translate and request.requester is None and is_translated_from(request.endpoint)


async def translation_of(request: Request, endpoints: Sequence[Endpoint]) -> "Translation | None":
    """The request as one of these endpoints takes it, the best first; None where none of them is a conversation's.

    Raises `NotTranslatable`, the first one, when none of them can carry it. A large one is translated off the loop.
    """
    await _have_translator()
    return await _off_the_loop(request.body, _too_heavy_to_ask, lambda: _translation_of(request, endpoints))


async def _have_translator() -> None:
    """Most nodes translate nothing, and do without it: 1.5 MB. The first request waits for it, and no other does."""
    # It is among them from the moment its import begins; to use it then, the loop would wait for the thread.
    if not hasattr(sys.modules.get(_TRANSLATOR), "translate"):
        await asyncio.to_thread(_load_translator)


def _load_translator() -> None:
    import masa_node.dialects.translation.counting  # noqa: PLC0415 # pyright: ignore[reportUnusedImport]
    import masa_node.dialects.translation.translator  # noqa: F401, PLC0415 # pyright: ignore[reportUnusedImport]


async def _off_the_loop(data: bytes, refusal: Callable[[], MasaError], work: Callable[[], Result]) -> Result:
    """Do `work` on these bytes, in a thread where it takes long. Cancelled, it ends at once and the thread later.

    Raises the `refusal` where even a thread would hold all others up.
    """

    def weighed() -> Result:
        if at_once(weight_ms(data, MOST_MS)) > MOST_MS:
            raise refusal()
        return work()

    is_short = len(data) <= AT_ONCE_BYTES
    if is_short or (len(data) <= IN_A_THREAD_BYTES and data.count(b"{") <= IN_A_THREAD_OBJECTS):
        return work()
    return await asyncio.to_thread(weighed)


def _too_heavy_to_ask() -> MasaError:
    return NotTranslatable(
        f"The body is too large to be translated for the model's server. {_WHAT_IS_TRANSLATED}. Nothing was sent. Send "
        "less, or in the format of that server."
    )


def _too_heavy_an_answer() -> MasaError:
    return NotAnAnswer(f"its answer is too large to be translated. {_WHAT_IS_TRANSLATED}.")


def _translation_of(request: Request, endpoints: Sequence[Endpoint]) -> "Translation | None":
    from masa_node.dialects.translation.translator import translate  # noqa: PLC0415 - see `_have_translator`

    refused: NotTranslatable | None = None
    for endpoint in endpoints:
        try:
            return translate(request.body, request.model, request.endpoint, endpoint)
        except NotTranslatable as refusal:
            refused = refused or refusal
    if refused is not None:
        raise refused
    return None


class TranslatingProvider:
    """Another provider under its own name, asked in the format of the translation's target."""

    def __init__(self, provider: Provider, translation: "Translation") -> None:
        self.provider = provider
        self._translation = translation
        self.target = translation.target
        self.name = provider.name
        self.location = provider.location
        self.is_local = provider.is_local
        self.is_hosted = provider.is_hosted
        self.priority = provider.priority

    @property
    def is_trusted(self) -> bool:
        """See `Provider`."""
        return self.provider.is_trusted

    async def answer(self, request: Request, sign: Sign = no_sign) -> Answer:
        """See `Provider`."""
        translation = self._translation
        others = (pair for pair in request.headers if not pair[0].startswith(_VENDORS) and pair[0] != "content-type")
        headers = (("content-type", _JSON), *others)
        asked = msgspec.structs.replace(request, endpoint=self.target, body=translation.body, headers=headers)
        asked_at_ns = time.monotonic_ns()
        try:
            answer = await self.provider.answer(asked, sign)
        except ErrorAnswer as exc:
            raise await _translated_error(exc, translation, request) from exc
        try:
            return await _translated(answer, translation, request, asked_at_ns)
        except BaseException as exc:
            answer.close()
            if isinstance(exc, ProviderError):
                exc.location = exc.location or self.location
            raise


class Estimating:
    """Counts tokens for a model whose server does not: an estimate, and nobody is asked."""

    name = "estimate"
    location = "this node"
    is_local = True
    is_hosted = False
    priority = 0
    is_trusted = True

    async def answer(self, request: Request, sign: Sign = no_sign) -> Answer:
        """See `Provider`."""
        del sign
        await _have_translator()
        from masa_node.dialects.translation.counting import ESTIMATED, counted  # noqa: PLC0415 - see `_have_translator`

        endpoint = request.endpoint
        body, field = await _off_the_loop(request.body, _too_heavy_to_ask, lambda: counted(request.body, endpoint))
        headers = (("content-type", _JSON), (ESTIMATED, field))
        return WholeAnswer(200, headers, body, DIALECT_OF_ENDPOINT[endpoint])


async def answered(provider: Provider, request: Request, sign: Sign = no_sign, begun: Begun | None = None) -> Answer:
    """As `Provider.answer`, of a request that may have `begun`; where an own server turns out not to have the endpoint,
    the request is translated for another.

    That one may turn out to be missing, too: each is tried once. When all are missing, the caller is told of the
    endpoint that they asked for.
    """
    asked, ask, tried = provider, (begun or provider).answer, {request.endpoint}
    first: EndpointMissing | None = None
    while True:
        try:
            return await ask(request, sign)
        except EndpointMissing as missing:
            first = first or missing
            fallback = await _fallback(asked, request, missing, tried)
            if fallback is None:
                raise first from None
        asked, ask = fallback, fallback.answer


async def _fallback(
    asked: Provider, request: Request, missing: EndpointMissing, tried: set[Endpoint]
) -> Provider | None:
    provider = asked
    if isinstance(asked, TranslatingProvider):
        provider = asked.provider
        tried.add(asked.target)
    endpoints = [
        endpoint
        for endpoint in targets_for(request.endpoint, request.model)
        if endpoint in missing.endpoints and endpoint not in tried
    ]
    if not endpoints or not may_be_translated(request):
        return None
    if request.endpoint in COUNTS:
        return Estimating()
    try:
        translation = await translation_of(request, endpoints)
    except NotTranslatable as refusal:
        error = ErrorAnswer(refusal.message, status=400)
        error.location, error.code = provider.location, refusal.code
        raise error from refusal
    return TranslatingProvider(provider, translation) if translation is not None else None


async def _translated_error(error: ErrorAnswer, translation: "Translation", request: Request) -> ErrorAnswer:
    """The server's error in the caller's format. For one without JSON, the node writes the error.

    Of a large one the beginning of each text is told: half a million escapes would take 50 ms.
    """
    if not error.is_json:
        return error
    small = await readable(in_utf8(error.body), ANSWER_DEPTH)
    answer = ErrorAnswer(
        error.message,
        status=translation.error_status(error.status, small),
        headers=_headers(error.headers, translation, _JSON),
        body=translation.error(error.status, small, request.request_id),
        is_json=True,
    )
    answer.location = error.location
    return answer


async def _translated(answer: Answer, translation: "Translation", request: Request, asked_at_ns: int) -> Answer:
    translator = translation.answer(request.request_id, int(time.time()), lambda: time.monotonic_ns() - asked_at_ns)
    wants_stream = request.wants_stream and request.endpoint not in EMBEDDED_FROM  # whoever asks: there is none of them
    if isinstance(answer, StreamedAnswer):
        stream = _Stream(answer, translator)
        if wants_stream:
            return await stream.begun(translation)
        body = await stream.collected()
    else:
        convert, whole = translator.streamed if wants_stream else translator.whole, answer.body
        body = await _off_the_loop(whole, _too_heavy_an_answer, lambda: convert(in_utf8(whole)))
    content_type = _stream_type(translation) if wants_stream else _JSON
    headers = _headers(answer.headers, translation, content_type, translator.left_out)
    dialect = DIALECT_OF_ENDPOINT[translation.source]
    return WholeAnswer(answer.status, headers, body, dialect, answer.usage, answer.close)


def _headers(headers: Headers, translation: "Translation", content_type: str, left_out: Iterable[str] = ()) -> Headers:
    others = (pair for pair in headers if pair[0] != "content-type")
    return (("content-type", content_type), *others, *translation.headers_with(left_out))


def _stream_type(translation: "Translation") -> str:
    is_lines = DIALECTS[DIALECT_OF_ENDPOINT[translation.source]].framing is NDJSON
    return "application/x-ndjson" if is_lines else "text/event-stream; charset=utf-8"


@dataclass(slots=True, eq=False)
class _Stream:
    """One streamed answer on its way back: piece by piece, as they come."""

    _answer: StreamedAnswer
    _translator: "AnswerTranslator"

    async def begun(self, translation: "Translation") -> StreamedAnswer:
        """The answer with its first words."""
        answer = self._answer
        first = await self._fed(answer.first) or await self.next_piece()
        return StreamedAnswer(
            status=answer.status,
            headers=_headers(answer.headers, translation, _stream_type(translation), self._translator.left_out),
            dialect=DIALECT_OF_ENDPOINT[translation.source],
            first=first,
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
            out = await self._fed(piece)
            if out:
                return out
        translator = self._translator
        if translator.is_over:
            return b""
        return await asyncio.to_thread(translator.finish) if translator.has_much else translator.finish()

    async def _fed(self, piece: bytes) -> bytes:
        """What this piece is in the caller's format; others have their turn between any two parts of a large one."""
        whole = self._translator.cut(piece)
        if len(whole) <= AT_ONCE_BYTES:
            return await self._written(self._translator.events_of(whole))
        out: list[bytes] = []
        for frames in self._translator.parts(whole, AT_ONCE_BYTES):
            read = partial(self._translator.events_of, frames)
            out.append(await self._written(await _off_the_loop(frames, _too_heavy_an_answer, read)))
            await asyncio.sleep(0)
        return b"".join(out)

    async def _written(self, events: "list[Event]") -> bytes:
        """What ends a part of megabytes is written in a thread, in which no single step takes long."""
        translator = self._translator
        if translator.takes_long(events):
            return await asyncio.to_thread(partial(translator.written, events))
        return translator.written(events)

    async def _source_piece(self) -> bytes:
        """The next one of the source. What breaks behind the end of a whole answer is no matter."""
        try:
            return await self._answer.next_piece()
        except ProviderError:
            if self._answer.is_whole():
                return b""
            raise

    async def collected(self) -> bytes:
        """All of it as one body, for a caller that asked for no stream."""
        pieces = [self._answer.first]
        size = len(self._answer.first)
        while piece := await self._source_piece():
            pieces.append(piece)
            size += len(piece)
            self._translator.check_size(size)
        stream = b"".join(pieces)
        return await _off_the_loop(stream, _too_heavy_an_answer, lambda: self._translator.collected(stream))
