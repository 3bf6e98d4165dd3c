"""Whose link is closed for a newcomer where all are taken. Pure; what is idle is told.

A node that many ask would otherwise fill up with peers that asked once, and refuse those that want to ask now.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import NamedTuple

from masa_node.network.links.peer_record import MembershipLevel, is_weaker


class TakenLink(NamedTuple):
    """One that stands. `origin`: the member that vouched for the peer, else the networks that it came from, the largest
    first. `membership` is its level now; None for an unknown one. `may_go`: the peer made the link, it carries nothing
    and carried nothing lately, and this node's owner does not want it.
    """

    membership: MembershipLevel | None
    origin: tuple[str, ...]
    used_s: float
    may_go: bool


class Newcomer(NamedTuple):
    """A peer that wants a link, and how it would be let in. `is_spare`: it could do without."""

    membership: MembershipLevel
    origin: tuple[str, ...]
    is_spare: bool = False


def has_spare_room(levels: Iterable[MembershipLevel | None], random_links: int) -> bool:
    """Room for one more link that nobody's owner asked for? It looks no further than it has to."""
    most = 2 * random_links
    return sum(1 for _ in islice((1 for level in levels if is_weaker(level, MembershipLevel.INVITED)), most)) < most


def link_that_goes(links: Sequence[TakenLink], newcomer: Newcomer) -> int | None:
    """The number of the one that makes room; None if the newcomer is refused. `links` are all, the oldest first.

    There are two cases. A newcomer of a higher membership level takes the oldest link of a stranger of an open network,
    else the newest of those let in by a voucher: these cannot keep members out. One of the same level that is not spare
    takes the link of its level that was idle for longest.
    """
    weaker = _weaker(links, newcomer.membership)
    if weaker is not None or newcomer.is_spare:
        return weaker
    return _longest_idle(links, newcomer)


def _weaker(links: Sequence[TakenLink], membership: MembershipLevel) -> int | None:
    strangers = [number for number, link in enumerate(links) if link.membership is MembershipLevel.OPEN]
    vouched = [number for number, link in enumerate(links) if link.membership is MembershipLevel.VOUCHED]
    for number in strangers[:1] or vouched[-1:]:
        if is_weaker(links[number].membership, membership):
            return number
    return None


def _longest_idle(links: Sequence[TakenLink], newcomer: Newcomer) -> int | None:
    """Of the newcomer's own origin, or of one with more links than that: whoever makes keys gets no more for them than
    any other origin has, and then only its own links in exchange. Where two origins part, those networks are compared:
    of a provider as a whole, else of a site, else of a customer.
    """
    alike = [(number, link) for number, link in enumerate(links) if link.membership is newcomer.membership]
    if not any(link.may_go for _, link in alike):
        return None
    counts: Counter[tuple[str, ...]] = Counter()
    for _, link in alike:
        counts.update(link.origin[:depth] for depth in range(1, len(link.origin) + 1))
    idle = [(link.used_s, number) for number, link in alike if link.may_go]
    giving_way = [each for each in idle if _gives_way(links[each[1]].origin, newcomer.origin, counts)]
    return min(giving_way, default=(0.0, None))[1]


def _gives_way(taken: tuple[str, ...], new: tuple[str, ...], counts: Counter[tuple[str, ...]]) -> bool:
    depth = next((at for at, (one, other) in enumerate(zip(taken, new, strict=False), 1) if one != other), None)
    return depth is None or counts[taken[:depth]] > counts[new[:depth]]
