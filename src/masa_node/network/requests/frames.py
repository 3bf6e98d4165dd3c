"""What two nodes say to each other on the stream of one request; the payloads of its frames (`links/frames.py`). Pure.

The requester says REQUEST, BODY*; the node that serves HEAD, PIECE*, END, ALIVE before and between them, or FAIL at
any time. How much may be under way is the mux's matter.
See docs/protocol.md.
"""

from collections.abc import Iterator
from itertools import chain
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from masa_node.chat.answer import Usage
from masa_node.chat.errors import PeerRefused
from masa_node.chat.headers import FROM_PEERS, TO_PEERS
from masa_node.chat.query import MAX_PEER_QUERY_CHARS, query_to_peer
from masa_node.chat.request import Headers, Request
from masa_node.dialects.bodies.peek import MAX_MODEL_CHARS
from masa_node.dialects.fields import Tokens
from masa_node.network.links.frames import MAX_PAYLOAD_BYTES, Frame, FrameKind, header_payload
from masa_node.network.transport.foreign_text import MAX_MESSAGE_CHARS

CHUNK_BYTES = MAX_PAYLOAD_BYTES  # of a body or an answer in one frame
FRAMES_OF_A_SHORT_REQUEST = 2  # REQUEST, and a BODY of 64 KiB: they need no task of their own
MIN_CHUNK_BYTES = 1024  # of a body, but for its last frame: a body of many tiny frames is work without an end
MAX_PEER_HEADERS = 16  # each name that may cross, twice over
MAX_VALUE_CHARS = 1024  # RFC 9110 sets none; `anthropic-beta` with all its features is below 500
MAX_ENDPOINTS = 32  # there are fewer, with room for later ones
MAX_EXTRA_BYTES = 1024  # of an offer or a receipt: a signed message of a few fields has below 500
REQUEST_ID_CHARS = 16
_NO_ID = REQUEST_ID_CHARS * "0"
_REQUEST, _BODY = FrameKind.REQUEST, FrameKind.BODY  # read off the enum once
MAX_MS = 24 * 3600 * 1000  # a day is as good as no limit

HeaderName = Annotated[str, Meta(min_length=1, max_length=64)]
HeaderValue = Annotated[str, Meta(max_length=MAX_VALUE_CHARS)]
HeaderList = Annotated[tuple[tuple[HeaderName, HeaderValue], ...], Meta(max_length=MAX_PEER_HEADERS)]
ShortText = Annotated[str, Meta(max_length=64)]
Count = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]  # as msgpack's signed integers
Extra = Annotated[bytes, Meta(max_length=MAX_EXTRA_BYTES)]
Milliseconds = Annotated[int, Meta(ge=0, le=MAX_MS)]


class RequestHeader(msgspec.Struct, frozen=True):
    """REQUEST: `first_piece_within_ms` is what is left of the requester's time when this is sent; `endpoint` a
    `chat.request.Endpoint`; `query` what of the query of the caller's URL may cross. `offer` is room for what the
    requester offers for the answer; nobody reads it yet.
    """

    request_id: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9._-]{1,64}\Z")]
    endpoint: ShortText
    model: Annotated[str, Meta(min_length=1, max_length=MAX_MODEL_CHARS)]
    wants_stream: bool
    body_bytes: Count
    first_piece_within_ms: Milliseconds
    headers: HeaderList = ()
    query: Annotated[str, Meta(max_length=MAX_PEER_QUERY_CHARS)] | UnsetType = UNSET
    offer: Extra | UnsetType = UNSET


class AnswerHead(msgspec.Struct, frozen=True):
    """HEAD: what comes in the PIECEs. `model` repeats what was asked for; `dialect` is a `chat.request.DialectName`.

    A status from 400 on is an error that the LLM itself gave; its body is a JSON object.
    """

    status: Annotated[int, Meta(ge=200, le=599)]
    model: Annotated[str, Meta(max_length=MAX_MODEL_CHARS)]
    dialect: ShortText
    is_stream: bool
    headers: HeaderList = ()


class AnswerEnd(msgspec.Struct, frozen=True, omit_defaults=True):
    """END: the answer is whole. `frames` and `bytes` count the PIECEs; tokens as the LLM counted them.

    `receipt` is room for the server's word for what it did; nobody reads it yet.
    """

    frames: Count
    bytes: Count
    input_tokens: Tokens | None = None
    output_tokens: Tokens | None = None
    receipt: Extra | None = None


class RequestFailure(msgspec.Struct, frozen=True, omit_defaults=True):
    """FAIL: there is no answer, or not the rest of it. `code` is an error's `code`; `location` is where, in words.

    `status` and `headers` are the LLM's, where it refused without a JSON body. `endpoints` are those that it has, where
    the one that was asked for turned out to be missing.
    """

    code: ShortText
    message: Annotated[str, Meta(max_length=MAX_MESSAGE_CHARS)] = ""
    location: ShortText = ""
    status: Annotated[int, Meta(ge=400, le=599)] | None = None
    headers: HeaderList = ()
    endpoints: Annotated[tuple[ShortText, ...], Meta(max_length=MAX_ENDPOINTS)] = ()


class Alive(msgspec.Struct, frozen=True):
    """ALIVE: the LLM has begun to work, or still does; the next piece of its answer is not there yet."""


class ShortRequest:
    """A request whose body is in one frame, to be sent to many peers in the same moment: encoded once.

    Raises `PeerRefused` as `request_frames` does.
    """

    __slots__ = ("_after", "_before", "_body")

    def __init__(self, request: Request, left_s: float) -> None:
        payload = _header_of(request, left_s, _NO_ID)
        self._before, _, self._after = payload.partition(_NO_ID.encode())  # it is the first field
        self._body = request.body

    def frames(self, request_id: str) -> tuple[Frame, Frame]:
        """For one more peer: REQUEST and BODY. `request_id` has REQUEST_ID_CHARS."""
        payload = b"".join((self._before, request_id.encode(), self._after))
        return (_REQUEST, payload), (_BODY, self._body)


def request_frames(request: Request, left_s: float, request_id: str) -> Iterator[Frame]:
    """REQUEST, and BODYs.

    `left_s` is the time until the first piece must be there. `request_id` is the name of the request at this peer, and
    not the caller's own, which could be known elsewhere, or tell two peers that they serve the same caller. Raises
    `PeerRefused` for what no peer would take.
    """
    payload = _header_of(request, left_s, request_id)
    return chain([(FrameKind.REQUEST, payload)], ((FrameKind.BODY, chunk) for chunk in chunks(request.body)))


def _header_of(request: Request, left_s: float, request_id: str) -> bytes:
    header = RequestHeader(
        request_id=request_id,
        endpoint=request.endpoint.value,
        model=request.model,
        wants_stream=request.wants_stream,
        body_bytes=len(request.body),
        first_piece_within_ms=_ms(left_s),
        headers=headers_to_peer(request.headers),
        query=query_to_peer(request.query) or UNSET,
    )
    try:
        return header_payload(FrameKind.REQUEST, header)
    except ValueError:
        raise PeerRefused("the request's headers are too long to be sent to a peer.") from None


def chunks(data: bytes) -> Iterator[bytes]:
    """The data in parts of at most CHUNK_BYTES each."""
    if len(data) <= CHUNK_BYTES:
        return iter((data,) if data else ())
    return (data[at : at + CHUNK_BYTES] for at in range(0, len(data), CHUNK_BYTES))


def headers_to_peer(headers: Headers) -> Headers:
    """Those that may cross. Raises `PeerRefused` when they are more or longer than a peer would take."""
    passed = tuple([pair for pair in headers if pair[0] in TO_PEERS])
    if len(passed) > MAX_PEER_HEADERS or max([len(value) for _, value in passed], default=0) > MAX_VALUE_CHARS:
        raise PeerRefused(
            f"no peer takes more than {MAX_PEER_HEADERS} headers of {MAX_VALUE_CHARS} characters; the request has more."
        )
    return passed


def headers_from_peer(headers: Headers) -> Headers:
    """Those that may come back, whoever sends them."""
    return tuple([pair for pair in headers if pair[0] in FROM_PEERS and is_header_value(pair[1])])


def is_header_value(text: str) -> bool:
    """May it stand in an HTTP header, and is it of a length that is taken?"""
    return len(text) <= MAX_VALUE_CHARS and text.isascii() and text.isprintable()


def end_of(usage: Usage, frames: int, size: int) -> AnswerEnd:
    """The END of an answer that used so much."""
    return AnswerEnd(frames, size, usage.input_tokens, usage.output_tokens)


def _ms(seconds: float) -> int:
    return round(min(max(seconds, 0.0) * 1000, MAX_MS))
