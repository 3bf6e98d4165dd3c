"""Gathers all facts at once. Each look has a bound of its own: it takes ten seconds at most, also offline."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import msgspec

from masa_node.node.doctor.facts import ChainFacts, ClockFacts, Facts, HttpFacts, LlmFacts, NetworkFacts
from masa_node.node.doctor.llm_probe import ask_servers
from masa_node.node.doctor.local_facts import folder_facts, settings_facts, udp_error
from masa_node.node.doctor.relay_probe import ping
from masa_node.node.settings.environment import Settings
from masa_node.node.views import StakeView
from masa_node.upstreams.http.client import HttpClient
from masa_node.upstreams.http.urls import ollama_url, redacted
from masa_node.upstreams.poller import Listable
from masa_node.version import __version__


class Known(msgspec.Struct, frozen=True):
    """What whoever asks knows already. `relay` is the URL in force; `is_home`: is the node connected to it?

    `clocks` are how far this machine's clock is ahead of those of peers (who, seconds).
    """

    http: HttpFacts
    network: NetworkFacts
    chain: ChainFacts = ChainFacts()
    relay: str = ""
    is_home: bool | None = None
    clocks: tuple[tuple[str, float], ...] = ()


async def gather(settings: Settings, servers: Sequence[Listable] | None, http: HttpClient, known: Known) -> Facts:
    """Look at everything at the same time. `servers` None: no setting says which LLM servers there are."""
    masa_dir = Path(settings.masa_dir).expanduser()  # noqa: ASYNC240 - reads no disk
    async with asyncio.TaskGroup() as group:
        own = group.create_task(asyncio.to_thread(settings_facts, settings))
        folder = group.create_task(asyncio.to_thread(folder_facts, masa_dir))
        llm = group.create_task(ask_servers(servers or ()))
        udp = group.create_task(asyncio.to_thread(udp_error, settings, known.network.state))
        relay = group.create_task(ping(known.relay, http, is_home=known.is_home))
    pinged = relay.result()
    clocks = known.clocks if pinged.ahead_s is None else (*known.clocks, ("the relay", pinged.ahead_s))
    return Facts(
        __version__,
        own.result(),
        folder.result(),
        known.http,
        LlmFacts(llm.result(), settings.find_local, "" if servers is None else _ollama(settings), servers is None),
        ClockFacts(clocks),
        pinged.relay,
        with_udp_error(known.network, udp.result()),
        known.chain,
    )


def _ollama(settings: Settings) -> str:
    return redacted(ollama_url(settings.ollama_host) or "")


def with_udp_error(network: NetworkFacts, error: str) -> NetworkFacts:
    """The same; there is no network, and this may be why."""
    if not error:
        return network
    return msgspec.structs.replace(network, way_in=msgspec.structs.replace(network.way_in, bind_error=error))


def chain_facts(view: StakeView) -> ChainFacts:
    """What `GET /api/v1/stake` tells, shortened."""
    chain = view.chain
    return ChainFacts(
        view.staking,
        is_off=view.network is None,
        failure=chain.failure if chain is not None else "",
        failed_s_ago=chain.failed_s_ago if chain is not None else None,
    )
