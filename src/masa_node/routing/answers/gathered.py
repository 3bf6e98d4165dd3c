"""The bytes of one whole answer while they come in: bounded, in few objects however they were cut, within a budget."""

import asyncio

from masa_node.chat.errors import MemoryFull, NotAnAnswer
from masa_node.routing.answers.byte_budget import ByteBudget, Share

# Smaller pieces are copied together: each object costs some 40 bytes, and a body may come byte by byte.
PIECE_BYTES = 4 * 1024
BLOCK_BYTES = 64 * 1024  # that they are copied to
# Joining takes about 0.5 ms a megabyte, of which a loop should not stand still for long.
JOINED_AT_ONCE_BYTES = 8 * 1024 * 1024


class Gathered:
    """`add` each piece, then take the body with `joined`. `release` it in every case, when the body is not needed."""

    __slots__ = ("_blocks", "_limit_bytes", "_share", "_size", "_tail")

    def __init__(self, limit_bytes: int, budget: ByteBudget | None = None) -> None:
        self._limit_bytes = limit_bytes
        self._blocks: list[bytes] = []
        self._tail = bytearray()
        self._size = 0
        self._share: Share | None = budget.open(self._drop) if budget is not None else None

    def __repr__(self) -> str:
        return f"Gathered({self._size} bytes in {self.blocks} blocks)"

    @property
    def blocks(self) -> int:
        """In how many objects it is held, but for the last bytes."""
        return len(self._blocks)

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
        if len(piece) >= PIECE_BYTES:
            if self._tail:
                self._flush()
            self._blocks.append(piece)
            return
        self._tail += piece
        if len(self._tail) >= BLOCK_BYTES:
            self._flush()

    async def joined(self) -> bytes:
        """All of it, which counts against the budget until `release`. Off the loop when it is large."""
        if self._tail:
            self._flush()
        if self._share is not None:
            self._share.keep()
        blocks, self._blocks = self._blocks, []
        if len(blocks) == 1:
            return blocks[0]
        if self._size <= JOINED_AT_ONCE_BYTES:
            return b"".join(blocks)
        return await asyncio.to_thread(b"".join, blocks)  # which lets go of the interpreter while it copies

    def release(self) -> None:
        """Nothing of it is held any more. Idempotent."""
        self._drop()
        if self._share is not None:
            self._share.release()

    def _drop(self) -> None:
        self._blocks = []
        self._tail = bytearray()

    def _flush(self) -> None:
        self._blocks.append(bytes(self._tail))
        self._tail = bytearray()
