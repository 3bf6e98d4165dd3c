"""Who is let in. A network is closed unless its owner says otherwise: a node is a member when the owner listed it, when
it came with an invite, or when a member vouches for it.
"""

from collections.abc import Awaitable, Callable

from masa_node.chat.errors import ProviderError
from masa_node.network.control import Hello, RefusalCode
from masa_node.network.peers import PeerBook, Standing
from masa_node.network.transport import Keys, NodeId
from masa_node.network.vouchers import open_voucher
from masa_node.network.wire import ProtocolFault

UseInvite = Callable[[bytes, NodeId], Awaitable[bool]]


class LinkRefused(ProviderError):
    """One of the two nodes does not want this link. The message says which, why, and what its owner can do."""

    code = "link_refused"

    def __init__(self, why: str, refusal: str) -> None:
        super().__init__(why)
        self.refusal = refusal


class Membership:
    """Decides about one node at a time. `use_invite` spends a token and says whether it was good."""

    def __init__(self, book: PeerBook, keys: Keys, use_invite: UseInvite, *, is_open: bool) -> None:
        self._book = book
        self._keys = keys
        self._use_invite = use_invite
        self._is_open = is_open

    def is_member(self, peer: NodeId) -> bool:
        """Is it let in whatever it says?"""
        return self._book.is_member(peer)

    async def judge(self, peer: NodeId, hello: Hello, at_unix_s: float) -> Standing:
        """As what this peer, whose key the transport has proved, is let in. Raises `LinkRefused`."""
        record = self._book.get(peer)
        if record is not None and record.standing is Standing.BLOCKED:
            raise LinkRefused("blocked by the owner.", RefusalCode.BLOCKED)
        if record is not None and self._book.is_member(peer):
            return record.standing
        if hello.invite is not None and await self._use_invite(hello.invite, peer):
            return Standing.INVITED
        if self._is_vouched_for(peer, hello, at_unix_s):
            return Standing.VOUCHED
        if self._is_open:
            return Standing.OPEN
        if hello.invite is not None:
            raise LinkRefused(
                "the invite is used up, expired or revoked. Ask for a new one (masa-node invite).",
                RefusalCode.BAD_INVITE,
            )
        raise LinkRefused(
            "it is not a member of this closed network. It needs an invite (masa-node invite) or a place in BOOTNODES.",
            RefusalCode.NOT_A_MEMBER,
        )

    def _is_vouched_for(self, peer: NodeId, hello: Hello, at_unix_s: float) -> bool:
        for signed in hello.vouchers:
            try:
                voucher = open_voucher(signed, self._keys, at_unix_s)
            except ProtocolFault:
                continue  # another one may be good
            by = NodeId(voucher.by)
            if voucher.member == peer and (by == self._keys.node_id or self._book.is_member(by)):
                return True
        return False
