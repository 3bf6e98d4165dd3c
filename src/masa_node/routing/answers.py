"""From the head of a response to an `Answer`: returns when the first valid piece is there, or raises.

The same for everybody who answers, an LLM server behind this node or a peer: nobody's answer is taken unchecked.
"""

from typing import Protocol

import msgspec

from masa_node.chat.answer import Answer, StreamedAnswer, Usage, WholeAnswer
from masa_node.chat.ask import Headers
from masa_node.chat.errors import BrokenAnswer, EncodedAnswer, ErrorAnswer, NotAnAnswer
from masa_node.dialects.dialect import Dialect
from masa_node.dialects.fields import UNREADABLE
from masa_node.dialects.tracking import StreamTracker
from masa_node.routing.byte_budget import ByteBudget
from masa_node.routing.gathered import Gathered

# A whole answer with several generated images stays below this.
MAX_ANSWER_BYTES = 64 * 1024 * 1024
MAX_ANSWERS_BYTES = 2 * MAX_ANSWER_BYTES  # of all whole answers in memory: two of the greatest, a thousand usual ones
MAX_ERROR_BYTES = 1024 * 1024
ANSWERS = ByteBudget(MAX_ANSWERS_BYTES)  # of this process, whoever asked and whoever answers
MAX_BEFORE_ANSWER_BYTES = 1024 * 1024  # comments and the like: a line every second for an hour is less than 50 kB

STREAM_TYPES = frozenset(
    {"text/event-stream", "application/x-ndjson", "application/ndjson", "application/jsonl", "application/stream+json"}
)
_WHOLE = frozenset({"application/json", "text/html", "application/problem+json"})
_PASSED_BACK = frozenset(
    {
        *("content-type", "retry-after", "retry-after-ms", "x-ms-retry-after-ms", "x-should-retry"),
        *("request-id", "openai-processing-ms", "openai-version"),
    }
)
_PASSED_BACK_PREFIXES = ("x-ratelimit-", "anthropic-ratelimit-", "ratelimit-")
_MAX_QUOTED_CHARS = 200
_SUCCESS = range(200, 300)
_REDIRECT = range(300, 400)
LAST_STATUS = 599  # RFC 9110, 15


class Response(Protocol):
    """The head of an answer that is on its way, and the way to its bytes."""

    @property
    def status(self) -> int:
        """As HTTP has it."""
        ...

    @property
    def headers(self) -> Headers:
        """Names in lower case."""
        ...

    @property
    def content_type(self) -> str:
        """The media type in lower case, without parameters; "" if there is none."""
        ...

    async def read_piece(self) -> bytes:
        """What has arrived, at least one byte; b"" when the body has ended in good order. Raises `ProviderError`."""
        ...

    async def read_trailer(self) -> bytes:
        """The same, after the terminal frame: the answer is whole, whatever becomes of the rest. May raise still."""
        ...

    def close(self) -> None:
        """Give up what was not read; at once, never waits. Idempotent."""
        ...


def is_streamed(content_type: str, *, wants_stream: bool) -> bool:
    """Is a body of this media type a stream of frames, or one whole answer?"""
    return content_type in STREAM_TYPES or (wants_stream and content_type not in _WHOLE)


async def take_answer(response: Response, dialect: Dialect, *, is_stream: bool) -> Answer:
    """The answer in this response. On any error, and when cancelled, the response is closed.

    Raises `ErrorAnswer` for a status that is not 2xx, `NotAnAnswer`, `ErrorInStream`, `BrokenAnswer`.
    """
    try:
        await check_status(response, dialect)
        if is_stream:
            return await _streamed(response, dialect)
        return await _whole(response, dialect)
    except BaseException:
        response.close()
        raise


async def read_whole(response: Response, limit_bytes: int) -> bytes:
    """The whole body; the response is closed in every case. Raises `NotAnAnswer` beyond the limit, `BrokenAnswer`."""
    return await _gather(response, Gathered(limit_bytes))


async def _gather(response: Response, gathered: Gathered) -> bytes:
    """The same, within a budget: raises `MemoryFull`, too."""
    try:
        while piece := await response.read_piece():
            gathered.add(piece)
    finally:
        response.close()
    return await gathered.joined()


def passed_back(response: Response) -> Headers:
    """The response's headers that the caller gets: content type, rate limits, the vendor's request id."""
    return tuple(
        pair for pair in response.headers if pair[0] in _PASSED_BACK or pair[0].startswith(_PASSED_BACK_PREFIXES)
    )


async def check_status(response: Response, dialect: Dialect) -> None:
    """Read a response that is not 2xx and raise it: as `ErrorAnswer`, or `NotAnAnswer` for a redirect and the like."""
    if response.status in _SUCCESS:
        return
    if response.status in _REDIRECT:
        raise NotAnAnswer(f"it answered {response.status}, a redirect; those are not followed. Set the final URL.")
    if response.status > LAST_STATUS:
        raise NotAnAnswer(f"it answered {response.status}, a status that HTTP does not have. Is it an LLM server?")
    gathered = Gathered(MAX_ERROR_BYTES, ANSWERS)
    try:
        body = await _gather(response, gathered)
    except EncodedAnswer as exc:
        raise ErrorAnswer(
            f"it answered {response.status}, and {exc.message}",
            status=response.status,
            headers=passed_back(response),
            body=b"",
            is_json=False,
        ) from exc
    finally:
        gathered.release()
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


async def _whole(response: Response, dialect: Dialect) -> Answer:
    gathered = Gathered(MAX_ANSWER_BYTES, ANSWERS)
    usage = Usage()
    try:
        body = await _checked(response, gathered, dialect, usage)
    except BaseException:
        gathered.release()
        raise
    return WholeAnswer(response.status, passed_back(response), body, dialect.name, usage, gathered.release)


async def _checked(response: Response, gathered: Gathered, dialect: Dialect, usage: Usage) -> bytes:
    body = await _gather(response, gathered)
    fault = dialect.fault_of_whole(body, usage)
    if fault is not None:
        kind = response.content_type or "no content type"
        raise NotAnAnswer(f"it answered {response.status} with {kind}, but {fault}. Is the URL right?")
    return body


async def _streamed(response: Response, dialect: Dialect) -> Answer:
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
        is_whole=tracker.is_whole,
    )


class _Stream:
    """The body of one streamed answer, read through its tracker."""

    __slots__ = ("_closed_in_order", "_response", "tracker")

    def __init__(self, response: Response, tracker: StreamTracker) -> None:
        self._response = response
        self._closed_in_order = False
        self.tracker = tracker

    async def first_piece(self) -> bytes:
        """All bytes up to and with the first valid piece."""
        tracker = self.tracker
        begun: list[bytes] = []
        size = 0
        while not tracker.started:
            if size > MAX_BEFORE_ANSWER_BYTES:
                raise NotAnAnswer(f"it sent {size} bytes, and no piece of an answer in them.")
            out = await self.next_piece()
            if tracker.fault is not None:
                raise tracker.fault
            if not out:
                raise BrokenAnswer("its stream ended without a piece of an answer.")
            begun.append(out)
            size += len(out)
        return b"".join(begun)

    async def next_piece(self) -> bytes:
        """See `StreamedAnswer`."""
        tracker, response = self.tracker, self._response
        while tracker.fault is None and not self._closed_in_order:
            piece = await (response.read_trailer() if tracker.ended else response.read_piece())
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
