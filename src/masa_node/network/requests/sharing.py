"""Which of this node's models its peers may use (SHARE), and the catalog of just those. Pure.

Peers are answered from that second catalog only, so that what is not shared cannot be asked for, and what other peers
serve cannot be asked for through this node.
"""

import re
from fnmatch import translate
from functools import lru_cache

import msgspec

from masa_node.chat.errors import ConfigurationError
from masa_node.chat.offer import ModelOffer, same_model_key
from masa_node.chat.request import Endpoint
from masa_node.routing.catalog import Catalog
from masa_node.routing.provider import Provider

# A model's licence, template and system prompt are its owner's.
NEVER_SHARED = frozenset({Endpoint.OLLAMA_SHOW})
_NONE, _LOCAL, _ALL = "none", "local", "all"

Offers = tuple[ModelOffer, ...] | None


class SharePolicy(msgspec.Struct, frozen=True):
    """`local` shares the models of own servers that cost nothing, `everything` hosted ones too, `globs` those named."""

    local: bool = False
    everything: bool = False
    globs: tuple[str, ...] = ()

    def shares(self, model: str, *, is_hosted: bool) -> bool:
        """May peers use this model? `is_hosted` tells that its server costs the owner money."""
        if self.everything or (self.local and not is_hosted):
            return True
        if not self.globs:
            return False
        matches = _pattern(self.globs).match
        return matches(model) is not None or matches(same_model_key(model)) is not None


@lru_cache(maxsize=16)
def _pattern(globs: tuple[str, ...]) -> re.Pattern[str]:
    """All of them as one, since thousands of models are compared with it."""
    return re.compile("|".join(translate(glob) for glob in globs))


def read_policy(share: str) -> SharePolicy:
    """The policy that SHARE describes: `none`, `local`, `all`, or names with `*`, comma-separated.

    `local` may stand among names. Raises `ConfigurationError`.
    """
    parts = [part for part in (text.strip() for text in share.split(",")) if part]
    words = {part.lower() for part in parts} & {_NONE, _LOCAL, _ALL}
    if not parts or (len(parts) > 1 and words & {_NONE, _ALL}):
        raise ConfigurationError(
            f"SHARE={share!r} is not understood. Use none, local, all, or names of models, comma-separated, such as "
            "llama3*,qwen2.5:7b; local may stand among them."
        )
    globs = tuple(part for part in parts if part.lower() not in words)
    return SharePolicy(local=_LOCAL in words, everything=_ALL in words, globs=globs)


class _Part(msgspec.Struct, frozen=True):
    """What is shared of what one own server `listed`, and the names that are not."""

    provider: Provider
    listed: Offers
    names: frozenset[str]
    withheld: frozenset[str]


class SharedCatalog:
    """Keeps `catalog` at what is shared of the own servers' offers: let it `follow` the catalog of all."""

    def __init__(self, policy: SharePolicy) -> None:
        self.catalog = Catalog()
        self._policy = policy
        self._parts: dict[str, _Part] = {}

    def follow(self, catalog: Catalog) -> None:
        """Share what own servers serve now. To be called whenever that has changed (`Catalog.watch`).

        Only a server whose list has changed is looked at: it may name thousands of models.
        """
        own = catalog.own_offers()
        for name in self._parts.keys() - {provider.name for provider, _ in own}:
            self.catalog.remove(self._parts.pop(name).provider)
        for provider, offers in own:
            known = self._parts.get(provider.name)
            if known is None or known.provider is not provider or known.listed is not offers:
                self._share(provider, offers)

    def _share(self, provider: Provider, offers: Offers) -> None:
        shared: list[ModelOffer] = []
        withheld: set[str] = set()
        for offer in offers or ():
            part = self._shared_part(provider, offer)
            if part is None:
                withheld.add(offer.model)
            else:
                shared.append(part)
        names = frozenset([offer.model for offer in shared])
        before = self._parts.get(provider.name)
        self._parts[provider.name] = _Part(provider, offers, names, frozenset(withheld))
        if shared:
            self.catalog.put(provider, shared)
        elif before is not None:
            self.catalog.remove(before.provider)

    def offers(self) -> list[ModelOffer]:
        """Everything that is shared: what an advert says."""
        return [offer for _, offer in self.catalog.all_offers()]

    def is_withheld(self, model: str) -> bool:
        """Is this the very name of an own model that is not shared, whatever shared one it may be taken for?"""
        parts = self._parts.values()
        return any(model in part.withheld for part in parts) and not any(model in part.names for part in parts)

    def _shared_part(self, provider: Provider, offer: ModelOffer) -> ModelOffer | None:
        if not self._policy.shares(offer.model, is_hosted=provider.is_hosted):
            return None
        endpoints = _may_be_shared(offer.endpoints)
        if not endpoints:
            return None
        return offer if endpoints == offer.endpoints else msgspec.structs.replace(offer, endpoints=endpoints)


@lru_cache(maxsize=64)
def _may_be_shared(endpoints: frozenset[Endpoint]) -> frozenset[Endpoint]:
    """Those but NEVER_SHARED: thousands of models have the same ones."""
    return endpoints - NEVER_SHARED
