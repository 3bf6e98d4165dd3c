"""From the head of a response to an `Answer`: returns when the first valid piece is there, or raises.

The same for every provider, an LLM server behind this node or a peer: no answer is taken unchecked.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import CoroutineType

from masa_node.chat.answer import Answer, ChunkWriter, Give, StreamedAnswer, Usage, WholeAnswer
from masa_node.chat.errors import BrokenAnswer, EncodedAnswer, ErrorAnswer, NotAnAnswer
from masa_node.chat.headers import passed_back
from masa_node.chat.kept_errors import fresh
from masa_node.chat.request import DialectName
from masa_node.dialects.choices import AnyEndings, Choices, Endings
from masa_node.dialects.condensing import ANSWER_DEPTH, LARGE_BYTES
from masa_node.dialects.dialect import Dialect
from masa_node.dialects.faults import error_status, is_json_error, quoted
from masa_node.dialects.fields import in_utf8
from masa_node.dialects.framing import MAX_FRAME_BYTES
from masa_node.dialects.opening import Shape, shape_of
from masa_node.dialects.passed.openai_media import is_bytes
from masa_node.routing.answers.byte_budget import ByteBudget, Pieces
from masa_node.routing.answers.relay import Relay
from masa_node.routing.answers.sound import sound_answer
from masa_node.routing.provider import Response, Sign, no_sign
from masa_node.routing.running.steps import readable

# A whole answer with several generated images stays below this.
MAX_ANSWER_BYTES = 64 * 1024 * 1024
MAX_ANSWERS_BYTES = 2 * MAX_ANSWER_BYTES  # of all whole answers in memory: two of the greatest, a thousand usual ones
MAX_ERROR_BYTES = 1024 * 1024
ANSWERS = ByteBudget(MAX_ANSWERS_BYTES)  # of this process, whichever caller and provider
MAX_BEFORE_ANSWER_BYTES = 1024 * 1024  # comments and the like: a line every second for an hour is less than 50 kB
MAX_TRAILER_BYTES = 64 * 1024  # after the terminal frame: usage, a comment

_PAGE = b"<"
LOOKED_AT_BYTES = 2 * 1024  # of frames in one go: seven hundred of the smallest, which takes some 5 ms
_SUCCESS = range(200, 300)
_EMPTY = (204, 205)  # RFC 9110, 15.3: a caller takes what follows such a head for its next answer
REDIRECT = range(300, 400)
_SECRETS = re.compile(r"(?<=//)[^/?#]*@|[?#].*", re.DOTALL)  # of an address: a page to log in has some in its query
LAST_STATUS = 599  # RFC 9110, 15

Read = Callable[[], Awaitable[bytes]]


async def take_answer(
    response: Response,
    dialect: Dialect,
    *,
    is_stream: bool,
    endings: AnyEndings | None = None,
    heard: Callable[[], int] = int,
    sign: Sign = no_sign,
) -> Answer:
    """The answer in this response, whose first bytes tell whether it is streamed; `is_stream` is what is said of it.

    `endings` is what its server has shown so far; `heard` counts signs of life that are no bytes of it. `sign` is
    called for the head of a 2xx answer and for each read until the first piece is there; not for an error, of which
    what matters is here at once, or never comes. On any error, and when cancelled, the response is closed.

    Raises `ErrorAnswer` for a status that is not 2xx or an error with a status of its own, `NotAnAnswer`,
    `ErrorInStream`, `BrokenAnswer`, `MemoryFull`.
    """
    try:
        await check_status(response, dialect)
        is_sound = dialect.name == DialectName.OPENAI_AUDIO and response.content_type.startswith("audio/")
        sign()
        read = _with_signs(response, sign)
        begun, is_over, shape = await _open(read, dialect, is_stream=is_stream and not is_sound)
        if shape is Shape.STREAM:
            tracker = Relay(dialect, endings)
            stream = AnswerStream(response, tracker, is_over, read, tracker.cut(begun))
            first, stream.read = await stream.first_piece(), None
            return stream.answer(dialect.name, first, heard)
        if is_sound and not is_over and is_bytes(begun):  # an error is JSON, whatever its head says
            return sound_answer(response, passed_back(response.headers), begun)
        return await _whole(response, read, begun, dialect, endings or Endings())
    except BaseException:
        response.close()
        raise


def _with_signs(response: Response, sign: Sign) -> Read:
    async def read() -> bytes:
        piece = await response.read_piece()
        sign()
        return piece

    return read


async def _open(read: Read, dialect: Dialect, *, is_stream: bool) -> tuple[bytes, bool, Shape]:
    """As many first bytes as tell what the body is, whether they are all, and what it is. Few: see `shape_of`."""
    begun = b""
    while True:
        piece = await read()
        begun += piece
        shape = shape_of(begun, dialect, is_over=not piece, is_stream=is_stream)
        if shape is not None:
            return begun, not piece, shape


async def read_whole(response: Response, limit_bytes: int) -> bytes:
    """The whole body; the response is closed in every case. Raises `NotAnAnswer` beyond the limit, `BrokenAnswer`."""
    return await _gather(response, response.read_piece, Pieces(), limit_bytes)


async def _gather(response: Response, read: Read, pieces: Pieces, limit_bytes: int, begun: bytes = b"") -> bytes:
    """The same, within the budget of `pieces`: raises `MemoryFull`, too. `begun` was read already."""
    try:
        while piece := begun or await read():
            if pieces.size + len(piece) > limit_bytes:
                raise NotAnAnswer(f"the answer is larger than {limit_bytes} bytes.")
            pieces.add(piece)
            begun = b""
    finally:
        response.close()
    return pieces.whole()


async def check_status(response: Response, dialect: Dialect) -> None:
    """Read a response that is not 2xx and raise it: as `ErrorAnswer`, or `NotAnAnswer` for what LLMs do not answer."""
    if response.status in _EMPTY:
        raise NotAnAnswer(f"it answered {response.status}, which stands for no content. Is the URL right?")
    if response.status in _SUCCESS:
        return
    if response.status in REDIRECT:
        raise NotAnAnswer(f"it answered {response.status}{redirected(response)}")
    if response.status > LAST_STATUS:
        raise NotAnAnswer(f"it answered {response.status}, a status that HTTP does not have. Is it an LLM server?")
    pieces = Pieces(ANSWERS)
    try:
        body = await _gather(response, response.read_piece, pieces, MAX_ERROR_BYTES)
    except EncodedAnswer as exc:
        raise _error(response, f", and {exc.message}") from exc
    finally:
        pieces.release()
    text, is_json = await said(response, body, dialect)
    raise _error(response, f": {text}", body, is_json=is_json)


async def said(response: Response, body: bytes, dialect: Dialect) -> tuple[str, bool]:
    """What a body that is no answer says, short and on one line; and whether it is JSON, to be passed on as it came."""
    small = await readable(in_utf8(body), ANSWER_DEPTH)
    if is_json_error(small):
        return dialect.error_message(small) or quoted(body), True
    kind = response.content_type or "no content type"
    what = "without an object that can be read" if "json" in kind else "instead of JSON"
    return f"{kind} {what}{_encoding(response)}: {quoted(body)}", False


def redirected(response: Response) -> str:
    """What to do about a redirect, and where it leads: the end of a sentence, and the next one."""
    to = next((value for name, value in response.headers if name == "location"), "")
    page = _SECRETS.sub("", to).encode("utf-8", "replace")
    where = f" to {quoted(page)}" if page else ""
    return f", a redirect{where}; those are not followed. Set the final URL."


def _error(
    response: Response, words: str, body: bytes = b"", *, is_json: bool = False, status: int | None = None
) -> ErrorAnswer:
    """What it answered, as its own error; with a `status` that stands in its body, where one does."""
    message, headers = f"it answered {response.status}{words}", passed_back(response.headers)
    return ErrorAnswer(message, status=status or response.status, headers=headers, body=body, is_json=is_json)


def _encoding(response: Response) -> str:
    """Named where it may be what hinders reading."""
    encoding = next((value for name, value in response.headers if name == "content-encoding"), "identity")
    return "" if encoding.strip().lower() in ("", "identity") else f" (Content-Encoding: {quoted(encoding.encode())})"


async def _whole(response: Response, read: Read, begun: bytes, dialect: Dialect, endings: AnyEndings) -> Answer:
    if begun.lstrip().startswith(_PAGE) and b"\0" not in begun:
        raise _no_answer(response, "the body is a page, not a JSON object", begun)
    pieces = Pieces(ANSWERS)
    usage = Usage()
    try:
        body = await _gather(response, read, pieces, MAX_ANSWER_BYTES, begun)
        await _check_whole(response, body, dialect, usage, endings)
    except BaseException:
        pieces.release()
        raise
    return WholeAnswer(response.status, passed_back(response.headers), body, dialect.name, usage, pieces.release)


async def _check_whole(response: Response, body: bytes, dialect: Dialect, usage: Usage, endings: AnyEndings) -> None:
    choices = Choices()
    is_media = dialect.name == DialectName.OPENAI_AUDIO and is_bytes(body)
    small = body if is_media else await readable(in_utf8(body), ANSWER_DEPTH)
    fault = dialect.fault_of_whole(small, usage, choices)
    if fault is None:
        if not endings.judge_whole(choices):
            raise BrokenAnswer("not all of its choices say why they stopped (no finish_reason), so the answer was cut.")
        return
    status = error_status(small)
    if status is None:
        raise _no_answer(response, fault, body)
    raise _error(response, f" with {fault}", body, is_json=is_json_error(small), status=status)


def _no_answer(response: Response, fault: str, body: bytes) -> NotAnAnswer:
    kind = (response.content_type or "no content type") + _encoding(response)
    return NotAnAnswer(
        f"it answered {response.status} with {kind}, but {fault}: {quoted(body)}. Is the URL right?",
    )


def _drop(left: "asyncio.Future[Awaitable[None] | None]") -> None:
    """Nobody waits any more, not for what was to be waited for either: else Python warns of it."""
    if left.done() and not left.cancelled() and left.exception() is None:
        rest = left.result()
        if isinstance(rest, CoroutineType):
            rest.close()


@dataclass(slots=True, eq=False)
class AnswerStream:
    """The body of one streamed answer, read through its tracker. `is_over`: all of it was read already."""

    _response: Response
    tracker: Relay
    is_over: bool = False
    read: Read | None = None  # where not by the response's own `read_piece`
    _unseen: bytes = b""  # whole frames that are still to be looked at
    _is_finished: bool = False
    _trailer_bytes: int = 0

    def answer(self, dialect: DialectName, first: bytes, heard: Callable[[], int] = int) -> StreamedAnswer:
        """The rest of it, when `first` is there: the bytes up to the first valid piece, and what came with it. `heard`
        counts signs of life that are no bytes of it.
        """
        response, tracker = self._response, self.tracker
        return StreamedAnswer(  # by position: to name a dozen arguments takes longer
            response.status, passed_back(response.headers), dialect, first, self.next_piece, response.close,
            lambda: tracker.frames, tracker.usage, tracker.is_whole, lambda: tracker.received + heard(), self.flow,
            lambda: tracker.in_chunks,
        )  # fmt: skip

    async def first_piece(self) -> bytes:
        """All bytes up to and with the first valid piece."""
        tracker = self.tracker
        begun: list[bytes] = []
        size = 0
        while not tracker.started:
            if size > (MAX_FRAME_BYTES if tracker.is_ours else MAX_BEFORE_ANSWER_BYTES):
                raise NotAnAnswer(f"it sent {size} bytes, and no piece of an answer in them.")
            try:
                out = await self.next_piece()
            except BrokenAnswer as exc:
                if tracker.fault is not None and begun and not tracker.is_ours:
                    raise BrokenAnswer(f"{exc.message}; it sent {quoted(b''.join(begun))}.") from None
                raise
            if tracker.fault is not None:
                raise fresh(tracker.fault)
            begun.append(out)
            size += len(out)
        return b"".join(begun)

    async def next_piece(self) -> bytes:
        """See `StreamedAnswer`."""
        while self.tracker.fault is None:
            if self._unseen:
                whole, self._unseen = self._unseen, b""
                out = await self._look_at_much(whole)
            elif self._is_finished:
                return b""
            else:
                out = await self._read_on()
            if out:
                return out
        raise fresh(self.tracker.fault)

    async def _read_on(self) -> bytes:
        tracker = self.tracker
        piece = await self._next()
        if not piece:
            self._is_finished = True
            return tracker.finish(await readable(tracker.buffered(), ANSWER_DEPTH))
        if len(piece) > LOOKED_AT_BYTES or tracker.held_bytes > LOOKED_AT_BYTES:
            return await self._look_at_much(tracker.cut(piece))
        return tracker.feed(piece)

    async def flow(self, give: Give, chunks: ChunkWriter | None = None) -> Awaitable[None] | None:
        """See `StreamedAnswer`."""
        left: asyncio.Future[Awaitable[None] | None] = asyncio.get_running_loop().create_future()

        def go_on(piece: bytes = b"") -> None:  # this one, which was looked at, or whatever has come
            if left.done():
                return
            try:
                passed = give(piece) if piece else self.pass_on(give)
            except Exception as exc:  # noqa: BLE001 - raised to whoever waits for the flow, which is no caller of this
                left.set_exception(exc)
            else:
                if not passed:
                    return
                left.set_result(None if passed is True else passed)
            self._response.listen(None)  # now: what comes before that goes on is behind what it still has to do

        self._response.listen(go_on, self.tracker.to(go_on, chunks))
        try:
            go_on()
            return await left
        except asyncio.CancelledError:
            _drop(left)
            raise
        finally:
            self._response.listen(None)
            self.tracker.part()

    def pass_on(self, give: Give) -> Awaitable[None] | bool:
        """All that is there and can be looked at quickly, until `give` returns something to wait for: that. True:
        `next_piece` has to go on; False: more has to come.
        """
        tracker = self.tracker
        rest: Awaitable[None] | None = None
        while rest is None and not (tracker.ended or tracker.fault or self.is_over):
            piece = self._response.take_now()
            if piece is None:
                return False
            if not piece:
                break
            if tracker.is_all_more(piece):
                rest = give(piece)
                continue
            whole = tracker.cut(piece)
            out = tracker.look_quickly(whole, LOOKED_AT_BYTES) if len(whole) <= LARGE_BYTES else None
            if out is None:
                self._unseen = whole
                break
            rest = give(out) if out else None
        return True if rest is None else rest

    def last_piece(self) -> bytes:
        """What is left when all of the response was read: b"", mostly. May set the tracker's fault."""
        self._is_finished = True
        return self.tracker.finish()

    @property
    def is_light(self) -> bool:
        """Can what was read and not given out yet be looked at quickly?"""
        return not self._unseen and self.tracker.fault is None and self.tracker.held_bytes <= LOOKED_AT_BYTES

    async def _look_at_much(self, whole: bytes) -> bytes:
        """As `look`, in steps: many frames in one piece, or a large one."""
        tracker = self.tracker
        if len(whole) > LARGE_BYTES:
            await asyncio.sleep(0)  # the largest frame takes some milliseconds to copy, and as long again to look at
        elif (quickly := tracker.look_quickly(whole, LOOKED_AT_BYTES)) is not None:
            return quickly
        out: list[bytes] = []
        for part in tracker.parts(whole, LOOKED_AT_BYTES):
            out.append(tracker.look(part, await readable(part, ANSWER_DEPTH)))
            if tracker.fault is not None:
                break
            await asyncio.sleep(0)
        return b"".join(out)

    async def _next(self) -> bytes:
        if self.is_over:
            return b""
        return await (self._trailer() if self.tracker.ended else (self.read or self._response.read_piece)())

    async def _trailer(self) -> bytes:
        """What comes after the terminal frame: a little more, or nothing, but no fault."""
        try:
            piece = await self._response.read_trailer()
        except BrokenAnswer:
            piece = b""
        self._trailer_bytes += len(piece)
        if piece and self._trailer_bytes <= MAX_TRAILER_BYTES:
            return piece
        self._response.close()
        return b""
