"""All LLM servers behind this node: lists their models in the background and tells the catalog.

A stale list is kept while a server is down. A start never waits for a server.
"""

import asyncio
from typing import Protocol

import structlog

from masa_node.chat.errors import MemoryFull, ProviderError
from masa_node.chat.offer import ModelOffer
from masa_node.routing.catalog import Catalog
from masa_node.routing.provider import Provider

FIRST_RETRY_S = 1.0  # also the shortest time between two listings
# A caller asks for a model nobody lists: look again, but not more often than this.
REFRESH_AFTER_S = 2.0
# ... and do not let the caller wait for a slow list.
REFRESH_FOR_S = 3.0
# A server that took the connection and says nothing is as good as down; Cloudflare's pages take a few seconds.
LIST_WITHIN_S = 30.0

log = structlog.get_logger()


class Listable(Provider, Protocol):
    """A provider whose models can be listed. `label` is the kind of server in words, `note` what its owner should know.

    `note` is "" if there is nothing, and it speaks of a server that was reached. `invalidation` is set when a request
    has found the server up that was down, or the other way round; whoever looks then clears it.
    """

    label: str
    note: str
    invalidation: asyncio.Event

    async def offers(self) -> list[ModelOffer] | None:
        """What it serves now; None if it may be asked for anything. Raises `ProviderError`."""
        ...


class ModelPoller:
    """Keeps the catalog true for these providers. `run()` goes on until cancelled."""

    def __init__(self, catalog: Catalog, refresh_s: float) -> None:
        self.providers: list[Listable] = []
        self._catalog = catalog
        self._refresh_s = refresh_s
        self._is_up: dict[str, bool] = {}
        self._why_down: dict[str, str] = {}
        self._polled_s: dict[str, float] = {}
        self._refreshing = asyncio.Lock()
        self._keepers: asyncio.TaskGroup | None = None
        self._polled = asyncio.Condition()

    def add(self, provider: Listable) -> None:
        """One more provider; until its models are listed it may be asked for anything."""
        self.providers.append(provider)
        self._catalog.put(provider, None)
        if self._keepers is not None:
            self._keepers.create_task(self._keep(provider))

    def is_up(self, provider: Listable) -> bool | None:
        """Did the last listing reach it? None before the first."""
        return self._is_up.get(provider.name)

    def note(self, provider: Listable) -> str:
        """What its owner should know of it now: why it is down, or what it lacks; "" if nothing."""
        return provider.note if self.is_up(provider) else self._why_down.get(provider.name, "")

    async def all_polled(self) -> None:
        """Wait until every provider was asked at least once."""
        async with self._polled:
            await self._polled.wait_for(lambda: all(p.name in self._is_up for p in self.providers))

    async def run(self) -> None:
        """List every provider's models, again and again."""
        async with asyncio.TaskGroup() as self._keepers:
            for provider in self.providers:
                self._keepers.create_task(self._keep(provider))
            await asyncio.Event().wait()

    async def refresh(self) -> None:
        """List now, because somebody asks for a model that nobody lists; bounded in time and rate."""
        async with self._refreshing:
            now_s = asyncio.get_running_loop().time()
            due = [p for p in self.providers if now_s - self._polled_s.get(p.name, -REFRESH_AFTER_S) >= REFRESH_AFTER_S]
            try:
                async with asyncio.timeout(REFRESH_FOR_S), asyncio.TaskGroup() as group:
                    for provider in due:
                        group.create_task(self._poll(provider))
            except TimeoutError:
                return

    async def _keep(self, provider: Listable) -> None:
        retry_s = FIRST_RETRY_S
        while True:
            is_up = await self._poll(provider)
            await self._rest(provider, self._refresh_s if is_up else retry_s)
            retry_s = FIRST_RETRY_S if is_up else min(retry_s * 2, self._refresh_s)

    async def _rest(self, provider: Listable, longest_s: float) -> None:
        """Until the next listing is due, or a request found out that the last one is not true any more."""
        try:
            async with asyncio.timeout(longest_s):
                await asyncio.sleep(min(FIRST_RETRY_S, longest_s))
                await provider.invalidation.wait()
                provider.invalidation.clear()
        except TimeoutError:
            return

    async def _poll(self, provider: Listable) -> bool:
        is_up = await self._list(provider)
        async with self._polled:
            self._polled.notify_all()
        return is_up

    async def _list(self, provider: Listable) -> bool:
        self._polled_s[provider.name] = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(LIST_WITHIN_S):
                offers = await provider.offers()
        except TimeoutError:
            return self._note_down(provider, f"no list of its models within {LIST_WITHIN_S:g} s.")
        except ProviderError as exc:
            if isinstance(exc, MemoryFull) and provider.name in self._is_up:  # this node's lack says nothing of it
                return self._is_up[provider.name]
            return self._note_down(provider, exc.message)
        if self._is_up.get(provider.name) is not True:
            count = len(offers) if offers is not None else None
            log.info("upstream is up", upstream=provider.name, location=provider.location, models=count)
        self._is_up[provider.name] = True
        self._catalog.put(provider, offers)
        return True

    def _note_down(self, provider: Listable, why: str) -> bool:
        if self._is_up.get(provider.name) is not False:
            log.warning("upstream is down", upstream=provider.name, location=provider.location, why=why)
        self._is_up[provider.name] = False
        self._why_down[provider.name] = why
        return False
