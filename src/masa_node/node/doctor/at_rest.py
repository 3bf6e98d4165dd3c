"""Gathers the facts while no node runs."""

import asyncio
from collections.abc import Sequence

from masa_node.chat.errors import ConfigurationError
from masa_node.node.doctor.facts import ChainFacts, Facts, NetworkFacts
from masa_node.node.doctor.gather import Known, gather
from masa_node.node.doctor.local_facts import http_facts
from masa_node.node.proxies import read_proxies
from masa_node.node.serve import unstarted_servers
from masa_node.node.settings.environment import Settings
from masa_node.node.settings.stake import read_stake_settings
from masa_node.upstreams.http.client import HttpClient
from masa_node.upstreams.poller import Listable


async def gather_at_rest(settings: Settings, network: NetworkFacts, relay: str) -> Facts:
    """All facts while no node runs: its parts are put together, and asked, but not started."""
    http_side = await asyncio.to_thread(http_facts, settings)
    known = Known(http_side, network, _chain_at_rest(settings), relay)
    async with HttpClient(read_proxies(settings)) as http:
        try:
            servers: Sequence[Listable] | None = await unstarted_servers(settings, http)
        except ConfigurationError:  # told with the settings
            servers = None
        return await gather(settings, servers, http, known)


def _chain_at_rest(settings: Settings) -> ChainFacts:
    try:
        is_off = read_stake_settings(settings).is_off
    except ConfigurationError:  # told with the settings
        is_off = True
    return ChainFacts("stakes are checked once the node runs: `masa-node stake status` reads them now.", is_off=is_off)
