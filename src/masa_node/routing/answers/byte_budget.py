"""How many bytes all answers (or all bodies) that are in memory may take together. Pure.

A bound on each one alone is no bound: sixteen answers of 64 MB are a gigabyte. One budget holds for all of them. When
it is spent the largest share that is still growing goes, so that one provider's huge answer never costs others theirs.

    share = budget.open(pieces.clear)
    if not share.add(len(piece)):   # the budget is spent, and this was the largest
        ...
    share.keep()                    # it is complete now, and nobody takes it away any more
    share.release()                 # it is gone from memory
"""

from collections.abc import Callable
from dataclasses import dataclass

OVERHEAD_BYTES = 128  # of a share itself, and of the objects in which its bytes are


@dataclass(slots=True, eq=False)
class Share:
    """What one answer or body takes of its budget. Made by `ByteBudget.open`; `release` it in every case."""

    _budget: "ByteBudget"
    _drop: Callable[[], None]
    size: int = OVERHEAD_BYTES
    is_taken: bool = False  # was it taken back, for another's sake or because it is the largest?
    _is_released: bool = False

    def add(self, size: int) -> bool:
        """So many bytes more are held. False when the share is taken back: then nothing of it is held any more."""
        budget = self._budget
        if self in budget.growing:
            self.size += size
            budget.held_bytes += size
            budget.make_room()
        return not self.is_taken

    def keep(self) -> None:
        """It is complete: it counts until it is released, and is not taken back."""
        self._budget.growing.discard(self)

    def release(self) -> None:
        """Nothing of it is held any more. Idempotent."""
        if not self._is_released:
            self._is_released = True
            self._budget.growing.discard(self)
            self._budget.held_bytes -= self.size
            del self._drop  # its owner holds this share: a circle would wait for a collector

    def take_back(self) -> None:
        """Have the owner drop its bytes."""
        self.is_taken = True
        self._drop()
        self.release()


class ByteBudget:
    """At most `most_bytes` are held by all shares together, but for one piece each that has just come."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.held_bytes = 0
        self.growing: set[Share] = set()

    def __repr__(self) -> str:
        return f"ByteBudget(kept={self.kept_bytes}, growing={self.growing_bytes}, most={self.most_bytes})"

    @property
    def kept_bytes(self) -> int:
        """What complete answers and bodies take: it is not taken back."""
        return self.held_bytes - self.growing_bytes

    @property
    def growing_bytes(self) -> int:
        """What those take that are still coming in."""
        return sum(share.size for share in self.growing)

    def lend(self, size: int) -> bool:
        """As a share that is complete at once, for what is small; `give_back` the same. False where it does not fit."""
        held_bytes = self.held_bytes + size + OVERHEAD_BYTES
        if held_bytes > self.most_bytes:
            return False
        self.held_bytes = held_bytes
        return True

    def give_back(self, size: int) -> None:
        """What was lent is held no more."""
        self.held_bytes -= size + OVERHEAD_BYTES

    def open(self, drop: Callable[[], None]) -> Share:
        """A new share. `drop`, called at most once and at once, maybe in this call, lets go of what its owner holds."""
        share = Share(self, drop)
        self.growing.add(share)
        self.held_bytes += share.size
        self.make_room()
        return share

    def make_room(self) -> None:
        """The largest growing shares are taken back until all fits again."""
        while self.held_bytes > self.most_bytes and self.growing:
            max(self.growing, key=lambda each: each.size).take_back()
