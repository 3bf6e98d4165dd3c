"""Covers: `memory_links`, `memory_pipe`."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masa_node.chat.errors import LinkLost, PeerUnreachable, ProviderError, StreamReset
from masa_node.network.transport import memory_links
from masa_node.network.transport.interfaces import (
    MAX_READ_BYTES,
    Link,
    NodeId,
    PeerAddress,
    Route,
    Stream,
    Transport,
    is_node_id,
)
from masa_node.network.transport.memory import SILENCE_S, MemoryNetwork, MemoryTransport, between, fixed, long_tailed
from masa_node.network.transport.memory_links import MAX_STREAMS
from masa_node.network.transport.memory_pipe import MEMORY_WINDOW_BYTES
from tests.virtual_time import VirtualTimeLoop, now_s, settle, virtual_time


async def linked(network: MemoryNetwork) -> tuple[Link, Link]:
    """The dialer's end and the other one, of nodes 1 and 2."""
    ada, bob = network.transport(1), network.transport(2)
    async with asyncio.TaskGroup() as group:
        taking = group.create_task(bob.accept())
        dialing = group.create_task(ada.dial(bob.address()))
    return dialing.result(), taking.result()


async def streamed(network: MemoryNetwork) -> tuple[Stream, Stream]:
    """The opener's end and the other one; one byte has gone there."""
    here, there = await linked(network)
    opened = await here.open()
    await opened.write(b"!")
    taken = await there.accept()
    assert await taken.read() == b"!"
    return opened, taken


async def read_all(stream: Stream) -> bytes:
    whole = b""
    while data := await stream.read():
        assert len(data) <= MAX_READ_BYTES
        whole += data
    return whole


async def write_all(stream: Stream, *parts: bytes) -> None:
    for part in parts:
        await stream.write(part)
    await stream.finish()


def node(network: MemoryNetwork, number: int) -> NodeId:
    return network.keys(number).node_id


def end_of(network: MemoryNetwork, number: int) -> MemoryTransport:
    transport = network.transport_of(node(network, number))
    assert transport is not None
    return transport


@given(parts=st.lists(st.binary(max_size=3000), max_size=20), seed=st.integers(0, 1000))
def test_bytes_arrive_once_and_in_order_however_they_are_cut(parts: list[bytes], seed: int) -> None:
    async def exchange() -> None:
        opened, taken = await streamed(MemoryNetwork(seed, between(0.0, 1.0)))
        async with asyncio.TaskGroup() as group:
            group.create_task(write_all(opened, *parts))
            group.create_task(write_all(taken, *reversed(parts)))
            there = group.create_task(read_all(taken))
            here = group.create_task(read_all(opened))
        assert there.result() == b"".join(parts)
        assert here.result() == b"".join(reversed(parts))

    virtual_time(exchange)()


@virtual_time
async def test_bytes_are_cut_otherwise_than_they_were_written() -> None:
    opened, taken = await streamed(MemoryNetwork())
    async with asyncio.TaskGroup() as group:
        group.create_task(write_all(opened, *[b"0123456789"] * 50))
        sizes = []
        while data := await taken.read():
            sizes.append(len(data))
    assert sum(sizes) == 500
    assert set(sizes) != {10}


@virtual_time
async def test_megabytes_pass_through_the_window() -> None:
    opened, taken = await streamed(MemoryNetwork())
    big = bytes(range(256)) * 12_000
    async with asyncio.TaskGroup() as group:
        group.create_task(write_all(opened, big))
        got = group.create_task(read_all(taken))
    assert got.result() == big


@virtual_time
async def test_a_writer_waits_for_a_reader_who_does_not_read() -> None:
    opened, taken = await streamed(MemoryNetwork())
    async with asyncio.TaskGroup() as group:
        writing = group.create_task(write_all(opened, *[b"x" * 1000] * 1000))
        await asyncio.sleep(3600)
        assert not writing.done()
        assert MEMORY_WINDOW_BYTES - 1000 < len(taken._in.buffer) <= MEMORY_WINDOW_BYTES
        assert len(await read_all(taken)) == 1_000_000
        await writing


@virtual_time
async def test_a_full_stream_does_not_stop_its_neighbours() -> None:
    network = MemoryNetwork()
    here, there = await linked(network)
    full = await here.open()
    async with asyncio.TaskGroup() as group:
        stuck = group.create_task(full.write(b"x" * (MEMORY_WINDOW_BYTES * 2)))
        await there.accept()
        other = await here.open()
        await other.write(b"hello")
        assert (await (await there.accept()).read())[:1] == b"h"
        stuck.cancel()


@pytest.mark.parametrize("aborter", [0, 1])
@virtual_time
async def test_an_abort_wakes_readers_on_both_sides(aborter: int) -> None:
    network = MemoryNetwork()
    both = await streamed(network)
    async with asyncio.TaskGroup() as group:
        for stream in both:
            group.create_task(ends_with(StreamReset, stream.read()))
        await asyncio.sleep(10)
        both[aborter].abort()
        both[aborter].abort()
    assert network.open_streams == 0
    assert network.open_links == 2


@pytest.mark.parametrize("aborter", [0, 1])
@virtual_time
async def test_an_abort_wakes_writers_on_both_sides(aborter: int) -> None:
    network = MemoryNetwork()
    both = await streamed(network)
    async with asyncio.TaskGroup() as group:
        for stream in both:
            group.create_task(ends_with(StreamReset, stream.write(b"x" * MEMORY_WINDOW_BYTES * 2)))
        await asyncio.sleep(10)
        both[aborter].abort()
    assert network.open_streams == 0
    assert network.open_links == 2


async def ends_with(error: type[ProviderError], doing: Awaitable[object]) -> None:
    with pytest.raises(error):
        await doing


@virtual_time
async def test_an_abort_after_both_sides_have_finished_loses_nothing() -> None:
    for seed in range(20):
        network = MemoryNetwork(seed)
        opened, taken = await streamed(network)
        await write_all(opened, b"question")
        await write_all(taken, b"answer")
        opened.abort()
        assert await read_all(taken) == b"question"
        await asyncio.sleep(1)
        assert network.open_streams == 0


@virtual_time
async def test_an_abort_overtakes_what_was_not_read() -> None:
    opened, taken = await streamed(MemoryNetwork())
    await opened.write(b"never seen")
    await asyncio.sleep(1)
    opened.abort()
    await asyncio.sleep(1)
    await ends_with(StreamReset, taken.read())
    await ends_with(StreamReset, taken.write(b"x"))


@virtual_time
async def test_a_stream_that_was_never_written_is_never_heard_of() -> None:
    network = MemoryNetwork()
    here, there = await linked(network)
    (await here.open()).abort()
    second = await here.open()
    await second.write(b"second")
    assert (await (await there.accept()).read())[:1] == b"s"


@virtual_time
async def test_finishing_one_direction_leaves_the_other_open() -> None:
    opened, taken = await streamed(MemoryNetwork())
    await opened.finish()
    await opened.finish()
    await ends_with(StreamReset, opened.write(b"more"))
    assert await taken.read() == b""
    await write_all(taken, b"answer")
    assert await read_all(opened) == b"answer"


@virtual_time
async def test_a_close_tells_the_peer_the_reason_and_ends_every_stream() -> None:
    network = MemoryNetwork()
    here, there = await linked(network)
    opened = await here.open()
    await opened.write(b"x")
    taken = await there.accept()
    assert await taken.read() == b"x"
    async with asyncio.TaskGroup() as group:
        for doing in (taken.read(), opened.read(), there.accept(), here.accept()):
            group.create_task(ends_with(LinkLost, doing))
        told = group.create_task(there.closed())
        await settle()
        here.close("ü" * 80)
        here.close("again")
    assert told.result() == "ü" * 50
    assert await here.closed() == "ü" * 80
    await ends_with(LinkLost, here.open())
    assert network.open_links == network.open_streams == 0


@virtual_time
async def test_what_has_arrived_before_a_close_can_be_read() -> None:
    network = MemoryNetwork()
    here, there = await linked(network)
    stream = await here.open()
    await write_all(stream, b"whole")
    taken = await there.accept()
    await asyncio.sleep(1)
    here.close("done")
    await there.closed()
    assert await read_all(taken) == b"whole"


@virtual_time
async def test_a_lost_link_is_noticed_at_once_on_both_sides() -> None:
    network = MemoryNetwork()
    here, there = await linked(network)
    began_s = now_s()
    network.lose_link(node(network, 2), node(network, 1))
    assert "lost" in await here.closed()
    assert "lost" in await there.closed()
    assert now_s() == began_s


@virtual_time
async def test_a_kill_is_silent_until_the_transport_notices() -> None:
    network = MemoryNetwork()
    here, there = await linked(network)
    stream = await here.open()
    await stream.write(b"x")
    await there.accept()
    killed_s = now_s()
    network.kill(node(network, 2))
    await stream.write(b"into the void")
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(ends_with(LinkLost, stream.read()))
        await asyncio.sleep(SILENCE_S - 1)
        assert not reading.done()
    assert now_s() - killed_s == pytest.approx(SILENCE_S)


@virtual_time
async def test_what_a_killed_node_awaits_never_comes_until_its_transport_is_closed() -> None:
    network = MemoryNetwork()
    here, there = await linked(network)
    await (await here.open()).write(b"x")
    dead = await there.accept()
    bob = end_of(network, 2)
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(dead.read())
        accepting = group.create_task(ends_with(LinkLost, bob.accept()))
        closed = group.create_task(there.closed())
        await settle()
        network.kill(node(network, 2))
        ending = group.create_task(ends_with(LinkLost, dead.write(b"x")))
        await asyncio.sleep(100)
        assert not any(task.done() for task in (accepting, ending, closed))
        await bob.close()
        reading.cancel()


@virtual_time
async def test_a_killed_node_restarts_with_the_same_key_and_address() -> None:
    network = MemoryNetwork()
    here, _there = await linked(network)
    with pytest.raises(ValueError, match="up already"):
        network.transport(2)
    network.kill(node(network, 2))
    again = network.transport(2)
    async with asyncio.TaskGroup() as group:
        group.create_task(again.accept())
        link = await end_of(network, 1).dial(again.address())
    assert link.peer == node(network, 2)
    assert await here.closed()


@virtual_time
async def test_a_partition_holds_everything_back_until_it_heals() -> None:
    network = MemoryNetwork()
    opened, taken = await streamed(network)
    network.partition({node(network, 1)}, {node(network, 2)})
    await opened.write(b"later")
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(taken.read())
        await asyncio.sleep(SILENCE_S - 1)
        assert not reading.done()
        network.heal()
    await asyncio.sleep(SILENCE_S * 3)
    assert network.open_links == 2


@virtual_time
async def test_a_long_partition_ends_links_on_both_sides() -> None:
    network = MemoryNetwork()
    here, there = await linked(network)
    network.partition({node(network, 1)}, {node(network, 2)})
    await asyncio.sleep(SILENCE_S + 1)
    assert "silent" in await here.closed()
    assert "silent" in await there.closed()
    network.heal()
    ada, bob = (end_of(network, n) for n in (1, 2))
    async with asyncio.TaskGroup() as group:
        group.create_task(bob.accept())
        await ada.dial(bob.address())


@virtual_time
async def test_nodes_of_no_side_reach_everybody() -> None:
    network = MemoryNetwork()
    opened, taken = await streamed(network)
    network.partition({node(network, 1)}, {node(network, 3)})
    await opened.write(b"x")
    assert await taken.read() == b"x"


@virtual_time
async def test_a_hung_node_takes_nothing_and_its_links_stay() -> None:
    network = MemoryNetwork()
    opened, taken = await streamed(network)
    network.hang(node(network, 2))
    async with asyncio.TaskGroup() as group:
        writing = group.create_task(opened.write(b"x" * MEMORY_WINDOW_BYTES * 2))
        reading = group.create_task(taken.read())
        await asyncio.sleep(3600)
        assert not writing.done()
        assert not reading.done()
        network.resume(node(network, 2))
        got = len(await reading)
        while got < MEMORY_WINDOW_BYTES * 2:
            got += len(await taken.read())


@virtual_time
async def test_nobody_at_an_address_is_found_out_after_the_silence() -> None:
    network = MemoryNetwork()
    ada = network.transport(1)
    for where in (PeerAddress(node(network, 2), ("10.9.9.9:1",)), PeerAddress(NodeId("0" * 64), ("10.0.0.1:4433",))):
        began_s = now_s()
        await ends_with(PeerUnreachable, ada.dial(where))
        assert now_s() - began_s == pytest.approx(SILENCE_S)


@virtual_time
async def test_without_an_address_or_to_oneself_a_dial_fails_at_once() -> None:
    network = MemoryNetwork()
    ada, bob = network.transport(1), network.transport(2)
    await ends_with(PeerUnreachable, ada.dial(PeerAddress(bob.keys.node_id)))
    await ends_with(PeerUnreachable, ada.dial(ada.address()))
    assert now_s() == 0


@virtual_time
async def test_a_dial_that_is_cancelled_leaves_nothing_open() -> None:
    for turns in range(12):
        network = MemoryNetwork(latency=fixed(0.0))
        ada, bob = network.transport(1), network.transport(2)
        async with asyncio.TaskGroup() as group:
            taking = group.create_task(take_links(bob))
            dialing = group.create_task(ada.dial(bob.address()))
            await settle(turns)
            was_linked = dialing.done()
            dialing.cancel()
            await asyncio.sleep(1)
            taking.cancel()
        assert network.open_links == (2 if was_linked else 0)
    assert was_linked


async def take_links(transport: Transport) -> None:
    while True:
        await transport.accept()


CANCELLED: list[Callable[[Stream, Stream, Link, Link], Awaitable[object]]] = [
    lambda _here, there, _near, _far: there.read(),
    lambda here, _there, _near, _far: here.write(b"x" * MEMORY_WINDOW_BYTES * 2),
    lambda _here, _there, near, _far: near.accept(),
    lambda _here, _there, near, _far: near.closed(),
]


@pytest.mark.parametrize("wait", CANCELLED)
@virtual_time
async def test_a_cancelled_wait_leaves_nobody_waiting(wait: Callable[..., Awaitable[object]]) -> None:
    network = MemoryNetwork()
    near, far = await linked(network)
    here = await near.open()
    await here.write(b"!")
    there = await far.accept()
    await there.read()
    task = asyncio.ensure_future(wait(here, there, near, far))
    await settle()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    signals = [near.changed, far.changed, here._in.arrived, there._in.arrived, here._out.room, near.host.changed]
    assert not any(signal._waiting for signal in signals)


@virtual_time
async def test_a_cancelled_accept_does_not_lose_the_stream() -> None:
    for turns in range(8):
        near, far = await linked(MemoryNetwork(latency=fixed(0.0)))
        accepting = asyncio.ensure_future(far.accept())
        await settle()
        await (await near.open()).write(b"kept")
        await settle(turns)
        accepting.cancel()
        try:
            stream = await accepting
        except asyncio.CancelledError:
            stream = await far.accept()
        assert (await stream.read())[:1] == b"k"


@virtual_time
async def test_streams_too_many_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_STREAMS >= 1000
    monkeypatch.setattr(memory_links, "MAX_STREAMS", 3)
    network = MemoryNetwork()
    near, _far = await linked(network)
    streams = [await near.open() for _ in range(3)]
    async with asyncio.TaskGroup() as group:
        fourth = group.create_task(near.open())
        await asyncio.sleep(60)
        assert not fourth.done()
        streams[0].abort()


@virtual_time
async def test_streams_that_nobody_accepts_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_links, "MAX_STREAMS", 3)
    network = MemoryNetwork()
    near, far = await linked(network)
    for _ in range(20):
        stream = await near.open()
        await stream.write(b"x")
        stream.abort()
        await asyncio.sleep(1)
    assert len(far._incoming) == 3
    assert network.open_streams == 0


@virtual_time
async def test_a_closed_transport_ends_what_waits_on_it_and_tells_its_peers() -> None:
    network = MemoryNetwork()
    _here, there = await linked(network)
    ada, bob = (end_of(network, n) for n in (1, 2))
    async with asyncio.TaskGroup() as group:
        group.create_task(ends_with(LinkLost, ada.accept()))
        group.create_task(ends_with(PeerUnreachable, ada.dial(PeerAddress(bob.keys.node_id, ("1.2.3.4:5",)))))
        await settle()
        await ada.close()
        await ada.close()
    assert "stopped" in await there.closed()
    await ends_with(PeerUnreachable, ada.dial(bob.address()))
    assert now_s() < 1


def trace(seed: int) -> list[tuple[float, bytes]]:
    """When which bytes arrive, in a network of this seed."""
    seen: list[tuple[float, bytes]] = []

    async def exchange() -> None:
        opened, taken = await streamed(MemoryNetwork(seed, long_tailed(0.05)))
        async with asyncio.TaskGroup() as group:
            group.create_task(write_all(opened, *[b"0123456789"] * 20))
            while data := await taken.read():
                seen.append((now_s(), data))

    virtual_time(exchange)()
    return seen


def test_the_same_seed_gives_the_same_times_and_cuts() -> None:
    assert trace(1) == trace(1)
    assert trace(1) != trace(2)


@virtual_time
async def test_a_pair_may_be_further_apart_than_the_others() -> None:
    network = MemoryNetwork(latency=fixed(0.001))
    network.set_latency(fixed(1.0), (node(network, 1), node(network, 2)))
    near, _far = await linked(network)
    assert now_s() == pytest.approx(2.0)
    assert near.path().rtt_s == pytest.approx(2.0)
    assert near.path().route is Route.DIRECT


def test_it_works_on_an_ordinary_loop() -> None:
    async def exchange() -> None:
        opened, taken = await streamed(MemoryNetwork(latency=fixed(0.0)))
        await write_all(opened, b"hello")
        assert await read_all(taken) == b"hello"

    asyncio.run(exchange())


def test_signatures_hold_for_their_signer_and_message_only() -> None:
    network = MemoryNetwork(1)
    ada, bob = network.keys(1), network.keys(2)
    signature = ada.sign(b"message")
    assert len(signature) == 64
    assert is_node_id(ada.node_id)
    assert bob.verify(ada.node_id, b"message", signature)
    assert not bob.verify(bob.node_id, b"message", signature)
    assert not bob.verify(ada.node_id, b"Message", signature)
    assert not bob.verify(ada.node_id, b"message", signature[:-1])
    assert not bob.verify(NodeId("0" * 64), b"message", signature)
    assert not MemoryNetwork(2).keys(1).verify(ada.node_id, b"message", signature)
    assert network.keys(ada.node_id).sign(b"message") == signature


def test_the_loop_of_virtual_time_is_left_without_timers() -> None:
    loop = VirtualTimeLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:

        async def exchange() -> None:
            network = MemoryNetwork()
            here, _there = await linked(network)
            network.kill(node(network, 2))
            here.close("done")

        runner.run(exchange())
        assert all(handle.cancelled() for handle in loop._scheduled)
