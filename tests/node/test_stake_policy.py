"""Both stake policies, of whole nodes over the in-memory network with a chain that says what the test tells it."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from masa_node.chat.errors import ChainUnknown, NoStakedPeer, StakeDemanded, StakeRequired, StakeUndecided, StakeUnknown
from masa_node.chat.request import Endpoint
from masa_node.network.links.links import NOT_NEEDED
from masa_node.network.transport.interfaces import NodeId, PeerAddress
from masa_node.network.transport.memory import MemoryNetwork
from masa_node.node.settings.stake import StakeMode, StakeSettings
from masa_node.node.stake_policy import REFRESH_WITHIN_S, SELECTED_FOR_S, StakePolicy
from masa_node.node.views import STAKING_OFF, stake_off, view_of
from masa_node.staking.contract.profile import Profile
from masa_node.staking.delegation import Delegation, Domain, SignedDelegation, digest, encode
from masa_node.staking.ethereum.crypto import Address, address_of, address_of_secret, sign
from masa_node.staking.gate.gate import Gate
from masa_node.staking.gate.values import Reading, StakeAnswer
from tests.network.nodes import MODEL, MemoryNode, introduce, running
from tests.virtual_time import now_s, virtual_time

MINIMUM = 1000 * 10**18
PROFILE = Profile("test", 31337, ("http://127.0.0.1:1",), address_of(b"\x11" * 20))
BEGIN_UNIX_S = time.time()
NOT_BEFORE = int(BEGIN_UNIX_S) - 60
BOBS_OWNER = b"\x02" * 32


@dataclass
class FakeChain:
    """Stakes by owner; `why` makes every read fail; `after_s` is how long one takes."""

    stakes: dict[Address, int] = field(default_factory=dict)
    epochs: dict[Address, int] = field(default_factory=dict)
    asked: set[Address] = field(default_factory=set)
    why: str = ""
    after_s: float = 0.01
    block: int = 1
    reads: int = 0

    async def read(self, owner: Address) -> Reading:
        self.reads += 1
        self.asked.add(owner)
        await asyncio.sleep(self.after_s)
        if self.why:
            raise ChainUnknown(self.why)
        self.block += 1
        at_unix_s = BEGIN_UNIX_S + now_s()
        stake, epoch = self.stakes.get(owner, 0), self.epochs.get(owner, 0)
        return Reading(owner, stake, MINIMUM, epoch, self.block, int(at_unix_s), 7 * 86_400, at_unix_s)

    async def is_signed(self, owner: Address, digest: bytes, signature: bytes) -> bool:
        raise ChainUnknown("not in this test")


class Forgetful:
    """Keeps nothing."""

    async def load_readings(self) -> list[bytes]:
        return []

    async def keep_readings(self, readings: Mapping[str, bytes]) -> None:
        pass


@dataclass
class World:
    """Nodes named ada, bob, cleo; each serves `masa-demo` but the first, who asks."""

    nodes: list[MemoryNode]
    chain: FakeChain
    stakings: list[StakePolicy]

    @property
    def ada(self) -> MemoryNode:
        return self.nodes[0]


def delegation_for(node: MemoryNode, secret: bytes) -> bytes:
    delegation = Delegation(
        address_of_secret(secret),
        bytes.fromhex(node.id),
        0,
        NOT_BEFORE,
        NOT_BEFORE + 30 * 86_400,
        Domain(PROFILE.chain_id, PROFILE.contract),
    )
    return encode(SignedDelegation(delegation, sign(digest(delegation), secret)))


@contextlib.asynccontextmanager
async def world(
    staked: str,
    providers: StakeMode = StakeMode.REQUIRE,
    callers: StakeMode = StakeMode.REQUIRE,
    chain: FakeChain | None = None,
    allowed: str = "",
) -> AsyncIterator[World]:
    """Three linked nodes; those of `staked` ("abc") have an owner with one minimum, the others show no delegation."""
    chain = chain or FakeChain()
    network = MemoryNetwork(seed=1)
    transports = [network.transport(number) for number in (1, 2, 3)]
    nodes: list[MemoryNode] = []
    stakings: list[StakePolicy] = []
    ids = [transport.keys.node_id for transport in transports]
    allowed_ids = frozenset(node_id for name, node_id in zip("abc", ids, strict=True) if name in allowed)
    for number, (name, transport) in enumerate(zip("abc", transports, strict=True)):
        settings = StakeSettings(PROFILE, providers, callers, allowed_ids)
        gate = Gate(PROFILE, chain, allowed_ids, random.Random(1), lambda: BEGIN_UNIX_S + now_s())  # noqa: S311
        staking = StakePolicy(settings, PROFILE, gate)
        stakings.append(staking)
        node = MemoryNode(transport, stakes=staking)
        nodes.append(node)
        if name in staked:
            secret = bytes([number + 1]) * 32
            node.delegation = delegation_for(node, secret)
            chain.stakes.setdefault(address_of_secret(secret), MINIMUM)
    introduce(nodes)
    for node in nodes[1:]:
        await node.serve_demo(1000.0)
    async with running(*nodes), asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(staking.run(node.network, Forgetful(), lambda node=node: node.delegation))
            for staking, node in zip(stakings, nodes, strict=True)
        ]
        await asyncio.sleep(5)
        yield World(nodes, chain, stakings)
        for task in tasks:
            task.cancel()


# ---- whom this node asks ----


@virtual_time
async def test_under_require_the_unstaked_peer_is_not_asked() -> None:
    async with world("ab") as here:
        for _ in range(5):
            told = await here.ada.ask()
            assert told.is_whole
            assert told.served_by == here.nodes[1].id
        assert here.nodes[2].served == []


@virtual_time
async def test_peers_that_are_not_linked_are_weighed_as_linked_ones_are() -> None:
    async with world("ab") as here:
        for node in here.nodes:  # nobody dials anybody but to ask
            node.network.links.random_links = 0
            node.network.book.wanted.clear()
        for session in list(here.ada.network.links.sessions.values()):
            session.close(NOT_NEEDED)
        await asyncio.sleep(5)
        assert not here.ada.network.links.sessions
        for _ in range(3):
            assert (await here.ada.ask()).served_by == here.nodes[1].id
        assert set(here.ada.network.links.sessions) == {here.nodes[1].id}
        assert here.nodes[2].served == []


@virtual_time
async def test_under_prefer_the_unstaked_peer_is_asked_last() -> None:
    async with world("ab", StakeMode.PREFER, StakeMode.OFF) as here:
        told = await here.ada.ask()
        assert told.served_by == here.nodes[1].id
        here.nodes[1].catalog.remove(next(provider for provider, _ in here.nodes[1].catalog.all_offers()))
        told = await here.ada.ask()
        assert (told.is_whole, told.served_by) == (True, here.nodes[2].id)


@virtual_time
async def test_a_node_without_a_stake_is_told_how_to_get_one_when_it_needs_the_network() -> None:
    async with world("bc") as here:
        told = await here.ada.ask()
        assert isinstance(told.error, StakeRequired)
        assert "it shows no delegation" in told.error.message
        assert "masa-node stake delegate --owner OWNER" in told.error.message
        assert (here.nodes[1].served, here.nodes[2].served) == ([], [])


@virtual_time
async def test_a_node_whose_delegation_was_revoked_is_not_told_to_deposit_once_more() -> None:
    chain = FakeChain()
    async with world("abc", chain=chain) as here:
        owner = address_of_secret(b"\x01" * 32)
        chain.epochs[owner] = 1
        await asyncio.sleep(400)
        told = await here.ada.ask()
        assert isinstance(told.error, StakeRequired)
        assert "its delegation was revoked" in told.error.message
        assert "sign a new one: masa-node stake delegate" in told.error.message
        assert "deposit" not in told.error.message


@virtual_time
async def test_a_node_that_shows_nothing_is_refused_at_once_although_the_chain_hangs() -> None:
    async with world("bc", chain=FakeChain(after_s=1_000.0)) as here:
        begun_s = now_s()
        assert isinstance((await here.ada.ask()).error, StakeRequired)
        assert now_s() - begun_s < 0.1


@virtual_time
async def test_a_request_does_not_wait_for_a_chain_that_hangs_longer_than_it_may() -> None:
    async with world("abc", chain=FakeChain(after_s=1_000.0)) as here:
        begun_s = now_s()
        assert isinstance((await here.ada.ask()).error, StakeUnknown)
        assert now_s() - begun_s == pytest.approx(REFRESH_WITHIN_S, abs=0.1)


@virtual_time
async def test_peers_are_sifted_once_for_requests_that_come_together() -> None:
    async with world("abc") as here:
        staking, peers = here.stakings[0], here.ada.catalog.find(MODEL, Endpoint.OPENAI_CHAT).peers
        first = staking.select(peers)
        assert len(first.groups[0]) == 2
        assert staking.select(peers) is first
        await asyncio.sleep(SELECTED_FOR_S)
        assert staking.select(peers) is not first


@virtual_time
async def test_its_own_llm_serves_its_owner_anyway() -> None:
    async with world("bc") as here:
        own = await here.ada.serve_demo(1000.0, "own")
        told = await here.ada.ask()
        assert (told.is_whole, told.served_by) == (True, own.name)


@virtual_time
async def test_when_nobody_who_serves_the_model_is_staked_that_is_said() -> None:
    async with world("a") as here:
        told = await here.ada.ask()
        assert isinstance(told.error, NoStakedPeer)
        assert told.error.message.startswith("2 peers serve this model, none of them is staked")


@virtual_time
async def test_when_the_chain_cannot_be_read_unknown_is_not_called_unstaked() -> None:
    async with world("abc", chain=FakeChain(why="no URL answers.")) as here:
        told = await here.ada.ask()
        assert isinstance(told.error, StakeUnknown)
        assert told.error.message.endswith(
            "as STAKE_PROVIDERS=require demands: the chain cannot be read: no URL answers."
        )


@pytest.mark.parametrize("after_s", [SELECTED_FOR_S / 5, 1.0])
@virtual_time
async def test_the_first_request_waits_for_a_look_up_that_is_under_way(after_s: float) -> None:
    chain = FakeChain(after_s=after_s)
    async with world("ab", chain=chain) as here:
        for staking in here.stakings:
            staking.gate = Gate(PROFILE, chain, frozenset(), random.Random(1), lambda: BEGIN_UNIX_S + now_s())  # noqa: S311
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(staking.gate.run(Forgetful())) for staking in here.stakings]
            told = await here.ada.ask()
            assert told.is_whole
            for task in tasks:
                task.cancel()


@virtual_time
async def test_what_the_owner_allows_is_used_and_never_shown_as_staked() -> None:
    async with world("", allowed="ac") as here:
        told = await here.ada.ask()
        assert (told.is_whole, told.served_by) == (True, here.nodes[2].id)
        assert here.stakings[0].of(here.nodes[2].id).answer == "allowed"


@virtual_time
async def test_a_stake_that_ends_is_noticed_once_the_reading_is_no_longer_fresh() -> None:
    async with world("abc") as here:
        assert (await here.ada.ask()).is_whole
        for node in here.nodes[1:]:
            assert node.delegation is not None
        here.chain.stakes = dict.fromkeys(here.chain.stakes, 0) | {address_of_secret(b"\x01" * 32): MINIMUM}
        await asyncio.sleep(400)
        here.stakings[0].of(here.nodes[1].id), here.stakings[0].of(here.nodes[2].id)
        await asyncio.sleep(1)
        assert isinstance((await here.ada.ask()).error, NoStakedPeer)


@virtual_time
async def test_an_outage_is_borne_on_what_was_read_and_then_nothing_new_is_begun() -> None:
    async with world("abc") as here:
        assert (await here.ada.ask()).is_whole
        here.chain.why = "no URL answers"
        await asyncio.sleep(3_000)
        assert (await here.ada.ask()).is_whole  # 50 minutes old
        await asyncio.sleep(900)
        assert isinstance((await here.ada.ask()).error, StakeUnknown)
        here.chain.why = ""
        await asyncio.sleep(30)
        await here.ada.ask()
        await asyncio.sleep(1)
        assert (await here.ada.ask()).is_whole


@virtual_time
async def test_a_running_stream_ends_whole_although_the_stake_ends_meanwhile() -> None:
    async with world("ab", chain=FakeChain()) as here:
        here.nodes[1].catalog.remove(next(provider for provider, _ in here.nodes[1].catalog.all_offers()))
        await here.nodes[1].serve_demo(0.04, "slow")  # a word each 25 seconds
        await asyncio.sleep(5)
        async with asyncio.TaskGroup() as group:
            asking = group.create_task(here.ada.ask())
            await asyncio.sleep(26)
            here.chain.stakes = dict.fromkeys(here.chain.stakes, 0)
            await asyncio.sleep(340)
            assert not asking.done()
        assert asking.result().is_whole


@virtual_time
async def test_the_nodes_of_an_owner_count_whether_or_not_they_are_linked_with_this_one() -> None:
    async with world("abc") as here:
        bob, cleo = here.nodes[1:]
        cleo.delegation = delegation_for(cleo, BOBS_OWNER)
        await asyncio.sleep(60)
        known = here.ada.network.gossip
        linked = SimpleNamespace(node_id=here.ada.id, gossip=known, links=SimpleNamespace(sessions={bob.id: None}))
        gate = Gate(PROFILE, here.chain, frozenset(), random.Random(1), lambda: BEGIN_UNIX_S + now_s())  # noqa: S311
        staking = StakePolicy(StakeSettings(PROFILE, StakeMode.REQUIRE, StakeMode.REQUIRE, frozenset()), PROFILE, gate)
        task = asyncio.create_task(staking.run(linked, Forgetful(), lambda: here.ada.delegation))  # type: ignore[arg-type]
        await asyncio.sleep(10)
        verdict = staking.of(bob.id)
        assert (verdict.answer, verdict.nodes) == (StakeAnswer.NOT_STAKED, 2)
        task.cancel()


@virtual_time
async def test_a_peer_that_is_only_listed_makes_nobody_read_the_chain() -> None:
    async with world("abc") as here:
        bob, cleo = here.nodes[1:]
        chain = FakeChain(here.chain.stakes)
        heard = SimpleNamespace(advert_of=here.ada.network.gossip.advert_of, all=list)
        linked = SimpleNamespace(node_id=here.ada.id, gossip=heard, links=SimpleNamespace(sessions={bob.id: None}))
        gate = Gate(PROFILE, chain, frozenset(), random.Random(1), lambda: BEGIN_UNIX_S + now_s())  # noqa: S311
        staking = StakePolicy(StakeSettings(PROFILE, StakeMode.REQUIRE, StakeMode.REQUIRE, frozenset()), PROFILE, gate)
        task = asyncio.create_task(staking.run(linked, Forgetful(), lambda: here.ada.delegation))  # type: ignore[arg-type]
        await asyncio.sleep(10)
        row = staking.row(cleo.id)
        assert (row.verdict, row.reason) == ("unknown", "its stake is looked up once it is linked")
        assert staking.row(bob.id).verdict == "staked"
        assert chain.asked == {address_of_secret(b"\x01" * 32), address_of_secret(BOBS_OWNER)}
        task.cancel()


@virtual_time
async def test_a_request_does_not_wait_for_the_look_up_of_a_second_peer() -> None:
    slow = address_of_secret(b"\x03" * 32)

    class OneHangs(FakeChain):
        async def read(self, owner: Address) -> Reading:
            if owner == slow:
                await asyncio.sleep(1_000)
            return await super().read(owner)

    chain = OneHangs()
    async with world("abc", callers=StakeMode.OFF, chain=chain) as here:
        staking = here.stakings[0]
        staking.gate = Gate(PROFILE, chain, frozenset(), random.Random(1), lambda: BEGIN_UNIX_S + now_s())  # noqa: S311
        gate = asyncio.create_task(staking.gate.run(Forgetful()))
        begun_s = now_s()
        told = await here.ada.ask()
        assert (told.is_whole, told.served_by) == (True, here.nodes[1].id)
        assert now_s() - begun_s < 1
        gate.cancel()


@virtual_time
async def test_the_log_tells_once_when_this_nodes_stake_ends_and_when_it_is_well_again() -> None:
    with capture_logs() as lines:
        async with world("a") as here:
            stakes, here.chain.stakes = here.chain.stakes, dict.fromkeys(here.chain.stakes, 0)
            await asyncio.sleep(800)
            here.chain.stakes = stakes
            await asyncio.sleep(200)
    told = [(line["log_level"], line["verdict"]) for line in lines if line["event"] == "this node's stake"]
    assert told.count(("info", "staked")) == 2
    assert told.count(("warning", "not staked")) == 3  # one of ada's, and one of each who never had a stake


# ---- whom this node serves ----


@virtual_time
async def test_under_require_an_unstaked_caller_is_refused_and_told_why() -> None:
    async with world("bc", providers=StakeMode.OFF) as here:
        told = await here.ada.ask()
        assert isinstance(told.error, StakeDemanded)
        assert "it serves staked nodes only" in told.error.message
        assert "it shows no delegation" in told.error.message
        assert all(node.served == [] for node in here.nodes)


@virtual_time
async def test_when_the_chain_cannot_be_read_a_caller_is_not_served_and_not_called_unstaked() -> None:
    chain = FakeChain(why="secret.example.org does not answer")
    async with world("abc", providers=StakeMode.OFF, chain=chain) as here:
        told = await here.ada.ask()
        assert isinstance(told.error, StakeUndecided)
        assert "cannot tell now" in told.error.message
        assert "secret" not in told.error.message


@virtual_time
async def test_a_caller_hears_nothing_of_what_keeps_this_node_from_reading_the_chain_again() -> None:
    async with world("abc", providers=StakeMode.OFF) as here:
        here.chain.stakes = dict.fromkeys(here.chain.stakes, 1)
        await asyncio.sleep(400)
        told = await here.ada.ask()
        assert isinstance(told.error, StakeDemanded)
        assert "1000 MASA a node are needed" in told.error.message
        here.chain.why = "the key s3cret has no calls left"
        await asyncio.sleep(400)
        chain = here.stakings[1].view().chain
        assert chain is not None
        assert "s3cret" in chain.failure
        told = await here.ada.ask()
        assert isinstance(told.error, StakeDemanded)
        assert "s3cret" not in told.error.message
        assert "1000 MASA a node are needed" in told.error.message


@virtual_time
async def test_whom_the_owner_allows_need_show_no_advert() -> None:
    async with world("b", StakeMode.OFF, allowed="a") as here:
        staking = here.stakings[1]
        here.nodes[1].network.gossip.forget(here.ada.id)
        begun_s = now_s()
        await staking.vet(here.ada.id)
        assert (staking.of(here.ada.id).answer, now_s()) == (StakeAnswer.ALLOWED, begun_s)


@virtual_time
async def test_whoever_is_known_to_be_staked_is_served_without_a_wait() -> None:
    async with world("ab", providers=StakeMode.OFF) as here:
        staking, stranger = here.stakings[1], NodeId("ef" * 32)
        assert (await here.ada.ask()).is_whole
        await staking.vet(here.ada.id)
        assert [staking.is_vetted(peer) for peer in (here.ada.id, here.nodes[2].id, stranger)] == [True, False, False]
    assert not staking.is_vetted(here.ada.id), "its network has ended"
    async with world("", StakeMode.OFF, StakeMode.PREFER) as here:
        assert here.stakings[1].is_vetted(stranger)


@virtual_time
async def test_a_caller_whose_advert_never_comes_is_refused_soon() -> None:
    async with world("ab", providers=StakeMode.OFF) as here:
        begun_s = now_s()
        with pytest.raises(StakeUndecided):
            await here.stakings[1].vet(NodeId("ef" * 32))
        assert now_s() - begun_s < 3


@virtual_time
async def test_callers_that_are_being_vetted_when_the_node_ends_are_let_go() -> None:
    chain = FakeChain(after_s=1_000.0)
    async with world("ab", StakeMode.OFF, chain=chain) as here:
        vetting = asyncio.create_task(here.stakings[1].vet(here.ada.id))
        await asyncio.sleep(0.5)
        assert not vetting.done()
        begun_s = now_s()
    assert now_s() - begun_s < 0.1
    with pytest.raises(StakeUndecided):
        await vetting


@virtual_time
async def test_strangers_that_are_being_vetted_take_no_place_from_those_that_are_staked() -> None:
    async with world("ab") as here:
        serving = here.stakings[1]
        async with asyncio.TaskGroup() as group:
            vetting = [group.create_task(_refused(serving, NodeId(f"{number:064x}"))) for number in range(500)]
            await asyncio.sleep(0.1)
            told = await here.ada.ask()
            assert (told.is_whole, told.served_by) == (True, here.nodes[1].id)
            assert not any(task.done() for task in vetting)


async def _refused(staking: StakePolicy, peer: NodeId) -> None:
    with pytest.raises(StakeUndecided):
        await staking.vet(peer)


@virtual_time
async def test_staked_callers_rank_before_unknown_and_unstaked_ones() -> None:
    async with world("ab", StakeMode.OFF, StakeMode.PREFER) as here:
        staking = here.stakings[1]
        ranks = [staking.rank(peer) for peer in (here.nodes[0].id, "ef" * 32, here.nodes[2].id)]
        assert ranks == [0, 1, 2]


# ---- what is told ----


@virtual_time
async def test_every_surface_tells_the_verdict_with_amount_block_age_and_reason() -> None:
    async with world("ab") as here:
        await here.ada.ask()
        staking = here.stakings[0]
        view = staking.view()
        assert (view.providers, view.callers) == ("require", "require")
        assert view.staking == "on - providers: require, callers: require (test, chain 31337)"
        assert view.peers == {"staked": 1, "not staked": 1, "unknown": 0, "allowed": 0}
        assert view.own is not None
        assert (view.own.verdict, view.own.stake_wei, view.own.minimum_wei) == ("staked", str(MINIMUM), str(MINIMUM))
        rows = {row.id: row.stake for row in view_of(here.ada.network, staking.summary, staking.row).peers}
        staked, other = rows[here.nodes[1].id], rows[here.nodes[2].id]
        assert staked is not None
        assert other is not None
        assert (staked.verdict, staked.block is not None, staked.age_s is not None, staked.nodes) == (
            "staked",
            True,
            True,
            1,
        )
        assert (other.verdict, other.stake_wei) == ("not staked", None)
        assert "it shows no delegation" in other.reason


@virtual_time
async def test_a_peer_of_which_nothing_came_yet_is_unknown_and_not_unchecked() -> None:
    async with world("ab") as here:
        absent = NodeId("ab" * 32)
        here.ada.network.want([PeerAddress(absent, ("127.0.0.1:1",))])
        (row,) = [
            row
            for row in view_of(here.ada.network, here.stakings[0].summary, here.stakings[0].row).peers
            if row.id == absent
        ]
        assert row.stake is not None
        assert (row.stake.verdict, row.stake.reason) == (
            "unknown",
            "nothing is known of it yet: its advert has not come",
        )


def test_with_staking_off_every_surface_says_so() -> None:
    assert stake_off().staking == STAKING_OFF == "off - stakes are not checked"
