"""The protocols of everything that can answer a request, and of what it answers with, with its signs of life."""

from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from masa_node.chat.answer import Answer, Usage
from masa_node.chat.request import Headers, Privacy, Request
from masa_node.dialects.choices import Endings
from masa_node.dialects.dialect import Dialect

Sign = Callable[[], None]


def no_sign() -> None:
    """Ignores signs of life."""


class Taker(Protocol):
    """Takes whole chunks, or whole frames, as they are read."""

    def take(self, data: bytes) -> bytes:
        """What is left of this, which begins where a chunk does, when as many chunks were taken as could be."""
        ...

    def take_frames(self, data: bytes) -> bool:
        """Were these taken, which are whole frames without chunks? All of them, or none."""
        ...


TakeWhole = Callable[[Headers, bytes], bool]  # see `AskedNow`


class Response(Protocol):
    """The head of an answer that is on its way, with the names of `headers` in lower case, and the way to its bytes."""

    status: int
    headers: Headers

    @property
    def content_type(self) -> str:
        """The media type in lower case, without parameters; "" if there is none."""
        ...

    async def read_piece(self) -> bytes:
        """What has arrived, at least one byte; b"" when the body has ended in good order. Raises `ProviderError`."""
        ...

    def listen(self, came: Callable[[], None] | None, taker: Taker | None = None) -> None:
        """From now on call this whenever something has arrived, or nothing more will. It must not raise.

        What comes may be offered to `taker` before. Nothing is before all that came earlier was taken.
        """
        ...

    def take_now(self) -> bytes | None:
        """What `read_piece` would give; None where it would wait, b"" where only it can go on. Never raises."""
        ...

    async def read_trailer(self) -> bytes:
        """The same, after the terminal frame: the answer is whole, whatever becomes of the rest. May raise still."""
        ...

    def close(self) -> None:
        """Give up what was not read; at once, never waits. Idempotent."""
        ...


class Together(msgspec.Struct, eq=False):
    """One request that goes to several providers in one moment; `prepared` is what they share of the work."""

    request: Request
    prepared: object = None


class Begun(Protocol):
    """A request that is on its way to a provider."""

    def answer(self, request: Request, sign: Sign = no_sign) -> Awaitable[Answer]:
        """As `Provider.answer` for the same request. At most one call."""
        ...

    def close(self) -> None:
        """Give it up at once. Idempotent."""
        ...


# What a provider may have as `begin`, so that no task is needed until it answers. Given `Together` and `wake` it sends
# the request. None, and nothing is sent, where that would mean to wait or to raise. `wake` is called once: when there
# is something for `Begun.answer` to read, or when nothing more will come.
Begin = Callable[[Together, Callable[[], None]], Begun | None]


class OpenResponse(Response, Protocol):
    """A response that is read by calls. `take_unpacked` once its head is here; `finish` when all was read."""

    @property
    def is_read(self) -> bool:
        """Has it ended in good order, and was all of it taken?"""
        ...

    def take_unpacked(self) -> bytes | None:
        """As `take_now`, from the first bytes on. b"" as well where only `read_piece` can tell what it is."""
        ...

    def put_back(self, data: bytes) -> None:
        """As if this had not been taken yet."""
        ...

    def finish(self) -> None:
        """All of it was taken."""
        ...


class AskedNow(Begun, Protocol):
    """A request that was sent at once, and whose answer is read by calls as long as nothing is odd about it.

    Ends with `answer`, as if none of it had been read; or, when all of the response was read, with `answered` and
    `OpenResponse.finish`; or when a whole answer was taken; or with `close`. It is answered in `dialect`; `endings` is
    what the server has shown of how its answers end, `asked` the request's number there.
    """

    dialect: Dialect
    endings: Endings
    asked: int

    @property
    def is_odd(self) -> bool:
        """Has something come that only `answer` can go on with, or will nothing more come without a head?"""
        ...

    def heard(self) -> int:
        """How many signs of life came that are no bytes of the answer."""
        ...

    def listen(self, came: Callable[[], None] | None) -> None:
        """See `Response`; from now on, for the head, too."""
        ...

    def listen_for_whole(self, came: Callable[[], None], take: TakeWhole) -> None:
        """The same. A usual answer of status 200 that comes whole in one read may be offered to `take` instead, with
        the headers that the caller gets. It must not raise; if it returns False, nothing was read.
        """
        ...

    def head(self) -> OpenResponse | None:
        """The response once its head is here. At most one is asked for. Raises `ProviderError`."""
        ...

    def answered(self, usage: Usage) -> None:
        """Its first valid piece has come. `usage` may be filled in by what comes behind the answer."""
        ...


# What a provider may have as `ask_now`: sends the request in this very call. None, and nothing is sent, where that
# would mean to wait or to raise.
AskNow = Callable[[Request], AskedNow | None]


class Provider(Protocol):
    """An LLM server behind this node, or a remote peer: routing sees no difference.

    `name` is unique on this node; `location` is it in words, for errors. `is_local` says whether it is behind this node
    or a peer. `is_trusted` says whether its owner may see requests marked `X-Masa-Privacy: trusted`, and `is_hosted`
    whether its answers cost this node's owner money. `priority` ranks own servers of one model: those of
    the lowest number share the work, and others are asked when none of these is well.
    """

    name: str
    location: str
    is_local: bool
    is_hosted: bool
    priority: int

    @property
    def is_trusted(self) -> bool:
        """Own LLM servers are; a peer is when this node's owner said so."""
        ...

    async def answer(self, request: Request, sign: Sign = no_sign) -> Answer:
        """Ask. Returns when the first valid piece is there; the caller of this owns the answer and closes it.

        `sign` is called at each sign of life until then: the head of a 2xx answer, bytes that are no piece yet.

        Raises `ProviderError` with its `location` set. When cancelled, the LLM is stopped at once and nothing stays
        open. Holds no deadline of its own: the request's is kept by the dispatcher.
        """
        ...


def may_see(provider: Provider, privacy: Privacy) -> bool:
    """May it see a request of this privacy? Anything but a clear yes keeps that on this node."""
    return provider.is_local or privacy is Privacy.ANY or (privacy is Privacy.TRUSTED and provider.is_trusted)
