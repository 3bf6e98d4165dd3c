"""Networks that are no full mesh: who is linked, who is dialed to be asked, whom a full node refers others to.

Covers: `askable`, `dialing`, `links.links`, `network`, `referrals`.
"""

import asyncio
import time
from unittest import mock

import msgspec
import pytest

from masa_node.chat.errors import LinkRefused, PeerUnreachable, PrivacyRefused, UnknownModel
from masa_node.chat.request import Endpoint, Privacy
from masa_node.network import askable as askable_module
from masa_node.network import dialing as dialing_module
from masa_node.network.gossip.adverts import AdvertModel
from masa_node.network.gossip.messages import Push, write_message
from masa_node.network.links import links as links_module
from masa_node.network.links import session as session_module
from masa_node.network.links.control import MAX_REFERRED, Referral, RefusalCode
from masa_node.network.links.invites import TOKEN_BYTES, token_hash
from masa_node.network.links.links import NOT_NEEDED
from masa_node.network.links.peer_book import MAX_PEERS, MembershipLevel
from masa_node.network.links.peer_record import Retry
from masa_node.network.network import SHORTEST_REST_S
from masa_node.network.transport.interfaces import NodeId, PeerAddress
from masa_node.network.transport.memory import MemoryNetwork, between
from masa_node.upstreams.demo import DemoModel
from tests.network.nodes import CLOSED, MODEL, OPEN, MemoryNode, introduce, make, running
from tests.security.hostile_peers import advert
from tests.virtual_time import now_s, until, virtual_time

TOKEN = b"t" * TOKEN_BYTES
LATELY_S, LOOK_EVERY_S = 20.0, 5.0
FEW = msgspec.structs.replace(OPEN, peer_links=2)  # two links at random, four at most
FEW_CLOSED = msgspec.structs.replace(CLOSED, peer_links=2)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is minutes elsewhere is seconds."""
    monkeypatch.setattr(session_module, "ASKED_LATELY_S", LATELY_S)
    monkeypatch.setattr(dialing_module, "LET_GO_EVERY_S", LOOK_EVERY_S)


def linked(node: MemoryNode) -> set[str]:
    return set(node.network.links.sessions)


def unlinked(node: MemoryNode, nodes: list[MemoryNode]) -> MemoryNode:
    """One that it is not linked with."""
    return next(other for other in nodes if other is not node and other.id not in linked(node))


async def crowd(settings: object = FEW, size: int = 14) -> list[MemoryNode]:
    """The first one's models are its number's: `demo-7`."""
    nodes = make(MemoryNetwork(seed=3), size, settings)  # type: ignore[arg-type]
    for number, node in enumerate(nodes):
        await serve(node, f"demo-{number}")
    introduce(nodes)
    return nodes


async def serve(node: MemoryNode, model: str) -> None:
    demo = DemoModel(f"of {model}", 50.0)
    node.catalog.put(demo, [msgspec.structs.replace(offer, model=model) for offer in await demo.offers()])


@virtual_time
async def test_each_node_keeps_some_links_and_knows_every_model() -> None:
    nodes = await crowd()
    async with running(*nodes):
        await asyncio.sleep(20)
        for node in nodes[1:]:
            assert 2 <= len(linked(node) - {nodes[0].id}) <= 6  # several came at once
            assert all(node.catalog.knows(f"demo-{number}") for number in range(len(nodes)))


@pytest.mark.usefixtures("short")
@virtual_time
async def test_a_model_of_a_node_that_is_not_linked_is_had_and_the_link_is_kept_while_it_is_used() -> None:
    nodes = await crowd()
    async with running(*nodes):
        await asyncio.sleep(20)
        asker = nodes[5]
        far = unlinked(asker, nodes)
        told = await asker.ask(model=f"demo-{nodes.index(far)}")
        assert told.is_whole
        assert told.served_by == far.id
        for _ in range(4):
            await asyncio.sleep(LATELY_S / 2)
            assert far.id in linked(asker)
            assert (await asker.ask(model=f"demo-{nodes.index(far)}")).is_whole


@pytest.mark.usefixtures("short")
@virtual_time
async def test_links_that_were_made_to_ask_and_are_used_no_more_are_let_go_and_may_be_made_again() -> None:
    nodes = await crowd()
    async with running(*nodes):
        await asyncio.sleep(20)
        asker = nodes[5]
        asked = [number for number, node in enumerate(nodes) if node.id not in linked(asker) and node is not asker]
        for number in asked:
            assert (await asker.ask(model=f"demo-{number}")).is_whole
        assert len(linked(asker)) > 6
        await asyncio.sleep(LATELY_S + 2 * LOOK_EVERY_S)
        assert len(linked(asker) - {nodes[0].id}) <= 4
        assert all(asker.catalog.knows(f"demo-{number}") for number in asked)
        assert not any(NOT_NEEDED in asker.network.reasons.of(node.id).words for node in nodes)
        for number in asked:  # nobody was told that it is away
            told = await asker.ask(model=f"demo-{number}")
            assert told.served_by == nodes[number].id
            assert nodes[number].catalog.knows("demo-5")


@pytest.mark.usefixtures("short")
@virtual_time
async def test_no_more_links_are_let_go_than_are_too_many_while_some_are_ending() -> None:
    nodes = await crowd()
    async with running(*nodes):
        await asyncio.sleep(20)
        asker = nodes[5]
        for number, node in enumerate(nodes):
            if node.id not in linked(asker) and node is not asker:
                await asker.ask(model=f"demo-{number}")
        await asyncio.sleep(1)
        sessions, later_s = asker.network.links.sessions, asyncio.get_running_loop().time() + 10 * LATELY_S
        for _ in range(3):
            asker.network._dialing._let_go(later_s)
        assert sum(not session.why for session in sessions.values() if session.peer != nodes[0].id) == 4


@virtual_time
async def test_linked_peers_are_asked_first_and_others_when_all_of_them_have_failed() -> None:
    nodes = await crowd()
    asker = nodes[5]
    async with running(*nodes):
        await asyncio.sleep(20)
        far = unlinked(asker, nodes)
        near = next(node for node in nodes if node.id in linked(asker))
        for node in (near, far):
            await serve(node, MODEL)
        await asyncio.sleep(5)
        assert (await asker.ask()).served_by == near.id
        assert far.id not in linked(asker)
        near.network.links.drop(asker.id, "gone")
        near.transport.network.kill(near.id)
        assert (await asker.ask()).served_by == far.id
        await near.transport.close()


@pytest.mark.usefixtures("short")
@virtual_time
async def test_whoever_was_linked_once_is_found_among_strangers_that_claim_its_model() -> None:
    """They are known by their adverts alone, and nobody is where those say."""
    nodes = await crowd()
    async with running(*nodes):
        await asyncio.sleep(20)
        asker = nodes[5]
        far = unlinked(asker, nodes)
        model = f"demo-{nodes.index(far)}"
        assert (await asker.ask(model=model)).is_whole
        teller = next(iter(linked(asker) - {far.id}))
        asker.network.links.drop(far.id, NOT_NEEDED)
        await until(lambda: far.id not in linked(asker))
        keys = [asker.transport.network.keys(30_000 + number) for number in range(200)]
        claims = (AdvertModel(model, ("openai.chat",)),)
        adverts = [
            advert(each, 1, time.time(), addresses=(f"10.9.0.{number + 1}:7",), models=claims)
            for number, each in enumerate(keys)
        ]
        for each in adverts:
            asker.network.gossip.received(teller, write_message(Push((each,))), 1e9, time.time())
        asker.network._take_changes()
        assert len(asker.catalog.find(model, Endpoint.OPENAI_CHAT).peers) == 201
        for _ in range(3):
            asker.network.links.drop(far.id, NOT_NEEDED)
            await until(lambda: far.id not in linked(asker))
            assert (await asker.ask(model=model)).served_by == far.id


@virtual_time
async def test_one_that_is_not_reached_is_not_asked_again_until_it_says_something_new() -> None:
    nodes = await crowd()
    asker = nodes[5]
    async with running(*nodes):
        await asyncio.sleep(20)
        far = unlinked(asker, nodes)
        model = f"demo-{nodes.index(far)}"
        far.transport.network.partition([far.id], [node.id for node in nodes if node is not far])
        told = await asker.ask(model=model)
        assert told.error is not None
        assert not asker.catalog.knows(model)
        far.transport.network.heal()
        await until(lambda: bool(linked(far)))
        await serve(far, "another")
        await until(lambda: asker.catalog.knows(model), 30)
        assert (await asker.ask(model=model)).is_whole


@virtual_time
async def test_privacy_holds_for_those_that_are_not_linked_as_for_linked_ones() -> None:
    nodes = await crowd()
    asker = nodes[5]
    async with running(*nodes):
        await asyncio.sleep(20)
        far = unlinked(asker, nodes)
        request = msgspec.structs.replace(asker.a_request(model=f"demo-{nodes.index(far)}"), privacy=Privacy.TRUSTED)
        with pytest.raises(PrivacyRefused):
            await asker.dispatcher.common.candidates.choose(request)
        assert asker.book is not None
        asker.book.trust(far.id, is_trusted=True)
        asker.network.book_changed()
        await asyncio.sleep(2)  # it is linked whenever it can be, from now on
        (group,) = (await asker.dispatcher.common.candidates.choose(request)).peers
        assert [peer.name for peer in group] == [far.id]


@virtual_time
async def test_a_blocked_one_is_not_dialed_to_be_asked() -> None:
    nodes = await crowd()
    asker = nodes[5]
    async with running(*nodes):
        await asyncio.sleep(20)
        far = unlinked(asker, nodes)
        assert asker.book is not None
        asker.book.block(far.id, 0)
        asker.network.book_changed()
        assert isinstance((await asker.ask(model=f"demo-{nodes.index(far)}")).error, UnknownModel)
        await serve(far, "another")
        await asyncio.sleep(15)
        assert nodes[6].catalog.knows("another")
        assert not asker.catalog.knows("another")


@virtual_time
async def test_in_a_closed_network_one_that_no_member_vouches_for_is_told_of_and_serves_nothing() -> None:
    network = MemoryNetwork(seed=4)
    ada, bob, eve = make(network, 3, FEW_CLOSED)
    await eve.serve_demo()
    for one, other in ((ada, bob), (bob, ada), (bob, eve), (eve, bob)):
        one.network.want([other.transport.address()])
    async with running(ada, bob, eve):
        await asyncio.sleep(3)
        assert ada.book is not None
        ada.book.block(bob.id, 0)  # whose word for the other counts no more
        eve_s_advert = ada.network.gossip.advert_of(eve.id)
        assert eve_s_advert is not None
        ada.network.book_changed()
        await asyncio.sleep(30)
        assert eve.id not in linked(ada)
        assert (await ada.ask()).error is not None
        assert not eve.served


@virtual_time
async def test_a_full_node_refers_to_others_and_they_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links_module, "MAX_LINKS", 12)
    nodes = await crowd(size=16)
    newcomer = MemoryNode(nodes[0].transport.network.transport(99), FEW)
    newcomer.network.want([nodes[0].transport.address()])
    async with running(*nodes):
        await asyncio.sleep(20)
        assert len(linked(nodes[0])) == 12
        async with running(newcomer):
            await asyncio.sleep(2)
            assert newcomer.network.reasons.of(nodes[0].id).code == RefusalCode.FULL
            assert len(linked(newcomer)) >= 2
            assert nodes[0].id not in linked(newcomer)
            await until(lambda: newcomer.catalog.knows("demo-0"), 30)


async def full_of_idle_ones(monkeypatch: pytest.MonkeyPatch) -> list[MemoryNode]:
    """The first has links with all others but the last, all that it takes; it serves MODEL, and nobody asks it."""
    monkeypatch.setattr(links_module, "MAX_LINKS", 4)
    nodes = make(MemoryNetwork(seed=11), 6, FEW)
    await nodes[0].serve_demo()
    introduce(nodes[:5])
    return nodes


@virtual_time
@pytest.mark.usefixtures("short")
async def test_a_full_node_lets_its_longest_idle_link_go_for_one_that_wants_to_ask(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    full, *guests, newcomer = nodes = await full_of_idle_ones(monkeypatch)
    newcomer.network.want([full.transport.address()])
    async with running(*nodes[:5]):
        await asyncio.sleep(5)
        for guest in guests[1:]:
            assert (await guest.ask()).is_whole
        await asyncio.sleep(LATELY_S - 4)
        async with running(newcomer):
            await asyncio.sleep(5)
            assert (await newcomer.ask()).is_whole
            assert linked(full) == {node.id for node in (*guests[1:], newcomer)}
            await asyncio.sleep(60)
            assert guests[0].id not in linked(full), "it does not come back by itself"
            assert (await guests[0].ask()).is_whole, "but to ask"


@virtual_time
async def test_and_refuses_it_while_all_its_links_are_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    full, *guests, newcomer = nodes = await full_of_idle_ones(monkeypatch)
    async with running(*nodes):
        await asyncio.sleep(5)
        with pytest.raises(LinkRefused) as refused:
            await newcomer.network.links.connect(full.transport.address())
        assert refused.value.refusal == RefusalCode.FULL
        assert linked(full) == {guest.id for guest in guests}


@virtual_time
async def test_a_guest_of_a_full_node_is_let_in_by_others_on_its_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links_module, "MAX_LINKS", 2)
    network = MemoryNetwork(seed=5)
    host, *guests = make(network, 3, FEW_CLOSED)
    host.invites[token_hash(TOKEN)] = 3
    for one, other in (guests, guests[::-1]):  # so that these have room
        assert one.book is not None
        one.book.block(other.id, 0)
    late = MemoryNode(network.transport(9), FEW_CLOSED)
    async with running(host, *guests, late):
        await asyncio.sleep(0.1)
        for guest in guests:
            await guest.network.join(host.transport.address(), TOKEN)
        await asyncio.sleep(5)
        with pytest.raises(LinkRefused) as refused:
            await late.network.join(host.transport.address(), TOKEN)
        assert refused.value.refusal == RefusalCode.FULL
        await asyncio.sleep(5)
        assert linked(late) & {guest.id for guest in guests}


@virtual_time
async def test_what_a_full_node_says_is_bounded_checked_and_dialed_as_what_any_stranger_says() -> None:
    network = MemoryNetwork(seed=6)
    nodes = make(network, 3, FEW)
    introduce(nodes)
    async with running(*nodes):
        await asyncio.sleep(5)
        ada, bob, eve = nodes
        signed = ada.network.gossip.advert_of(eve.id)
        assert signed is not None
        assert ada.book is not None
        for node in (bob, eve):
            ada.book.forget(node.id)
        forged = signed.signed[:-1] + bytes([signed.signed[-1] ^ 1])
        ada.network.referred(bob.id, "8.8.8.8:1", Referral((forged, b"x" * 100)))
        assert ada.book.get(eve.id) is None
        ada.network.referred(bob.id, "8.8.8.8:1", Referral((signed.signed,)))
        assert ada.book.get(eve.id) is None  # a private address, told from the internet
        ada.network.referred(bob.id, "10.0.0.9:1", Referral((signed.signed,)))
        assert ada.book.get(eve.id) is not None
        ada.book.forget(eve.id)
        for _ in range(100):  # and it is not led around for long
            ada.network.referred(bob.id, "10.0.0.9:1", Referral((forged,) * MAX_REFERRED))
        ada.network.referred(bob.id, "10.0.0.9:1", Referral((signed.signed,)))
        assert ada.book.get(eve.id) is None


@virtual_time
async def test_a_strangers_word_in_a_refusal_takes_no_members_place() -> None:
    ada, bob = make(MemoryNetwork(seed=7), 2, CLOSED)
    ada.network.want([bob.transport.address()])
    voucher = bob.network.referral(ada.id, links_module.MembershipLevel.INVITED).voucher
    assert bob.network.referral(ada.id, links_module.MembershipLevel.VOUCHED).voucher is None
    assert voucher is not None
    ada.network.referred(ada.id, "10.0.0.9:1", Referral((), voucher))  # not its own word
    assert not ada.network.greeting(bob.id).vouchers
    ada.network.referred(bob.id, "10.0.0.9:1", Referral((), voucher))
    assert ada.network.greeting(bob.id).vouchers == (voucher,)
    eve = make(MemoryNetwork(seed=8), 1, CLOSED)[0]
    ada.network.referred(eve.id, "10.0.0.9:1", Referral((), voucher))
    assert ada.network.greeting(bob.id).vouchers == (voucher,)


@virtual_time
async def test_models_of_nodes_that_are_not_linked_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(askable_module, "MAX_DISTANT_MODELS", 5)
    nodes = await crowd()
    async with running(*nodes):
        await asyncio.sleep(20)
        node = nodes[5]
        assert 0 < len(node.catalog._models) - 1 - len(linked(node)) <= 5


@virtual_time
async def test_links_that_the_owner_wants_are_dialed_however_many_there_are_and_kept() -> None:
    nodes = make(MemoryNetwork(seed=9), 12, FEW)
    nodes[0].network.want([node.transport.address() for node in nodes[1:]])
    async with running(*nodes):
        await asyncio.sleep(60)
        assert len(linked(nodes[0])) == 11


@virtual_time
async def test_who_dials_at_random_is_refused_by_one_that_has_enough_and_who_asks_is_not() -> None:
    nodes = await crowd(size=20)
    async with running(*nodes):
        await asyncio.sleep(30)
        crowded = next(node for node in nodes[1:] if len(linked(node) - {nodes[0].id}) >= 4)
        asker = next(node for node in nodes[1:] if node.id not in linked(crowded) and node is not crowded)
        with pytest.raises(LinkRefused):
            await asker.network.links.connect(crowded.transport.address(), is_spare=True)
        assert (await asker.ask(model=f"demo-{nodes.index(crowded)}")).is_whole


@virtual_time
async def test_sixty_nodes_that_start_together_know_each_other_within_ten_seconds_and_are_no_full_mesh() -> None:
    nodes = make(MemoryNetwork(seed=1, latency=between(0.01, 0.06)), 60)
    introduce(nodes)
    async with running(*nodes):
        await until(lambda: all(len(node.network.gossip.known) == len(nodes) for node in nodes), 10)
        await asyncio.sleep(3)
        for node in nodes[1:]:
            assert 16 <= len(linked(node)) <= 40


@virtual_time
async def test_who_starts_dials_half_of_its_links_and_more_only_when_others_had_time_to_dial_it() -> None:
    nodes = make(MemoryNetwork(seed=1, latency=between(0.01, 0.06)), 60)
    introduce(nodes)
    late = MemoryNode(nodes[0].transport.network.transport(99), OPEN)
    late.network.want([nodes[0].transport.address()])

    def dialed() -> int:
        return sum(each.link.is_dialed and each.peer != nodes[0].id for each in late.network.links.sessions.values())

    async with running(*nodes):
        await asyncio.sleep(10)
        async with running(late):
            await until(lambda: dialed() >= 8, 1)
            await asyncio.sleep(0.5)
            assert dialed() == 8
            await until(lambda: dialed() >= 8 and len(linked(late)) >= 17, 3)


@virtual_time
async def test_those_that_were_refused_together_do_not_come_back_together() -> None:
    refusing, *others = nodes = make(MemoryNetwork(seed=1), 12)
    introduce(nodes)
    refusals: dict[str, list[float]] = {node.id: [] for node in others}
    for node in others:
        refusing.network.book.block(node.id, 0)
    with mock.patch.object(refusing.network, "turned_away", lambda peer, why: refusals[peer].append(now_s())):
        async with running(*nodes):
            await until(lambda: all(len(times_s) >= 2 for times_s in refusals.values()), 3)
    seconds = sorted(times_s[1] for times_s in refusals.values())
    assert seconds[-1] - seconds[0] > 0.2


@virtual_time
async def test_after_a_change_of_the_own_address_peers_may_be_silent_for_longer() -> None:
    network = MemoryNetwork(seed=2)
    ada, bob = nodes = make(network, 2)
    introduce(nodes)
    async with running(*nodes):
        await asyncio.sleep(5)
        network.partition([ada.id], [bob.id])
        await asyncio.sleep(1)
        for node in nodes:
            node.network.dial_again()
        await asyncio.sleep(8)
        network.heal()
        await asyncio.sleep(1)
        assert linked(ada) == {bob.id}
        assert ada.network.links.sessions[bob.id].since_s < asyncio.get_running_loop().time() - 9


@virtual_time
async def test_after_a_long_cut_all_come_back_as_soon_as_one_has() -> None:
    network = MemoryNetwork(seed=2)
    cut_off, *others = nodes = make(network, 5)
    cut_off.network.want([node.transport.address() for node in others])
    async with running(*nodes):
        await asyncio.sleep(5)
        network.partition([cut_off.id], [node.id for node in others])
        await asyncio.sleep(1200)
        assert not linked(cut_off)
        network.heal()
        await until(lambda: linked(cut_off), 300)
        await until(lambda: linked(cut_off) == {node.id for node in others}, 3)


@virtual_time
async def test_the_first_link_ends_no_pause_before_those_that_refused_this_node() -> None:
    ada, bob = nodes = make(MemoryNetwork(seed=2), 2)
    introduce(nodes)
    full, silent = NodeId("e" * 64), NodeId("f" * 64)
    for peer, code in ((full, RefusalCode.FULL), (silent, PeerUnreachable.code)):
        bob.network.book.retries[peer] = Retry(5, 1e9)
        bob.network.reasons.note(peer, "", code)
    async with running(*nodes):
        await until(lambda: linked(bob) == {ada.id})
        assert full in bob.network.book.retries
        assert silent not in bob.network.book.retries


@virtual_time
async def test_a_full_node_refers_a_crowd_that_comes_at_once_and_not_for_ever() -> None:
    nodes = await crowd()
    async with running(*nodes):
        await asyncio.sleep(10)
        given = [nodes[0].network.referral(NodeId("f" * 64), MembershipLevel.OPEN) for _ in range(10_000)]
        assert all(len(each.others) == MAX_REFERRED for each in given[:1_000])
        assert given[-1] == Referral()


@virtual_time
async def test_news_that_come_without_end_are_spread_together() -> None:
    ada, bob = nodes = make(MemoryNetwork(seed=2), 2)
    introduce(nodes)
    async with running(*nodes):
        await asyncio.sleep(5)
        with mock.patch.object(ada.network.gossip, "due", wraps=ada.network.gossip.due) as spread:
            for number in range(500):
                await serve(ada, f"demo-{number % 2}")
                await asyncio.sleep(0.002)
            assert 0 < spread.call_count <= 1 / SHORTEST_REST_S + 1
        await until(lambda: bob.catalog.knows("demo-1"), 1)


@virtual_time
async def test_a_lone_peer_that_comes_and_goes_ends_no_pauses() -> None:
    """Else one peer, which nobody need trust, has a node dial all others without a rest."""
    network = MemoryNetwork(seed=2)
    node, restless, *away = nodes = make(network, 5)
    node.network.want([each.transport.address() for each in (restless, *away)])
    restless.network.want([node.transport.address()])
    network.partition([node.id], [each.id for each in away])
    async with running(*nodes):
        for _ in range(100):
            await until(lambda: linked(node) == {restless.id}, 30)
            node.network.links.drop(restless.id, "come again")
            await asyncio.sleep(1)
            restless.network.dial_again()
        assert min(node.network.book.failures(each.id) for each in away) > 3


@virtual_time
async def test_keys_that_no_book_holds_leave_nothing_behind() -> None:
    ada, bob = nodes = make(MemoryNetwork(seed=2), 2)
    introduce(nodes)
    async with running(*nodes):
        await until(lambda: linked(ada) == {bob.id}, 5)
        ada.network.book.forget(bob.id)
        ada.network.links.drop(bob.id, NOT_NEEDED)
        await until(lambda: not linked(ada), 5)
        assert bob.id not in ada.network.book.retries


@virtual_time
async def test_a_clock_that_is_set_ends_no_link_and_keeps_no_news_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both machines' clocks go ahead by ten minutes, and back."""
    ada, bob = nodes = make(MemoryNetwork(seed=2), 2)
    introduce(nodes)
    true_time = time.time
    async with running(*nodes):
        await asyncio.sleep(5)
        session = ada.network.links.sessions[bob.id]
        for number, ahead_s in enumerate((600.0, 0.0, -600.0, 0.0)):
            monkeypatch.setattr(time, "time", lambda ahead_s=ahead_s: true_time() + ahead_s)
            await asyncio.sleep(60)
            await serve(bob, f"demo-{number}")
            await until(lambda model=f"demo-{number}": ada.catalog.knows(model), 3)
            assert (await ada.ask(model=f"demo-{number}")).is_whole
        assert ada.network.links.sessions[bob.id] is session


@virtual_time
async def test_who_tells_of_ever_new_addresses_keeps_nobody_busy_with_looking_whom_to_dial() -> None:
    """A look at 10 000 peers takes more than 20 ms, and each address that is told is a reason for one."""
    (node,) = make(MemoryNetwork(seed=1), 1)
    book = node.network.book

    def told(number: int) -> None:
        address = PeerAddress(NodeId(f"{number:064x}"), (f"9.9.{number // 250}.{number % 250 + 1}:4",))
        node.network.heard_on_lan(address)

    with mock.patch.object(book, "due", wraps=book.due) as looks:
        async with running(node):
            for number in range(MAX_PEERS):
                told(number)
            await asyncio.sleep(2)
            looks.reset_mock()
            for turn in range(2_000):
                told(turn)
                await asyncio.sleep(0.001)
            assert 0 < looks.call_count <= 2 * 3  # wanted ones, and others


def test_the_words_with_which_a_link_is_let_go_are_those_of_the_protocol() -> None:
    assert NOT_NEEDED == "not needed now"
    assert dialing_module.NOT_NEEDED is NOT_NEEDED
