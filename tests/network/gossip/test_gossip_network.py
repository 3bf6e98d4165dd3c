"""Networks of nodes that gossip; the simulation checks the budget of every pair with every message."""

import gc
import math
from collections.abc import Iterator

import msgspec
import pytest

from masa_node.network.gossip.adverts import SignedAdvert, sign_advert
from masa_node.network.gossip.digest_times import CHANGED_DIGEST_S
from masa_node.network.gossip.outbox import BUDGET_BYTES_PER_S, BURST_BYTES
from tests.network.gossip.gossip_simulation import Simulation, an_advert, shared_adverts

__all__ = ["shared_adverts"]
pytestmark = pytest.mark.usefixtures("shared_adverts", "no_collector")


@pytest.fixture
def no_collector() -> Iterator[None]:
    """A million entries are not to be looked through again and again."""
    gc.disable()
    yield
    gc.enable()
    gc.collect()


def settled(size: int, links: int, seed: int, loss: float = 0.0) -> Simulation:
    """Nodes that know each other, linked for five seconds."""
    simulation = Simulation(size, links, seed, loss=loss)
    adverts = [an_advert(keys, 1) for keys in simulation.keys]
    simulation.know_everything(adverts)
    simulation.link_all()
    simulation.run_until(5.0)
    return simulation


def linked_with(simulation: Simulation, number: int) -> set[int]:
    return {one + other - number for one, other in simulation.links if number in (one, other)}


def report(what: str, simulation: Simulation, took_s: float) -> None:
    print(  # noqa: T201 - what `pytest -s` is asked for
        f"\n{what}: {took_s:.1f} simulated s; {simulation.messages} messages;"
        f" at most {simulation.busiest_second()} bytes in a second from one node to a peer"
    )


@pytest.mark.parametrize(("size", "links"), [(10, 8), (100, 8), (100, 32)])
def test_nodes_that_start_together_know_each_other_within_seconds(size: int, links: int) -> None:
    simulation = Simulation(size, links, seed=size)
    adverts = [simulation.set_own(number, 1) for number in range(size)]
    simulation.link_all()
    took_s = simulation.run_until_true(lambda: simulation.all_know(adverts), 10.0)
    report(f"{size} nodes with {links} links start", simulation, took_s)
    assert simulation.busiest_second() <= BURST_BYTES + BUDGET_BYTES_PER_S


def test_nodes_that_start_together_put_their_news_into_few_messages() -> None:
    """Those of a moment go to the same peers: 59 messages of each node. Drawn for each advert they were 102."""
    simulation = Simulation(200, 20, seed=1)
    adverts = [simulation.set_own(number, 1) for number in range(200)]
    simulation.link_all()
    took_s = simulation.run_until_true(lambda: simulation.all_know(adverts), 10.0)
    report("200 nodes with 20 links start", simulation, took_s)
    assert simulation.messages <= 70 * 200


@pytest.mark.parametrize(("size", "links", "changes"), [(10, 8, 3), (100, 16, 10), (1000, 16, 6)])
def test_a_change_reaches_linked_peers_within_a_second_and_all_within_two_rounds(
    size: int, links: int, changes: int
) -> None:
    simulation = settled(size, links, seed=size)
    began_s = simulation.now_s
    adverts = [simulation.set_own(number, 2) for number in range(changes)]
    simulation.run_until(began_s + 1.0)
    for number, advert in enumerate(adverts):
        assert all(simulation.knows(peer, advert) for peer in linked_with(simulation, number))
    took_s = 1.0 + simulation.run_until_true(lambda: simulation.all_know(adverts), 2 * CHANGED_DIGEST_S)
    report(f"{changes} of {size} nodes change", simulation, took_s)
    assert simulation.busiest_second() <= BURST_BYTES + BUDGET_BYTES_PER_S


def test_passing_on_reaches_most_nodes_in_as_many_hops_as_a_tree_has() -> None:
    simulation = settled(300, 16, seed=4)
    advert = simulation.set_own(0, 2)
    hops = math.ceil(math.log(300, 4)) + 1
    simulation.run_until(simulation.now_s + hops * 0.16)  # 0.1 s of waiting for more, 0.06 s on the way
    reached = sum(simulation.knows(number, advert) for number in range(300))
    assert reached >= 0.9 * 300


def test_a_quiet_network_is_quiet() -> None:
    simulation = settled(100, 16, seed=5)
    simulation.run_until(30.0)
    began_s = simulation.now_s
    simulation.run_until(began_s + 120.0)
    assert simulation.bytes_per_node_and_s(began_s) < 60


def test_busy_nodes_tell_their_load_to_their_own_peers_only() -> None:
    simulation = settled(50, 8, seed=6)
    simulation.run_until(30.0)
    began_s = simulation.now_s
    for turn in range(30):
        for number in range(50):
            busy = with_load(simulation, number, 2 + turn, running=turn % 4)
            simulation.gossips[number].set_own(busy)
            simulation.wake(number)
        simulation.run_until(began_s + 2.0 * (turn + 1))
    for number in range(50):
        peers = linked_with(simulation, number)
        sequences = {
            other: simulation.gossips[other].advert_of(simulation.ids[number]).advert.sequence
            for other in range(50)
            if other != number
        }
        assert all(sequences[peer] == 31 for peer in peers)
        assert all(sequence == 1 for other, sequence in sequences.items() if other not in peers)
    own_pushes = 8 * 660 / 2.0
    assert simulation.bytes_per_node_and_s(began_s) < own_pushes + 100


def with_load(simulation: Simulation, number: int, sequence: int, running: int) -> SignedAdvert:
    base = an_advert(simulation.keys[number], 1)
    return sign_advert(
        msgspec.structs.replace(base.advert, sequence=sequence, running=running), simulation.keys[number]
    )


@pytest.mark.parametrize(("links", "within_s"), [(1, 100.0), (8, 10.0)])
def test_a_new_node_learns_a_thousand_adverts_within_a_stated_time(links: int, within_s: float) -> None:
    simulation = Simulation(20, 8, seed=7)
    strangers = [an_advert(simulation.network.keys(1000 + number), 1) for number in range(1000)]
    newcomer = 19
    for number in range(newcomer):
        for advert in strangers:
            simulation.gossips[number].known.put(advert, simulation.ids[number])
    for one, other in sorted(simulation.links):
        if newcomer not in (one, other):
            simulation.link(one, other)
    simulation.run_until(20.0)
    simulation.set_own(newcomer, 1)
    for number in range(links):
        simulation.link(newcomer, number)
    took_s = simulation.run_until_true(lambda: len(simulation.gossips[newcomer].all()) >= 1000, within_s)
    report(f"a new node with {links} links learns 1 000 adverts", simulation, took_s)
    me = simulation.ids[newcomer]
    came = sum(sum(seconds.values()) for (_, peer), seconds in simulation.sent_bytes.items() if peer == me)
    useful = sum(len(advert.signed) for advert in strangers)
    assert came < 1.3 * useful


def test_lost_messages_are_made_up_for() -> None:
    """How long the last of 3 600 takes is luck: half of the networks need 40 s, and some twice that."""
    times_s = sorted(relearnt_despite_losses(seed) for seed in range(5))
    assert times_s[len(times_s) // 2] <= 60.0


def relearnt_despite_losses(seed: int) -> float:
    simulation = Simulation(60, 8, seed=seed, loss=0.3)
    adverts = [simulation.set_own(number, 1) for number in range(60)]
    simulation.link_all()
    took_s = simulation.run_until_true(lambda: simulation.all_know(adverts), 60.0)
    adverts = [simulation.set_own(number, 2) for number in range(60)]
    took_again_s = simulation.run_until_true(lambda: simulation.all_know(adverts), 240.0)
    report("60 nodes, 30 % of messages lost", simulation, max(took_s, took_again_s))
    return took_again_s


def test_a_partition_that_heals_is_made_up_for() -> None:
    simulation = settled(100, 8, seed=9)
    simulation.is_cut = lambda one, other: (one < 50) != (other < 50)
    adverts = [simulation.set_own(number, 2) for number in (0, 1, 50, 51)]
    simulation.run_until(simulation.now_s + 30.0)
    assert simulation.knows(49, adverts[0])
    assert not any(simulation.knows(number, adverts[0]) for number in range(50, 100))
    simulation.is_cut = lambda _one, _other: False
    took_s = simulation.run_until_true(lambda: simulation.all_know(adverts), 60.0)
    report("100 nodes after a partition", simulation, took_s)


def test_nodes_that_come_back_after_long_learn_everything_again() -> None:
    simulation = settled(100, 8, seed=10)
    crossing = [pair for pair in sorted(simulation.links) if (pair[0] < 50) != (pair[1] < 50)]
    for one, other in crossing:
        simulation.gossips[one].unlinked(simulation.ids[other])
        simulation.gossips[other].unlinked(simulation.ids[one])
    adverts = [simulation.set_own(number, 2) for number in range(100)]
    simulation.run_until(simulation.now_s + 60.0)
    assert not simulation.all_know(adverts)
    for one, other in crossing:
        simulation.link(one, other)
    took_s = simulation.run_until_true(lambda: simulation.all_know(adverts), 20.0)
    report("100 nodes, all of them changed, after their links are back", simulation, took_s)


def test_the_same_seed_gives_the_same_network() -> None:
    runs = []
    for _ in range(2):
        simulation = Simulation(10, 4, seed=11)
        for number in range(10):
            simulation.set_own(number, 1)
        simulation.link_all()
        simulation.run_until(20.0)
        runs.append((simulation.messages, dict(simulation.sent_bytes)))
    assert runs[0] == runs[1]
