"""Writes of one turn go out at its end, in order and whole; a lone one at once, and none is lost by a close."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masa_node.routing.running.turn_of_writes import (
    MAX_HELD_BYTES,
    MAX_HELD_WRITERS,
    UNTIL_LOOKED_AT,
    TurnOfWrites,
    Writer,
)
from tests.virtual_time import virtual_time


class Wire(asyncio.Transport):
    """Remembers each write by itself, and those of all wires in their order."""

    def __init__(self, all_writes: list[bytes]) -> None:
        super().__init__()
        self.all_writes = all_writes
        self.writes: list[bytes] = []
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))
        self.all_writes.append(bytes(data))

    def is_closing(self) -> bool:
        return self.closed


class Wires:
    """Writers of one loop."""

    def __init__(self, count: int) -> None:
        self.writes: list[bytes] = []
        self.wires = [Wire(self.writes) for _ in range(count)]
        turn = TurnOfWrites()
        self.writers = [Writer(wire, turn) for wire in self.wires]

    async def busy(self) -> None:
        """A turn with two writes is over."""
        self.writers[0].write(b"-")
        self.writers[0].write(b"-")
        await turn()
        for wire in self.wires:
            wire.writes.clear()
        self.writes.clear()


async def turn() -> None:
    await asyncio.sleep(0)
    await asyncio.sleep(0)


@virtual_time
async def test_a_lone_write_waits_for_nothing_turn_after_turn() -> None:
    wires = Wires(1)
    for number in range(3):
        wires.writers[0].write(b"a%d" % number)
        assert wires.writes[-1] == b"a%d" % number
        await turn()


@virtual_time
async def test_under_load_all_writes_of_a_turn_go_out_at_its_end() -> None:
    wires = Wires(3)
    await wires.busy()
    for number, writer in enumerate(wires.writers):
        writer.write(b"%d" % number)
    assert wires.writes == []
    await turn()
    assert wires.writes == [b"0", b"1", b"2"]


class Deaf(Wire):
    """As asyncio's transport of Python 3.12.0 to 3.12.8: of what comes by `writelines` it does not count what waits."""

    def __init__(self) -> None:
        super().__init__([])
        self.counted = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        super().write(data)
        self.counted = len(self.all_writes)

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.all_writes += map(bytes, list_of_data)


@virtual_time
async def test_a_transport_that_looks_only_at_single_writes_sees_all_that_waits() -> None:
    deaf = Deaf()
    writer = Writer(deaf, TurnOfWrites())
    for parts in ((b"alone",), (b"two", b"parts"), (b"x" * MAX_HELD_BYTES, b"too much"), (b"at the end",)):
        for part in parts:
            writer.write(part)
        await turn()
        assert deaf.counted == len(deaf.all_writes)
    writer.write(b"1")
    writer.write(b"2")
    writer.write(b"3")
    await turn()
    assert deaf.counted == len(deaf.all_writes)
    assert b"".join(deaf.all_writes) == b"alonetwoparts" + b"x" * MAX_HELD_BYTES + b"too muchat the end123"


@virtual_time
async def test_a_writer_tells_whether_it_holds_anything() -> None:
    wires = Wires(2)
    await wires.busy()
    wires.writers[0].write(b"one")
    assert [bool(writer.unwritten) for writer in wires.writers] == [True, False]
    await turn()
    assert not wires.writers[0].unwritten


@virtual_time
async def test_a_lone_write_after_load_goes_out_and_the_next_one_at_once() -> None:
    wires = Wires(1)
    await wires.busy()
    wires.writers[0].write(b"one")
    await turn()
    wires.writers[0].write(b"two")
    assert wires.writes == [b"one", b"two"]


@virtual_time
async def test_several_of_one_connection_are_one_write() -> None:
    wires = Wires(1)
    await wires.busy()
    for part in (b"one ", b"and ", b"two"):
        wires.writers[0].write(part)
    await turn()
    assert wires.writes == [b"one and two"]


@virtual_time
async def test_what_is_written_at_once_and_what_is_put_off_keep_their_order() -> None:
    wires = Wires(2)
    wires.writers[0].write(b"1")  # alone as far as is known
    wires.writers[0].write(b"2")
    wires.writers[1].write(b"x")
    wires.writers[0].write(b"3")
    await turn()
    assert b"".join(wires.wires[0].writes) == b"123"
    assert wires.wires[1].writes == [b"x"]


@virtual_time
async def test_a_flush_writes_now_and_the_turn_writes_it_not_again() -> None:
    wires = Wires(2)
    await wires.busy()
    for writer in wires.writers:
        writer.write(b"held")
    wires.writers[0].flush()
    assert wires.writes == [b"held"]
    wires.writers[0].flush()
    await turn()
    assert wires.writes == [b"held", b"held"]


@virtual_time
async def test_no_more_is_held_than_its_bound() -> None:
    wires = Wires(1)
    await wires.busy()
    wires.writers[0].write(b"a" * MAX_HELD_BYTES)
    assert wires.writes == []
    wires.writers[0].write(b"b")
    assert b"".join(wires.writes) == b"a" * MAX_HELD_BYTES + b"b"
    wires.writers[0].write(b"c")
    assert wires.writes[-1] == b"b"
    await turn()
    assert wires.writes[-1] == b"c"


@virtual_time
async def test_no_writer_waits_for_more_than_so_many_others() -> None:
    wires = Wires(MAX_HELD_WRITERS + 1)
    await wires.busy()
    for writer in wires.writers[:-1]:
        writer.write(b"x")
    assert wires.writes == []
    wires.writers[-1].write(b"last")
    assert wires.writes == [b"x"] * MAX_HELD_WRITERS
    await turn()
    assert wires.writes[-1] == b"last"


@pytest.mark.parametrize("closes_first", [True, False])
@virtual_time
async def test_a_connection_that_closes_takes_nothing_and_hinders_no_other(closes_first: bool) -> None:  # noqa: FBT001
    wires = Wires(2)
    await wires.busy()
    wires.wires[0].closed = closes_first
    wires.writers[0].write(b"late")
    wires.wires[0].closed = True
    wires.writers[1].write(b"other")
    await turn()
    assert wires.writes == [b"other"]


@virtual_time
async def test_what_is_written_now_waits_for_no_turn_and_is_behind_what_waits() -> None:
    wires = Wires(2)
    await wires.busy()
    wires.writers[0].write_now(b"1")
    assert wires.writes == [b"1"]
    wires.writers[0].write(b"2")
    wires.writers[0].write_now(b"3")
    wires.writers[1].write_now(b"x")
    assert wires.writes == [b"1", b"x"]
    await turn()
    assert wires.writes == [b"1", b"x", b"23"]
    wires.writers[0].write_now(b"4")
    assert wires.writes[-1] == b"4"


@virtual_time
async def test_what_is_written_now_counts_for_no_turn() -> None:
    wires = Wires(1)
    for number in range(3):
        wires.writers[0].write_now(b"now")
        wires.writers[0].write(b"%d" % number)
        assert wires.writes[-1] == b"%d" % number, "alone in its turn"
        await turn()


@virtual_time
async def test_what_is_written_now_behind_too_much_goes_out_with_it() -> None:
    wires = Wires(1)
    await wires.busy()
    wires.writers[0].write(b"a" * MAX_HELD_BYTES)
    wires.writers[0].write_now(b"b")
    assert b"".join(wires.writes) == b"a" * MAX_HELD_BYTES + b"b"
    assert not wires.writers[0].unwritten


@pytest.mark.parametrize("holds", [True, False])
@virtual_time
async def test_once_a_connection_closes_nothing_is_written_now(holds: bool) -> None:  # noqa: FBT001
    wires = Wires(1)
    await wires.busy()
    if holds:
        wires.writers[0].write(b"held")
    wires.wires[0].closed = True
    wires.writers[0].write_now(b"late")
    await turn()
    assert wires.writes == []


STEPS = st.lists(
    st.one_of(st.tuples(st.integers(0, 3), st.binary(min_size=1, max_size=9), st.booleans()), st.none()), max_size=60
)


@given(STEPS)
def test_whatever_the_turns_each_connection_gets_its_bytes_in_order(
    steps: list[tuple[int, bytes, bool] | None],
) -> None:
    @virtual_time
    async def run() -> None:
        wires, expected = Wires(4), [b""] * 4
        for step in steps:
            if step is None:
                await turn()
                assert [b"".join(wire.writes) for wire in wires.wires] == expected
            else:
                number, data, is_now = step
                writer = wires.writers[number]
                writer.write_now(data) if is_now else writer.write(data)
                expected[number] += data
        await turn()
        assert [b"".join(wire.writes) for wire in wires.wires] == expected

    run()


@virtual_time
async def test_while_writes_are_alone_just_some_turns_are_looked_at_and_a_crowd_is_noticed() -> None:
    wires = Wires(3)
    for number in range(2 * UNTIL_LOOKED_AT):
        wires.writers[0].write(b"%d" % number)
        assert wires.writes[-1] == b"%d" % number
        await turn()
    turns = 0
    while True:  # two in each turn: one that is looked at comes soon, and from the next on they wait for its end
        before = len(wires.writes)
        for writer in wires.writers[:2]:
            writer.write(b"x")
        at_once = len(wires.writes) - before
        await turn()
        assert len(wires.writes) - before == 2
        turns += 1
        if at_once == 0:
            break
    assert turns <= UNTIL_LOOKED_AT


def in_uvloop(test: Callable[[Writer, socket.socket, asyncio.Transport], Awaitable[None]]) -> None:
    """Run this with a writer on a connection of uvloop, and its other end."""
    uvloop = pytest.importorskip("uvloop", exc_type=ImportError)

    async def run() -> None:
        near, far = socket.socketpair()
        with far:
            near.settimeout(0)
            far.settimeout(0)
            transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=near)
            await test(Writer(transport, TurnOfWrites()), far, transport)
            transport.abort()
            await asyncio.sleep(0)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


def test_uvloop_sends_a_lone_write_in_the_call() -> None:
    async def test(writer: Writer, far: socket.socket, transport: asyncio.Transport) -> None:
        for number in range(2 * UNTIL_LOOKED_AT):
            writer.write(b"%d" % number)
            assert far.recv(100) == b"%d" % number
            await turn()
        transport.write(b"what waits in the transport, ")
        writer.write(b"comes before.")
        await turn()
        assert far.recv(100) == b"what waits in the transport, comes before."

    in_uvloop(test)


def test_what_the_other_end_does_not_take_yet_waits_in_the_transport_in_order() -> None:
    async def test(writer: Writer, far: socket.socket, transport: asyncio.Transport) -> None:
        sent, came = b"", b""
        while not transport.get_write_buffer_size():
            part = b"%d," % len(sent) * 5_000
            writer.write(part)
            sent += part
        writer.write(b"the last")
        while len(came) < len(sent) + len(b"the last"):
            await asyncio.sleep(0)
            try:
                came += far.recv(1_000_000)
            except BlockingIOError:
                continue
        assert came == sent + b"the last"

    in_uvloop(test)


def test_nothing_is_sent_to_a_connection_that_is_closed_or_broken() -> None:
    async def test(writer: Writer, far: socket.socket, transport: asyncio.Transport) -> None:
        writer.write(b"1")
        transport.abort()
        writer.write(b"2")
        assert far.recv(100) == b"1"
        await asyncio.sleep(0.01)
        other, another = socket.socketpair()  # one of them has the number that was the connection's
        with other, another:
            writer.write(b"3")
            for each in (other, another):
                each.settimeout(0)
                with pytest.raises(BlockingIOError):
                    each.recv(100)

    async def broken(writer: Writer, far: socket.socket, transport: asyncio.Transport) -> None:
        far.close()
        writer.write(b"1")
        await asyncio.sleep(0.01)
        assert transport.is_closing()

    in_uvloop(test)
    in_uvloop(broken)
