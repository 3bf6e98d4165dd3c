"""How many bytes all answers (or all bodies) that are in memory may take together, and those of each. Pure.

A bound on each one alone is no bound: sixteen answers of 64 MB are a gigabyte. One budget holds for all of them. When
it is spent the largest that is still growing goes, so that one provider's huge answer never costs others theirs.
"""

from io import BytesIO

from masa_node.chat.errors import MasaError, MemoryFull

OVERHEAD_BYTES = 128  # of the objects in which the bytes of one answer or body are


class Pieces:
    """The bytes of one answer or body, in one place however they were cut.

    `add` each, then take the `whole`, once. One alone is given as it came, more are joined as they come. With a
    `budget` they count against it from the start until `release`, which belongs to every case then. Where they had to
    make room nothing is kept, and `add` and `whole` raise what it has `lost` them by. `size` is that of all that came.
    """

    __slots__ = ("_budget", "_first", "_is_lost", "_more", "size")

    def __init__(self, budget: "ByteBudget | None" = None) -> None:
        self._first = b""
        self._more: BytesIO | None = None
        self._is_lost = False
        self.size = 0
        self._budget = budget
        if budget is not None:
            budget.open(self)

    def add(self, piece: bytes) -> None:
        """One more."""
        self.size += len(piece)
        if self._budget is not None:
            self._budget.grow(len(piece))
        self.check()
        if self._more is not None:
            self._more.write(piece)
        elif self._first:
            self._more = BytesIO()
            self._more.writelines((self._first, piece))
        else:
            self._first = piece

    def check(self) -> None:
        """Are they still there?"""
        if self._is_lost:
            raise self.lost()

    def lost(self) -> MasaError:
        """Why they are not: there was no room for them. By default they are an answer's."""
        return MemoryFull(
            "this node holds as many bytes of whole answers as it may, and this was the largest of them. Ask for a "
            "stream, or again later."
        )

    def whole(self) -> bytes:
        """All of them. They are not kept here, but count against the budget until `release`; nobody drops them now."""
        self.check()  # they may have gone since the last one came
        if self._budget is not None:
            self._budget.growing.discard(self)
        whole = self._first if self._more is None else self._more.getvalue()  # which is no copy
        self._first, self._more = b"", None
        return whole

    def drop(self) -> None:
        """They have to make room: nothing is kept. Called by the budget at most once, maybe while this is made."""
        self._is_lost = True
        self.release()

    def release(self) -> None:
        """Nothing of it is needed any more. Idempotent."""
        self._first, self._more = b"", None
        budget, self._budget = self._budget, None
        if budget is not None:
            budget.close(self)


class ByteBudget:
    """At most `most_bytes` are held by all together, but for one piece each that has just come."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.held_bytes = 0
        self.growing: set[Pieces] = set()

    def lend(self, size: int) -> bool:
        """As for what is complete at once and small; `give_back` the same. False where it does not fit."""
        held_bytes = self.held_bytes + size + OVERHEAD_BYTES
        if held_bytes > self.most_bytes:
            return False
        self.held_bytes = held_bytes
        return True

    def give_back(self, size: int) -> None:
        """What was lent is held no more."""
        self.held_bytes -= size + OVERHEAD_BYTES

    def open(self, pieces: Pieces) -> None:
        """These begin to come."""
        self.growing.add(pieces)
        self.grow(OVERHEAD_BYTES)

    def grow(self, size: int) -> None:
        """So much more is held. The largest of those that grow are dropped until all fits again."""
        self.held_bytes += size
        while self.held_bytes > self.most_bytes and self.growing:
            max(self.growing, key=lambda each: each.size).drop()

    def close(self, pieces: Pieces) -> None:
        """Nothing of them is held any more."""
        self.growing.discard(pieces)
        self.give_back(pieces.size)
