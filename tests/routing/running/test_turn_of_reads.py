"""A turn of the loop reads a bounded number of connections, the others go on in order, and none is forgotten."""

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masa_node.routing.running.turn_of_reads import GO_ON, LOOK_AFTER, MAX_READS, TurnOfReads
from tests.virtual_time import virtual_time

ASKED_FOR_AT_ONCE = 1024  # by libuv (`uv__io_poll`, the events of one `epoll_pwait`)


class Source:
    """A connection of which there is always more to read, until so much was read."""

    def __init__(self, reads: TurnOfReads, left: int = 1_000_000) -> None:
        self._reads = reads
        self.left = left
        self.rests = False
        self.told: Callable[[], None] = lambda: None

    def read(self) -> None:
        """As a `Connection` does."""
        assert not self.rests
        self.left -= 1
        reads = self._reads
        reads.count += 1
        self.rests = (reads.count >= LOOK_AFTER or bool(reads.resting)) and reads.has_to_rest(self)

    def go_on(self) -> None:
        self.rests = False
        self.told()


def poll(sources: list[Source]) -> int:
    """As a loop that asks again and again, as long as anything can be read; 48 times at most."""
    count = 0
    for _ in range(48):
        ready = [source for source in sources if source.left and not source.rests]
        if not ready:
            break
        for source in ready:
            source.read()
        count += len(ready)
    return count


@virtual_time
async def test_as_many_as_the_loop_asks_for_at_once_never_rest() -> None:
    reads = TurnOfReads()
    sources = [Source(reads) for _ in range(ASKED_FOR_AT_ONCE)]
    for _ in range(5):
        for source in sources:
            source.read()
        assert not any(source.rests for source in sources)
        await asyncio.sleep(0)


@virtual_time
async def test_the_end_of_a_turn_is_waited_for_from_so_many_reads_on() -> None:
    reads = TurnOfReads()
    sources = [Source(reads) for _ in range(LOOK_AFTER)]
    for source in sources[1:]:
        source.read()
    await asyncio.sleep(0)
    assert reads.count == LOOK_AFTER - 1
    sources[0].read()
    await asyncio.sleep(0)
    assert reads.count == 0


@given(st.lists(st.integers(0, ASKED_FOR_AT_ONCE), max_size=12))
@virtual_time
async def test_so_many_never_rest_whatever_was_read_before_and_a_turn_reads_no_more_than_its_bound(
    earlier: list[int],
) -> None:
    reads = TurnOfReads()
    sources = [Source(reads) for _ in range(2 * MAX_READS)]
    for count in earlier:
        for source in sources[:count]:
            source.read()
        assert not any(source.rests for source in sources)
        await asyncio.sleep(0)
    assert reads.count < LOOK_AFTER
    expected = MAX_READS - reads.count
    for source in sources:
        source.read()
    assert ASKED_FOR_AT_ONCE < expected == [source.rests for source in sources].index(True)


@virtual_time
async def test_all_that_can_be_read_is_read_in_turns_that_end() -> None:
    reads = TurnOfReads()
    sources = [Source(reads) for _ in range(4 * MAX_READS)]
    assert poll(sources) == 5 * MAX_READS, "each once, and again those that do not rest"
    for _ in range(20):
        await asyncio.sleep(0)
        assert poll(sources) == GO_ON


@virtual_time
async def test_they_go_on_in_the_order_in_which_they_came_to_rest() -> None:
    reads = TurnOfReads()
    sources = [Source(reads) for _ in range(3 * MAX_READS + 1)]
    went_on: list[int] = []
    for number, source in enumerate(sources):
        source.told = lambda number=number: went_on.append(number)  # type: ignore[misc]
        source.read()
    rest = 2 * MAX_READS + 1
    for turn in range(1, rest // GO_ON + 2):
        await asyncio.sleep(0)
        assert went_on == list(range(MAX_READS, MAX_READS + min(turn * GO_ON, rest)))
    assert not any(source.rests for source in sources)


@pytest.mark.untraced
@given(st.lists(st.integers(0, 6), max_size=12))
@virtual_time
async def test_whatever_comes_none_rests_for_ever(bursts: list[int]) -> None:
    reads = TurnOfReads()
    sources = [Source(reads, left=0) for _ in range(3 * MAX_READS)]
    for burst in bursts:
        for source in sources[: burst * MAX_READS // 2]:
            source.left += 1
        poll(sources)
        await asyncio.sleep(0)
    for _ in range((len(bursts) + 1) * len(sources) // GO_ON):
        poll(sources)
        await asyncio.sleep(0)
    assert not any(source.left or source.rests for source in sources)
    for source in sources[:MAX_READS]:
        source.read()
        assert not source.rests, "where there is time, nothing rests"
