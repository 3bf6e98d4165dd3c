"""What the owner wishes of the book."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masa_node.network.links.peer_book import PeerBook, PeerRecord, Standing
from masa_node.network.store.commands import MAX_WORDS_CHARS, Verb, Wish, WishState, carry_out
from masa_node.network.transport.interfaces import NodeId

A = NodeId("a" * 64)
AT = 1_700_000_000
ON_THE_BOOK = [verb for verb in Verb if verb is not Verb.JOIN]


def wish(verb: Verb, argument: str = A) -> Wish:
    return Wish(1, verb, argument, AT)


def book_with(standing: Standing) -> PeerBook:
    return PeerBook([PeerRecord(A, standing)])


def test_a_blocked_peer_is_blocked_until_it_is_unblocked() -> None:
    book = book_with(Standing.INVITED)
    assert carry_out(wish(Verb.BLOCK), book, AT).state is WishState.DONE
    assert book.is_blocked(A)
    assert carry_out(wish(Verb.UNBLOCK), book, AT).state is WishState.DONE
    assert book.is_member(A)


def test_trust_is_given_and_taken_back() -> None:
    book = book_with(Standing.INVITED)
    assert carry_out(wish(Verb.TRUST), book, AT).state is WishState.DONE
    assert book.is_trusted(A)
    assert carry_out(wish(Verb.UNTRUST), book, AT).state is WishState.DONE
    assert not book.is_trusted(A)


def test_a_forgotten_peer_is_gone() -> None:
    book = book_with(Standing.LISTED)
    assert carry_out(wish(Verb.FORGET), book, AT).state is WishState.DONE
    assert book.get(A) is None


@pytest.mark.parametrize("verb", [Verb.FORGET, Verb.UNBLOCK, Verb.TRUST, Verb.UNTRUST])
def test_what_cannot_be_done_to_an_unknown_peer_fails_and_names_it(verb: Verb) -> None:
    answer = carry_out(wish(verb), PeerBook(), AT)
    assert answer.state is WishState.FAILED
    assert "aaaaaaaaaa" in answer.words


def test_this_node_itself_is_not_blocked() -> None:
    book = PeerBook(own=A)
    assert carry_out(wish(Verb.BLOCK), book, AT).state is WishState.FAILED


def test_a_link_is_not_for_the_book() -> None:
    with pytest.raises(ValueError, match="join"):
        carry_out(wish(Verb.JOIN), PeerBook(), AT)


@given(verb=st.sampled_from(ON_THE_BOOK), argument=st.text(max_size=70).filter(lambda text: text != A))
def test_what_is_no_node_id_is_refused_and_not_repeated(verb: Verb, argument: str) -> None:
    book = book_with(Standing.INVITED)
    answer = carry_out(wish(verb, argument), book, AT)
    assert answer.state is WishState.FAILED
    assert answer.words.isprintable()
    assert book.take_changes() == ([], [])


@pytest.mark.parametrize("verb", ON_THE_BOOK)
@pytest.mark.parametrize("standing", list(Standing))
def test_every_answer_is_a_sentence(verb: Verb, standing: Standing) -> None:
    answer = carry_out(wish(verb), book_with(standing), AT)
    assert answer.words.endswith(".")
    assert len(answer.words) <= MAX_WORDS_CHARS
