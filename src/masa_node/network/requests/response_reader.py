"""The answer that a peer sends on the stream of one request, read as any other `Response`."""

import asyncio
import contextlib
from collections.abc import Callable

from masa_node.chat.answer import Usage
from masa_node.chat.errors import BrokenAnswer, LinkLost, NotAnAnswer, ProtocolFault, ProviderError, StreamReset
from masa_node.chat.kept_errors import fresh
from masa_node.chat.request import DIALECT_OF_ENDPOINT, DialectName, Endpoint, Headers, Request
from masa_node.dialects.opening import STREAM_TYPES
from masa_node.dialects.registry import DIALECTS
from masa_node.network.links.frames import Frame, FrameKind, FrameStream, read_header
from masa_node.network.requests.errors import error_of
from masa_node.network.requests.frames import Alive, AnswerEnd, AnswerHead, RequestFailure, headers_from_peer
from masa_node.network.transport.foreign_text import sanitize
from masa_node.routing.provider import Sign, Taker, no_sign

AFTER_END_S = 3.0  # a second in which that node waits for the rest of its LLM's response, and a bad line
# The node that serves says it once in a second at most: enough for an hour, and too little to keep anybody busy.
MAX_SIGNS = 4_096
_WENT_ON = "it went on after the end of its answer."
_PIECE, _HEAD, _END, _ALIVE = FrameKind.PIECE, FrameKind.HEAD, FrameKind.END, FrameKind.ALIVE  # read off once
_IGNORED = FrameKind.IGNORED
_NDJSON = "application/x-ndjson"
_SSE = "text/event-stream"
_JSON = "application/json"
# Of transcripts. No page is among them: a stranger's script must not run at this node's address.
_TEXTS = frozenset({"text/plain", "text/vtt", "application/x-subrip", "application/octet-stream"})


class ResponseReader:
    """First `head()`, then `read_piece()` until b"", or `close()`. One task reads.

    Nothing is read before somebody takes it, and the mux lets the peer send no more than a window of it. So a caller
    that does not read is the only one to wait.
    """

    __slots__ = (
        "_bytes",
        "_end",
        "_failure",
        "_frames",
        "_head",
        "_is_cut",
        "_is_over",
        "_location",
        "_pieces",
        "_request",
        "_sign",
        "_signs",
        "_stream",
        "_taker",
        "_usage",
        "content_type",
        "dialect",
        "headers",
        "heard",
        "status",
    )

    def __init__(self, stream: FrameStream, request: Request, location: str, sign: Sign = no_sign) -> None:
        self._stream = stream
        self._request = request
        self._location = location
        self._sign = sign
        self._signs = 0  # since the last piece
        self.heard = 0  # of all signs
        self._pieces: list[bytes] = []  # come and not yet taken
        self._frames = 0
        self._bytes = 0
        self._head: AnswerHead | None = None
        self._failure: ProviderError | None = None
        self._end: AnswerEnd | None = None
        self._usage: Usage | None = None
        self._taker: Taker | None = None
        self._is_over = False
        self._is_cut = False
        self.status = 0
        self.headers: Headers = ()
        self.content_type = ""
        self.dialect: DialectName = DIALECT_OF_ENDPOINT[request.endpoint]

    async def head(self) -> AnswerHead:
        """What the peer says will come. Raises what it says went wrong, `NotAnAnswer`, `ProtocolFault`, `LinkLost`."""
        while self._head is None:
            if self._failure is not None:
                raise fresh(self._failure)
            await self._read()
        return self._head

    def take_head(self) -> "ResponseReader | None":
        """The same by calls: itself once the head is here. None until then, and where only `head` can tell why not."""
        self._read_now()
        return self if self._head is not None else None

    @property
    def is_odd(self) -> bool:
        """See `AskedNow`."""
        return self._is_cut or self._failure is not None or self.heard > 0

    def hear(self, sign: Sign) -> None:
        """Call this at each sign of life from now on, and for those that came."""
        self._sign = sign
        if self.heard:
            sign()

    async def read_piece(self) -> bytes:
        """See `Response`. `BrokenAnswer` when the stream stopped without an END."""
        while not self._pieces:
            if self._failure is not None:
                raise fresh(self._failure)
            if self._end is not None:
                await self._part()
                return b""
            await self._read()
        return self._taken()

    def _taken(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def listen(self, came: Callable[[], None] | None, taker: Taker | None = None) -> None:
        """See `Response`."""
        self._taker = taker
        self._stream.listen(came, self._offer if taker is not None else None)

    def _offer(self, piece: bytes) -> bool:
        """Offer this PIECE, before which all was taken, in the midst of the read that brought it."""
        taker = self._taker
        if self._pieces or self._end is not None or self._failure is not None or taker is None:
            return False
        if not taker.take_frames(piece):
            return False
        self._signs = 0
        self._frames += 1
        self._bytes += len(piece)
        return True

    def take_now(self) -> bytes | None:
        """See `Response`."""
        if self._end is None and self._failure is None:
            frames = self._stream.receive_now()
            if frames == [] and not self._pieces:  # the hot path of every stream
                return None
            if frames and len(frames) == 1 and self._head is not None and not self._pieces:  # as this
                [(kind, payload)] = frames
                if kind is _PIECE and payload:
                    self._signs = 0
                    self._frames += 1
                    self._bytes += len(payload)
                    return payload
            self._sort_all(frames)
        if self._pieces:
            return self._taken()
        return b"" if self._is_cut or self._end is not None or self._failure is not None else None

    take_unpacked = take_now  # a peer packs nothing

    def put_back(self, data: bytes) -> None:
        """See `OpenResponse`."""
        self._pieces.insert(0, data)

    @property
    def is_read(self) -> bool:
        """See `OpenResponse`. The peer has finished, too."""
        if self._end is None:
            self._read_now()
        return self._end is not None and self._failure is None and not self._pieces and self._has_parted()

    def finish(self) -> None:
        """See `OpenResponse`. The answer is whole, even if the connection breaks now."""
        with contextlib.suppress(StreamReset, LinkLost):
            self._stream.finish()
        self._is_over = True

    def _read_now(self) -> None:
        if self._end is None and self._failure is None and (frames := self._stream.receive_now()) != []:
            self._sort_all(frames)

    def _sort_all(self, frames: list[Frame] | None) -> None:
        self._is_cut = frames is None
        try:
            for kind, payload in frames or ():
                self._sort(kind, payload)
        except ProviderError as fault:
            self._failure, self._pieces = fresh(fault), []  # as `_read` raises it, before any piece that came with it

    def _has_parted(self) -> bool:
        frames = self._stream.receive_now()
        if any(kind is not FrameKind.IGNORED for kind, _ in frames or ()):
            self._failure = ProtocolFault(_WENT_ON)
        return frames is None

    async def read_trailer(self) -> bytes:
        """See `Response`. A peer that has sent the terminal frame has to send END soon."""
        try:
            async with asyncio.timeout(AFTER_END_S):
                return await self.read_piece()
        except TimeoutError:
            raise BrokenAnswer(f"it sent no END within {AFTER_END_S:g} s after the terminal frame.") from None

    def note_usage(self, usage: Usage) -> None:
        """Where to write the tokens that END tells and the answer itself does not."""
        self._usage = usage
        if self._end is not None:
            self._fill(usage, self._end)

    def close(self) -> None:
        """See `Response`."""
        self._sign = no_sign  # which may lead back here
        self._stream.abort()

    async def _read(self) -> None:
        """Wait for more, and sort what has come."""
        try:
            frames = await self._stream.receive()
        except (StreamReset, LinkLost) as exc:
            if self._head is None:  # as it is: an error that is its own cause is a circle
                raise
            raise BrokenAnswer(f"its answer was cut: {exc.message}") from exc
        if not frames:
            raise BrokenAnswer("it closed the stream before its answer was whole.")
        for kind, payload in frames:
            self._sort(kind, payload)

    def _sort(self, kind: FrameKind, payload: bytes) -> None:
        if kind is _PIECE and self._head is not None and payload and self._end is None and self._failure is None:
            self._signs = 0
            self._frames += 1
            self._bytes += len(payload)
            self._pieces.append(payload)
            return
        if kind is _IGNORED:
            return
        if self._end is not None or self._failure is not None:
            raise ProtocolFault(f"it sent a {kind.name} frame after the end of its answer.")
        if kind is _ALIVE:
            read_header(payload, Alive)
            self._note_sign()
        elif kind is _HEAD and self._head is None:
            self._begin(read_header(payload, AnswerHead))
        elif kind is _END and self._head is not None:
            self._finish(read_header(payload, AnswerEnd))
        elif kind is FrameKind.FAIL:
            self._failure = error_of(read_header(payload, RequestFailure), self._location)
        else:
            raise ProtocolFault(f"it sent {'an empty' if not payload else 'a'} {kind.name} frame where none may be.")

    def _note_sign(self) -> None:
        self._signs += 1
        self.heard += 1
        if self._signs > MAX_SIGNS:
            raise ProtocolFault(f"it said more than {MAX_SIGNS} times that its LLM works, and nothing else.")
        if self._head is None:
            self._sign()

    def _begin(self, head: AnswerHead) -> None:
        dialect = DialectName(head.dialect)
        if dialect not in DIALECTS or (self._request.endpoint is not Endpoint.NATIVE and dialect != self.dialect):
            raise NotAnAnswer(
                f"it answers in the format {sanitize(head.dialect)!r}, where {self.dialect} was asked for."
            )
        if head.model != self._request.model:
            raise NotAnAnswer(f"it answers for the model {sanitize(head.model)!r}, which was not asked for.")
        self._head = head
        self._sign = no_sign  # there are no more, and it may lead back here
        self.dialect = dialect
        self.status = head.status
        self.headers, self.content_type = _checked(head, dialect)

    def _finish(self, end: AnswerEnd) -> None:
        if (end.frames, end.bytes) != (self._frames, self._bytes):
            raise ProtocolFault(
                f"it says that it sent {end.bytes} bytes in {end.frames} pieces; {self._bytes} in {self._frames} came."
            )
        self._end = end
        if self._usage is not None:
            self._fill(self._usage, end)

    def _fill(self, usage: Usage, end: AnswerEnd) -> None:
        usage.input_tokens = end.input_tokens if usage.input_tokens is None else usage.input_tokens
        usage.output_tokens = end.output_tokens if usage.output_tokens is None else usage.output_tokens

    async def _part(self) -> None:
        """Both sides finish. The answer is whole, even if the connection breaks now."""
        if self._is_over:
            return
        rest = False
        with contextlib.suppress(StreamReset, LinkLost):
            rest = await self._comes_more()
            if not rest:
                self._stream.finish()
        if rest:
            raise ProtocolFault(_WENT_ON)
        self._is_over = True

    async def _comes_more(self) -> bool:
        """Does it go on, with anything that has to be known?"""
        while frames := await self._stream.receive():
            if any(kind is not FrameKind.IGNORED for kind, _ in frames):
                return True
        return False


def _checked(head: AnswerHead, dialect: DialectName) -> tuple[Headers, str]:
    """The headers that the caller may get, and the media type. A stranger's media type is only taken if it fits."""
    headers = headers_from_peer(head.headers)
    media_type = dict(reversed(headers)).get("content-type", "")  # the first
    content_type = media_type.partition(";")[0].strip().lower()
    usual = _JSON if not head.is_stream else _NDJSON if dialect == DialectName.OLLAMA else _SSE
    is_sound = dialect == DialectName.OPENAI_AUDIO and (content_type.startswith("audio/") or content_type in _TEXTS)
    if content_type == usual or is_sound or (head.is_stream and content_type in STREAM_TYPES):
        return headers, content_type
    others = tuple(pair for pair in headers if pair[0] != "content-type")
    return (("content-type", usual), *others), usual
