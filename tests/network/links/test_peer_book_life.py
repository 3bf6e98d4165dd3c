"""The peer book under anything that may happen, in any order."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from masa_node.network.links import peer_book as peers_module
from masa_node.network.links.peer_book import MembershipLevel, PeerBook, PeerRecord
from masa_node.network.transport.interfaces import NodeId, PeerAddress

MEMBERS = (MembershipLevel.OPEN, MembershipLevel.VOUCHED, MembershipLevel.INVITED, MembershipLevel.LISTED)
AT = 1_700_000_000


def node_id(number: int) -> NodeId:
    return NodeId(f"{number:064x}")


NUMBERS = st.integers(1, 8)


class Life(RuleBasedStateMachine):
    """Anything may happen, in any order, in a small book; a second book is kept by `take_changes` alone."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(peers_module, "MAX_PEERS", 5)
        self.patch.setattr(peers_module, "MAX_BLOCKED", 2)
        self.rng = random.Random(0)  # noqa: S311 - jitter
        self.stored: dict[NodeId, PeerRecord] = {}
        self.linked: set[NodeId] = set()
        self.blocked: set[NodeId] = set()
        self.book = PeerBook(own=node_id(8), is_open=True)
        self.now = 0

    def teardown(self) -> None:
        self.patch.undo()

    @rule(number=NUMBERS)
    def hear(self, number: int) -> None:
        self.book.heard(PeerAddress(node_id(number), (f"192.0.2.{number}:1",)), "", AT + self.now)

    @rule(number=NUMBERS, membership=st.sampled_from(MEMBERS))
    def admit(self, number: int, membership: MembershipLevel) -> None:
        admitted = self.book.admit(node_id(number), membership, None, AT + self.now)
        assert admitted == self.book.is_member(node_id(number))

    @rule(number=NUMBERS)
    def link(self, number: int) -> None:
        self.book.linked(node_id(number), AT + self.now)
        if self.book.get(node_id(number)) and not self.book.is_blocked(node_id(number)):
            self.linked.add(node_id(number))

    @rule(number=NUMBERS)
    def unlink(self, number: int) -> None:
        self.book.unlinked(node_id(number), AT + self.now, self.now, self.rng)
        self.linked.discard(node_id(number))

    @rule(number=NUMBERS, what=st.sampled_from(["forget", "unblock"]))
    def let_go(self, number: int, what: str) -> None:
        act: Callable[[NodeId], Any] = getattr(self.book, what)
        if act(node_id(number)):
            self.linked.discard(node_id(number))
            self.blocked.discard(node_id(number))

    @rule(number=NUMBERS)
    def block(self, number: int) -> None:
        if self.book.block(node_id(number), AT):
            self.linked.discard(node_id(number))
            self.blocked.add(node_id(number))

    @rule(number=NUMBERS, is_trusted=st.booleans())
    def trust(self, number: int, *, is_trusted: bool) -> None:
        self.book.trust(node_id(number), is_trusted=is_trusted)

    @rule(seconds=st.integers(1, 5))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @rule()
    def save(self) -> None:
        changed, gone = self.book.take_changes()
        assert not {record.node_id for record in changed} & set(gone)
        assert set(gone) <= self.stored.keys()
        self.stored.update({record.node_id: record for record in changed})
        for gone_id in gone:
            del self.stored[gone_id]
        assert self.stored == {record.node_id: record for record in self.book.all()}

    @rule()
    def start_again(self) -> None:
        self.save()
        before = self.book.all()
        self.book = PeerBook(before, own=node_id(8), is_open=True)
        self.linked.clear()
        assert sorted(self.book.all(), key=str) == sorted(before, key=str)

    @invariant()
    def the_bounds_hold_and_nothing_that_must_stay_goes(self) -> None:
        records = {record.node_id: record for record in self.book.all()}
        assert {known for known in records if self.book.is_blocked(known)} == self.blocked
        assert len(self.blocked) <= 2
        assert len(records) - len(self.blocked) <= 5
        assert self.linked <= records.keys()
        assert node_id(8) not in records
        assert self.book.retries.keys() <= records.keys()

    @invariant()
    def exactly_those_that_may_be_given_up_stand_in_line(self) -> None:
        for membership, queue in self.book.queues.items():
            for record in self.book.all():
                may_go = record.membership is membership and not record.is_trusted and record.node_id not in self.linked
                assert (record.node_id in queue) == may_go

    @invariant()
    def all_that_can_be_dialed_will_be(self) -> None:
        dialed = {address.node_id for address in self.book.due(1e9, self.linked, 99)}
        wanted = {
            record.node_id
            for record in self.book.all()
            if record.node_id not in self.linked | self.blocked and (record.membership in MEMBERS or record.addresses)
        }
        assert dialed == wanted


Life.TestCase.settings = settings(stateful_step_count=50)
TestLife = Life.TestCase
