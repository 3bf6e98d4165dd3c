"""To whom a node that has no room refers another one, and what becomes of a referral.

What is said of a node is its own signed advert, so that nobody is sent anywhere by a stranger's word.
"""

import random
from itertools import islice

from masa_node.chat.errors import ProtocolFault
from masa_node.network.gossip.adverts import Advert, is_in_force, open_advert
from masa_node.network.gossip.drawing import drawn
from masa_node.network.gossip.gossip import Gossip
from masa_node.network.links.control import MAX_REFERRED, MAX_REFERRED_BYTES, Referral
from masa_node.network.links.links import Links
from masa_node.network.links.peer_record import MembershipLevel
from masa_node.network.links.token_bucket import TokenBucket
from masa_node.network.links.vouchers import MAX_VOUCHER_BYTES, make_voucher
from masa_node.network.transport.interfaces import Keys, NodeId

LARGEST_BYTES = MAX_VOUCHER_BYTES + MAX_REFERRED * MAX_REFERRED_BYTES
GIVEN_BYTES_PER_S = 8.0 * LARGEST_BYTES  # to members only; 40 of usual size. Beyond that a refusal names nobody
GIVEN_BURST_BYTES = 256.0 * LARGEST_BYTES  # everybody starts again after a power cut: 1 300 of usual size
TAKEN_PER_S = 1.0  # nodes: a stranger that knows ever more of them cannot lead this node around for long
TAKEN_BURST = 64.0


class Referrals:
    """Those that this node gives and takes. Both are bounded in time, too."""

    def __init__(self, keys: Keys, gossip: Gossip, links: Links, rng: random.Random) -> None:
        self._keys = keys
        self._gossip = gossip
        self._links = links
        self._rng = rng
        self._given = TokenBucket(GIVEN_BYTES_PER_S, GIVEN_BURST_BYTES, 0.0)
        self._taken = TokenBucket(TAKEN_PER_S, TAKEN_BURST, 0.0)

    def give(self, peer: NodeId, membership: MembershipLevel, now_s: float, at_unix_s: float) -> Referral:
        """Linked peers for this one, at random. No voucher for one that is a member by voucher: see `Membership`."""
        if self._given.level(now_s) < LARGEST_BYTES:
            return Referral()
        order = [other for other in self._links.sessions if other != peer]
        drawn_adverts = map(self._gossip.advert_of, drawn(order, len(order), self._rng))
        good = (
            each.signed
            for each in drawn_adverts
            if each is not None and is_in_force(each.advert, at_unix_s) and len(each.signed) <= MAX_REFERRED_BYTES
        )
        chosen = tuple(islice(good, MAX_REFERRED))
        self._given.take(MAX_VOUCHER_BYTES + sum(map(len, chosen)), now_s)
        is_vouched = membership is MembershipLevel.VOUCHED
        return Referral(chosen, None if is_vouched else make_voucher(peer, self._keys, at_unix_s))

    def take(self, referral: Referral, now_s: float, at_unix_s: float) -> list[Advert]:
        """The adverts that are good: signed, in force, not this node's own. What else is there is passed over."""
        good: list[Advert] = []
        for signed in referral.others:
            if not self._taken.take(1, now_s):
                break
            try:
                opened = open_advert(signed, self._keys, at_unix_s)
            except ProtocolFault:
                continue
            if opened.node_id != self._keys.node_id and is_in_force(opened.advert, at_unix_s):
                good.append(opened.advert)
        return good
