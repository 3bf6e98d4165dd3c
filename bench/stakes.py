"""What a stake costs: checking a delegation, a verdict that is held, and how often the chain is read.

    python -m bench.stakes

One process, no sockets; with an anvil to be found (ANVIL, PATH, node_modules) also a read of a real chain's contract.
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace

from masa_node.chat.errors import ConfigurationError
from masa_node.devnet.anvil import Anvil, find_anvil
from masa_node.devnet.deployment import FundedOwner, deploy
from masa_node.node.chain_http import ChainHttp
from masa_node.node.settings.stake import StakeMode, StakeSettings
from masa_node.node.stake_policy import SELECTED_FOR_S, StakePolicy
from masa_node.staking.contract.profile import Profile
from masa_node.staking.delegation import Delegation, Domain, SignedDelegation, check, decode, digest, encode
from masa_node.staking.ethereum.crypto import Address, address_of, address_of_secret, keccak256, sign
from masa_node.staking.ethereum.rpc import Rpc
from masa_node.staking.gate.chain import Chain as ReadChain
from masa_node.staking.gate.gate import Gate
from masa_node.staking.gate.values import Reading, StakeAnswer
from masa_node.upstreams.http.client import HttpClient

FETCHED = Path(__file__).parents[1] / ".cache" / "anvil"  # by `make get-anvil`, which `make test` does
ROUNDS = 400
CHECK_MS = WARM_MS = 0.2  # asked for
COLD = 200  # checks of one owner at once
LINKED = 256  # peers, each of an owner of its own: as many as a node is linked with
SIFT_MS = 2.0  # asked for
PROFILE = Profile("bench", 31_337, ("http://127.0.0.1:1",), address_of(b"\x11" * 20))
DOMAIN = Domain(PROFILE.chain_id, PROFILE.contract)


class Chain:
    """Every owner has enough; counts how often it is read."""

    def __init__(self) -> None:
        self.reads = 0

    async def read(self, owner: Address) -> Reading:
        """See `ReadsChain`."""
        self.reads += 1
        await asyncio.sleep(0.01)
        now = time.time()
        return Reading(owner, COLD * 10**21, 10**21, 0, 1, int(now), 7 * 86_400, now)

    async def is_signed(self, owner: Address, digest: bytes, signature: bytes) -> bool:
        """See `ReadsChain`."""
        raise NotImplementedError


class Forgetful:
    """Keeps nothing."""

    async def load_readings(self) -> list[bytes]:
        """See `KeepsReadings`."""
        return []

    async def keep_readings(self, readings: Mapping[str, bytes]) -> None:
        """See `KeepsReadings`."""


def delegation(node_key: bytes, secret: bytes) -> bytes:
    """An owner's word for this node, as it travels."""
    now = int(time.time())
    made = Delegation(address_of_secret(secret), node_key, 0, now - 60, now + 86_400, DOMAIN)
    return encode(SignedDelegation(made, sign(digest(made), secret)))


def median_ms(act: Callable[[int], object], rounds: int = ROUNDS) -> float:
    """Of single calls, each with a number of its own."""
    took: list[float] = []
    for number in range(rounds):
        began_s = time.perf_counter()
        act(number)
        took.append(time.perf_counter() - began_s)
    return statistics.median(took) * 1000


def line(what: str, ms: float, most_ms: float) -> bool:
    """Print one figure beside what is asked; is it good?"""
    print(f"{what:58} {ms:8.4f} ms   <= {most_ms:g}: {'yes' if ms <= most_ms else 'NO'}")
    return ms <= most_ms


def measure_checks() -> bool:
    """Each delegation is of an owner and a node never seen before."""
    keys = [keccak256(b"node %d" % number) for number in range(ROUNDS)]
    delegations = [delegation(key, keccak256(key)) for key in keys]
    now = time.time()
    return line(
        "a delegation, read and checked for the first time",
        median_ms(lambda number: check(decode(delegations[number]), keys[number].hex(), DOMAIN, now)),
        CHECK_MS,
    )


async def measure_gate() -> bool:
    """200 nodes of one owner at once, then the verdict on one of them again and again."""
    chain = Chain()
    gate = Gate(PROFILE, chain, frozenset(), random.Random(1))
    secret = keccak256(b"owner")
    delegations = {keccak256(b"node %d" % number).hex(): b"" for number in range(COLD)}
    delegations = {key: delegation(bytes.fromhex(key), secret) for key in delegations}
    running = asyncio.create_task(gate.run(Forgetful()))
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(gate.verdict_when_known(key, data)) for key, data in delegations.items()]
    is_staked = all(each.result().answer is StakeAnswer.STAKED for each in asked)
    print(f"{COLD} cold checks of one owner at once: {chain.reads} read{'s' if chain.reads != 1 else ''} of the chain")
    key, data = next(iter(delegations.items()))
    is_quick = line("a verdict that is held", median_ms(lambda _: gate.verdict(key, data), 20_000), WARM_MS)
    running.cancel()
    return is_staked and chain.reads == 1 and is_quick


class Linked:
    """As much of a `Network` as stakes are looked at by."""

    def __init__(self, delegations: Mapping[str, bytes]) -> None:
        self.node_id = next(iter(delegations))
        self.links = SimpleNamespace(sessions=delegations)
        self.gossip = SimpleNamespace(advert_of=self._adverts(delegations).get, all=list)

    def _adverts(self, delegations: Mapping[str, bytes]) -> dict[str, SimpleNamespace]:
        return {
            node_id: SimpleNamespace(node_id=node_id, advert=SimpleNamespace(delegation=data))
            for node_id, data in delegations.items()
        }


class Peer:
    """As much of a `Provider`."""

    location = ""

    def __init__(self, name: str) -> None:
        self.name = name


async def measure_sifting() -> bool:
    """What a request waits before its peers are chosen, when all that this node is linked with serve the model."""
    keys = [keccak256(b"node %d" % number) for number in range(LINKED)]
    delegations = {key.hex(): delegation(key, keccak256(key)) for key in keys}
    settings = StakeSettings(PROFILE, StakeMode.REQUIRE, StakeMode.REQUIRE, frozenset())
    staking = StakePolicy(settings, PROFILE, Gate(PROFILE, Chain(), frozenset(), random.Random(1)))
    own = delegations[keys[0].hex()]
    running = asyncio.create_task(staking.run(Linked(delegations), Forgetful(), lambda: own))  # type: ignore[arg-type]
    peers = tuple(Peer(node_id) for node_id in delegations)
    await asyncio.sleep(2)
    cold: list[float] = []
    for _ in range(ROUNDS // 10):
        await asyncio.sleep(SELECTED_FOR_S)
        cold.append(median_ms(lambda _: staking.select(peers), 1))  # type: ignore[arg-type]
    are_staked = len(staking.select(peers).groups[0]) == LINKED  # type: ignore[arg-type]
    is_quick = line(f"{LINKED} peers selected for a request, again", statistics.median(cold), SIFT_MS)
    warm_ms = median_ms(lambda _: staking.select(peers), ROUNDS)  # type: ignore[arg-type]
    running.cancel()
    return (
        line(f"the same, for the next ones within {SELECTED_FOR_S:g} s", warm_ms, WARM_MS) and is_quick and are_staked
    )


async def measure_reads() -> None:
    """Reads of a real contract, on a chain on this machine: most of the time is the chain's own."""
    try:
        anvil = find_anvil(os.environ, FETCHED)
    except ConfigurationError:
        print("a read of a real chain: not measured, there is no anvil here")
        return
    owner = address_of_secret(keccak256(b"owner"))
    async with HttpClient() as http, Anvil(anvil) as running:
        rpc = Rpc(ChainHttp(http), [running.url])
        deployed = await deploy(rpc, running.url, "bench", [FundedOwner(owner, is_staked=True)])
        chain = ReadChain(rpc, deployed.profile)
        took: list[float] = []
        for _ in range(ROUNDS):
            began_s = time.perf_counter()
            reading = await chain.read(owner)
            took.append(time.perf_counter() - began_s)
    assert reading.stake_wei >= reading.minimum_wei  # noqa: S101 - or nothing was measured
    print(f"{'a read of the chain (anvil, kept-alive connection)':58} {statistics.median(took) * 1000:8.4f} ms")


def main() -> int:
    """0 if all is as asked."""
    is_good = measure_checks()
    is_good = asyncio.run(measure_gate()) and is_good
    is_good = asyncio.run(measure_sifting()) and is_good
    asyncio.run(measure_reads())
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
