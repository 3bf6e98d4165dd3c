"""Who is in by whose word: what becomes of them when that one goes, and how many there may be."""

import random

import pytest

from masa_node.network.links import vouched as vouched_module
from masa_node.network.links.peer_book import PeerBook
from masa_node.network.links.peer_record import MembershipLevel, PeerRecord
from masa_node.network.links.vouched import MAX_VOUCHED, Vouched
from masa_node.network.transport.interfaces import NodeId, PeerAddress

AT = 1_700_000_000


def peer(number: int) -> NodeId:
    return NodeId(f"{number:064x}")


HOST, GUEST, A, B, C = (peer(number) for number in range(1, 6))


@pytest.fixture
def book() -> PeerBook:
    """HOST is listed, GUEST invited."""
    book = PeerBook(own=peer(99))
    book.admit(HOST, MembershipLevel.LISTED, None, AT)
    book.admit(GUEST, MembershipLevel.INVITED, None, AT)
    return book


def bring(book: PeerBook, who: NodeId, by: NodeId = GUEST, at: float = AT) -> bool:
    if not book.admit(who, MembershipLevel.VOUCHED, None, at, by):
        return False
    book.linked(who, at)
    return True


def test_the_record_says_by_whose_word(book: PeerBook) -> None:
    assert bring(book, A)
    record = book.get(A)
    assert record is not None
    assert (record.membership, record.vouched_by) == (MembershipLevel.VOUCHED, GUEST)
    assert book.vouched_by(GUEST) == [A]
    assert book.is_vouched_for(A)
    assert A not in book.wanted
    assert GUEST in book.wanted
    assert not book.is_vouched_for(GUEST)
    assert PeerBook(book.all()).vouched_by(GUEST) == [A]


@pytest.mark.parametrize("what", ["block", "forget"])
def test_who_is_blocked_or_forgotten_takes_those_along_that_it_vouched_for(book: PeerBook, what: str) -> None:
    bring(book, A)
    bring(book, B)
    bring(book, C, by=HOST)
    book.take_changes()
    assert book.block(GUEST, AT) if what == "block" else book.forget(GUEST)
    assert (book.get(A), book.get(B)) == (None, None)
    assert book.is_member(C)
    assert {A, B} <= set(book.take_changes()[1])
    assert book.vouched_by(GUEST) == []
    assert not book.may_vouch(GUEST)
    assert not bring(book, A)


def test_who_was_let_in_for_a_better_reason_since_stays(book: PeerBook) -> None:
    bring(book, A)
    bring(book, B)
    book.admit(A, MembershipLevel.INVITED, None, AT)
    book.admit(B, MembershipLevel.LISTED, None, AT)
    assert book.vouched_by(GUEST) == []
    book.block(GUEST, AT)
    assert book.is_member(A)
    assert book.is_member(B)
    assert (record := book.get(A)) is not None
    assert record.vouched_by is None


def test_a_later_word_of_another_changes_nothing(book: PeerBook) -> None:
    bring(book, A)
    assert bring(book, A, by=HOST)
    assert (book.vouched_by(GUEST), book.vouched_by(HOST)) == ([A], [])


def test_one_that_was_blocked_itself_stays_blocked_and_is_nobody_when_that_ends(book: PeerBook) -> None:
    bring(book, A)
    book.block(A, AT)
    assert book.vouched_by(GUEST) == []
    book.block(GUEST, AT)
    assert book.is_blocked(A)
    book.unblock(A)
    assert not book.is_member(A)


def test_one_that_is_unblocked_is_let_in_again_by_the_word_it_shows(book: PeerBook) -> None:
    bring(book, A)
    book.block(A, AT)
    book.unblock(A)
    assert not book.is_member(A)
    assert bring(book, A)
    assert book.vouched_by(GUEST) == [A]


def test_a_guest_brings_few_and_whom_the_owner_named_more(book: PeerBook) -> None:
    assert MAX_VOUCHED == {MembershipLevel.LISTED: 128, MembershipLevel.INVITED: 16}
    for by, first in ((GUEST, 1_000), (HOST, 2_000)):
        came = [bring(book, peer(first + number), by) for number in range(200)]
        record = book.get(by)
        assert record is not None
        assert came.count(True) == MAX_VOUCHED[record.membership]
        assert not book.may_vouch(by)
        assert not book.admit(peer(9_000), MembershipLevel.VOUCHED, None, AT, by)


@pytest.mark.parametrize("membership", [MembershipLevel.VOUCHED, MembershipLevel.OPEN])
def test_who_was_not_let_in_by_the_owner_brings_nobody(membership: MembershipLevel) -> None:
    book = PeerBook(is_open=True)
    book.admit(A, membership, None, AT)
    assert not book.may_vouch(A)
    assert not bring(book, B, by=A)
    assert not book.may_vouch(B)
    assert not bring(book, C, by=peer(77))


def test_one_that_is_not_linked_makes_room_for_another_the_longest_unused_first(
    book: PeerBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vouched_module, "MAX_VOUCHED", {MembershipLevel.INVITED: 2})
    bring(book, A, at=AT)
    bring(book, B, at=AT + 100)
    for who in (A, B):
        book.unlinked(who, AT + 200 if who is A else AT + 300, 0.0, random.Random(0))  # noqa: S311 - jitter
    assert book.may_vouch(GUEST)
    assert bring(book, C)
    assert book.vouched_by(GUEST) == [B, C]
    assert book.get(A) is None


def test_one_that_the_owner_trusts_makes_no_room(book: PeerBook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vouched_module, "MAX_VOUCHED", {MembershipLevel.INVITED: 1})
    book.admit(A, MembershipLevel.VOUCHED, None, AT, GUEST)
    book.trust(A, is_trusted=True)
    assert not book.may_vouch(GUEST)
    assert not bring(book, B)
    assert book.is_trusted(A)
    book.trust(A, is_trusted=False)
    assert bring(book, B)


def test_a_change_of_its_address_does_not_make_it_the_newest(book: PeerBook) -> None:
    bring(book, A)
    bring(book, B)
    book.heard(PeerAddress(A, ("192.0.2.1:1",)), "", AT)
    assert book.vouched_by(GUEST) == [A, B]


def test_who_may_vouch_for_nobody_has_always_vouched_for_enough() -> None:
    for membership in MembershipLevel:
        assert Vouched().is_full(PeerRecord(A, membership)) is (membership not in MAX_VOUCHED)


def test_nothing_is_left_of_a_voucher_without_anybody() -> None:
    vouched = Vouched()
    record = PeerRecord(A, MembershipLevel.VOUCHED, vouched_by=GUEST)
    vouched.note(record)
    vouched.note(PeerRecord(B, MembershipLevel.INVITED))
    assert vouched.by(GUEST) == [record]
    vouched.drop(record)
    vouched.drop(PeerRecord(B, MembershipLevel.INVITED))
    assert len(vouched) == 0
