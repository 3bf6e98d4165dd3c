"""The bytes of one whole answer while they come in: bounded, in one place however they were cut, within a budget."""

from masa_node.chat.errors import MemoryFull, NotAnAnswer
from masa_node.routing.answers.byte_budget import ByteBudget, Pieces


class Gathered(Pieces):
    """`add` each piece, then take the `whole`. `release` it in every case, when the body is not needed.

    Both raise `MemoryFull` when it had to make room for others.
    """

    __slots__ = ("_limit_bytes",)

    def __init__(self, limit_bytes: int, budget: ByteBudget | None = None) -> None:
        super().__init__(budget)
        self._limit_bytes = limit_bytes

    def add(self, piece: bytes) -> None:
        """One more. Raises `NotAnAnswer` beyond the limit, too."""
        if self.size + len(piece) > self._limit_bytes:
            raise NotAnAnswer(f"the answer is larger than {self._limit_bytes} bytes.")
        Pieces.add(self, piece)

    def lost(self) -> MemoryFull:
        """See `Pieces`."""
        return MemoryFull(
            "this node holds as many bytes of whole answers as it may, and this was the largest of them. Ask for a "
            "stream, or again later."
        )
