"""The relays that a node may use, changed while it runs.

The map that iroh starts with holds the owner's; one that an invite or BOOTNODES names joins it when it is dialed.
"""

import asyncio
from contextlib import suppress

import iroh

from masa_node.chat.errors import ConfigurationError
from masa_node.network.transport.addresses import PUBLIC_RELAYS, relay_key
from masa_node.network.transport.iroh.keys import FOREIGN

MAX_RELAYS = 16  # each is measured from time to time; iroh's makers run a handful
QUIC_PORT = 7842  # where an iroh relay tells a node its public address, unless it is set up otherwise
HOME_WITHIN_S = 0.1  # iroh knows at once whether it is connected; asking crosses into its runtime


class Relays:
    """Those of one endpoint, by the form in which they are compared."""

    def __init__(self, endpoint: iroh.Endpoint, first: iroh.RelayMap) -> None:
        self._endpoint: iroh.Endpoint | None = endpoint
        self._urls = {relay_key(url): url for url in first.urls()}

    @property
    def urls(self) -> frozenset[str]:
        """As iroh spells them."""
        return frozenset(self._urls.values())

    async def use(self, url: str, token: str | None = None) -> None:
        """Use this one too, or all of iroh's makers. Raises `ConfigurationError` for what is no URL."""
        for config in _configs(url, token):
            await self._insert(config)

    async def meet(self, url: str) -> bool:
        """A peer is to be met there. False when it cannot be used: no URL, or too many already."""
        if relay_key(url) in self._urls:
            return True
        if len(self._urls) >= MAX_RELAYS:
            return False
        with suppress(ConfigurationError):
            await self.use(url)
            return True
        return False

    async def leave(self) -> None:
        """Use none."""
        endpoint, urls = self._endpoint, self.urls
        self._urls.clear()
        if endpoint is None:
            return
        for url in urls:
            with suppress(*FOREIGN):
                await endpoint.remove_relay(url)

    def let_go(self) -> None:
        """The endpoint is closed. Its UDP port is free only once nobody holds it."""
        self._endpoint = None

    async def home(self) -> str | None:
        """The relay that this node is connected to now."""
        endpoint = self._endpoint
        if endpoint is None:
            return None
        try:
            async with asyncio.timeout(HOME_WITHIN_S):
                await endpoint.online()
        except (TimeoutError, *FOREIGN):
            return None
        return endpoint.addr().relay_url()

    async def _insert(self, config: iroh.RelayConfig) -> None:
        if self._endpoint is None:
            return
        try:
            await self._endpoint.insert_relay(config)
        except FOREIGN as exc:
            raise ConfigurationError(f"This is no URL of a relay: {config.url!r}.") from exc
        self._urls[relay_key(config.url)] = config.url


def first_relays(url: str | None, token: str | None) -> iroh.RelayMap:
    """The map to start with. Raises `ConfigurationError` for what is no URL."""
    relays = iroh.RelayMap.empty()
    for config in _configs(url, token) if url is not None else ():
        try:
            relays.insert(config)
        except FOREIGN as exc:
            raise ConfigurationError(f"RELAY_URL is not a URL: {url!r}.") from exc
    return relays


def public_relays() -> list[str]:
    """The URLs of those of iroh's makers."""
    return sorted(iroh.RelayMode.default_mode().relay_map().urls())


def _configs(url: str, token: str | None) -> list[iroh.RelayConfig]:
    if url != PUBLIC_RELAYS:
        return [iroh.RelayConfig(url=url, quic_port=QUIC_PORT, auth_token=token)]
    known = iroh.RelayMode.default_mode().relay_map()
    found = [known.get(each) for each in known.urls()]
    return [config for config in found if config is not None]
