"""Which of this node's models its peers may use (SHARE), and the catalog of just those. Pure.

Peers are answered from that second catalog only, so that what is not shared cannot be asked for, and what other peers
serve cannot be asked for through this node.
"""

from fnmatch import fnmatchcase
from itertools import takewhile

import msgspec

from masa_node.chat.errors import ConfigurationError
from masa_node.chat.offer import ModelOffer, same_model_key
from masa_node.chat.request import Endpoint
from masa_node.routing.catalog import Catalog
from masa_node.routing.provider import Provider

# A model's licence, template and system prompt are its owner's.
NEVER_SHARED = frozenset({Endpoint.OLLAMA_SHOW})
_NONE, _LOCAL, _ALL = "none", "local", "all"


class SharePolicy(msgspec.Struct, frozen=True):
    """`local` shares the models of own servers that cost nothing, `everything` hosted ones too, `globs` those named."""

    local: bool = False
    everything: bool = False
    globs: tuple[str, ...] = ()

    def shares(self, model: str, *, is_hosted: bool) -> bool:
        """May peers use this model? `is_hosted` tells that its server costs the owner money."""
        if self.everything or (self.local and not is_hosted):
            return True
        names = {model, same_model_key(model)}
        return any(fnmatchcase(name, glob) for name in names for glob in self.globs)


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


class SharedCatalog:
    """Keeps `catalog` at what is shared of the own servers' offers: let it `follow` the catalog of all."""

    def __init__(self, policy: SharePolicy) -> None:
        self.catalog = Catalog()
        self._policy = policy
        self._shared: dict[str, Provider] = {}
        self._withheld: frozenset[str] = frozenset()

    def follow(self, catalog: Catalog) -> None:
        """Share what own servers serve now. To be called whenever that has changed (`Catalog.watch`)."""
        listed: dict[str, tuple[Provider, list[ModelOffer]]] = {}
        withheld: set[str] = set()
        for provider, offer in takewhile(lambda pair: pair[0].is_local, catalog.all_offers()):  # own ones come first
            shared = self._shared_part(provider, offer)
            if shared is None:
                withheld.add(offer.model)
            else:
                listed.setdefault(provider.name, (provider, []))[1].append(shared)
        for name in self._shared.keys() - listed.keys():
            self.catalog.remove(self._shared[name])
        for provider, offers in listed.values():
            self.catalog.put(provider, offers)
        self._shared = {name: provider for name, (provider, _) in listed.items()}
        self._withheld = frozenset(withheld - {offer.model for offer in self.offers()})

    def offers(self) -> list[ModelOffer]:
        """Everything that is shared: what an advert says."""
        return [offer for _, offer in self.catalog.all_offers()]

    def is_withheld(self, model: str) -> bool:
        """Is this the very name of an own model that is not shared, whatever shared one it may be taken for?"""
        return model in self._withheld

    def _shared_part(self, provider: Provider, offer: ModelOffer) -> ModelOffer | None:
        endpoints = offer.endpoints - NEVER_SHARED
        if not endpoints or not self._policy.shares(offer.model, is_hosted=provider.is_hosted):
            return None
        return msgspec.structs.replace(offer, endpoints=endpoints)
