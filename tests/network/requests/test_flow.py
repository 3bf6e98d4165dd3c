import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from masa_node.chat.errors import ProtocolFault
from masa_node.network.requests.flow import CREDIT_BYTES, CREDIT_FRAMES, ReceiveWindow, SendWindow
from masa_node.network.requests.frames import CHUNK_BYTES, Credit
from tests.virtual_time import NothingLeftToHappen, settle, virtual_time


def test_no_more_is_sent_than_the_window_holds() -> None:
    frames = SendWindow()
    assert sum(frames.spend(1) for _ in range(2 * CREDIT_FRAMES)) == CREDIT_FRAMES
    size = SendWindow()
    assert sum(size.spend(CHUNK_BYTES) for _ in range(100)) == CREDIT_BYTES // CHUNK_BYTES


@virtual_time
async def test_who_waits_for_room_goes_on_when_it_is_granted() -> None:
    window = SendWindow()
    while window.spend(CHUNK_BYTES):
        pass
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(window.reserve(CHUNK_BYTES))
        window.grant(Credit(1, CHUNK_BYTES - 1))
        await settle()
        assert not waiting.done()
        window.grant(Credit(0, 1))
    assert not window.spend(1)


@virtual_time
async def test_a_wait_that_is_cancelled_takes_no_room() -> None:
    window = SendWindow()
    while window.spend(CHUNK_BYTES):
        pass
    waiting = asyncio.get_running_loop().create_task(window.reserve(1))
    await settle()
    waiting.cancel()
    await settle()
    window.grant(Credit(1, 1))
    assert window.spend(1)


@pytest.mark.parametrize("credit", [Credit(1, 0), Credit(0, 1), Credit(2**32 - 1, 2**32 - 1)])
def test_credit_for_what_was_not_sent_is_a_fault(credit: Credit) -> None:
    with pytest.raises(ProtocolFault):
        SendWindow().grant(credit)


@pytest.mark.parametrize(("frames", "size"), [(CREDIT_FRAMES + 1, 0), (1, CREDIT_BYTES + 1)])
def test_more_than_was_allowed_is_a_fault(frames: int, size: int) -> None:
    with pytest.raises(ProtocolFault):
        ReceiveWindow().came(frames, size)


def test_credit_is_given_in_few_frames() -> None:
    window = ReceiveWindow()
    grants = 0
    for _ in range(10 * CREDIT_FRAMES):
        window.came(1, 10)
        grants += window.taken() is not None
    assert grants == 20


def _sending_never_waits_for_ever(sizes: list[int], reads: list[int]) -> None:
    """Whatever is sent and however it is read, what the reader has taken is granted in time."""

    @virtual_time
    async def check() -> None:
        sender, receiver = SendWindow(), ReceiveWindow()
        arrived: asyncio.Queue[int] = asyncio.Queue()

        async def send() -> None:
            for size in sizes:
                await sender.reserve(size)
                arrived.put_nowait(size)

        async def receive() -> None:
            left = len(sizes)
            turns = iter(reads)
            while left:
                batch = [await arrived.get()]
                while not arrived.empty() and len(batch) < next(turns, 1):
                    batch.append(arrived.get_nowait())
                left -= len(batch)
                receiver.came(len(batch), sum(batch))
                credit = receiver.taken()
                if credit is not None:
                    sender.grant(credit)

        async with asyncio.TaskGroup() as group:
            group.create_task(send())
            group.create_task(receive())

    check()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, CHUNK_BYTES) | st.just(1) | st.just(CHUNK_BYTES), max_size=60),
    st.lists(st.integers(1, 600), max_size=60),
)
def test_sending_never_waits_for_ever(sizes: list[int], reads: list[int]) -> None:
    _sending_never_waits_for_ever(sizes * 20, reads)


def test_the_test_above_would_hang_if_a_frame_could_be_as_long_as_the_window() -> None:
    with pytest.raises((NothingLeftToHappen, BaseExceptionGroup)):
        _sending_never_waits_for_ever([CREDIT_BYTES // 4, CREDIT_BYTES], [])
