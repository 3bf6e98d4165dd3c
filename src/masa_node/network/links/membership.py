"""Which peers are let in.

A network is closed unless its owner says otherwise. A node is a member when the owner listed it, when it came with an
invite, or when one of these vouches for it. A member by voucher vouches for nobody: else one invited peer could bring
in a chain of keys without end.
"""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from masa_node.chat.errors import LinkRefused, ProtocolFault
from masa_node.network.links.control import Hello, RefusalCode
from masa_node.network.links.peer_book import MembershipLevel, PeerBook
from masa_node.network.links.vouchers import open_voucher
from masa_node.network.transport.interfaces import Keys, Link, NodeId
from masa_node.network.transport.sources import networks_of

UseInvite = Callable[[bytes, NodeId], Awaitable[bool]]


class Grounds(NamedTuple):
    """The membership level at which a peer is let in; `vouched_by` is the member that newly vouched for it."""

    membership: MembershipLevel
    vouched_by: NodeId | None = None


def origin_of(link: Link, grounds: Grounds) -> tuple[str, ...]:
    """The member that vouched for this peer, else the networks or the relay that its packets come from."""
    return (grounds.vouched_by,) if grounds.vouched_by else networks_of(link.path().address)


class Membership:
    """Decides about one node at a time. `use_invite` spends a token and says whether it was good."""

    def __init__(self, book: PeerBook, keys: Keys, use_invite: UseInvite, *, is_open: bool) -> None:
        self._book = book
        self._keys = keys
        self._use_invite = use_invite
        self._is_open = is_open

    def is_member(self, peer: NodeId) -> bool:
        """Is it let in without an invite or voucher?"""
        return self._book.is_member(peer)

    def standing_of(self, peer: NodeId) -> MembershipLevel | None:
        """Its membership level now; None for an unknown node."""
        record = self._book.get(peer)
        return record.membership if record is not None else None

    def is_wanted(self, peer: NodeId) -> bool:
        """Did the owner list, invite or trust it?"""
        return peer in self._book.wanted

    async def judge(self, peer: NodeId, hello: Hello, at_unix_s: float) -> Grounds:
        """On what grounds this peer, whose key the transport has proved, is let in. Raises `LinkRefused`."""
        record = self._book.get(peer)
        if record is not None and record.membership is MembershipLevel.BLOCKED:
            raise LinkRefused("blocked by the owner.", RefusalCode.BLOCKED)
        if record is not None and self._book.is_member(peer):
            return Grounds(record.membership, record.vouched_by)
        if hello.invite is not None and await self._use_invite(hello.invite, peer):
            return Grounds(MembershipLevel.INVITED)
        signers = self._signers(peer, hello, at_unix_s)
        for by in signers:
            if self._book.may_vouch(by):
                return Grounds(MembershipLevel.VOUCHED, by)
        if self._is_open:
            return Grounds(MembershipLevel.OPEN)
        raise self._refusal(hello, signers)

    def _refusal(self, hello: Hello, signers: list[NodeId]) -> LinkRefused:
        if any(self._book.is_member(by) for by in signers):
            return LinkRefused(
                "the member that vouches for it came by another's word itself, or has vouched for as many as one may. "
                "It needs an invite (masa-node invite).",
                RefusalCode.NOT_A_MEMBER,
            )
        if hello.invite is not None:
            return LinkRefused(
                "the invite is used up, expired or revoked. Ask for a new one (masa-node invite).",
                RefusalCode.BAD_INVITE,
            )
        return LinkRefused(
            "it is not a member of this closed network. It needs an invite (masa-node invite) or a place in BOOTNODES.",
            RefusalCode.NOT_A_MEMBER,
        )

    def _signers(self, peer: NodeId, hello: Hello, at_unix_s: float) -> list[NodeId]:
        """The members whose vouchers for this peer count. This node's own do not: peers it knows are in its book."""
        signers: list[NodeId] = []
        for signed in hello.vouchers:
            try:
                voucher = open_voucher(signed, self._keys, at_unix_s)
            except ProtocolFault:
                continue  # another one may be good
            if voucher.member == peer:
                signers.append(NodeId(voucher.by))
        return signers
