"""Wires the network of a node, on whatever transport: what is shared, what answers peers, what is announced."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass

from masa_node.network.gossip.own_advert import AboutNode, Advertiser
from masa_node.network.links.membership import UseInvite
from masa_node.network.links.peer_book import PeerBook
from masa_node.network.network import Network, NetworkParts, NetworkRules
from masa_node.network.requests.quotas import MAX_REQUESTS_PER_PEER
from masa_node.network.requests.server import PeerServer, ServingHooks, ServingLimits
from masa_node.network.requests.sharing import SharedCatalog
from masa_node.network.transport.interfaces import Transport
from masa_node.node.peering.parts import PeerParts
from masa_node.node.settings.environment import Settings
from masa_node.routing.dispatch import Dispatcher
from masa_node.version import __version__


@dataclass(frozen=True, slots=True)
class OwnRecords:
    """What a network takes from where this node keeps it, in MASA_DIR or in memory.

    `delegation` gives the word of a stake's owner for this node as it is now, which is shown to peers. `rng` is for
    jitter.
    """

    book: PeerBook
    use_invite: UseInvite
    delegation: Callable[[], bytes | None]
    rng: random.Random


def make_network(parts: PeerParts, transport: Transport, own: OwnRecords) -> Network:
    """A network that has not been started; it will look for the peers of BOOTNODES."""
    settings = parts.settings
    shared = _share_models(parts)

    def about() -> AboutNode:
        return AboutNode(
            __version__,
            settings.node_name,
            transport.address(),
            parts.admission.running,
            settings.max_peer_jobs,
            own.delegation(),
        )

    network_parts = NetworkParts(
        transport=transport,
        catalog=parts.catalog,
        server=_server(parts, shared),
        advertiser=Advertiser(transport.keys, shared.offers, about),
        book=own.book,
        use_invite=own.use_invite,
        rng=own.rng,
    )
    rules = NetworkRules(
        version=__version__,
        name=settings.node_name,
        is_open=settings.open_network,
        allow_private=settings.allow_private_peers,
        trusted=parts.peer_settings.trusted,
        random_links=settings.peer_links,
    )
    network = Network(network_parts, rules)
    network.want(parts.peer_settings.bootnodes)
    return network


def _share_models(parts: PeerParts) -> SharedCatalog:
    """The models that SHARE offers to peers, of this node's own servers. From now on it follows the catalog."""
    shared = SharedCatalog(parts.peer_settings.share)

    def follow() -> None:
        shared.follow(parts.catalog)

    def follow_soon() -> None:  # in a turn of its own: to list thousands of models has taken long enough already
        asyncio.get_running_loop().call_soon(follow)

    parts.catalog.watch(follow_soon)
    follow()
    return shared


def _server(parts: PeerParts, shared: SharedCatalog) -> PeerServer:
    """Answers peers from the shared models of own servers alone."""
    # With a health book of its own: what peers send must not speak against an LLM with its owner.
    dispatcher = Dispatcher(shared.catalog, parts.admission, _nothing_new, parts.observe)
    hooks = ServingHooks(parts.stakes.vet, parts.refused, parts.under_way, parts.stakes.is_vetted)
    return PeerServer(dispatcher, shared, serving_limits(parts.settings), parts.instance, hooks)


def serving_limits(settings: Settings) -> ServingLimits:
    """What one peer may have here: every slot that the owner gave to peers, if no other peer wants one."""
    return ServingLimits(
        settings.max_body,
        settings.llm_timeout,
        settings.llm_idle_timeout,
        settings.peer_rate,
        max(MAX_REQUESTS_PER_PEER, settings.max_peer_jobs + settings.max_peer_queue),
        settings.llm_begin_timeout,
        settings.max_form,
    )


async def _nothing_new() -> None:
    """Peers are told of the models that are shared; a name that is not among them is not looked for."""
