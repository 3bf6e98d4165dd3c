"""What a node of a large network sends where nothing happens but renewals: `python -m bench.quiet 10000`.

A sample of the nodes is simulated, linked with each other; they know the adverts of all. Those of the others are
renewed as often as their nodes would do it, and come in at any node of the sample. So each node hears and tells as in
the whole network, and 10 000 fit into a small machine. Virtual time; prints bytes a second and node, heads included.
"""

import random
import sys
import time

import msgspec

from masa_node.network.gossip.adverts import SignedAdvert, lifetime_s, sign_advert
from masa_node.network.gossip.messages import Push, write_message
from masa_node.network.transport.memory import MemoryKeys
from tests.network.gossip.gossip_simulation import AT_UNIX_S, Simulation, an_advert, reading_shared

SAMPLE, LINKS = 40, 20
SETTLED_S = 40.0
RENEWALS = 300  # measured over so many of them
REPAIRED_WITHIN_S = 30.0


class Quiet:
    """A sample of a network of `size` nodes in which nothing happens."""

    def __init__(self, size: int) -> None:
        self.lifetime_s = lifetime_s(size)
        self.renewals_per_s = size / (self.lifetime_s / 2)
        self.simulation = Simulation(min(SAMPLE, size), LINKS, seed=1)
        self._rng = random.Random(2)
        others = range(size - len(self.simulation.ids))
        self._keys = [self.simulation.network.keys(SAMPLE + number) for number in others]
        self.adverts = [self._advert(keys, 1) for keys in self._keys]
        own = [self.simulation.set_own(number, 1) for number in range(len(self.simulation.ids))]
        for number, gossip in enumerate(self.simulation.gossips):
            for advert in (*self.adverts, *(each for each in own if each.node_id != self.simulation.ids[number])):
                gossip.known.put(advert, self.simulation.ids[number])
        self.simulation.link_all()
        self.simulation.run_until(SETTLED_S)

    def renew(self) -> None:
        """One of the others does, after as long as it takes; a peer of somebody here tells of it."""
        simulation = self.simulation
        simulation.run_until(simulation.now_s + self._rng.expovariate(self.renewals_per_s))
        which = self._rng.randrange(len(self.adverts))
        advert = self._advert(self._keys[which], self.adverts[which].advert.sequence + 1)
        number = self._rng.randrange(len(simulation.ids))
        teller = self._rng.choice([simulation.ids[sum(pair) - number] for pair in simulation.links if number in pair])
        now_s = simulation.now_s
        message = write_message(Push((advert.signed,)))
        simulation.gossips[number].received(teller, message, now_s, AT_UNIX_S + now_s)
        simulation.wake(number)
        self.adverts[which] = advert

    def known_part(self) -> float:
        """Of the newest adverts, those that nodes know on average."""
        known = [gossip.known for gossip in self.simulation.gossips]
        held = sum(each.holder_of(advert.signed) is not None for each in known for advert in self.adverts)
        return held / len(known) / len(self.adverts)

    def _advert(self, keys: MemoryKeys, sequence: int) -> SignedAdvert:
        at_unix_s = AT_UNIX_S + int(self.simulation.now_s)
        said = msgspec.structs.replace(
            an_advert(keys, 1).advert,
            sequence=sequence,
            issued_at_unix_s=at_unix_s - (sequence == 1) * self.lifetime_s // 2,
            expires_at_unix_s=at_unix_s + self.lifetime_s // 2,
        )
        return sign_advert(said, keys)


def measure(size: int) -> None:
    """Print what a node sends."""
    quiet = Quiet(size)
    began_s = quiet.simulation.now_s
    for _ in range(RENEWALS):
        quiet.renew()
    sent = quiet.simulation.bytes_per_node_and_s(began_s)
    took_s = quiet.simulation.now_s - began_s
    quiet.simulation.run_until(quiet.simulation.now_s + REPAIRED_WITHIN_S)
    print(
        f"{size} nodes: {sent:.0f} bytes a second and node, over {took_s:.0f} s; adverts of "
        f"{len(quiet.adverts[0].signed)} bytes, renewed every {quiet.lifetime_s / 2 / 60:.0f} min; "
        f"{100 * quiet.known_part():.2f} % of the newest are known {REPAIRED_WITHIN_S:.0f} s later; "
        f"processor {time.process_time():.0f} s",
        flush=True,
    )


if __name__ == "__main__":
    with reading_shared():
        for argument in sys.argv[1:]:
            measure(int(argument))
