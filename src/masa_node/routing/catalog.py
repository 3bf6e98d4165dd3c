"""Which provider serves what, or did until a short time ago. Pure; changed by whatever lists models.

Made for one node's own servers and 10 000 peers with ten models each, whose adverts change many times a second. So
what a change costs depends on that provider's own offers only.
"""

import difflib
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice

import msgspec

from masa_node.chat.offer import AnyName, ModelOffer, loose_model_key, same_model_key
from masa_node.chat.request import Endpoint
from masa_node.routing.provider import Provider

AWAY_S = 300.0  # the restart of a machine; a provider that stays away longer has gone
MAX_ABSENT = 512  # as many as there are links; each has at most as many models as an advert


class Absence(msgspec.Struct, frozen=True):
    """A provider that left at `since_s`, and the endpoints of each model that it served, by its loose key."""

    provider: Provider
    since_s: float
    endpoints: dict[str, frozenset[Endpoint]]


class Absences:
    """Providers that left in the last AWAY_S, at most MAX_ABSENT: the one that is away longest goes.

    A model whose peer is lost for seconds is not unknown: SDKs ask again after a 503, and not after a 404.
    """

    def __init__(self) -> None:
        self._left: dict[str, Absence] = {}

    def left(self, provider: Provider, offers: tuple[ModelOffer, ...], now_s: float) -> None:
        """It served these until now."""
        self._left.pop(provider.name, None)
        endpoints: dict[str, frozenset[Endpoint]] = {}
        for offer in offers:
            key = loose_model_key(offer.model)
            endpoints[key] = endpoints.get(key, frozenset()) | offer.endpoints
        self._left[provider.name] = Absence(provider, now_s, endpoints)
        if len(self._left) > MAX_ABSENT:
            del self._left[next(iter(self._left))]

    def back(self, name: str) -> None:
        """It is there again, or is to be forgotten."""
        self._left.pop(name, None)

    def names(self) -> list[str]:
        """The providers that are away."""
        return list(self._left)

    def serving(self, model: str, endpoints: Collection[Endpoint], now_s: float) -> list[Absence]:
        """The providers that served this model at any of these, the latest first."""
        while self._left:
            name, oldest = next(iter(self._left.items()))
            if now_s - oldest.since_s < AWAY_S:
                break
            del self._left[name]
        key = loose_model_key(model)
        return [
            left
            for left in reversed(self._left.values())
            if not left.endpoints.get(key, frozenset()).isdisjoint(endpoints)
        ]


MAX_NEAREST = 3
MAX_COMPARED = 1_000
MAX_COMPARED_CHARS = 48  # difflib takes 10 us for two names of this length, and ten times that for long ones
MAX_NAMED = 5
MAX_SPELLINGS = 64  # of one model that are looked through for an own one: peers choose how they write names

Offers = list[tuple[Provider, ModelOffer]]
Changed = Callable[[], None]


class Found(msgspec.Struct, frozen=True, gc=False):
    """The providers to ask for a model through an endpoint: own LLM servers in the order of the settings, and peers.

    `other_endpoints` are where it is served otherwise, if nobody serves it here.
    """

    own: tuple[Provider, ...] = ()
    peers: tuple[Provider, ...] = ()
    other_endpoints: tuple[Endpoint, ...] = ()


NOBODY = Found()


class _Entry(msgspec.Struct, frozen=True):
    """What one provider serves; `offers` None: not known."""

    provider: Provider
    offers: tuple[ModelOffer, ...] | None


@dataclass(slots=True, eq=False)
class _Model:
    """The providers of one model, by name, with their offers of it. What was found is cached until one changes."""

    loose_key: str
    own: dict[str, _Entry] = field(default_factory=dict[str, _Entry])
    peers: dict[str, _Entry] = field(default_factory=dict[str, _Entry])
    found: dict[Endpoint, Found] = field(default_factory=dict[Endpoint, Found])


class Catalog:
    """All offers of all providers. Look-ups are one dictionary access after the first.

    `unlisted` are own servers whose models are not known (no list, or not reached yet): they may serve anything.
    """

    def __init__(self) -> None:
        self._own: dict[str, _Entry] = {}
        self._peers: dict[str, _Entry] = {}
        self._models: dict[str, _Model] = {}
        self._spellings: dict[str, dict[str, None]] = {}
        self.unlisted: tuple[Provider, ...] = ()
        self._watchers: dict[Changed, None] = {}
        self.absences = Absences()
        self.generation = 0  # another number after each change

    def put(self, provider: Provider, offers: list[ModelOffer] | None) -> None:
        """What this provider serves from now on; None: not known, an own one may be asked for anything.

        Another provider of the same name is replaced. Nothing happens if it is what was said before.
        """
        entries = self._entries(provider)
        before = entries.get(provider.name)
        given = tuple(offers) if offers is not None else None
        if before is not None and before.provider is provider and before.offers == given:
            return
        self.generation += 1
        entry = entries[provider.name] = _Entry(provider, given)
        old, new = _by_key(before) if before is not None else {}, _by_key(entry)
        same_provider = before is not None and before.provider is provider
        for key in old:
            if key not in new:
                self._withdraw(key, provider)
        for key, served in new.items():
            if not same_provider or old.get(key) != served:
                self._offer(key, provider, served)
        self.absences.back(provider.name)
        if provider.is_local:
            self._own_changed()

    def remove(self, provider: Provider, away_since_s: float | None = None) -> None:
        """This provider is gone; it may be back soon if `away_since_s` is given.

        Nothing happens if it was not there, or another has taken its name since.
        """
        entries = self._entries(provider)
        entry = entries.get(provider.name)
        if entry is None or entry.provider is not provider:
            return
        del entries[provider.name]
        self.generation += 1
        if away_since_s is not None and entry.offers:
            self.absences.left(provider, entry.offers, away_since_s)
        for key in _by_key(entry):
            self._withdraw(key, provider)
        if provider.is_local:
            self._own_changed()

    def watch(self, changed: Changed) -> Callable[[], object]:
        """Call `changed` after each change of what own servers offer. Returns what ends that."""
        self._watchers[changed] = None
        return partial(self._watchers.pop, changed, None)

    def find(self, model: str, endpoint: Endpoint) -> Found:
        """The providers to ask. Names that nobody serves leave no trace here."""
        known = self._known(model)
        if known is None:
            return NOBODY
        found = known.found.get(endpoint)
        if found is None:
            found = known.found[endpoint] = _found(endpoint, self._in_order(known), known.peers.values())
        return found

    def find_any_name(self, model: str, endpoint: Endpoint) -> Found:
        """The provider for a name that nobody lists: the one own server that answers to any name.

        There are three cases.

        1. One such server, whose owner says so: that.
        2. One that is of such a kind, and no other own server: that.
        3. Else none: a name that was mistyped for another server's model must not end at this one.
        """
        del model
        takers = [
            entry for entry in self._own.values() if any(each.any_name is not AnyName.NO for each in entry.offers or ())
        ]
        if len(takers) != 1:
            return NOBODY
        if len(self._own) > 1 and not any(each.any_name is AnyName.DECLARED for each in takers[0].offers or ()):
            return NOBODY
        return _found(endpoint, takers, ())

    def knows(self, model: str) -> bool:
        """Does any provider list this model?"""
        return same_model_key(model) in self._models or self._known(model) is not None

    def offers_of(self, model: str) -> Offers:
        """Every offer of this model: own servers' in the order in which they were named, then peers'."""
        known = self._known(model)
        if known is None:
            return []
        return _offers(chain(self._in_order(known), known.peers.values()))

    def all_offers(self) -> Offers:
        """Every offer: own servers' in the order in which they were named, then peers'."""
        return _offers(chain(self._own.values(), self._peers.values()))

    def own_offers(self) -> list[tuple[Provider, tuple[ModelOffer, ...] | None]]:
        """What each own server offers, None where that is not known: the same object until it offers something else."""
        return [(entry.provider, entry.offers) for entry in self._own.values()]

    def nearest(self, model: str, may_see: Callable[[str], bool] | None = None) -> list[str]:
        """Of the names that may be seen, all by default: those most like this one, at most MAX_NEAREST, else the first
        few there are. Beyond the first MAX_COMPARED of all none is looked at: peers may offer any number.
        """
        names = list(filter(may_see, islice(self._names(), MAX_COMPARED)))
        keys = {_compared(name): name for name in names}
        close = difflib.get_close_matches(_compared(model), keys, n=MAX_NEAREST)
        return [keys[key] for key in close] or names[:MAX_NAMED]

    def _known(self, model: str) -> _Model | None:
        """The model that is meant. How a peer writes a name never takes it from an own server."""
        known = self._models.get(same_model_key(model))
        if known is not None and known.own:
            return known
        spellings = self._spellings.get(loose_model_key(model))
        if spellings is None:
            return known
        models = [self._models[key] for key in islice(spellings, MAX_SPELLINGS)]
        return next((each for each in models if each.own), known or models[0])

    def _in_order(self, known: _Model) -> list[_Entry]:
        """The own servers of a model in the order in which they were named."""
        return [known.own[name] for name in self._own if name in known.own]

    def _names(self) -> Iterator[str]:
        own: dict[str, str] = {}
        for _, offer in _offers(self._own.values()):
            own.setdefault(same_model_key(offer.model), offer.model)
        yield from own.values()
        for key, known in self._models.items():
            if key not in own:
                yield _offers(known.peers.values())[0][1].model

    def _entries(self, provider: Provider) -> dict[str, _Entry]:
        return self._own if provider.is_local else self._peers

    def _offer(self, key: str, provider: Provider, offers: tuple[ModelOffer, ...]) -> None:
        known = self._models.get(key)
        if known is None:
            loose_key = loose_model_key(key)
            known = self._models[key] = _Model(loose_key)
            self._spellings.setdefault(loose_key, {})[key] = None
        serving = known.own if provider.is_local else known.peers
        serving[provider.name] = _Entry(provider, offers)
        known.found.clear()

    def _withdraw(self, key: str, provider: Provider) -> None:
        known = self._models[key]
        serving = known.own if provider.is_local else known.peers
        del serving[provider.name]
        known.found.clear()
        if known.own or known.peers:
            return
        del self._models[key]
        spellings = self._spellings[known.loose_key]
        del spellings[key]
        if not spellings:
            del self._spellings[known.loose_key]

    def _own_changed(self) -> None:
        self.unlisted = tuple(entry.provider for entry in self._own.values() if entry.offers is None)
        for changed in list(self._watchers):
            changed()


def _by_key(entry: _Entry) -> dict[str, tuple[ModelOffer, ...]]:
    """Its offers by the key of their model. Not kept: for most peers it would take more than all else does."""
    by_key: dict[str, tuple[ModelOffer, ...]] = {}
    for offer in (offers := entry.offers or ()):
        key = same_model_key(offer.model)
        by_key[key] = (*by_key.get(key, ()), offer) if len(offers) > 1 else offers
    return by_key


def _offers(entries: Iterable[_Entry]) -> Offers:
    return [(entry.provider, offer) for entry in entries for offer in entry.offers or ()]


def _found(endpoint: Endpoint, own: Collection[_Entry], peers: Collection[_Entry]) -> Found:
    """Those of them that serve it there; else where they serve it otherwise."""

    def serving(entries: Collection[_Entry]) -> tuple[Provider, ...]:
        return tuple(each.provider for each in entries if any(endpoint in one.endpoints for one in each.offers or ()))

    found = Found(serving(own), serving(peers))
    if found != NOBODY:
        return found
    return Found((), (), tuple(sorted({other for _, offer in _offers(chain(own, peers)) for other in offer.endpoints})))


def _compared(name: str) -> str:
    return same_model_key(name).lower()[:MAX_COMPARED_CHARS]
