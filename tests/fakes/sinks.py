"""Callers, as the sinks of `Dispatcher.answer`."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from masa_node.chat.answer import Answer, ChunkWriter
from masa_node.chat.errors import MasaError
from masa_node.chat.outcome import Attempt


class TakesAll:
    """Takes whatever comes, at once, and keeps nothing of it."""

    chunks: ChunkWriter | None = None

    async def head(self, answer: Answer, attempts: Sequence[Attempt]) -> None:
        """See `Sink`."""

    async def piece(self, data: bytes, /) -> None:
        """See `Sink`."""

    async def end(self, last: bytes) -> None:
        """See `Sink`."""

    async def failed(self, error: MasaError, attempts: Sequence[Attempt]) -> int:
        """See `Sink`."""
        del error, attempts
        return 0


async def at_once(data: bytes) -> None:
    """A caller that reads at once."""


@dataclass
class Keeps(TakesAll):
    """Keeps what it is given; `write` is how long it takes over a piece."""

    write: Callable[[bytes], Awaitable[None]] = at_once
    answer: Answer | None = None
    came: list[bytes] = field(default_factory=list)
    error: MasaError | None = None

    async def head(self, answer: Answer, attempts: Sequence[Attempt]) -> None:
        """See `Sink`."""
        self.answer = answer

    async def piece(self, data: bytes, /) -> None:
        """See `Sink`."""
        await self.write(data)
        self.came.append(data)

    async def end(self, last: bytes) -> None:
        """See `Sink`."""
        self.came.append(last)

    async def failed(self, error: MasaError, attempts: Sequence[Attempt]) -> int:
        """See `Sink`."""
        self.error = error
        return 0
