"""Covers: `advert_set`, `outbox`."""

import itertools
import math
import random
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from masa_node.chat.errors import ProtocolFault
from masa_node.network.gossip import advert_set as digest_module
from masa_node.network.gossip import gossip as gossip_module
from masa_node.network.gossip import outbox as outbox_module
from masa_node.network.gossip.advert_set import MAX_ASKED, WANTED_AGAIN_AFTER_S, AdvertSet, prefix_of, tag_and_hash
from masa_node.network.gossip.adverts import (
    ADVERT_LIFETIME_S,
    MAX_ADVERT_BYTES,
    MAX_LIFETIME_S,
    SignedAdvert,
    sign_advert,
)
from masa_node.network.gossip.gossip import (
    CHECKS_BURST,
    CHECKS_PER_S,
    EXCHANGES_BURST,
    EXPIRE_EVERY_S,
    FANOUT,
    INBOUND_BURST_BYTES,
    RENEWED_FANOUT,
    SLICE,
    SPREAD_AGAIN_AFTER_S,
    AdvertExpired,
    AdvertHeard,
    Gossip,
    Ignored,
    OwnAdvertElsewhere,
)
from masa_node.network.gossip.messages import (
    MAX_LISTING_BYTES,
    MAX_MESSAGE_BYTES,
    MAX_PUSHED,
    BucketListing,
    Digest,
    GossipMessage,
    Push,
    Want,
    read_message,
    write_message,
)
from masa_node.network.gossip.outbox import (
    BURST_BYTES,
    MAX_PENDING_NEWS,
    MAX_REPLIES,
    NEWS_DELAY_S,
    OWN_EVERY_S,
    RESERVED_BYTES,
    Outbox,
)
from masa_node.network.links.frames import HEAD_BYTES
from masa_node.network.transport.interfaces import MAX_CLOCK_SKEW_S, NodeId
from masa_node.network.transport.memory import MemoryKeys, MemoryNetwork
from tests.examples import times
from tests.network.gossip.gossip_simulation import AT_UNIX_S, an_advert

NOW_S = 1_000.0


class CountingKeys(MemoryKeys):
    """How many signatures were checked?"""

    checks = 0

    def verify(self, node_id: NodeId, message: bytes, signature: bytes) -> bool:
        self.checks += 1
        return super().verify(node_id, message, signature)


class One:
    """A node under test, and the keys of everybody else."""

    def __init__(self, links: int = 1, network: MemoryNetwork | None = None) -> None:
        self.network = network or MemoryNetwork()
        self.keys = CountingKeys(self.network.keys(0).node_id, self.network.secrets_by_node)
        self.me = self.keys.node_id
        self.gossip = Gossip(self.keys, random.Random(1))  # noqa: S311 - a simulation
        self.now_s = NOW_S
        self.peers = [self.id(1000 + number) for number in range(links)]
        for peer in self.peers:
            self.gossip.linked(peer, self.now_s)
        self.sent(1.0)
        self.gossip.digests.at_s = float("inf")  # digests come when a test asks for them

    def id(self, number: int) -> NodeId:
        return self.network.keys(number).node_id

    def advert(
        self, number: int, sequence: int = 1, models: int = 3, issued_at_unix_s: int = AT_UNIX_S
    ) -> SignedAdvert:
        return an_advert(self.network.keys(number), sequence, models, issued_at_unix_s)

    def hear(self, *adverts: SignedAdvert, peer: int = 0, is_news: bool = True, at_unix_s: float = AT_UNIX_S) -> None:
        for batch in batches(adverts):
            message = write_message(Push(tuple(advert.signed for advert in batch), is_news))
            self.gossip.received(self.peers[peer], message, self.now_s, at_unix_s)

    def receive(self, *messages: GossipMessage, peer: int = 0) -> None:
        for message in messages:
            self.gossip.received(self.peers[peer], write_message(message), self.now_s, AT_UNIX_S)

    def sent(self, for_s: float = 0.0) -> dict[NodeId, list]:
        """What goes out in this time, by peer."""
        out: dict[NodeId, list] = {}
        end_s = self.now_s + for_s
        while True:
            for peer, data in self.gossip.due(self.now_s):
                assert len(data) <= MAX_MESSAGE_BYTES
                out.setdefault(peer, []).append(read_message(data))
            due_s = self.gossip.next_due_s(self.now_s)
            if due_s > end_s:
                break
            self.now_s = max(due_s, self.now_s + 0.001)
        self.now_s = max(end_s, self.now_s)
        return out

    def told(self, for_s: float = 1.0) -> dict[NodeId, set[bytes]]:
        """The adverts that go out in this time, by peer."""
        return {
            peer: {signed for message in messages if isinstance(message, Push) for signed in message.adverts}
            for peer, messages in self.sent(for_s).items()
        }

    def known(self) -> set[NodeId]:
        return {advert.node_id for advert in self.gossip.all()}

    def ignored(self, why: Ignored) -> int:
        return self.gossip.ignored[why]


def batches(adverts: tuple[SignedAdvert, ...]) -> Iterator[list[SignedAdvert]]:
    rest = iter(adverts)
    while batch := list(itertools.islice(rest, MAX_PUSHED)):
        yield batch


# ---- who is told what ----


def test_an_own_change_goes_to_every_linked_peer_at_once() -> None:
    one = One(links=20)
    own = one.advert(0)
    one.gossip.set_own(own)
    assert one.gossip.next_due_s(one.now_s) <= one.now_s
    assert one.told(0.0) == {peer: {own.signed} for peer in one.peers}


def test_an_own_change_is_told_although_the_budget_is_used_up() -> None:
    one = One()
    one.hear(*[one.advert(number) for number in range(1, 400)])
    for _ in range(3):
        one.receive(BucketListing(0, ((0, b""),)))
        one.sent(0.3)
    assert one.gossip.outbox_of(one.peers[0]).room_bytes(one.now_s) < 4000
    large = one.advert(0, models=200)
    one.gossip.set_own(large)
    assert one.told(0.0) == {one.peers[0]: {large.signed}}


def test_own_changes_in_quick_succession_are_told_newest_only() -> None:
    one = One()
    for sequence in range(1, 50):
        one.gossip.set_own(one.advert(0, sequence))
        one.sent(OWN_EVERY_S / 10)
    messages = one.sent(1.0)[one.peers[0]]
    assert len(messages) == 1
    assert messages[0].adverts == (one.advert(0, 49).signed,)


def test_an_own_advert_must_be_newer_than_the_last_one_and_own() -> None:
    one = One()
    one.gossip.set_own(one.advert(0, 5))
    for wrong in (one.advert(0, 5), one.advert(0, 4), one.advert(1, 6)):
        with pytest.raises(ValueError, match="higher"):
            one.gossip.set_own(wrong)


def test_a_new_peer_is_told_the_own_advert_and_a_digest() -> None:
    one = One()
    own = one.advert(0)
    one.gossip.set_own(own)
    one.sent(1.0)
    one.peers.append(one.id(2))
    one.gossip.linked(one.id(2), one.now_s)
    messages = one.sent(1.0)[one.id(2)]
    assert Push((own.signed,)) in messages
    assert any(isinstance(message, Digest) and message.known == 1 for message in messages)


def test_news_are_passed_on_to_a_few_and_not_back() -> None:
    one = One(links=20)
    news = one.advert(1)
    one.hear(news, peer=3)
    told = one.told()
    assert len(told) == FANOUT
    assert one.peers[3] not in told
    assert all(adverts == {news.signed} for adverts in told.values())


LATER_UNIX_S = AT_UNIX_S + ADVERT_LIFETIME_S // 2


def renewed(one: One, number: int, sequence: int = 2) -> SignedAdvert:
    """What it said at first, later."""
    later = LATER_UNIX_S
    first = one.advert(number)
    renewal = changed(first, one.network.keys(number), sequence=sequence, issued_at_unix_s=later)
    return changed(renewal, one.network.keys(number), expires_at_unix_s=later + ADVERT_LIFETIME_S)


def test_a_renewal_is_told_in_a_few_bytes_and_sent_to_those_that_want_it() -> None:
    one = One(links=20)
    one.hear(*[one.advert(number) for number in range(1, 300)], is_news=False)
    one.told(60.0)
    renewal = renewed(one, 7)
    one.hear(renewal, peer=3, at_unix_s=LATER_UNIX_S)
    messages = one.sent(1.0)
    assert len(messages) == RENEWED_FANOUT
    assert one.peers[3] not in messages
    for listings in messages.values():
        (listing,) = listings
        assert isinstance(listing, BucketListing)
        assert len(write_message(listing)) < len(renewal.signed) / 4
        entry = tag_and_hash(renewal)[0]
        assert [joined.count(entry) for _, joined in listing.buckets] == [1]
    peer = one.peers.index(next(iter(messages)))
    one.receive(Want(prefix_of(one.id(7))), peer=peer)
    assert one.told(1.0) == {one.peers[peer]: {renewal.signed}}


def test_a_renewal_that_several_peers_tell_of_is_wanted_from_one() -> None:
    one, other = One(links=3), One()
    for each in (one, other):
        each.hear(*[each.advert(number) for number in range(1, 300)], is_news=False)
        each.told(60.0)
    other.hear(renewed(other, 7), at_unix_s=LATER_UNIX_S)
    listing = other.gossip.known.listing(8, [prefix_of(one.id(7))[0]], MAX_LISTING_BYTES)
    for peer in range(3):
        one.receive(listing, peer=peer)
    assert one.sent(0.3) == {one.peers[0]: [Want(prefix_of(one.id(7)))]}
    one.now_s += 1.0  # the answer was lost
    one.receive(listing, peer=1)
    assert one.sent(0.3) == {one.peers[1]: [Want(prefix_of(one.id(7)))]}


@pytest.mark.parametrize("liars", [1, 3, 2 * MAX_ASKED])
def test_peers_that_list_renewals_which_they_do_not_bring_keep_nobody_from_bringing_them(liars: int) -> None:
    """Each claims all the time to have the newest; whoever has it is asked soon after it tells of it."""
    one, other = One(links=liars + 1), One()
    for each in (one, other):
        each.hear(*[each.advert(number) for number in range(1, 300)], is_news=False)
        each.told(60.0)
    leaf, prefix = prefix_of(one.id(7))[0], prefix_of(one.id(7))
    lie = BucketListing(8, ((leaf, prefix + b"\xff" * 8),))
    other.hear(renewed(other, 7), at_unix_s=LATER_UNIX_S)
    truth = other.gossip.known.listing(8, [leaf], MAX_LISTING_BYTES)
    asked_at_s = []
    for step in range(100):
        one.now_s = NOW_S + 1_000 + step / 10
        one.receive(lie, peer=1 + step % liars)
        one.receive(truth, peer=0)
        if one.peers[0] in one.sent():
            asked_at_s.append(step / 10)
    assert asked_at_s[0] <= (WANTED_AGAIN_AFTER_S + 0.1) * min(liars, MAX_ASKED) + 0.1
    assert len(asked_at_s) > 10  # and again and again, as long as it was not brought


def test_a_renewal_is_sent_whole_where_a_listing_would_be_as_long() -> None:
    one = One(links=20)
    size = len(one.advert(1).signed) // 32
    crowded = [number for number in range(1, 300 * size) if prefix_of(one.id(number))[0] == prefix_of(one.id(1))[0]]
    for number in crowded[: 2 * size]:
        one.gossip.known.put(one.advert(number), one.peers[0])
    renewal = renewed(one, 1)
    one.hear(renewal, peer=3, at_unix_s=LATER_UNIX_S)
    assert list(one.told().values()) == [{renewal.signed}] * RENEWED_FANOUT


def test_what_is_new_in_an_advert_is_sent_whole() -> None:
    one = One(links=20)
    one.hear(*[one.advert(number) for number in range(1, 300)], is_news=False)
    one.told(60.0)
    news = one.advert(7, 2)
    one.hear(news, peer=3)
    assert list(one.told().values()) == [{news.signed}] * FANOUT


def test_news_wait_for_others_so_that_there_are_few_messages() -> None:
    one = One(links=2)
    for number in range(10):
        one.hear(one.advert(number + 1))
        one.now_s += NEWS_DELAY_S / 20
    messages = one.sent(1.0)[one.peers[1]]
    assert len(messages) == 1
    assert len(messages[0].adverts) == 10


def test_what_was_missed_is_not_passed_on_when_it_is_much() -> None:
    one = One(links=5)
    one.hear(*[one.advert(number) for number in range(1, 30)], is_news=False)
    assert not one.told()
    one.hear(one.advert(50), is_news=False)
    assert len(one.told()) == FANOUT


def test_what_a_peer_has_told_meanwhile_is_not_told_to_it() -> None:
    one = One(links=2)
    news = one.advert(1)
    one.hear(news, peer=0)
    one.hear(news, peer=1)
    assert not one.told()


def test_one_node_cannot_fill_the_budget_with_its_news() -> None:
    one = One(links=9)
    newest = one.advert(1, 160, models=20)
    told_bytes = 0
    for sequence in range(1, 161):
        one.hear(one.advert(1, sequence, models=20))
        told_bytes += len(newest.signed) * sum(map(len, one.told(0.25).values()))
    of_40_s = 40 * gossip_module.NEWS_BYTES_PER_S * FANOUT
    assert of_40_s * 0.8 < told_bytes <= of_40_s + len(newest.signed) * FANOUT
    assert one.gossip.advert_of(one.id(1)) == newest
    one.told(3.0)
    assert one.gossip.next_due_s(one.now_s) == math.inf


def test_the_load_of_a_node_is_for_its_own_peers_only() -> None:
    one = One(links=9)
    base = one.advert(1000, 1)
    one.hear(base)
    one.told()
    keys = one.network.keys(1000)
    busy = changed(base, keys, sequence=2, running=3)
    one.hear(busy)
    assert not one.told(5.0)
    assert one.gossip.advert_of(one.id(1000)) == busy
    assert [change.advert for change in one.gossip.changes()] == [busy]
    later_unix_s = AT_UNIX_S + int(SPREAD_AGAIN_AFTER_S)
    renewed = changed(base, keys, sequence=3, issued_at_unix_s=later_unix_s, expires_at_unix_s=later_unix_s + 900)
    one.hear(renewed, at_unix_s=later_unix_s)
    assert len(one.told()) == RENEWED_FANOUT
    other_models = changed(base, keys, sequence=4, models=())
    one.hear(other_models, at_unix_s=later_unix_s)
    assert len(one.told()) == FANOUT


def changed(base: SignedAdvert, keys: MemoryKeys, **fields: object) -> SignedAdvert:
    return sign_advert(msgspec.structs.replace(base.advert, **fields), keys)


def test_an_older_one_from_others_does_not_hide_the_load() -> None:
    one = One(links=3)
    base = one.advert(1000, 1)
    busy, between = (changed(base, one.network.keys(1000), sequence=n, running=n) for n in (9, 5))
    one.hear(base, busy)
    one.hear(between, peer=1)
    assert one.gossip.advert_of(one.id(1000)) == busy
    assert one.gossip.known.get(one.id(1000)).sequence == 5
    assert one.gossip.changes() == [AdvertHeard(busy, one.peers[0])]


def test_what_another_peer_told_is_not_taken_as_told_by_one_that_tells_something_older() -> None:
    """Which addresses may be dialed depends on who told of them."""
    one = One(links=3)
    node = one.network.keys(1000)
    first, load, moved = (one.advert(1000, 1), *(changed(one.advert(1000, 1), node, sequence=n) for n in (9, 5)))
    moved = changed(moved, node, addresses=("192.0.2.9:9",))
    one.hear(first, load)
    one.gossip.changes()
    one.hear(moved, peer=1)
    assert one.gossip.advert_of(one.id(1000)) == load
    assert one.gossip.changes() == []


# ---- what counts ----


def test_only_the_newest_sequence_of_a_node_counts_and_who_tells_an_old_one_is_told_the_new_one() -> None:
    one = One(links=2)
    one.hear(one.advert(1, 5), peer=0)
    one.told()
    one.hear(one.advert(1, 4), peer=1)
    assert one.gossip.advert_of(one.id(1)) == one.advert(1, 5)
    assert one.ignored(Ignored.OLD) == 1
    assert one.told() == {one.peers[1]: {one.advert(1, 5).signed}}


def test_of_two_adverts_with_one_sequence_the_first_counts() -> None:
    one = One()
    one.hear(one.advert(1, 5, models=1))
    one.hear(one.advert(1, 5, models=2))
    assert one.gossip.advert_of(one.id(1)) == one.advert(1, 5, models=1)
    assert one.ignored(Ignored.CONFLICT) == 1
    assert one.keys.checks == 1


def test_the_owner_hears_of_each_change_once() -> None:
    one = One()
    one.hear(one.advert(1, 1), one.advert(1, 2), one.advert(2, 1))
    assert one.gossip.changes() == [
        AdvertHeard(one.advert(1, 2), one.peers[0]),
        AdvertHeard(one.advert(2, 1), one.peers[0]),
    ]
    assert one.gossip.changes() == []


@pytest.mark.parametrize("own_sequence", [None, 3])
def test_an_own_advert_with_a_higher_sequence_elsewhere_is_reported(own_sequence: int | None) -> None:
    one = One()
    if own_sequence is not None:
        one.gossip.set_own(one.advert(0, own_sequence))
    one.hear(one.advert(0, 7))
    assert one.gossip.changes() == [OwnAdvertElsewhere(7)]
    one.gossip.set_own(one.advert(0, 8))
    one.hear(one.advert(0, 7))
    assert one.gossip.changes() == []


def test_another_own_advert_with_the_same_sequence_is_reported() -> None:
    one = One()
    one.gossip.set_own(one.advert(0, 3, models=1))
    one.hear(one.advert(0, 3, models=1))
    assert one.gossip.changes() == []
    one.hear(one.advert(0, 3, models=2))
    assert one.gossip.changes() == [OwnAdvertElsewhere(3)]


def test_a_node_that_restarted_with_an_old_clock_hears_of_it_at_once() -> None:
    one = One()
    newer = one.advert(1000, 100)
    one.hear(newer)
    one.told()
    one.hear(one.advert(1000, 5))
    assert one.told() == {one.peers[0]: {newer.signed}}


def test_expired_adverts_go_and_do_not_come_back() -> None:
    one = One(links=3)
    one.hear(one.advert(1, 5))
    one.gossip.changes()
    one.told()
    over_unix_s = AT_UNIX_S + ADVERT_LIFETIME_S + MAX_CLOCK_SKEW_S
    one.gossip.expire(over_unix_s - 1)
    assert one.known() == {one.id(1)}
    one.gossip.expire(over_unix_s - 1 + EXPIRE_EVERY_S)
    assert one.known() == set()
    assert one.gossip.changes() == [AdvertExpired(one.id(1))]
    longer = changed(one.advert(1, 4), one.network.keys(1), expires_at_unix_s=AT_UNIX_S + 3600)
    one.hear(one.advert(1, 5), longer, at_unix_s=over_unix_s)
    assert one.known() == set()
    assert one.ignored(Ignored.EXPIRED) == 2
    assert not one.told()
    one.hear(one.advert(1, 6, issued_at_unix_s=over_unix_s), at_unix_s=over_unix_s)
    assert one.known() == {one.id(1)}


def test_what_is_remembered_of_expired_adverts_goes_too() -> None:
    one = One()
    one.hear(one.advert(1))
    one.gossip.expire(AT_UNIX_S + ADVERT_LIFETIME_S + MAX_CLOCK_SKEW_S + 1)
    assert one.gossip.known.counts().expired == 1
    one.gossip.expire(AT_UNIX_S + MAX_LIFETIME_S + MAX_CLOCK_SKEW_S + 1)
    assert one.gossip.known.counts().expired == 0


def test_expired_and_future_adverts_are_ignored_without_blame_as_clocks_differ() -> None:
    one = One()
    one.hear(one.advert(1, issued_at_unix_s=AT_UNIX_S - 5000), one.advert(2, issued_at_unix_s=AT_UNIX_S + 5000))
    assert one.known() == set()
    assert (one.ignored(Ignored.EXPIRED), one.ignored(Ignored.FUTURE), one.keys.checks) == (1, 1, 0)


def test_a_forgotten_node_is_not_shown_until_it_is_recalled_but_passed_on() -> None:
    one = One(links=2)
    one.hear(one.advert(1, 1))
    one.told()
    one.gossip.forget(one.id(1))
    one.hear(one.advert(1, 2))
    assert one.gossip.changes() == []
    assert one.known() == set()
    assert one.gossip.advert_of(one.id(1)) is None
    assert one.told(2.0)
    one.gossip.recall(one.id(1))
    assert one.known() == {one.id(1)}


def test_messages_of_a_peer_that_is_not_linked_are_not_read() -> None:
    one = One()
    one.gossip.unlinked(one.peers[0])
    one.hear(one.advert(1))
    one.gossip.received(one.peers[0], b"garbage", one.now_s, AT_UNIX_S)
    assert one.known() == set()
    assert one.gossip.due(one.now_s) == []
    assert one.gossip.next_due_s(one.now_s) == float("inf")


# ---- digests ----


def two(known_by_both: int, missing: int) -> tuple[One, One]:
    """Two linked nodes; the first one lacks some of what the second knows."""
    poor = One()
    rich = One(network=poor.network)
    for number in range(1, known_by_both + missing + 1):
        advert = poor.advert(number)
        rich.gossip.known.put(advert, rich.me)
        if number <= known_by_both:
            poor.gossip.known.put(advert, poor.me)
    return poor, rich


def exchange(one: One, other: One, digest_of: One) -> int:
    """Bytes that cross until both are silent, after one of them sent a digest."""
    digest = write_message(digest_of.gossip.known.digest())
    taker = other if digest_of is one else one
    taker.gossip.received(taker.peers[0], digest, taker.now_s, AT_UNIX_S)
    crossed = len(digest)
    for _ in range(20):
        for source, target in ((one, other), (other, one)):
            for messages in source.sent(1.0).values():
                for message in messages:
                    data = write_message(message)
                    crossed += len(data)
                    target.gossip.received(target.peers[0], data, target.now_s, AT_UNIX_S)
        one.gossip.digests.at_s = other.gossip.digests.at_s = float("inf")
    return crossed


@pytest.mark.parametrize("sender", [0, 1], ids=["the poorer asks", "the richer asks"])
@pytest.mark.parametrize(("both", "missing"), [(0, 1), (0, 100), (5, 5), (500, 10), (300, 1)])
def test_one_digest_brings_what_was_missed(both: int, missing: int, sender: int) -> None:
    pair = two(both, missing)
    exchange(*pair, digest_of=pair[sender])
    assert pair[0].known() == pair[1].known()
    assert len(pair[0].known()) == both + missing


def test_both_learn_from_one_exchange() -> None:
    poor, rich = two(50, 10)
    poor.gossip.known.put(poor.advert(500), poor.me)
    exchange(poor, rich, digest_of=poor)
    assert poor.known() == rich.known()
    assert len(rich.known()) == 61


def test_alike_nodes_exchange_one_small_message() -> None:
    one, other = two(1000, 0)
    assert exchange(one, other, digest_of=one) < 600


def test_a_missed_renewal_costs_little_among_a_thousand() -> None:
    one, other = two(1000, 0)
    other.gossip.known.put(one.advert(77, 2), other.me)
    assert exchange(one, other, digest_of=one) < 600 + 600 + 700
    assert one.gossip.advert_of(one.id(77)) == one.advert(77, 2)


@given(
    ops=st.lists(st.tuples(st.integers(1, 30), st.integers(1, 4), st.booleans()), max_size=60),
    bits=st.integers(0, 8),
)
def test_digests_are_alike_exactly_when_what_is_known_is(ops: list[tuple[int, int, bool]], bits: int) -> None:
    network = MemoryNetwork()
    me = network.keys(0).node_id
    known, alike = AdvertSet(()), AdvertSet(())
    model: dict[int, int] = {}
    for number, sequence, is_drop in ops:
        keys = network.keys(number)
        if is_drop and number in model:
            known.drop(keys.node_id)
            del model[number]
        elif not is_drop and sequence > model.get(number, 0):
            known.put(an_advert(keys, sequence), me)
            model[number] = sequence
    for number, sequence in sorted(model.items()):
        alike.put(an_advert(network.keys(number), sequence), me)
    assert known.hashes(bits) == alike.hashes(bits)
    size_bytes = sum(len(entry.spread.signed) for entry in known)
    assert known.counts() == alike.counts() == (len(model), len(model), len(model), size_bytes, 0)
    if model:
        number = next(iter(model))
        alike.put(an_advert(network.keys(number), 9), me)
        assert known.differing(alike.digest())


# ---- bounds ----


def test_a_flood_of_fake_nodes_pushes_out_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digest_module, "MAX_KNOWN", 100)
    one = One(links=2)
    one.gossip.set_own(one.advert(0))
    honest = [one.advert(number) for number in range(1, 41)]
    one.hear(*honest, peer=0)
    one.hear(one.advert(1001), peer=1)
    for start in range(2000, 5000, 60):
        one.hear(*[one.advert(number) for number in range(start, start + 60)], peer=1)
        one.now_s += 10
    assert len(one.gossip.known) == 100
    assert {advert.node_id for advert in honest} | {one.id(1001)} <= one.known()
    assert one.gossip.advert_of(one.me) is not None
    assert one.gossip.known.counts()[:3] == (100, 100, 100)


def test_what_had_to_make_room_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digest_module, "MAX_KNOWN", 2)
    one = One()
    one.hear(one.advert(1), one.advert(2))
    one.gossip.changes()
    one.hear(one.advert(3))
    assert sorted(one.gossip.changes(), key=repr) == [
        AdvertExpired(one.id(1)),
        AdvertHeard(one.advert(3), one.peers[0]),
    ]


def test_large_adverts_are_bounded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digest_module, "MAX_KNOWN_BYTES", 100_000)
    one = One()
    for number in range(1, 20):
        one.hear(one.advert(number, models=150))
        one.now_s += 10
    assert 50_000 < one.gossip.known.size_bytes <= 100_000


def test_a_full_node_asks_for_nobody_new(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digest_module, "MAX_KNOWN", 5)
    one = One()
    one.hear(*[one.advert(number) for number in range(1, 6)])
    one.told()
    listing = BucketListing(0, ((0, one.gossip.known.find(bytes.fromhex(one.id(1)[:16])).tag + b"x" * 16),))
    one.receive(listing)
    assert not [m for m in one.sent(1.0)[one.peers[0]] if isinstance(m, Want)]


def test_signatures_checked_for_one_peer_are_bounded() -> None:
    one = One(links=2)
    for start in range(0, 1500, 60):
        one.hear(*[one.advert(10_000 + number, models=0) for number in range(start, start + 60)])
    assert one.keys.checks == CHECKS_BURST
    one.now_s += 2
    one.hear(*[one.advert(20_000 + number, models=0) for number in range(300)])
    assert one.keys.checks == CHECKS_BURST + 2 * CHECKS_PER_S
    assert one.ignored(Ignored.TOO_MANY) == 1800 - one.keys.checks
    one.hear(one.advert(5), peer=1)
    assert one.gossip.advert_of(one.id(5)) is not None


def test_replays_cost_no_signature_check_and_are_not_passed_on() -> None:
    one = One(links=5)
    adverts = [one.advert(number) for number in range(1, 50)]
    one.hear(*adverts)
    one.told(5.0)
    checks = one.keys.checks
    for _ in range(5):
        one.hear(*adverts, peer=1)
    assert one.keys.checks == checks
    assert not one.told()


def test_more_gossip_than_any_budget_is_a_fault() -> None:
    one = One(links=2)
    push = Push((one.advert(1, models=150).signed,))
    for _ in range(INBOUND_BURST_BYTES // (len(write_message(push)) + HEAD_BYTES)):
        one.receive(push)
    with pytest.raises(ProtocolFault, match="budget"):
        one.receive(push)
    one.gossip.unlinked(one.peers[0])
    one.gossip.linked(one.peers[0], one.now_s)
    with pytest.raises(ProtocolFault, match="budget"):
        one.receive(push)
    one.hear(one.advert(2), peer=1)
    assert one.gossip.advert_of(one.id(2)) is not None


def test_a_relinked_peer_does_not_get_a_new_budget() -> None:
    outbox_level = []
    one = One()
    one.hear(*[one.advert(number) for number in range(1, 500)])
    for _ in range(3):
        one.receive(BucketListing(0, ((0, b""),)))
        one.sent(0.2)
        outbox_level.append(one.gossip.outbox_of(one.peers[0]).room_bytes(one.now_s))
        one.gossip.unlinked(one.peers[0])
        one.gossip.linked(one.peers[0], one.now_s)
    assert outbox_level[-1] < 20_000


def test_a_flood_of_digests_and_wishes_is_not_answered() -> None:
    one = One()
    one.hear(*[one.advert(number) for number in range(1, 300)])
    one.told()
    for _ in range(500):
        one.receive(BucketListing(0, ((0, b""),)))
        one.receive(Digest(0, 0, bytes(8)))
    assert one.ignored(Ignored.TOO_MANY) == 1000 - EXCHANGES_BURST
    waiting = one.gossip.outbox_of(one.peers[0]).counts()
    assert waiting.replies <= MAX_REPLIES
    assert waiting.repair < 200


def test_an_advert_with_a_wrong_signature_is_a_fault() -> None:
    one = One()
    forged = one.advert(1).signed[:-1] + b"\0"
    with pytest.raises(ProtocolFault, match="signature"):
        one.receive(Push((forged,)))
    assert one.known() == set()


def test_what_waits_for_a_slow_budget_is_bounded() -> None:
    outbox = Outbox(NOW_S)
    for number in range(MAX_PENDING_NEWS + 100):
        outbox.tell_news(NodeId(f"{number:064x}"), NOW_S)
    assert outbox.counts().news == MAX_PENDING_NEWS


def test_a_listing_is_bounded_whatever_ids_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    one = One()
    monkeypatch.setattr(digest_module, "prefix_of", lambda node_id: b"\0" + bytes.fromhex(node_id[:14]))
    for number in range(1, 1000):
        one.gossip.known.put(one.advert(number), one.me)
    listing = one.gossip.known.listing(8, [0, 1, 2], MAX_LISTING_BYTES)
    assert len(listing.buckets[0][1]) == MAX_LISTING_BYTES
    assert read_message(write_message(listing)) == listing


def test_the_reserve_holds_the_largest_advert() -> None:
    assert RESERVED_BYTES > MAX_ADVERT_BYTES + 20
    assert outbox_module.BURST_BYTES >= RESERVED_BYTES + MAX_MESSAGE_BYTES
    assert BURST_BYTES < INBOUND_BURST_BYTES


def an_old_or_new_advert(number: int, sequence: int, issued_s: int) -> Push:
    return Push((an_advert(MemoryNetwork().keys(number), sequence, 1, AT_UNIX_S + issued_s).signed,))


SEVERAL_ENTRIES = st.integers(0, 9).flatmap(lambda count: st.binary(min_size=16 * count, max_size=16 * count))
MESSAGES = st.one_of(
    st.builds(an_old_or_new_advert, st.integers(0, 8), st.integers(0, 5), st.sampled_from([0, -5000, 5000, -800])),
    st.builds(Push, st.lists(st.binary(min_size=65, max_size=90), min_size=1).map(tuple), st.booleans()),
    st.builds(lambda known, bits: Digest(known, bits, b"7" * (8 << bits)), st.integers(0, 2000), st.integers(0, 8)),
    st.builds(lambda tags: BucketListing(0, ((0, tags),)), SEVERAL_ENTRIES),
    st.builds(Want, st.binary(min_size=8, max_size=8)),
)
BYTES = st.one_of(st.binary(max_size=200), MESSAGES.map(write_message))


@settings(max_examples=times(2))
@given(messages=st.lists(st.tuples(BYTES, st.integers(0, 2), st.floats(0, 3)), max_size=30))
def test_whatever_comes_in_is_taken_or_a_fault(messages: list[tuple[bytes, int, float]]) -> None:
    one = One(links=3)
    for number in range(9):
        one.network.keys(number)
    one.gossip.set_own(one.advert(0, 3))
    for data, peer, pause_s in messages:
        try:
            one.gossip.received(one.peers[peer], data, one.now_s, AT_UNIX_S)
        except ProtocolFault:
            one.gossip.unlinked(one.peers[peer])
            one.gossip.linked(one.peers[peer], one.now_s)
        one.gossip.digests.at_s = min(one.gossip.digests.at_s, one.now_s + 5)
        one.sent(pause_s)
        one.gossip.changes()
    known = one.gossip.known
    assert known.size_bytes == sum(len(entry.spread.signed) for entry in known)
    nodes, tagged, signed, *_ = known.counts()
    assert nodes == tagged == signed <= 10


# ---- in slices ----


def test_a_message_of_many_adverts_is_taken_in_slices_that_come_to_the_same() -> None:
    one = One(links=2)
    adverts = [one.advert(number, models=0) for number in range(1, 3 * SLICE + 2)]
    message = write_message(Push(tuple(advert.signed for advert in adverts), is_news=True))
    checked = [one.keys.checks for _ in one.gossip.taking(one.peers[0], message, one.now_s, AT_UNIX_S)]
    assert checked == [SLICE, 2 * SLICE, 3 * SLICE]
    assert one.keys.checks == len(adverts)
    assert one.known() == {advert.node_id for advert in adverts}


def test_of_a_peer_that_goes_in_between_no_more_is_taken() -> None:
    one = One(links=2)
    adverts = [one.advert(number, models=0) for number in range(1, 3 * SLICE)]
    message = write_message(Push(tuple(advert.signed for advert in adverts), is_news=True))
    for _ in one.gossip.taking(one.peers[0], message, one.now_s, AT_UNIX_S):
        one.gossip.unlinked(one.peers[0])
    assert one.keys.checks == SLICE
