"""Who is let in, and on what grounds: each ground alone, and everything that looks like one and is none."""

import msgspec
import pytest

from masa_node.chat.errors import LinkRefused
from masa_node.network.links.control import Hello, RefusalCode
from masa_node.network.links.membership import Grounds, Membership
from masa_node.network.links.peer_book import PeerBook
from masa_node.network.links.peer_record import MembershipLevel
from masa_node.network.links.vouched import MAX_VOUCHED
from masa_node.network.links.vouchers import VOUCHER_LIFETIME_S, Voucher, make_voucher
from masa_node.network.transport.interfaces import MAX_CLOCK_SKEW_S, NodeId
from masa_node.network.transport.memory import MemoryKeys, MemoryNetwork
from tests.virtual_time import virtual_time

AT = 1_800_000_000.0
TOKEN = b"0123456789abcdef"
DIRECT = [MembershipLevel.LISTED, MembershipLevel.INVITED]


class Here:
    """A node that judges `guest`; `friend` is whoever vouches for it."""

    def __init__(self, *, is_open: bool = False) -> None:
        self.network = MemoryNetwork(seed=1)
        self.own, self.guest, self.friend = (self.network.keys(number) for number in (1, 2, 3))
        self.book = PeerBook(own=self.own.node_id, is_open=is_open)
        self.tokens: list[bytes] = []
        self.membership = Membership(self.book, self.own, self._use, is_open=is_open)

    async def _use(self, token: bytes, peer: NodeId) -> bool:
        assert peer == self.guest.node_id
        self.tokens.append(token)
        return token == TOKEN

    async def judge(self, *vouchers: bytes, invite: bytes | None = None) -> Grounds:
        return await self.membership.judge(self.guest.node_id, Hello(vouchers=vouchers, invite=invite), AT)

    async def refusal(self, *vouchers: bytes, invite: bytes | None = None) -> LinkRefused:
        with pytest.raises(LinkRefused) as refused:
            await self.judge(*vouchers, invite=invite)
        return refused.value

    def word(self, by: MemoryKeys | None = None, at_unix_s: float = AT) -> bytes:
        return make_voucher(self.guest.node_id, by or self.friend, at_unix_s)


@virtual_time
async def test_a_stranger_is_told_what_he_needs() -> None:
    refused = await Here().refusal()
    assert refused.refusal == RefusalCode.NOT_A_MEMBER
    assert "needs an invite (masa-node invite) or a place in BOOTNODES" in refused.message


@pytest.mark.parametrize("membership", DIRECT)
@virtual_time
async def test_the_word_of_one_whom_the_owner_let_in_himself_lets_in(membership: MembershipLevel) -> None:
    here = Here()
    here.book.admit(here.friend.node_id, membership, None, AT)
    assert await here.judge(here.word()) == Grounds(MembershipLevel.VOUCHED, here.friend.node_id)


@pytest.mark.parametrize("membership", [MembershipLevel.VOUCHED, MembershipLevel.OPEN])
@virtual_time
async def test_the_word_of_one_who_came_by_a_word_or_by_an_open_endpoint_lets_nobody_in(
    membership: MembershipLevel,
) -> None:
    here = Here()
    here.book.admit(here.friend.node_id, membership, None, AT)
    refused = await here.refusal(here.word())
    assert refused.refusal == RefusalCode.NOT_A_MEMBER


@virtual_time
async def test_who_has_a_word_that_does_not_count_is_told_why() -> None:
    here = Here()
    here.book.admit(here.friend.node_id, MembershipLevel.VOUCHED, None, AT)
    assert "came by another's word itself" in (await here.refusal(here.word())).message


@virtual_time
async def test_a_strangers_word_lets_nobody_in_although_it_is_in_force_and_signed() -> None:
    here = Here()
    refused = await here.refusal(here.word())
    assert refused.refusal == RefusalCode.NOT_A_MEMBER
    assert "BOOTNODES" in refused.message


@virtual_time
async def test_the_word_of_one_who_is_only_heard_of_lets_nobody_in() -> None:
    here = Here()
    transport = here.network.transport(3)
    here.book.heard(transport.address(), "friend", AT)
    assert here.book.get(here.friend.node_id) is not None
    assert (await here.refusal(here.word())).refusal == RefusalCode.NOT_A_MEMBER


@virtual_time
async def test_the_word_of_one_who_is_blocked_lets_nobody_in() -> None:
    here = Here()
    here.book.admit(here.friend.node_id, MembershipLevel.LISTED, None, AT)
    here.book.block(here.friend.node_id, AT)
    assert (await here.refusal(here.word())).refusal == RefusalCode.NOT_A_MEMBER


@virtual_time
async def test_nobody_vouches_for_himself_and_this_nodes_own_word_does_not_count_here() -> None:
    here = Here()
    assert (await here.refusal(here.word(here.guest), here.word(here.own))).refusal == RefusalCode.NOT_A_MEMBER


@virtual_time
async def test_a_word_for_another_lets_nobody_in() -> None:
    here = Here()
    here.book.admit(here.friend.node_id, MembershipLevel.LISTED, None, AT)
    for other in (here.network.keys(9), here.friend, here.own):
        assert (await here.refusal(make_voucher(other.node_id, here.friend, AT))).refusal == RefusalCode.NOT_A_MEMBER


@virtual_time
async def test_a_word_that_another_signed_in_a_members_name_lets_nobody_in() -> None:
    here = Here()
    here.book.admit(here.friend.node_id, MembershipLevel.LISTED, None, AT)
    forged = msgspec.msgpack.encode(
        Voucher(here.guest.node_id, here.friend.node_id, int(AT), int(AT) + VOUCHER_LIFETIME_S)
    )
    by_the_guest = forged + here.guest.sign(b"masa voucher 1\n" + forged)
    without_the_domain = forged + here.friend.sign(forged)
    assert (await here.refusal(by_the_guest, without_the_domain)).refusal == RefusalCode.NOT_A_MEMBER


@pytest.mark.parametrize(
    ("issued_ago_s", "is_good"),
    [
        (-MAX_CLOCK_SKEW_S - 1, False),
        (-MAX_CLOCK_SKEW_S, True),
        (0, True),
        (VOUCHER_LIFETIME_S + MAX_CLOCK_SKEW_S - 1, True),
        (VOUCHER_LIFETIME_S + MAX_CLOCK_SKEW_S, False),
    ],
)
@virtual_time
async def test_a_word_counts_from_its_first_to_its_last_second(issued_ago_s: int, *, is_good: bool) -> None:
    here = Here()
    here.book.admit(here.friend.node_id, MembershipLevel.LISTED, None, AT)
    word = here.word(at_unix_s=AT - issued_ago_s)
    if is_good:
        assert (await here.judge(word)).membership is MembershipLevel.VOUCHED
    else:
        assert (await here.refusal(word)).refusal == RefusalCode.NOT_A_MEMBER


@virtual_time
async def test_of_several_words_the_first_that_counts_is_taken() -> None:
    here = Here()
    second = here.network.keys(4)
    here.book.admit(second.node_id, MembershipLevel.INVITED, None, AT)
    words = (b"garbage" * 20, here.word(at_unix_s=0), here.word(), here.word(second))
    assert await here.judge(*words) == Grounds(MembershipLevel.VOUCHED, second.node_id)


@virtual_time
async def test_a_member_that_has_vouched_for_as_many_as_it_may_is_passed_over() -> None:
    here = Here()
    here.book.admit(here.friend.node_id, MembershipLevel.INVITED, None, AT)
    bring(here, MAX_VOUCHED[MembershipLevel.INVITED])
    assert "as many as one may" in (await here.refusal(here.word())).message
    second = here.network.keys(4)
    here.book.admit(second.node_id, MembershipLevel.INVITED, None, AT)
    assert (await here.judge(here.word(), here.word(second))).vouched_by == second.node_id


def bring(here: Here, count: int) -> None:
    """Have the friend vouch for so many, who are linked now."""
    for number in range(100, 100 + count):
        brought = here.network.keys(number).node_id
        assert here.book.admit(brought, MembershipLevel.VOUCHED, None, AT, here.friend.node_id)
        here.book.linked(brought, AT)


# ---- what goes before what ----


@virtual_time
async def test_who_is_blocked_is_refused_whatever_he_shows() -> None:
    for is_open in (False, True):
        here = Here(is_open=is_open)
        here.book.admit(here.friend.node_id, MembershipLevel.LISTED, None, AT)
        here.book.block(here.guest.node_id, AT)
        refused = await here.refusal(here.word(), invite=TOKEN)
        assert (refused.refusal, here.tokens) == (RefusalCode.BLOCKED, [])


@pytest.mark.parametrize("membership", [*DIRECT, MembershipLevel.VOUCHED])
@virtual_time
async def test_a_member_stays_what_it_is_and_spends_no_invite(membership: MembershipLevel) -> None:
    here = Here()
    here.book.admit(here.guest.node_id, membership, None, AT)
    assert await here.judge(invite=TOKEN) == Grounds(membership)
    assert here.tokens == []
    assert here.membership.is_member(here.guest.node_id)


@virtual_time
async def test_a_member_by_a_word_is_shown_with_whose_it_was() -> None:
    here = Here()
    here.book.admit(here.friend.node_id, MembershipLevel.INVITED, None, AT)
    here.book.admit(here.guest.node_id, MembershipLevel.VOUCHED, None, AT, here.friend.node_id)
    assert await here.judge() == Grounds(MembershipLevel.VOUCHED, here.friend.node_id)


@virtual_time
async def test_an_invite_counts_more_than_a_word_and_a_spent_one_does_not_spoil_the_word() -> None:
    here = Here()
    here.book.admit(here.friend.node_id, MembershipLevel.LISTED, None, AT)
    assert await here.judge(here.word(), invite=TOKEN) == Grounds(MembershipLevel.INVITED)
    assert (await here.judge(here.word(), invite=b"spent" * 4)).membership is MembershipLevel.VOUCHED
    refused = await here.refusal(invite=b"spent" * 4)
    assert refused.refusal == RefusalCode.BAD_INVITE
    assert "used up, expired or revoked" in refused.message


@virtual_time
async def test_an_open_network_lets_everybody_in_and_a_word_counts_more() -> None:
    here = Here(is_open=True)
    assert await here.judge() == Grounds(MembershipLevel.OPEN)
    assert await here.judge(here.word()) == Grounds(MembershipLevel.OPEN)
    here.book.admit(here.friend.node_id, MembershipLevel.LISTED, None, AT)
    assert await here.judge(here.word()) == Grounds(MembershipLevel.VOUCHED, here.friend.node_id)


@virtual_time
async def test_who_came_while_the_network_was_open_is_a_stranger_once_it_is_closed() -> None:
    here = Here()
    here.book.admit(here.guest.node_id, MembershipLevel.OPEN, None, AT)
    assert (await here.refusal()).refusal == RefusalCode.NOT_A_MEMBER
    assert not here.membership.is_member(here.guest.node_id)
    assert here.membership.standing_of(here.guest.node_id) is MembershipLevel.OPEN
    assert here.membership.standing_of(here.friend.node_id) is None
