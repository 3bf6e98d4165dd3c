"""Who serves what: models by name, with and without `:latest`. Pure; changed by those who list models."""

import difflib
from itertools import islice

import msgspec

from masa_node.chat.ask import Door
from masa_node.chat.offer import ModelOffer, loose_model_key, same_model_key
from masa_node.routing.provider import Provider

MAX_NEAREST = 3
MAX_COMPARED = 1_000
MAX_COMPARED_CHARS = 48  # difflib takes 10 us for two names of this length, and ten times that for long ones
MAX_NAMED = 5


class Found(msgspec.Struct, frozen=True, gc=False):
    """Who may be asked for a model through a door.

    `providers` serve it there; `other_doors` are where it is served otherwise; `unlisted` are providers whose
    models are not known (no list, or not reached yet), who may serve anything.
    """

    providers: tuple[Provider, ...]
    unlisted: tuple[Provider, ...]
    other_doors: tuple[Door, ...]


class Catalog:
    """All offers of all providers. Look-ups are one dictionary access; changes rebuild the index."""

    def __init__(self) -> None:
        self._offers: dict[str, tuple[Provider, tuple[ModelOffer, ...] | None]] = {}
        self._by_model: dict[str, list[tuple[Provider, ModelOffer]]] = {}
        self._by_loose_key: dict[str, str] = {}
        self._unlisted: tuple[Provider, ...] = ()
        self._found: dict[tuple[str, Door], Found] = {}

    def put(self, provider: Provider, offers: list[ModelOffer] | None) -> None:
        """What this provider serves from now on; None: not known, it may be asked for anything."""
        self._offers[provider.name] = (provider, tuple(offers) if offers is not None else None)
        self._rebuild()

    def remove(self, provider: Provider) -> None:
        """This provider is gone. Nothing happens if it was not there."""
        if self._offers.pop(provider.name, None) is not None:
            self._rebuild()

    def find(self, model: str, door: Door) -> Found:
        """Who may be asked."""
        key = self._key(model)
        found = self._found.get((key, door))
        if found is not None:
            return found
        offers = self._by_model.get(key, [])
        # By name, so that one who lists a model as `tiny` and as `tiny:latest` is asked once.
        serving = {provider.name: provider for provider, offer in offers if door in offer.doors}
        providers = tuple(serving.values())
        others = {other for _, offer in offers for other in offer.doors} - {door}
        found = Found(providers, self._unlisted, () if providers else tuple(sorted(others)))
        if offers:  # only known models are remembered, so that asking for random names grows nothing
            self._found[key, door] = found
        return found

    def knows(self, model: str) -> bool:
        """Does any provider list this model?"""
        return self._key(model) in self._by_model

    def offers_of(self, model: str) -> list[tuple[Provider, ModelOffer]]:
        """Every offer of this model, in the order in which the providers were named."""
        return list(self._by_model.get(self._key(model), []))

    def all_offers(self) -> list[tuple[Provider, ModelOffer]]:
        """Every offer, in the order in which the providers were named."""
        return [(provider, offer) for provider, offers in self._offers.values() for offer in offers or ()]

    def nearest(self, model: str) -> list[str]:
        """The names most like this one, at most MAX_NEAREST, else the first few there are."""
        names = [offers[0][1].model for offers in islice(self._by_model.values(), MAX_COMPARED)]
        keys = {_compared(name): name for name in names}
        close = difflib.get_close_matches(_compared(model), keys, n=MAX_NEAREST)
        return [keys[key] for key in close] or names[:MAX_NAMED]

    def _key(self, model: str) -> str:
        key = same_model_key(model)
        return key if key in self._by_model else self._by_loose_key.get(loose_model_key(model), key)

    def _rebuild(self) -> None:
        self._by_model = {}
        self._found = {}
        for provider, offer in self.all_offers():
            self._by_model.setdefault(same_model_key(offer.model), []).append((provider, offer))
        self._by_loose_key = {loose_model_key(key): key for key in reversed(self._by_model)}
        self._unlisted = tuple(provider for provider, offers in self._offers.values() if offers is None)


def _compared(model: str) -> str:
    return same_model_key(model).lower()[:MAX_COMPARED_CHARS]
