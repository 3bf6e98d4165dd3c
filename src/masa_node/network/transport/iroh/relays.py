"""The relays that a node may use, changed while it runs.

The map that iroh starts with holds the owner's; one that an invite or BOOTNODES names joins it when it is dialed.

iroh 1.2.0 rests up to 32 s between two attempts to reach a relay that was lost, and nothing wakes it. What it rests for
is one spelling of a URL. Another spelling of the same one is tried at once: `https://relay.example.org/?2`. Nobody else
sees it.
"""

import asyncio
from contextlib import suppress

import iroh

from masa_node.chat.errors import ConfigurationError
from masa_node.network.transport.addresses import PUBLIC_RELAYS, relay_key
from masa_node.network.transport.iroh.keys import FOREIGN
from masa_node.network.transport.iroh.presence import Presence

MAX_RELAYS = 16  # each is measured from time to time; iroh's makers run a handful
QUIC_PORT = 7842  # where an iroh relay tells a node its public address, unless it is set up otherwise
# What takes a connection and is no relay yet is measured for 3 s, and a task of iroh's stays for each spelling.
SPELLED_AGAIN_EVERY_S = 5.0
HOME_WITHIN_S = 0.1  # iroh knows at once whether it is connected; asking crosses into its runtime


class Relays:
    """Those of one endpoint, by the form in which they are compared."""

    def __init__(self, endpoint: iroh.Endpoint, first: iroh.RelayMap) -> None:
        self._endpoint: iroh.Endpoint | None = endpoint
        found = [first.get(url) for url in first.urls()]
        self._configs = {relay_key(config.url): config for config in found if config is not None}
        self._measured = {config.url for config in self._configs.values()}  # what stands in iroh's own map
        self._awaited: dict[str, iroh.RelayConfig] = {}  # as iroh is to have them once it is connected
        self._times_left = 0
        self._presence = Presence()
        self._spellings = 0
        self._spelled_s = -SPELLED_AGAIN_EVERY_S

    @property
    def urls(self) -> frozenset[str]:
        """As others are told them."""
        return frozenset(plain_url(config.url) for config in self._configs.values())

    def in_use(self, url: str | None) -> str | None:
        """This URL as others are told it; None for a relay that this node uses no longer.

        iroh stays connected to one that was taken out of its map, and names it, until it has measured again.
        """
        plain = plain_url(url or "")
        return plain if relay_key(plain) in self._configs else None

    async def use(self, url: str, token: str | None = None) -> None:
        """Use this one too, or all of iroh's makers. Raises `ConfigurationError` for what is no URL."""
        times_left = self._times_left
        for config in _configs(url, token):
            if times_left == self._times_left:
                await self._insert(config)

    async def meet(self, url: str) -> str | None:
        """A peer is to be met there: how to spell it. None when it cannot be used: no URL, or too many already."""
        if relay_key(url) not in self._configs:
            if len(self._configs) >= MAX_RELAYS:
                return None
            try:
                await self.use(url)
            except ConfigurationError:
                return None
        config = self._configs.get(relay_key(url))
        return config.url if config is not None else url

    async def connect_again(self, url: str) -> bool:
        """This one was lost, or all are where it is none of them: have iroh connect at once to what answers by now.

        False where none answers. Until a relay does iroh does not measure it, and once it does, not by QUIC: either
        would keep iroh from connecting for 3 s. `home` ends both. Takes ANSWERS_WITHIN_S at most.
        """
        now_s = asyncio.get_running_loop().time()
        if now_s - self._spelled_s < SPELLED_AGAIN_EVERY_S:
            return False
        keys = [relay_key(url)] if relay_key(url) in self._configs else [*self._configs]
        there = await asyncio.gather(*(self._presence.answers(self._configs[key].url) for key in keys))
        for key, is_there in zip(keys, there, strict=True):
            await self._await(key)
            if is_there:
                self._spelled_s = now_s
                await self._spell_again(key)
        return any(there)

    async def _await(self, key: str) -> None:
        """Take it out of iroh's map until there is a home."""
        if config := self._configs.get(key):
            self._awaited.setdefault(key, config)
            await self._remove(config)

    async def _spell_again(self, key: str) -> None:
        config = self._awaited.get(key)
        if config is None:
            return
        self._spellings += 1
        spelled = f"{plain_url(config.url)}?{self._spellings}"
        self._awaited[key] = iroh.RelayConfig(url=spelled, quic_port=config.quic_port, auth_token=config.auth_token)
        with suppress(ConfigurationError):
            await self._insert(iroh.RelayConfig(url=spelled, quic_port=None, auth_token=config.auth_token), key)

    async def leave(self) -> None:
        """Use none, and none that is being put in meanwhile."""
        self._times_left += 1
        configs = [*self._configs.values()]
        self._configs.clear()
        self._awaited.clear()
        for config in configs:
            await self._remove(config)

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
        home = self.in_use(endpoint.addr().relay_url())
        while home and self._awaited:
            key, config = self._awaited.popitem()
            with suppress(ConfigurationError):
                await self._insert(config, key)
        return home

    async def _remove(self, config: iroh.RelayConfig) -> None:
        if self._endpoint is None or config.url not in self._measured:
            return
        self._measured.discard(config.url)
        with suppress(*FOREIGN):
            await self._endpoint.remove_relay(config.url)

    async def _insert(self, config: iroh.RelayConfig, key: str = "") -> None:
        if self._endpoint is None:
            return
        times_left = self._times_left
        try:
            await self._endpoint.insert_relay(config)
        except FOREIGN as exc:
            raise ConfigurationError(f"This is no URL of a relay: {config.url!r}.") from exc
        self._measured.add(config.url)
        if times_left != self._times_left:
            await self._remove(config)
            return
        self._configs[key or relay_key(config.url)] = config


def plain_url(url: str) -> str:
    """The URL of a relay without what tells two spellings apart."""
    return url.partition("?")[0]


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
        # iroh waits for QUIC's answer for 3 s before it uses a relay, and what speaks plain HTTP has none.
        quic_port = None if url.lower().startswith("http:") else QUIC_PORT
        return [iroh.RelayConfig(url=url, quic_port=quic_port, auth_token=token)]
    known = iroh.RelayMode.default_mode().relay_map()
    found = [known.get(each) for each in known.urls()]
    return [config for config in found if config is not None]
