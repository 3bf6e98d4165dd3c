"""Bytes that come in pieces, in one place however they were cut; within a budget, where one is given."""

from abc import ABC, abstractmethod
from io import BytesIO

from masa_node.chat.errors import MasaError
from masa_node.routing.answers.byte_budget import ByteBudget, Share


class Pieces(ABC):
    """`add` each, then take the `whole`, once. One alone is given as it came, more are joined as they come.

    With a `budget` they count against it from the start until `release`, which belongs to every case then. Where its
    share of that was taken back nothing is kept, and `add` and `whole` raise what it has `lost` them by. `size` is that
    of all that came.
    """

    __slots__ = ("_first", "_more", "_share", "size")

    def __init__(self, budget: ByteBudget | None = None) -> None:
        self._first = b""
        self._more: BytesIO | None = None
        self.size = 0
        self._share: Share | None = budget.open(self.drop) if budget is not None else None

    def add(self, piece: bytes) -> None:
        """One more."""
        self.size += len(piece)
        if self._share is not None:
            self._share.add(len(piece))
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
        if self._share is not None and self._share.is_taken:
            raise self.lost()

    @abstractmethod
    def lost(self) -> MasaError:
        """Why they are not: there was no room for them."""

    def whole(self) -> bytes:
        """All of them. They are not kept here, but count against the budget until `release`."""
        self.check()  # they may have gone since the last one came
        if self._share is not None:
            self._share.keep()
        whole = self._first if self._more is None else self._more.getvalue()  # which is no copy
        self._first, self._more = b"", None
        return whole

    def drop(self) -> None:
        """The share was taken back: nothing is kept."""
        self._first, self._more = b"", None

    def release(self) -> None:
        """Nothing of it is needed any more. Idempotent."""
        self._first, self._more = b"", None
        if self._share is not None:
            self._share.release()
