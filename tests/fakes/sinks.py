"""Callers, as the sinks of `Dispatcher.answer`."""

from collections.abc import Sequence

from masa_node.chat.answer import Answer
from masa_node.chat.errors import MasaError
from masa_node.chat.outcome import Attempt


class TakesAll:
    """Takes whatever comes, at once, and keeps nothing of it."""

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
