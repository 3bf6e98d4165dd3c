"""What the owner commands of the book."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masa_node.network.links.peer_book import MembershipLevel, PeerBook, PeerRecord
from masa_node.network.store.commands import (
    FOR_A_RUNNING_NODE,
    MAX_WORDS_CHARS,
    CommandState,
    OwnerCommand,
    Verb,
    apply,
)
from masa_node.network.transport.interfaces import NodeId

A = NodeId("a" * 64)
AT = 1_700_000_000
ON_THE_BOOK = [verb for verb in Verb if verb not in FOR_A_RUNNING_NODE]


def command(verb: Verb, argument: str = A) -> OwnerCommand:
    return OwnerCommand(1, verb, argument, AT)


def book_with(membership: MembershipLevel) -> PeerBook:
    return PeerBook([PeerRecord(A, membership)])


def test_a_blocked_peer_is_blocked_until_it_is_unblocked() -> None:
    book = book_with(MembershipLevel.INVITED)
    assert apply(command(Verb.BLOCK), book, AT).state is CommandState.DONE
    assert book.is_blocked(A)
    assert apply(command(Verb.UNBLOCK), book, AT).state is CommandState.DONE
    assert book.is_member(A)


def test_trust_is_given_and_taken_back() -> None:
    book = book_with(MembershipLevel.INVITED)
    assert apply(command(Verb.TRUST), book, AT).state is CommandState.DONE
    assert book.is_trusted(A)
    assert apply(command(Verb.UNTRUST), book, AT).state is CommandState.DONE
    assert not book.is_trusted(A)


def test_a_forgotten_peer_is_gone() -> None:
    book = book_with(MembershipLevel.LISTED)
    assert apply(command(Verb.FORGET), book, AT).state is CommandState.DONE
    assert book.get(A) is None


@pytest.mark.parametrize("verb", [Verb.FORGET, Verb.UNBLOCK, Verb.TRUST, Verb.UNTRUST])
def test_what_cannot_be_done_to_an_unknown_peer_fails_and_names_it(verb: Verb) -> None:
    answer = apply(command(verb), PeerBook(), AT)
    assert answer.state is CommandState.FAILED
    assert "aaaaaaaaaa" in answer.words


def test_this_node_itself_is_not_blocked() -> None:
    book = PeerBook(own=A)
    assert apply(command(Verb.BLOCK), book, AT).state is CommandState.FAILED


@pytest.mark.parametrize("verb", sorted(FOR_A_RUNNING_NODE))
def test_what_only_a_running_node_does_is_not_for_the_book(verb: Verb) -> None:
    with pytest.raises(ValueError, match=verb):
        apply(command(verb), PeerBook(), AT)


@given(verb=st.sampled_from(ON_THE_BOOK), argument=st.text(max_size=70).filter(lambda text: text != A))
def test_what_is_no_node_id_is_refused_and_not_repeated(verb: Verb, argument: str) -> None:
    book = book_with(MembershipLevel.INVITED)
    answer = apply(command(verb, argument), book, AT)
    assert answer.state is CommandState.FAILED
    assert answer.words.isprintable()
    assert book.take_changes() == ([], [])


@pytest.mark.parametrize("verb", ON_THE_BOOK)
@pytest.mark.parametrize("membership", list(MembershipLevel))
def test_every_answer_is_a_sentence(verb: Verb, membership: MembershipLevel) -> None:
    answer = apply(command(verb), book_with(membership), AT)
    assert answer.words.endswith(".")
    assert len(answer.words) <= MAX_WORDS_CHARS
