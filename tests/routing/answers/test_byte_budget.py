"""One budget for all bytes that are held: when it is spent the largest goes, and nobody else."""

import gc
import weakref

from hypothesis import given
from hypothesis import strategies as st

from masa_node.chat.errors import MemoryFull
from masa_node.routing.answers.byte_budget import OVERHEAD_BYTES, ByteBudget, Pieces

MOST = 1_000_000


class Held(Pieces):
    """Somebody's bytes, so many at first."""

    def __init__(self, budget: ByteBudget, size: int = 0) -> None:
        self.dropped, self.is_over = 0, False
        super().__init__(budget)
        self.fits(size)

    def fits(self, size: int) -> bool:
        """May so many more be held?"""
        try:
            self.add(bytes(size))
        except MemoryFull:
            return False
        return True

    def drop(self) -> None:
        self.dropped += 1
        super().drop()

    def lost(self) -> MemoryFull:
        return MemoryFull("lost")


def test_what_fits_is_held_and_given_back() -> None:
    budget = ByteBudget(MOST)
    held = Held(budget, 5_000)
    assert held.fits(5_000)
    assert budget.held_bytes == 10_000 + OVERHEAD_BYTES
    held.release()
    held.release()
    assert (budget.held_bytes, held.dropped) == (0, 0)


def test_the_largest_goes_and_not_the_one_that_comes_last() -> None:
    budget = ByteBudget(MOST)
    huge, small = Held(budget, 900_000), Held(budget, 50_000)
    assert small.fits(60_000)
    assert (huge.dropped, small.dropped) == (1, 0)
    assert not huge.fits(1)
    assert budget.held_bytes == 110_000 + OVERHEAD_BYTES


def test_who_is_the_largest_himself_is_told_so() -> None:
    budget = ByteBudget(MOST)
    Held(budget, 300_000)
    held = Held(budget, 400_000)
    assert not held.fits(400_000)
    assert held.dropped == 1
    assert budget.held_bytes == 300_000 + OVERHEAD_BYTES


def test_what_is_complete_counts_but_is_not_taken_back() -> None:
    budget = ByteBudget(MOST)
    complete = Held(budget, 900_000)
    assert len(complete.whole()) == 900_000
    assert not Held(budget, 90_000).fits(90_000)
    assert complete.dropped == 0
    complete.release()
    assert budget.held_bytes == 0


def test_an_empty_one_is_not_free_so_that_many_of_them_are_bounded_too() -> None:
    budget = ByteBudget(10 * OVERHEAD_BYTES)
    every = [Held(budget) for _ in range(20)]
    assert sum(not held.dropped for held in every) == 10


def test_what_is_released_is_held_by_nobody() -> None:
    gc.disable()  # a circle would be left to it
    try:
        held = Held(ByteBudget(MOST))
        seen = weakref.ref(held)
        held.release()
        del held
        assert seen() is None
    finally:
        gc.enable()


STEPS = st.lists(
    st.tuples(st.sampled_from(["open", "add", "keep", "release"]), st.integers(0, 9), st.integers(0, 4000))
)


@given(STEPS)
def test_the_budget_is_never_passed_by_what_may_be_taken_back(steps: list[tuple[str, int, int]]) -> None:
    budget = ByteBudget(10_000)
    every: list[Held] = []
    for step, which, size in steps:
        held = every[which % len(every)] if every else None
        if step == "open" or held is None:
            every.append(Held(budget))
        elif step == "add" and not held.is_over:
            held.fits(size)
        elif step == "keep" and not (held.is_over or held.dropped):
            held.is_over = True
            held.whole()
        elif step == "release":
            held.is_over = True
            held.release()
        kept_bytes = budget.held_bytes - sum(OVERHEAD_BYTES + each.size for each in budget.growing)
        assert kept_bytes >= 0
        assert budget.held_bytes <= max(budget.most_bytes, kept_bytes) + OVERHEAD_BYTES
    for held in every:
        held.release()
    assert budget.held_bytes == 0


def test_what_is_lent_counts_until_it_is_given_back() -> None:
    budget = ByteBudget(1_000 + OVERHEAD_BYTES)
    assert budget.lend(1_000)
    assert budget.held_bytes == 1_000 + OVERHEAD_BYTES
    assert not budget.lend(1)
    budget.give_back(1_000)
    assert budget.held_bytes == 0
