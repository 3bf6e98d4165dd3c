"""What a name stands for now, by the owner's aliases: for requests, and in lists."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import cache

import msgspec

from masa_node.api.responses import header_text
from masa_node.chat.aliases import Aliases
from masa_node.chat.offer import same_model_key
from masa_node.chat.request import Endpoint, Privacy
from masa_node.dialects.bodies.peek import listing_renamed
from masa_node.dialects.translation.formats import is_translated_from, targets_for
from masa_node.routing.catalog import Catalog, Offers
from masa_node.routing.provider import may_see

ALIAS = b"x-masa-alias"
Ways = frozenset[Endpoint]
ANY_WAY: Ways = frozenset(Endpoint)


@cache
def ways_to(endpoint: Endpoint, *, may_translate: bool) -> Ways:
    """The endpoints of servers through one of which a request for this endpoint can be served."""
    if endpoint in (Endpoint.NATIVE, Endpoint.OLLAMA_SHOW):
        return ANY_WAY
    is_translated = may_translate and is_translated_from(endpoint)
    return frozenset({endpoint, *(targets_for(endpoint) if is_translated else ())})


@dataclass(slots=True, eq=False)
class Aliasing:
    """The aliases of one node. `askable` gives those of some offers that may be asked for; `refresh` looks for models
    that appeared since LLM servers were last listed.
    """

    _aliases: Aliases
    _catalog: Catalog
    askable: Callable[[Offers], Offers]
    refresh: Callable[[], Awaitable[None]]
    has_any: bool = field(init=False)

    def __post_init__(self) -> None:
        self.has_any = self._aliases != Aliases()

    async def model_for(self, asked: str, privacy: Privacy = Privacy.ANY, ways: Ways = ANY_WAY) -> str:
        """The model that is meant; the name itself where it is no alias.

        Of an alias it is the first that is served now in one of these ways, else the first that is served at all, else
        the first.
        """
        models = self._aliases.targets_of(asked)
        if len(models) > 1 and not self._first_served(models, privacy):
            await self.refresh()
        return self.means(asked, privacy, ways)

    def at_googles(self, asked: str) -> str:
        """Google's clients take `models/`, with which the ids of its own models begin, for a part of the path."""
        whole = f"models/{asked}"
        is_meant = not (self.is_alias(asked) or self._catalog.knows(asked)) and self._catalog.knows(whole)
        return whole if is_meant else asked

    def is_alias(self, asked: str) -> bool:
        """May this name stand for another model?"""
        return bool(self._aliases.targets_of(asked))

    def offers(self) -> Offers:
        """All that can be asked for: models under their own names, then those that are aliases."""
        real = self.askable(self._catalog.all_offers())
        if not self.has_any:
            return real
        best: dict[Sequence[str], str] = {}  # many models may fit one pattern
        means: dict[str, str] = {}
        for name in (*(offer.model for _, offer in real), *self._aliases.names):
            models = self._aliases.targets_of(name)
            if models and models not in best:
                best[models] = self._best(models)
            means[name] = _other(name, best[models]) if models else name
        aliased: dict[str, tuple[str, str]] = {}
        for name, model in means.items():
            if model != name:
                aliased.setdefault(same_model_key(name), (name, model))
        served = {model: self.offers_of(model) for _, model in aliased.values()}
        found = [(provider, offer) for provider, offer in real if means[offer.model] == offer.model]
        for name, model in aliased.values():
            found += renamed(served[model], name, model)
        return found

    def means(self, asked: str, privacy: Privacy = Privacy.ANY, ways: Ways = ANY_WAY) -> str:
        """The same as `model_for`, by what is known already."""
        models = self._aliases.targets_of(asked)
        return _other(asked, self._best(models, privacy, ways)) if models else asked

    def offers_of(self, model: str) -> Offers:
        """The providers that may be asked for this model."""
        return self.askable(self._catalog.offers_of(model))

    def _best(self, models: Sequence[str], privacy: Privacy = Privacy.ANY, ways: Ways = ANY_WAY) -> str:
        return self._first_served(models, privacy, ways) or self._first_served(models, privacy) or models[0]

    def _first_served(self, models: Sequence[str], privacy: Privacy, ways: Ways = ANY_WAY) -> str:
        if len(models) == 1:
            return models[0]
        for model in models:
            for provider, offer in self.offers_of(model):
                if may_see(provider, privacy) and not ways.isdisjoint(offer.endpoints):
                    return model
        return ""


def _other(asked: str, model: str) -> str:
    """The model, or the name as it was asked for where that is the model's own: `*` fits it, too."""
    return asked if same_model_key(model) == same_model_key(asked) else model


def renamed(offers: Offers, name: str, model: str) -> Offers:
    """The offers of this model as those of its alias: the same facts under the other name."""
    if name == model:
        return offers
    return [
        (
            provider,
            msgspec.structs.replace(offer, model=name, alias_of=model, listing=listing_renamed(offer.listing, name)),
        )
        for provider, offer in offers
    ]


def alias_header(asked: str, model: str) -> list[tuple[bytes, bytes]]:
    """What tells the caller that the name was an alias; nothing where it was none, or "" was."""
    return [(ALIAS, header_text(asked) + b">" + header_text(model))] if asked not in {"", model} else []


def alias_words(asked: str, model: str) -> str:
    """The same at the end of an error's message."""
    return f" {asked!r} is an alias of it in masa.toml." if asked not in {"", model} else ""
