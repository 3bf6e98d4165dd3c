"""One budget for all bytes that are held: when it is spent the largest goes, and nobody else."""

import gc
import weakref

from hypothesis import given
from hypothesis import strategies as st

from masa_node.routing.answers.byte_budget import OVERHEAD_BYTES, ByteBudget, Share

MOST = 1_000_000


def a_share(budget: ByteBudget, size: int) -> tuple[Share, list[str]]:
    dropped: list[str] = []
    share = budget.open(lambda: dropped.append("dropped"))
    share.add(size)
    return share, dropped


def test_what_fits_is_held_and_given_back() -> None:
    budget = ByteBudget(MOST)
    share, dropped = a_share(budget, 5_000)
    assert share.add(5_000)
    assert budget.held_bytes == 10_000 + OVERHEAD_BYTES
    share.release()
    share.release()
    assert (budget.held_bytes, dropped) == (0, [])


def test_the_largest_goes_and_not_the_one_that_comes_last() -> None:
    budget = ByteBudget(MOST)
    huge, huge_dropped = a_share(budget, 900_000)
    small, small_dropped = a_share(budget, 50_000)
    assert small.add(60_000)
    assert (huge_dropped, small_dropped) == (["dropped"], [])
    assert huge.is_taken
    assert not huge.add(1)
    assert budget.held_bytes == 110_000 + OVERHEAD_BYTES


def test_who_is_the_largest_himself_is_told_so() -> None:
    budget = ByteBudget(MOST)
    a_share(budget, 300_000)
    share, dropped = a_share(budget, 400_000)
    assert not share.add(400_000)
    assert dropped == ["dropped"]
    assert budget.held_bytes == 300_000 + OVERHEAD_BYTES


def test_what_is_complete_counts_but_is_not_taken_back() -> None:
    budget = ByteBudget(MOST)
    complete, dropped = a_share(budget, 900_000)
    complete.keep()
    share, _ = a_share(budget, 90_000)
    assert not share.add(90_000)
    assert (complete.is_taken, dropped) == (False, [])
    complete.release()
    assert budget.held_bytes == 0


def test_an_empty_one_is_not_free_so_that_many_of_them_are_bounded_too() -> None:
    budget = ByteBudget(10 * OVERHEAD_BYTES)
    shares = [a_share(budget, 0)[0] for _ in range(20)]
    assert sum(not share.is_taken for share in shares) == 10


class Owner:
    """Of a share, whose bytes it drops when told to; it holds that share."""

    def __init__(self, budget: ByteBudget) -> None:
        self.share = budget.open(self.drop)

    def drop(self) -> None:
        pass


def test_a_share_that_is_released_no_longer_holds_its_owner() -> None:
    gc.disable()  # a circle of the two would be left to it
    try:
        owner = Owner(ByteBudget(MOST))
        seen = weakref.ref(owner)
        owner.share.release()
        del owner
        assert seen() is None
    finally:
        gc.enable()


STEPS = st.lists(
    st.tuples(st.sampled_from(["open", "add", "keep", "release"]), st.integers(0, 9), st.integers(0, 4000))
)


@given(STEPS)
def test_the_budget_is_never_passed_by_what_may_be_taken_back(steps: list[tuple[str, int, int]]) -> None:
    budget = ByteBudget(10_000)
    shares: list[Share] = []
    for step, which, size in steps:
        share = shares[which % len(shares)] if shares else None
        if step == "open" or share is None:
            shares.append(budget.open(lambda: None))
        elif step == "add":
            share.add(size)
        elif step == "keep":
            share.keep()
        else:
            share.release()
        assert budget.held_bytes == budget.kept_bytes + budget.growing_bytes
        assert budget.held_bytes <= max(budget.most_bytes, budget.kept_bytes) + OVERHEAD_BYTES
    for share in shares:
        share.release()
    assert budget.held_bytes == 0


def test_what_is_lent_counts_until_it_is_given_back() -> None:
    budget = ByteBudget(1_000 + OVERHEAD_BYTES)
    assert budget.lend(1_000)
    assert budget.kept_bytes == budget.held_bytes == 1_000 + OVERHEAD_BYTES
    assert not budget.lend(1)
    budget.give_back(1_000)
    assert budget.held_bytes == budget.kept_bytes == 0
