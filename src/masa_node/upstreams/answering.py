"""From the head of an LLM's HTTP response to an `Answer`: returns when the first valid piece is there, or raises."""

import asyncio

import msgspec

from masa_node.chat.answer import Answer, StreamedAnswer, Usage, WholeAnswer
from masa_node.chat.ask import Headers
from masa_node.chat.errors import BrokenAnswer, ErrorAnswer, NotAnAnswer
from masa_node.dialects.dialect import Dialect
from masa_node.dialects.fields import UNREADABLE
from masa_node.dialects.tracking import StreamTracker
from masa_node.upstreams.http import HttpAnswer
from masa_node.upstreams.server import read_whole

# A whole answer with several generated images stays below this.
MAX_ANSWER_BYTES = 64 * 1024 * 1024
MAX_ERROR_BYTES = 1024 * 1024
# After the terminal frame only a trailer may come; a server that then keeps the connection open is not waited for.
AFTER_END_S = 1.0

_STREAMS = frozenset(
    {"text/event-stream", "application/x-ndjson", "application/ndjson", "application/jsonl", "application/stream+json"}
)
_WHOLE = frozenset({"application/json", "text/html", "application/problem+json"})
_PASSED_BACK = frozenset(
    {"content-type", "retry-after", "request-id", "openai-processing-ms", "openai-version", "x-should-retry"}
)
_PASSED_BACK_PREFIXES = ("x-ratelimit-", "anthropic-ratelimit-")
_MAX_QUOTED_CHARS = 200
_SUCCESS = range(200, 300)
_REDIRECT = range(300, 400)
LAST_STATUS = 599  # RFC 9110, 15


async def take_answer(response: HttpAnswer, dialect: Dialect, *, wants_stream: bool) -> Answer:
    """The answer in this response. On any error, and when cancelled, the response is closed.

    Raises `ErrorAnswer` for a status that is not 2xx, `NotAnAnswer`, `ErrorInStream`, `BrokenAnswer`.
    """
    try:
        await check_status(response, dialect)
        kind = response.content_type
        if kind in _STREAMS or (wants_stream and kind not in _WHOLE):
            return await _streamed(response, dialect)
        return await _whole(response, dialect)
    except BaseException:
        response.close()
        raise


def passed_back(response: HttpAnswer) -> Headers:
    """The response's headers that the caller gets: content type, rate limits, the vendor's request id."""
    return tuple(
        pair for pair in response.headers if pair[0] in _PASSED_BACK or pair[0].startswith(_PASSED_BACK_PREFIXES)
    )


async def _whole(response: HttpAnswer, dialect: Dialect) -> Answer:
    body = await read_whole(response, MAX_ANSWER_BYTES)
    usage = Usage()
    fault = dialect.fault_of_whole(body, usage)
    if fault is not None:
        kind = response.content_type or "no content type"
        raise NotAnAnswer(f"it answered {response.status} with {kind}, but {fault}. Is the URL right?")
    return WholeAnswer(response.status, passed_back(response), body, dialect.name, usage)


async def check_status(response: HttpAnswer, dialect: Dialect) -> None:
    """Read a response that is not 2xx and raise it: as `ErrorAnswer`, or `NotAnAnswer` for a redirect and the like."""
    if response.status in _SUCCESS:
        return
    if response.status in _REDIRECT:
        raise NotAnAnswer(f"it answered {response.status}, a redirect; those are not followed. Set the final URL.")
    if response.status > LAST_STATUS:
        raise NotAnAnswer(f"it answered {response.status}, a status that HTTP does not have. Is it an LLM server?")
    body = await read_whole(response, MAX_ERROR_BYTES)
    is_json = _is_json_object(body)
    if is_json:
        text = dialect.error_message(body) or "no message"
    else:
        text = f"{response.content_type or 'no content type'} instead of JSON: {_quoted(body)}"
    raise ErrorAnswer(
        f"it answered {response.status}: {text}",
        status=response.status,
        headers=passed_back(response),
        body=body,
        is_json=is_json,
    )


def _is_json_object(body: bytes) -> bool:
    try:
        msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except UNREADABLE:
        return False
    return True


def _quoted(body: bytes) -> str:
    text = " ".join(body[: _MAX_QUOTED_CHARS * 4].decode("utf-8", "replace").split())
    return repr(text[:_MAX_QUOTED_CHARS]) if text else "an empty body"


async def _streamed(response: HttpAnswer, dialect: Dialect) -> Answer:
    stream = _Stream(response, StreamTracker(dialect))
    first = await stream.first_piece()
    tracker = stream.tracker
    return StreamedAnswer(
        status=response.status,
        headers=passed_back(response),
        dialect=dialect.name,
        first=first,
        next_piece=stream.next_piece,
        close=response.close,
        frames=lambda: tracker.frames,
        usage=tracker.usage,
    )


class _Stream:
    """The body of one streamed answer, read through its tracker."""

    __slots__ = ("_closed_in_order", "_response", "tracker")

    def __init__(self, response: HttpAnswer, tracker: StreamTracker) -> None:
        self._response = response
        self._closed_in_order = False
        self.tracker = tracker

    async def first_piece(self) -> bytes:
        """All bytes up to and with the first valid piece."""
        tracker = self.tracker
        begun: list[bytes] = []
        while not tracker.started:
            out = await self.next_piece()
            if tracker.fault is not None:
                raise tracker.fault
            if not out:
                raise BrokenAnswer("its stream ended without a piece of an answer.")
            begun.append(out)
        return b"".join(begun)

    async def next_piece(self) -> bytes:
        """See `StreamedAnswer`."""
        tracker = self.tracker
        while tracker.fault is None and not self._closed_in_order:
            piece = await (self._read_trailer() if tracker.ended else self._response.read_piece())
            if piece:
                out = tracker.feed(piece)
            else:
                self._closed_in_order = True
                out = tracker.finish()
            if out:
                return out
        if tracker.fault is not None:
            raise tracker.fault
        return b""

    async def _read_trailer(self) -> bytes:
        try:
            async with asyncio.timeout(AFTER_END_S):
                return await self._response.read_piece()
        except (TimeoutError, BrokenAnswer):
            self._response.close()
            return b""
