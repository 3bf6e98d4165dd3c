"""The bytes of one whole answer while they come in: bounded, in one place however they were cut, within a budget."""

from masa_node.chat.errors import MemoryFull, NotAnAnswer
from masa_node.routing.answers.byte_budget import ByteBudget, Share
from masa_node.routing.answers.pieces import Pieces


class Gathered:
    """`add` each piece, then take the `body`. `release` it in every case, when the body is not needed."""

    __slots__ = ("_limit_bytes", "_pieces", "_share", "_size")

    def __init__(self, limit_bytes: int, budget: ByteBudget | None = None) -> None:
        self._limit_bytes = limit_bytes
        self._pieces = Pieces()
        self._size = 0
        self._share: Share | None = budget.open(self._pieces.drop) if budget is not None else None

    def __repr__(self) -> str:
        return f"Gathered({self._size} bytes)"

    def add(self, piece: bytes) -> None:
        """One more. Raises `NotAnAnswer` beyond the limit, `MemoryFull` when its share of the budget was taken back."""
        self._size += len(piece)
        if self._size > self._limit_bytes:
            raise NotAnAnswer(f"the answer is larger than {self._limit_bytes} bytes.")
        if self._share is not None and not self._share.add(len(piece)):
            raise MemoryFull(
                "this node holds as many bytes of whole answers as it may, and this was the largest of them. Ask for a "
                "stream, or again later."
            )
        self._pieces.add(piece)

    def body(self) -> bytes:
        """All of it, which counts against the budget until `release`. To be taken once."""
        if self._share is not None:
            self._share.keep()
        return self._pieces.whole()

    def release(self) -> None:
        """Nothing of it is held any more. Idempotent."""
        self._pieces.drop()
        if self._share is not None:
            self._share.release()
