"""Links between two or three nodes over the in-memory network: greeting, refusals, one link a pair, heartbeats."""

import asyncio
import contextlib
import gc
import weakref
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

import msgspec
import pytest

from masa_node.chat.errors import LinkRefused, PeerUnreachable, ProtocolFault
from masa_node.network.links import links as links_module
from masa_node.network.links import session as session_module
from masa_node.network.links.control import OWN_VERSIONS, Hello, Referral, RefusalCode, Refused, Versions
from masa_node.network.links.frames import FrameKind, FrameStream, frame, header_frame
from masa_node.network.links.heartbeat import HEARTBEAT_S, LOST_AFTER_S, OTHER_SIDE_QUIET_S, QUIET_S, UNANSWERED_S
from masa_node.network.links.links import GREET_WITHIN_S, MAX_GREETINGS, Links
from masa_node.network.links.membership import Membership
from masa_node.network.links.peer_book import MembershipLevel, PeerBook
from masa_node.network.links.session import ControlStream, Session
from masa_node.network.links.vouchers import make_voucher
from masa_node.network.transport.interfaces import Link, NodeId, PeerAddress, Stream
from masa_node.network.transport.memory import MemoryNetwork, MemoryTransport
from tests.virtual_time import now_s, until, virtual_time

LONG_AGO = 0


@dataclass
class LinkNode:
    """One node that only links; it remembers what it was told."""

    transport: MemoryTransport
    is_open: bool = True
    invites: dict[bytes, int] = field(default_factory=dict)
    vouchers: tuple[bytes, ...] = ()
    invite: bytes | None = None
    standings: dict[NodeId, MembershipLevel] = field(default_factory=dict)
    linked_times: int = 0
    versions: Versions = OWN_VERSIONS
    turned: dict[NodeId, str] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)
    gossip: list[bytes] = field(default_factory=list)
    came_vouchers: list[bytes] = field(default_factory=list)
    asks: list[Stream] = field(default_factory=list)
    others: tuple[bytes, ...] = ()
    came_referrals: list[tuple[NodeId, str, Referral]] = field(default_factory=list)
    book: PeerBook = field(init=False)
    links: Links = field(init=False)

    def __post_init__(self) -> None:
        self.book = PeerBook(is_open=self.is_open)
        membership = Membership(self.book, self.transport.keys, self._use, is_open=self.is_open)
        self.links = Links(self.transport, membership, self, self.versions)

    @property
    def id(self) -> NodeId:
        return self.transport.keys.node_id

    async def connect(self, other: "LinkNode") -> Session:
        return await self.links.connect(other.transport.address())

    async def _use(self, token: bytes, peer: NodeId) -> bool:
        del peer
        left = self.invites.get(token, 0)
        self.invites[token] = left - 1
        return left > 0

    def greeting(self, peer: NodeId, theirs: Hello | None = None) -> Hello:
        del peer, theirs
        return Hello("test", "", self.invite, self.vouchers)

    def linked(self, session: Session, membership: MembershipLevel, hello: Hello) -> None:
        del hello
        self.linked_times += 1
        self.standings[session.peer] = membership
        self.book.admit(session.peer, membership, None, LONG_AGO)

    def turned_away(self, peer: NodeId, why: LinkRefused) -> None:
        self.turned[peer] = why.message

    def referral(self, peer: NodeId, membership: MembershipLevel) -> Referral:
        del peer, membership
        return Referral(self.others)

    def referred(self, peer: NodeId, address: str, referral: Referral) -> None:
        self.came_referrals.append((peer, address, referral))

    def unlinked(self, session: Session) -> None:
        self.gone.append(session.why)

    def gossip_came(self, peer: NodeId, message: bytes) -> None:
        del peer
        if message == b"bad":
            raise ProtocolFault("it said bad things.")
        self.gossip.append(message)

    def voucher_came(self, peer: NodeId, signed: bytes) -> None:
        del peer
        self.came_vouchers.append(signed)

    def serve_stream(self, peer: NodeId, stream: Stream, group: asyncio.TaskGroup) -> None:
        del peer, group
        self.asks.append(stream)


@contextlib.asynccontextmanager
async def running(*nodes: LinkNode) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(node.links.run()) for node in nodes]
        await asyncio.sleep(0)
        yield
        for task in tasks:
            task.cancel()


def two(**settings: object) -> tuple[MemoryNetwork, LinkNode, LinkNode]:
    network = MemoryNetwork(seed=3)
    return network, LinkNode(network.transport(1)), LinkNode(network.transport(2), **settings)  # type: ignore[arg-type]


@virtual_time
async def test_two_nodes_that_greet_each_other_are_linked() -> None:
    _, ada, bob = two()
    async with running(ada, bob):
        session = await ada.connect(bob)
        await asyncio.sleep(0.1)
        assert session.peer == bob.id
        assert set(ada.links.sessions) == {bob.id}
        assert set(bob.links.sessions) == {ada.id}


@virtual_time
async def test_what_one_sends_reaches_the_other() -> None:
    _, ada, bob = two()
    async with running(ada, bob):
        session = await ada.connect(bob)
        session.send_gossip(b"news")
        session.send_voucher(b"word")
        stream = await session.mux.open()
        await stream.send(FrameKind.BODY, b"ask")
        await asyncio.sleep(0.1)
        assert bob.gossip == [b"news"]
        assert bob.came_vouchers == [b"word"]
        assert len(bob.asks) == 1
        await asyncio.sleep(HEARTBEAT_S)
        assert session.rtt_s is not None
        assert 0 < session.rtt_s < 0.1


@pytest.mark.parametrize("who_ends", ["ada", "bob", "stop"])
@virtual_time
async def test_what_is_served_ends_with_the_link_also_what_begins_just_then(who_ends: str) -> None:
    """A task that is cancelled before its first step never takes one, and could not end what it was given."""
    _, ada, bob = two()
    begun, ended = list[str](), list[str]()

    async def serving(name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(name)

    def serve(peer: NodeId, stream: FrameStream, group: asyncio.TaskGroup) -> None:
        del peer

        def came() -> None:
            begun.append("late" if begun else "early")
            group.create_task(serving(begun[-1]))

        stream.listen(came)

    bob.serve_stream = serve  # type: ignore[method-assign, assignment]
    async with running(ada, bob):
        session = await ada.connect(bob)
        stream = await session.mux.open()
        await stream.send(FrameKind.BODY, b"ask")
        await asyncio.sleep(0.1)
        assert begun == ["early"]
        if who_ends != "stop":
            [ends] = (ada if who_ends == "ada" else bob).links.sessions.values()
            ends.close("bye")
            await asyncio.sleep(1)
            assert len(bob.gone) == 1
    assert (begun, sorted(ended)) == (["early", "late"], ["early", "late"])


@virtual_time
async def test_a_stranger_is_told_why_a_closed_network_refuses_it() -> None:
    network, ada, bob = two(is_open=False)
    async with running(ada, bob):
        with pytest.raises(LinkRefused, match="invite") as refused:
            await ada.connect(bob)
        assert refused.value.refusal == RefusalCode.NOT_A_MEMBER
        assert not bob.links.sessions
        await asyncio.sleep(5)
        assert network.open_links == 0


@virtual_time
async def test_an_invite_lets_in_once_and_its_guest_may_come_again() -> None:
    network, ada, bob = two(is_open=False)
    bob.invites = {b"token": 1}
    eve = LinkNode(network.transport(3))
    ada.invite = eve.invite = b"token"
    async with running(ada, bob, eve):
        await ada.connect(bob)
        assert bob.standings == {ada.id: MembershipLevel.INVITED}
        with pytest.raises(LinkRefused) as refused:
            await eve.connect(bob)
        assert refused.value.refusal == RefusalCode.BAD_INVITE
        ada.links.drop(bob.id, "again")
        await asyncio.sleep(1)
        await ada.connect(bob)


@virtual_time
async def test_a_members_word_lets_in_and_a_strangers_does_not() -> None:
    network, ada, bob = two(is_open=False)
    friend, stranger = network.keys(4), network.keys(5)
    bob.book.admit(friend.node_id, MembershipLevel.LISTED, None, LONG_AGO)
    async with running(ada, bob):
        ada.vouchers = (make_voucher(ada.id, stranger, 0), b"garbage" * 20)
        with pytest.raises(LinkRefused):
            await ada.connect(bob)
        ada.vouchers = (make_voucher(bob.id, friend, _today()),)  # for somebody else
        with pytest.raises(LinkRefused):
            await ada.connect(bob)
        ada.vouchers = (make_voucher(ada.id, stranger, _today()), make_voucher(ada.id, friend, _today()))
        await ada.connect(bob)
        assert bob.standings == {ada.id: MembershipLevel.VOUCHED}


@virtual_time
async def test_a_blocked_peer_is_refused_even_in_an_open_network() -> None:
    _, ada, bob = two()
    bob.book.block(ada.id, LONG_AGO)
    async with running(ada, bob):
        with pytest.raises(LinkRefused) as refused:
            await ada.connect(bob)
        assert refused.value.refusal == RefusalCode.BLOCKED


@virtual_time
async def test_the_dialing_side_judges_too() -> None:
    network, ada, _ = two()
    closed = LinkNode(network.transport(7), is_open=False)
    async with running(ada, closed):
        with pytest.raises(LinkRefused):
            await closed.connect(ada)
        await asyncio.sleep(1)
        assert not ada.links.sessions  # it was welcome there, but the link is gone
        assert network.open_links == 0


@virtual_time
async def test_both_dialing_at_once_end_with_one_link() -> None:
    for seed in range(20):
        network = MemoryNetwork(seed=seed)
        ada, bob = LinkNode(network.transport(1)), LinkNode(network.transport(2))
        async with running(ada, bob):
            await asyncio.gather(ada.connect(bob), bob.connect(ada), return_exceptions=True)
            await asyncio.sleep(3)
            assert set(ada.links.sessions) == {bob.id}
            assert set(bob.links.sessions) == {ada.id}
            assert network.open_links == 2  # both ends of one
            ada.links.sessions[bob.id].send_gossip(b"still there")
            await asyncio.sleep(1)
            assert bob.gossip == [b"still there"]


@pytest.mark.parametrize("slow", [0, 1])
@virtual_time
async def test_a_dial_that_took_long_leaves_the_link_that_the_peer_made_meanwhile(
    monkeypatch: pytest.MonkeyPatch, slow: int
) -> None:
    _, *nodes = two()
    late, quick = nodes[slow], nodes[1 - slow]
    dial = late.transport.dial

    async def dial_slowly(address: PeerAddress) -> Link:
        link = await dial(address)
        await asyncio.sleep(1)
        return link

    monkeypatch.setattr(late.transport, "dial", dial_slowly)
    async with running(late, quick), asyncio.TaskGroup() as group:
        dialing = group.create_task(late.connect(quick))
        await asyncio.sleep(0.2)
        session = await quick.connect(late)
        stream = await session.mux.open()
        await stream.send(FrameKind.BODY, b"ask")
        assert (await dialing).link.is_dialed is False
        await asyncio.sleep(1)
        assert [node.linked_times for node in nodes] == [1, 1]
        assert quick.links.sessions == {late.id: session}
        await stream.send(FrameKind.BODY, b"more of it")


@virtual_time
async def test_many_who_want_the_same_peer_share_one_attempt() -> None:
    network, ada, bob = two()
    async with running(ada, bob):
        sessions = await asyncio.gather(*(ada.connect(bob) for _ in range(50)))
        assert len(set(map(id, sessions))) == 1
        assert network.open_links == 2


@pytest.mark.parametrize("dials", [True, False])
@virtual_time
async def test_a_killed_peer_is_out_within_four_seconds_while_a_request_is_under_way(dials: bool) -> None:  # noqa: FBT001
    for seed in range(10):
        network = MemoryNetwork(seed=seed)
        ada, bob = LinkNode(network.transport(1)), LinkNode(network.transport(2))
        async with running(ada, bob):
            await (ada.connect(bob) if dials else bob.connect(ada))
            await asyncio.sleep(20 + seed * 0.37)
            stream = await ada.links.sessions[bob.id].mux.open()
            await stream.send(FrameKind.BODY, b"ask")
            await asyncio.sleep(HEARTBEAT_S + seed * 0.37)
            network.kill(bob.id)
            began_s = now_s()
            await until(lambda ada=ada: not ada.links.sessions)
            assert UNANSWERED_S < now_s() - began_s < LOST_AFTER_S + 0.2
            assert "heartbeats" in ada.gone[0]
            await bob.transport.close()


@pytest.mark.parametrize("dials", [True, False])
@virtual_time
async def test_a_request_to_a_peer_that_is_dead_already_is_told_so_within_four_seconds(dials: bool) -> None:  # noqa: FBT001
    for seed in range(10):
        network = MemoryNetwork(seed=seed)
        ada, bob = LinkNode(network.transport(1)), LinkNode(network.transport(2))
        async with running(ada, bob):
            await (ada.connect(bob) if dials else bob.connect(ada))
            await asyncio.sleep(20 + seed * 0.37)
            network.kill(bob.id)
            await asyncio.sleep(0.3)
            stream = await ada.links.sessions[bob.id].mux.open()
            await stream.send(FrameKind.BODY, b"ask")
            began_s = now_s()
            await until(lambda ada=ada: not ada.links.sessions)
            assert now_s() - began_s < LOST_AFTER_S + 0.2
            await bob.transport.close()


@pytest.mark.parametrize("dials", [True, False])
@virtual_time
async def test_a_killed_peer_on_a_quiet_link_is_out_within_seconds(dials: bool) -> None:  # noqa: FBT001
    for seed in range(10):
        network = MemoryNetwork(seed=seed)
        ada, bob = LinkNode(network.transport(1)), LinkNode(network.transport(2))
        async with running(ada, bob):
            await (ada.connect(bob) if dials else bob.connect(ada))
            await asyncio.sleep(20 + seed * 1.37)
            network.kill(bob.id)
            began_s = now_s()
            await until(lambda ada=ada: not ada.links.sessions)
            assert now_s() - began_s < QUIET_S + OTHER_SIDE_QUIET_S + LOST_AFTER_S
            await bob.transport.close()


@virtual_time
async def test_on_a_quiet_link_the_side_that_dialed_beats_and_both_know_how_long_the_way_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: Counter[FrameKind] = Counter()

    def counted(kind: FrameKind, header: msgspec.Struct) -> bytes:
        sent[kind] += 1
        return header_frame(kind, header)

    _, ada, bob = two()
    async with running(ada, bob):
        session = await ada.connect(bob)
        await asyncio.sleep(HEARTBEAT_S / 2)
        monkeypatch.setattr(session_module, "header_frame", counted)
        await asyncio.sleep(100 * QUIET_S)
        assert 100 <= sent[FrameKind.PING] <= 112
        assert sent[FrameKind.PONG] == sent[FrameKind.PING]
        assert session.rtt_s is not None
        assert bob.links.sessions[ada.id].rtt_s is not None


@virtual_time
async def test_a_quiet_link_stays_for_hours() -> None:
    _, ada, bob = two()
    async with running(ada, bob):
        await ada.connect(bob)
        await asyncio.sleep(2 * 3600)
        assert ada.linked_times == bob.linked_times == 1
        assert not ada.gone


@virtual_time
async def test_a_peer_that_started_again_is_linked_again_at_once() -> None:
    network, ada, bob = two()
    async with running(ada, bob):
        await ada.connect(bob)
        await asyncio.sleep(60)
        network.kill(bob.id)
        await bob.transport.close()
        again = LinkNode(network.transport(2))
        async with running(again):
            await again.connect(ada)  # ada still believes in the old link
            await asyncio.sleep(10)
            assert set(ada.links.sessions) == {bob.id}
            assert set(again.links.sessions) == {ada.id}


@virtual_time
async def test_between_the_slices_of_a_gossip_message_others_have_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    _, ada, bob = two()
    turns: list[str] = []

    def in_slices(_peer: NodeId, message: bytes) -> Iterator[None]:
        for number in range(3):
            turns.append(f"slice {number} of {message!r}")
            asyncio.get_running_loop().call_soon(turns.append, "another")
            yield
        raise ProtocolFault("it said bad things at last.")

    monkeypatch.setattr(bob, "gossip_came", in_slices)
    async with running(ada, bob):
        session = await ada.connect(bob)
        session.send_gossip(b"much")
        await until(lambda: bool(bob.gone))
    assert turns == [each for number in range(3) for each in (f"slice {number} of b'much'", "another")]
    assert "at last" in bob.gone[0]


@virtual_time
async def test_bad_gossip_ends_the_link_and_says_why() -> None:
    _, ada, bob = two()
    async with running(ada, bob):
        session = await ada.connect(bob)
        session.send_gossip(b"bad")
        await asyncio.sleep(1)
        assert bob.gone == ["it said bad things."]
        assert not ada.links.sessions


@virtual_time
async def test_of_a_link_that_ended_for_a_fault_nothing_is_left_on_either_side() -> None:
    """Without a search for garbage: it is rare, and does not see what iroh holds for a connection."""
    _, ada, bob = two()
    async with running(ada, bob):
        session = await ada.connect(bob)
        theirs, ours = weakref.ref(bob.links.sessions[ada.id]), weakref.ref(session)
        gc.collect()
        gc.disable()
        try:
            session.send_gossip(b"bad")
            del session
            await asyncio.sleep(1)
            assert bob.gone == ["it said bad things."]
            assert (theirs(), ours()) == (None, None)
        finally:
            gc.enable()


@virtual_time
async def test_what_came_on_the_control_stream_and_was_not_read_is_let_go_of_with_the_link(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A connection that is closed drains for a while, and would hold it."""
    aborted: list[ControlStream] = []
    monkeypatch.setattr(ControlStream, "abort", lambda control: aborted.append(control))  # noqa: PLW0108 - bound
    _, ada, bob = two()
    async with running(ada, bob):
        session = await ada.connect(bob)
        assert not aborted
        session.send_gossip(b"bad")
        await asyncio.sleep(1)
        assert len(aborted) == 2


@virtual_time
@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
        frame(FrameKind.GOSSIP, b"x"),
        frame(FrameKind.HELLO, b"garbage"),
        header_frame(FrameKind.HELLO, Hello(version="v", vouchers=()))[:3],
        frame(FrameKind.HELLO, b"\xc1"),
    ],
)
async def test_one_who_does_not_greet_is_dropped(first: bytes) -> None:
    network, ada, bob = two()
    async with running(bob):
        link = await ada.transport.dial(bob.transport.address())
        stream = await link.open()
        if first:
            await stream.write(first)
        await asyncio.sleep(GREET_WITHIN_S + 1)
        assert network.open_links == 0
        assert not bob.links.sessions


@virtual_time
async def test_a_crowd_that_never_greets_leaves_room_for_those_who_do() -> None:
    network, ada, bob = two()
    async with running(ada, bob):
        crowd: list[Link] = []
        for number in range(MAX_GREETINGS + 40):
            mute = network.transport(100 + number)
            crowd.append(await mute.dial(bob.transport.address()))
        await asyncio.sleep(GREET_WITHIN_S + 1)
        assert network.open_links == 0
        await ada.connect(bob)
        assert set(bob.links.sessions) == {ada.id}


@virtual_time
async def test_a_flood_of_control_frames_ends_the_link() -> None:
    _, ada, bob = two()
    async with running(ada, bob):
        session = await ada.connect(bob)
        for _ in range(2000):
            session.send_gossip(b"x")
        await asyncio.sleep(1)
        assert len(bob.gossip) < 1000
        assert "more control frames" in bob.gone[0]


@virtual_time
async def test_a_peer_that_reads_nothing_costs_a_bounded_outbox() -> None:
    network, ada, bob = two()
    async with running(ada, bob):
        session = await ada.connect(bob)
        network.hang(bob.id)
        for _ in range(200):
            session.send_gossip(bytes(60_000))
        await asyncio.sleep(1)
        assert not ada.links.sessions
        assert "does not read" in ada.gone[0]
        network.resume(bob.id)


@virtual_time
async def test_a_dial_to_nobody_says_so_and_stops_when_the_node_does() -> None:
    network, ada, bob = two()
    async with running(ada):
        began_s = now_s()
        address = bob.transport.address()
        await bob.transport.close()
        with pytest.raises(PeerUnreachable):
            await ada.links.connect(address)
        assert now_s() - began_s < 6
        waiting = asyncio.create_task(ada.links.connect(address))
        await asyncio.sleep(0.1)
    with pytest.raises(PeerUnreachable):
        await waiting
    with pytest.raises(PeerUnreachable):
        await ada.links.connect(address)
    assert network.open_links == 0


@virtual_time
async def test_one_who_gives_up_waiting_does_not_stop_the_others() -> None:
    _, ada, bob = two()
    async with running(ada, bob):
        impatient = asyncio.create_task(ada.connect(bob))
        patient = asyncio.create_task(ada.connect(bob))
        await asyncio.sleep(0)
        impatient.cancel()
        assert (await patient).peer == bob.id
        with pytest.raises(asyncio.CancelledError):
            await impatient


def _today() -> float:
    import time  # noqa: PLC0415 - vouchers are about calendar time, which virtual time does not touch

    return time.time()


@virtual_time
async def test_a_member_gets_a_link_although_guests_of_an_open_network_hold_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(links_module, "MAX_LINKS", 3)
    network, ada, bob = two()
    guests = [LinkNode(network.transport(10 + number)) for number in range(3)]
    late = LinkNode(network.transport(20))
    ada.book.admit(bob.id, MembershipLevel.LISTED, None, LONG_AGO)
    async with running(ada, bob, late, *guests):
        for guest in guests:
            await guest.connect(ada)
        with pytest.raises(LinkRefused) as refused:
            await late.connect(ada)
        assert refused.value.refusal == RefusalCode.FULL
        await bob.connect(ada)
        await asyncio.sleep(1)
        assert bob.id in ada.links.sessions
        assert len(ada.links.sessions) == 3
        assert not guests[0].links.sessions  # the oldest


@virtual_time
async def test_what_a_peer_says_when_it_refuses_is_one_short_printable_line() -> None:
    network, ada, _ = two()
    rude = network.transport(9)

    async def refuse() -> None:
        link = await rude.accept()
        stream = await link.accept()
        await stream.read()
        await stream.write(header_frame(FrameKind.REFUSED, Refused("rude", "\x1b[31mred\n" * 40)))
        await asyncio.sleep(1)

    async with running(ada), asyncio.TaskGroup() as group:
        group.create_task(refuse())
        with pytest.raises(LinkRefused) as refused:
            await ada.links.connect(rude.address())
    assert refused.value.message.isprintable()
