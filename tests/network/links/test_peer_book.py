"""The peer book: who is a member, who is given up when it is full, who is dialed when."""

import random

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from masa_node.network.links import peer_book as peers_module
from masa_node.network.links.peer_book import (
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    MAX_ADDRESS_CHARS,
    MAX_NAME_CHARS,
    SEEN_STEP_S,
    STABLE_LINK_S,
    MembershipLevel,
    PeerBook,
    PeerRecord,
)
from masa_node.network.transport.interfaces import MAX_ADDRESSES, NodeId, PeerAddress

MEMBERS = (MembershipLevel.OPEN, MembershipLevel.VOUCHED, MembershipLevel.INVITED, MembershipLevel.LISTED)
NOBODY: frozenset[NodeId] = frozenset()
AT = 1_700_000_000


def peer(number: int) -> NodeId:
    return NodeId(f"{number:064x}")


def at(number: int, *direct: str, relay_url: str | None = None) -> PeerAddress:
    return PeerAddress(peer(number), direct or (f"192.0.2.{number}:1",), relay_url)


A, B, C = peer(1), peer(2), peer(3)


@pytest.fixture
def book() -> PeerBook:
    return PeerBook()


@pytest.fixture
def rng() -> random.Random:
    return random.Random(1)  # noqa: S311 - jitter


def full_of(monkeypatch: pytest.MonkeyPatch, bound: int) -> None:
    monkeypatch.setattr(peers_module, "MAX_PEERS", bound)


def test_whoever_uses_no_relay_any_more_dials_through_one_only_those_that_the_owner_named(book: PeerBook) -> None:
    relay_url = "https://relay.example.org"
    for number, membership in ((1, MembershipLevel.LISTED), (2, MembershipLevel.INVITED), (3, MembershipLevel.VOUCHED)):
        book.admit(peer(number), membership, at(number, relay_url=relay_url), AT)
    book.take_changes()

    book.leave_relays()

    assert {record.node_id for record in book.all() if record.relay_url} == {A}
    assert {record.node_id for record in book.take_changes()[0]} == {B, C}
    assert all(record.addresses for record in book.all())


# ---- membership level ----


def test_a_peer_that_was_only_heard_of_is_known_but_no_member(book: PeerBook) -> None:
    assert book.heard(at(1), "anna", AT)
    record = book.get(A)
    assert record is not None
    assert (record.membership, record.name, record.addresses) == (MembershipLevel.HEARD, "anna", ("192.0.2.1:1",))
    assert not book.is_member(A)


@pytest.mark.parametrize("membership", [MembershipLevel.VOUCHED, MembershipLevel.INVITED, MembershipLevel.LISTED])
def test_an_admitted_peer_is_a_member(book: PeerBook, membership: MembershipLevel) -> None:
    assert book.admit(A, membership, None, AT)
    assert book.is_member(A)


def test_a_peer_let_in_because_the_network_was_open_is_no_member_once_it_is_closed() -> None:
    book = PeerBook(is_open=True)
    book.admit(A, MembershipLevel.OPEN, None, AT)
    assert book.is_member(A)
    assert not PeerBook(book.all()).is_member(A)


@pytest.mark.parametrize("membership", [MembershipLevel.HEARD, MembershipLevel.BLOCKED])
def test_nobody_is_admitted_with_a_membership_level_that_makes_no_member(
    book: PeerBook, membership: MembershipLevel
) -> None:
    with pytest.raises(ValueError, match=membership):
        book.admit(A, membership, None, AT)


@pytest.mark.parametrize("first", MEMBERS)
@pytest.mark.parametrize("second", MEMBERS)
def test_a_weaker_membership_level_never_replaces_a_stronger_one(
    book: PeerBook, first: MembershipLevel, second: MembershipLevel
) -> None:
    book.admit(A, first, None, AT)
    book.admit(A, second, None, AT)
    book.heard(at(1), "", AT)
    record = book.get(A)
    assert record is not None
    assert record.membership is max(first, second, key=list(MembershipLevel).index)


def test_a_node_never_knows_itself() -> None:
    book = PeerBook([PeerRecord(A, MembershipLevel.LISTED)], own=A)
    assert not book.heard(at(1), "", AT)
    assert not book.admit(A, MembershipLevel.LISTED, None, AT)
    assert not book.block(A, AT)
    assert book.all() == []
    assert book.take_changes() == ([], [A])


@pytest.mark.parametrize("node_id", ["", "ab", "A" * 64, "g" * 64, "0" * 65, "../../etc/passwd"])
def test_what_is_no_node_id_is_not_kept(book: PeerBook, node_id: str) -> None:
    assert not book.heard(PeerAddress(NodeId(node_id), ("192.0.2.1:1",)), "", AT)
    assert not book.admit(NodeId(node_id), MembershipLevel.LISTED, None, AT)
    assert not book.block(NodeId(node_id), AT)
    assert book.all() == []


# ---- block, forget, trust ----


def test_a_blocked_peer_stays_blocked_whatever_happens(book: PeerBook, rng: random.Random) -> None:
    book.admit(A, MembershipLevel.LISTED, at(1), AT)
    assert book.block(A, AT)
    assert not book.admit(A, MembershipLevel.LISTED, at(1), AT)
    assert not book.heard(at(1), "", AT)
    assert not book.trust(A, is_trusted=True)
    book.linked(A, AT, at(1))
    book.failed(A, 0.0, rng)
    assert book.is_blocked(A)
    assert not book.is_member(A)
    assert book.due(1e9, NOBODY, 10) == []
    assert PeerBook(book.all()).is_blocked(A)


def test_a_peer_that_was_never_heard_of_can_be_blocked(book: PeerBook) -> None:
    assert book.block(A, AT)
    assert book.block(A, AT)
    assert book.is_blocked(A)
    assert book.unblock(A)
    assert book.get(A) is None


def test_an_unblocked_peer_is_what_it_was_before_but_not_trusted(book: PeerBook) -> None:
    book.admit(A, MembershipLevel.INVITED, at(1), AT)
    book.trust(A, is_trusted=True)
    book.block(A, AT)
    assert not book.is_trusted(A)
    assert book.unblock(A)
    record = book.get(A)
    assert record is not None
    assert (record.membership, record.membership_before, record.is_trusted) == (MembershipLevel.INVITED, None, False)
    assert record.addresses == ("192.0.2.1:1",)
    assert not book.unblock(A)


def test_a_forgotten_peer_is_unknown_even_if_it_was_blocked(book: PeerBook) -> None:
    book.block(A, AT)
    assert book.forget(A)
    assert not book.is_blocked(A)
    assert not book.forget(A)
    assert book.heard(at(1), "", AT)


def test_the_block_list_has_a_bound_of_its_own_and_lets_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers_module, "MAX_BLOCKED", 2)
    full_of(monkeypatch, 1)
    book = PeerBook()
    assert book.block(peer(10), AT)
    assert book.block(peer(11), AT)
    assert book.admit(A, MembershipLevel.LISTED, None, AT)
    assert not book.block(A, AT)
    assert not book.block(B, AT)
    assert book.is_member(A)
    assert book.is_blocked(peer(10))
    assert book.is_blocked(peer(11))


def test_only_members_are_trusted(book: PeerBook) -> None:
    assert not book.trust(A, is_trusted=True)
    book.heard(at(1), "", AT)
    book.trust(A, is_trusted=True)
    assert not book.is_trusted(A)
    book.admit(A, MembershipLevel.VOUCHED, None, AT)
    assert book.is_trusted(A)
    book.trust(A, is_trusted=False)
    assert not book.is_trusted(A)


# ---- when it is full ----


def test_of_those_heard_of_the_longest_unseen_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    full_of(monkeypatch, 2)
    book = PeerBook()
    book.heard(at(1), "", AT)
    book.heard(at(2), "", AT + 1)
    book.heard(at(1), "", AT + 2)
    book.heard(at(3), "", AT + 3)
    assert {record.node_id for record in book.all()} == {A, C}


def test_the_weakest_membership_level_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    full_of(monkeypatch, 4)
    book = PeerBook()
    order = [MembershipLevel.INVITED, MembershipLevel.VOUCHED, MembershipLevel.OPEN]
    for number, membership in enumerate(order):
        book.admit(peer(number), membership, None, AT + number)
    book.heard(at(9), "", AT + 9)
    gone = []
    for number in range(20, 24):
        before = {record.node_id: record.membership for record in book.all()}
        book.admit(peer(number), MembershipLevel.LISTED, None, AT)
        gone += [before[node_id] for node_id in before.keys() - {record.node_id for record in book.all()}]
    assert gone == [MembershipLevel.HEARD, MembershipLevel.OPEN, MembershipLevel.VOUCHED, MembershipLevel.INVITED]


def test_of_members_the_one_that_was_not_linked_longest_goes_first(
    monkeypatch: pytest.MonkeyPatch, rng: random.Random
) -> None:
    full_of(monkeypatch, 2)
    book = PeerBook()
    book.admit(A, MembershipLevel.INVITED, None, AT)
    book.admit(B, MembershipLevel.INVITED, None, AT)
    book.linked(A, AT)
    book.unlinked(A, AT + 1, 0.0, rng)
    assert book.admit(C, MembershipLevel.INVITED, None, AT + 2)
    assert {record.node_id for record in book.all()} == {A, C}
    reopened = PeerBook(sorted(book.all(), key=lambda record: record.node_id, reverse=True))
    reopened.admit(B, MembershipLevel.INVITED, None, AT + 3)
    assert {record.node_id for record in reopened.all()} == {B, C}  # C came later than A was linked


def test_being_heard_of_does_not_keep_a_member_from_being_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    full_of(monkeypatch, 2)
    book = PeerBook()
    book.admit(A, MembershipLevel.INVITED, None, AT)
    book.admit(B, MembershipLevel.INVITED, None, AT)
    book.heard(at(1), "", AT + SEEN_STEP_S)
    book.admit(C, MembershipLevel.INVITED, None, AT)
    assert {record.node_id for record in book.all()} == {B, C}


@pytest.mark.parametrize("keep", ["listed", "trusted", "linked"])
def test_some_are_never_given_up(monkeypatch: pytest.MonkeyPatch, keep: str) -> None:
    full_of(monkeypatch, 1)
    book = PeerBook()
    book.admit(A, MembershipLevel.LISTED if keep == "listed" else MembershipLevel.INVITED, None, AT)
    if keep == "trusted":
        book.trust(A, is_trusted=True)
    if keep == "linked":
        book.linked(A, AT)
    assert not book.admit(B, MembershipLevel.LISTED, None, AT)
    assert not book.heard(at(3), "", AT)
    assert [record.node_id for record in book.all()] == [A]


def test_a_peer_that_lost_its_link_may_be_given_up_again(monkeypatch: pytest.MonkeyPatch, rng: random.Random) -> None:
    full_of(monkeypatch, 1)
    book = PeerBook()
    book.admit(A, MembershipLevel.INVITED, None, AT)
    book.linked(A, AT)
    book.unlinked(A, AT, 0.0, rng)
    assert book.admit(B, MembershipLevel.INVITED, None, AT)


def test_a_crowd_of_strangers_pushes_no_member_out(monkeypatch: pytest.MonkeyPatch) -> None:
    full_of(monkeypatch, 10)
    book = PeerBook(is_open=True)
    for number in range(5):
        book.admit(peer(number), MembershipLevel.VOUCHED, None, AT)
    for number in range(100, 1_000):
        book.heard(at(number), "", AT)
        book.admit(peer(number * 1_000), MembershipLevel.OPEN, None, AT)
    assert len(book.all()) == 10
    assert all(book.is_member(peer(number)) for number in range(5))


def test_a_newcomer_displaces_nobody_of_a_stronger_membership_level(monkeypatch: pytest.MonkeyPatch) -> None:
    full_of(monkeypatch, 1)
    standings = [MembershipLevel.HEARD, *MEMBERS]
    for there in standings[:-1]:
        for comes in standings:
            book = PeerBook()
            book.heard(at(1), "", AT)
            if there is not MembershipLevel.HEARD:
                book.admit(A, there, None, AT)
            is_in = book.heard(at(2), "", AT) if comes is MembershipLevel.HEARD else book.admit(B, comes, None, AT)
            assert is_in == (standings.index(comes) >= standings.index(there))
            assert (book.get(A) is None) == is_in


def test_a_remembered_book_that_is_too_large_is_cut_to_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    full_of(monkeypatch, 3)
    records = [PeerRecord(peer(number), MembershipLevel.HEARD, last_seen_at_unix_s=AT + number) for number in range(9)]
    book = PeerBook(reversed(records))
    assert {record.node_id for record in book.all()} == {peer(6), peer(7), peer(8)}
    assert sorted(book.take_changes()[1]) == [peer(number) for number in range(6)]


# ---- addresses ----


def test_what_is_told_of_a_peer_is_added_before_what_was_known(book: PeerBook) -> None:
    book.heard(at(1, "a:1", "b:1"), "", AT)
    book.heard(at(1, "c:1", "a:1", relay_url="https://r"), "anna", AT)
    record = book.get(A)
    assert record is not None
    assert (record.addresses, record.relay_url, record.name) == (("c:1", "a:1", "b:1"), "https://r", "anna")
    assert record.address == PeerAddress(A, ("c:1", "a:1", "b:1"), "https://r")


def test_nothing_told_later_displaces_the_address_that_worked_last(book: PeerBook) -> None:
    book.admit(A, MembershipLevel.VOUCHED, at(1, "told:1"), AT)
    book.linked(A, AT, at(1, "works:1"))
    for number in range(50):
        book.heard(at(1, *(f"false{number}-{each}:1" for each in range(MAX_ADDRESSES))), "", AT)
    record = book.get(A)
    assert record is not None
    assert record.addresses[0] == "works:1"
    assert len(record.addresses) == MAX_ADDRESSES


def test_a_peer_that_comes_from_another_port_each_time_keeps_what_was_told_of_it(book: PeerBook) -> None:
    book.admit(A, MembershipLevel.VOUCHED, at(1, "told:1", "told:2"), AT)
    for number in range(50):
        book.linked(A, AT, at(1, f"nat:{number}"))
    record = book.get(A)
    assert record is not None
    assert record.addresses[0] == "nat:49"
    assert record.addresses[-2:] == ("told:1", "told:2")
    assert len(record.addresses) == MAX_ADDRESSES


def test_hearing_the_same_again_in_another_order_is_no_change(book: PeerBook) -> None:
    book.heard(at(1, "a:1", "b:1"), "anna", AT)
    book.take_changes()
    book.heard(at(1, "b:1", "a:1"), "", AT + SEEN_STEP_S - 1)
    book.heard(at(1, "a:1"), "anna", AT + SEEN_STEP_S - 1)
    assert book.take_changes() == ([], [])
    book.heard(at(1, "a:1"), "anna", AT + SEEN_STEP_S)
    assert [record.last_seen_at_unix_s for record in book.take_changes()[0]] == [AT + SEEN_STEP_S]


WITH_SURROGATES = st.characters(exclude_categories=())  # which UTF-8 has no bytes for


@example(direct=["\ud800"], relay_url="\ud800", name="\ud800")
@given(
    direct=st.lists(st.text(WITH_SURROGATES, max_size=2 * MAX_ADDRESS_CHARS), max_size=2 * MAX_ADDRESSES),
    relay_url=st.none() | st.text(WITH_SURROGATES, max_size=600),
    name=st.text(WITH_SURROGATES, max_size=2 * MAX_NAME_CHARS),
)
def test_whatever_is_told_makes_a_record_that_can_be_kept(direct: list[str], relay_url: str | None, name: str) -> None:
    book = PeerBook()
    told = PeerAddress(A, tuple(direct), relay_url)
    book.heard(told, name, AT)
    book.heard(told, name, AT + 1)
    book.linked(A, AT, told)
    (record,) = book.all()
    assert msgspec.json.decode(msgspec.json.encode(record), type=PeerRecord) == record
    assert record.name.isprintable()


# ---- dialing ----


def test_the_listed_are_dialed_first_then_the_lately_linked_then_those_heard_of(
    book: PeerBook, rng: random.Random
) -> None:
    book.heard(at(5), "", AT)
    for number, membership in (
        (4, MembershipLevel.VOUCHED),
        (3, MembershipLevel.INVITED),
        (2, MembershipLevel.VOUCHED),
        (1, MembershipLevel.LISTED),
    ):
        book.admit(peer(number), membership, at(number), AT)
    for number, when in ((3, AT + 10), (2, AT + 20)):
        book.linked(peer(number), when)
        book.unlinked(peer(number), when, -100.0, rng)
    assert [address.node_id for address in book.due(0.0, NOBODY, 9)] == [peer(number) for number in range(1, 6)]
    assert [address.node_id for address in book.due(0.0, {peer(1), peer(3)}, 2)] == [peer(2), peer(4)]
    assert book.due(0.0, NOBODY, 0) == book.due(0.0, NOBODY, -3) == []


def test_a_member_without_an_address_is_dialed_and_a_stranger_without_one_is_not(book: PeerBook) -> None:
    book.admit(A, MembershipLevel.LISTED, None, AT)
    book.heard(PeerAddress(B), "", AT)
    book.heard(PeerAddress(C, (), "https://relay"), "", AT)
    assert book.due(0.0, NOBODY, 9) == [PeerAddress(A), PeerAddress(C, (), "https://relay")]


def test_a_peer_that_does_not_answer_is_dialed_ever_more_rarely(book: PeerBook, rng: random.Random) -> None:
    book.admit(A, MembershipLevel.LISTED, at(1), AT)
    now_s, pauses = 500.0, []
    for _ in range(30):
        assert book.due(now_s, NOBODY, 1)
        book.failed(A, now_s, rng)
        assert book.due(now_s, NOBODY, 1) == []
        due_s = book.next_due_s(now_s, NOBODY)
        assert due_s is not None
        pauses.append(due_s - now_s)
        now_s = due_s
    for failures, pause in enumerate(pauses):
        whole = min(FIRST_PAUSE_S * 2**failures, LONGEST_PAUSE_S)
        assert whole / 2 <= pause <= whole
    assert len({round(pause, 6) for pause in pauses[10:]}) > 10  # nodes that lost the same peer do not come in step
    assert book.failures(A) == 30


def test_failing_for_ever_overflows_nothing(book: PeerBook, rng: random.Random) -> None:
    book.admit(A, MembershipLevel.LISTED, None, AT)
    for _ in range(5_000):
        book.failed(A, 0.0, rng)
    assert book.due(LONGEST_PAUSE_S, NOBODY, 1)


@pytest.mark.parametrize(("held_s", "failures"), [(STABLE_LINK_S, 1), (STABLE_LINK_S - 1, 4)])
def test_only_a_link_that_holds_clears_the_failures_before_it(
    book: PeerBook, rng: random.Random, held_s: int, failures: int
) -> None:
    book.admit(A, MembershipLevel.LISTED, at(1), AT)
    for _ in range(3):
        book.failed(A, 0.0, rng)
    book.linked(A, AT)
    book.unlinked(A, AT + held_s, 50.0, rng)
    assert book.failures(A) == failures
    assert book.due(50.0, NOBODY, 1) == []  # a peer that drops each link at once is not dialed in a loop
    assert book.due(50.0 + LONGEST_PAUSE_S, NOBODY, 1)


def test_when_the_next_is_due_is_known(book: PeerBook, rng: random.Random) -> None:
    assert book.next_due_s(5.0, NOBODY) is None
    book.admit(A, MembershipLevel.LISTED, at(1), AT)
    assert book.next_due_s(5.0, NOBODY) == 5.0
    book.failed(A, 5.0, rng)
    due_s = book.next_due_s(5.0, NOBODY)
    assert due_s is not None
    assert 5.5 <= due_s <= 6.0
    assert book.next_due_s(5.0, {A}) is None


def test_what_happens_to_unknown_peers_changes_nothing(book: PeerBook, rng: random.Random) -> None:
    book.linked(A, AT, at(1))
    book.unlinked(A, AT, 0.0, rng)
    book.failed(A, 0.0, rng)
    assert not book.unblock(A)
    assert (book.all(), book.take_changes(), book.failures(A)) == ([], ([], []), 0)


# ---- changes ----


def test_changes_are_told_once(book: PeerBook) -> None:
    book.admit(A, MembershipLevel.LISTED, None, AT)
    book.heard(at(2), "", AT)
    changed, gone = book.take_changes()
    assert ({record.node_id for record in changed}, gone) == ({A, B}, [])
    assert book.take_changes() == ([], [])
    book.forget(A)
    assert book.take_changes() == ([], [A])


def test_a_peer_that_came_and_went_between_two_calls_is_not_told(book: PeerBook) -> None:
    book.heard(at(1), "", AT)
    book.forget(A)
    assert book.take_changes() == ([], [])


def test_a_peer_that_went_and_came_back_between_two_calls_is_there(book: PeerBook) -> None:
    book.heard(at(1), "", AT)
    book.take_changes()
    book.forget(A)
    book.heard(at(1), "", AT)
    changed, gone = book.take_changes()
    assert ([record.node_id for record in changed], gone) == ([A], [])


def test_what_was_remembered_is_no_change() -> None:
    assert PeerBook([PeerRecord(A, MembershipLevel.LISTED)]).take_changes() == ([], [])


# ---- names ----


def test_what_the_owner_calls_a_peer_stays_whatever_it_calls_itself(book: PeerBook) -> None:
    book.admit(A, MembershipLevel.INVITED, None, AT)
    book.take_changes()
    book.call(A, "anna")
    book.heard(at(1), "boss", AT)
    record = book.get(A)
    assert record is not None
    assert (record.shown_name, record.name) == ("anna", "boss")
    assert [changed.called for changed in book.take_changes()[0]] == ["anna"]


def test_names_are_bounded_and_printable_and_an_unknown_peer_has_none(book: PeerBook) -> None:
    book.call(B, "bob")
    assert book.get(B) is None
    book.admit(A, MembershipLevel.INVITED, None, AT)
    book.call(A, "a\x1b[2J")
    book.call(A, "a" * (MAX_NAME_CHARS + 1))
    record = book.get(A)
    assert record is not None
    assert record.called == "a" * MAX_NAME_CHARS
