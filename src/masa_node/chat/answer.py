"""What comes back: an `Answer` is a status, headers, and bytes that either end whole or raise."""

from collections.abc import Awaitable, Callable, Generator
from typing import Protocol

import msgspec

from masa_node.chat.request import DialectName, Headers


class Usage(msgspec.Struct, gc=False):
    """What the LLM itself says of its answer: tokens as it counted them, None where it did not; and whether it
    `has_failed`, where the answer ends with an error of its own.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    has_failed: bool = False

    def note(self, input_tokens: int | None, output_tokens: int | None) -> None:
        """A later count wins; what it leaves out stays."""
        self.input_tokens = input_tokens if input_tokens is not None else self.input_tokens
        self.output_tokens = output_tokens if output_tokens is not None else self.output_tokens


def _nothing() -> None:
    """Nothing is held open."""


class WholeAnswer(msgspec.Struct, frozen=True):
    """An answer that is here in full and was checked to be whole. `close` says that its body is not needed any more."""

    status: int
    headers: Headers
    body: bytes
    dialect: DialectName
    usage: Usage = msgspec.field(default_factory=Usage)
    close: Callable[[], None] = _nothing


def _not_yet() -> bool:
    return False


def _no_bytes() -> int:
    return 0


class ChunkWriter(Protocol):
    """Takes whole chunks of HTTP, as another connection had them. `is_paused`: its reader is slow, so give none now."""

    is_paused: bool

    def write_now(self, data: bytes) -> None:
        """Pass them on behind all that was given; at once, never waits."""
        ...


Give = Callable[[bytes], Awaitable[None] | None]
Flow = Callable[[Give, ChunkWriter | None], Awaitable[Awaitable[None] | None]]


class StreamedAnswer(msgspec.Struct, frozen=True):
    """An answer that is still being made; `first` are its bytes up to the first valid piece and what came with it.

    `next_piece()` gives the next bytes (whole frames, never a part of one), `b""` once when the answer has ended
    whole, and raises `ProviderError` if it was cut. `close()` stops the LLM; it is safe to call at any time and twice.
    `frames()` is how many frames were given out so far; `usage` fills while the stream goes by. `is_whole()`: is what
    was given out a whole answer, if nothing more comes? `received()` is how many bytes of it have come so far, also
    such as are not given out yet; `in_chunks()` is how many of those given out went to the `chunks` of a flow.

    `flow(give, chunks)` is the short way while all goes well: pieces go from the connection to `give` by direct calls,
    and those in whole chunks, as they came, to `chunks`, if that is there; no task runs for them. It ends when `give`
    returns something to wait for, which it returns, and as soon as it would if `chunks` is paused. It also ends where
    `next_piece` has to go on: at the end, at a fault, at what takes long to look at. None where there is no such way.

    Not `is_framed`: the pieces are bytes of a sound, and nothing else may be put among them.
    """

    status: int
    headers: Headers
    dialect: DialectName
    first: bytes
    next_piece: Callable[[], Awaitable[bytes]]
    close: Callable[[], None]
    frames: Callable[[], int]
    usage: Usage
    is_whole: Callable[[], bool] = _not_yet
    received: Callable[[], int] = _no_bytes
    flow: Flow | None = None
    in_chunks: Callable[[], int] = _no_bytes
    is_framed: bool = True


Answer = WholeAnswer | StreamedAnswer


class _Written:
    """Awaited at once."""

    def __await__(self) -> Generator[None, None, None]:
        return
        yield


WRITTEN: Awaitable[None] = _Written()  # what a sink gives for a piece that needs no waiting
