"""Known peers that may still come while a node has just started. Pure; time is given."""

from collections.abc import Container
from itertools import islice

from masa_node.network.links.peer_book import PeerBook
from masa_node.network.requests.remote_peer import location_of
from masa_node.network.transport.interfaces import NodeId

WITHIN_S = 30.0  # a home relay is found in 6 s; a peer that is there is linked, and its advert here, well before
MAX_NAMED = 3


def latecomers(book: PeerBook, not_waited_for: Container[NodeId], since_start_s: float) -> list[str]:
    """Members whose models are not known yet, in words: the first few. Not those that are linked, or have said no."""
    if since_start_s > WITHIN_S:
        return []
    missing = (one for one in book.all() if one.node_id not in not_waited_for and book.is_member(one.node_id))
    return [location_of(one.node_id, one.name) for one in islice(missing, MAX_NAMED)]
