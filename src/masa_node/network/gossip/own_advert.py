"""This node's own advert: what is in it, and when a new one is due. Pure; time is given."""

import functools
from collections.abc import Callable
from heapq import nsmallest

import msgspec
import structlog

from masa_node.chat.offer import ModelFacts, ModelOffer, same_model_key
from masa_node.chat.request import DIALECT_OF_ENDPOINT, PASSED_ENDPOINTS, DialectName, Endpoint
from masa_node.dialects.bodies.peek import is_model
from masa_node.network.gossip.adverts import (
    MAX_ADVERT_MODELS,
    MAX_COUNT,
    Advert,
    AdvertModel,
    SignedAdvert,
    lifetime_s,
    sign_advert,
)
from masa_node.network.transport.interfaces import Keys, PeerAddress

LOAD_SENT_EVERY_S = 2.0  # it changes with every request; a requester hears `busy` from the node itself anyway
# Those that a peer may serve: nobody has to be believed to serve a format that is always translated.
_ENDPOINTS = {
    endpoint.value: endpoint
    for endpoint, dialect in DIALECT_OF_ENDPOINT.items()
    if endpoint is not Endpoint.OLLAMA_SHOW and dialect != DialectName.GEMINI
}
_MORE = "openai.more"  # in an advert: all of PASSED_ENDPOINTS, whose names would be longer than all else of a model
YEAR_10000_UNIX_S = 253_402_300_800  # no calendar shows it
KEPT_OFFERS = 1_024  # of peers' models that were read last, 4 kB each at most: thousands of peers serve the same ones
_MAX_CAPABILITIES = 16
_MAX_WORD_CHARS = 64

log = structlog.get_logger()


class AboutNode(msgspec.Struct, frozen=True):
    """What an advert says beside models: read again each time. `running` of `slots` are taken by peers' requests."""

    version: str
    name: str
    address: PeerAddress
    running: int
    slots: int
    delegation: bytes | None = None


class Advertiser:
    """Makes the next advert when there is something new to say, or the last one gets old."""

    def __init__(self, keys: Keys, offers: Callable[[], list[ModelOffer]], about: Callable[[], AboutNode]) -> None:
        self._keys = keys
        self._offers = offers
        self._about = about
        self._sequence = 0
        self._issued_s = float("-inf")
        self._lifetime_s = lifetime_s(0)
        self._announced: AboutNode | None = None
        self._models: tuple[AdvertModel, ...] | None = None
        self._models_now: tuple[AdvertModel, ...] | None = None

    def offers_changed(self) -> None:
        """What this node shares is no longer what it was."""
        self._models_now = None

    def raise_above(self, sequence: int) -> None:
        """Others hold an advert of this node with this number: the next one must be newer."""
        self._sequence = max(self._sequence, sequence)
        self._announced = None

    def due(self, now_s: float, at_unix_s: float, known: int = 0) -> SignedAdvert | None:
        """A new advert if one is due now; `known` nodes are known. Cheap when it is not."""
        about = self._about()
        models = self._models_now
        if models is None:
            models = self._models_now = _models(self._offers())
        if self._is_announced(about, models, now_s):
            return None
        self._sequence = max(self._sequence + 1, int(at_unix_s * 1000))  # grows over restarts too
        self._announced, self._models, self._issued_s = about, models, now_s
        self._lifetime_s = lifetime_s(known)
        return self._sign(about, models, int(at_unix_s))

    def _is_announced(self, about: AboutNode, models: tuple[AdvertModel, ...], now_s: float) -> bool:
        announced = self._announced
        if announced is None or models != self._models or now_s - self._issued_s > self._lifetime_s / 2:
            return False
        if about == announced:
            return True
        is_only_load = msgspec.structs.replace(about, running=announced.running) == announced
        return is_only_load and now_s - self._issued_s < LOAD_SENT_EVERY_S

    def _sign(self, about: AboutNode, models: tuple[AdvertModel, ...], at_unix_s: int) -> SignedAdvert:
        advert = Advert(
            node_id=self._keys.node_id,
            sequence=self._sequence,
            issued_at_unix_s=at_unix_s,
            expires_at_unix_s=at_unix_s + self._lifetime_s,
            version=about.version,
            name=about.name,
            addresses=about.address.direct,
            relay_url=about.address.relay_url,
            models=models,
            running=min(about.running, about.slots),
            slots=about.slots,
            delegation=about.delegation,
        )
        while True:
            try:
                return sign_advert(advert, self._keys)
            except ValueError:
                bare = tuple(AdvertModel(model.id, model.endpoints, model.context_tokens) for model in advert.models)
                if bare != advert.models:  # rather every model without what is only to be read
                    advert = msgspec.structs.replace(advert, models=bare)
                    continue
                half = advert.models[: len(advert.models) // 2]
                log.warning("too many models for one advert", announced=len(half), shared=len(models))
                advert = msgspec.structs.replace(advert, models=half)


def offers_of(advert: Advert) -> list[ModelOffer]:
    """What a peer's advert offers, as far as this node understands it."""
    offers: list[ModelOffer] = []
    for model in advert.models:
        offer = _offer(model)
        if offer is not None:
            offers.append(offer)
    return offers


@functools.lru_cache(KEPT_OFFERS)
def _offer(model: AdvertModel) -> ModelOffer | None:
    """What peers offer is much the same. A stranger's words are shown to people: what cannot be printed is left out."""
    named = {_ENDPOINTS[endpoint] for endpoint in model.endpoints if endpoint in _ENDPOINTS}
    endpoints: frozenset[Endpoint] = PASSED_ENDPOINTS.union(named) if _MORE in model.endpoints else frozenset(named)
    if not endpoints or not is_model(model.id):
        return None
    created = model.created_at_unix_s
    return ModelOffer(
        model.id,
        endpoints,
        created_at_unix_s=created if created is not None and created < YEAR_10000_UNIX_S else None,
        context_tokens=model.context_tokens,
        capabilities=tuple(word for word in model.capabilities if word.isprintable()),
        facts=ModelFacts(
            family=_printable(model.family),
            parameter_size=_printable(model.parameter_size),
            quantization=_printable(model.quantization),
            size_bytes=model.size_bytes,
            format=_printable(model.format),
        ),
    )


def _printable(word: str) -> str:
    return word if word.isprintable() else ""


def _said_of(offer: ModelOffer) -> AdvertModel:
    facts = offer.facts
    return AdvertModel(
        id=offer.model,
        endpoints=(),
        context_tokens=offer.context_tokens,
        capabilities=tuple(word[:_MAX_WORD_CHARS] for word in offer.capabilities[:_MAX_CAPABILITIES]),
        created_at_unix_s=offer.created_at_unix_s,
        family=facts.family[:_MAX_WORD_CHARS],
        parameter_size=facts.parameter_size[:_MAX_WORD_CHARS],
        quantization=facts.quantization[:_MAX_WORD_CHARS],
        size_bytes=max(0, min(facts.size_bytes, MAX_COUNT)),
        format=facts.format[:_MAX_WORD_CHARS],
    )


def _models(offers: list[ModelOffer]) -> tuple[AdvertModel, ...]:
    """Each model once, by name, with the endpoints of all servers that share it; of thousands the first ones."""
    ids: dict[str, str] = {}
    for offer in offers:
        key = same_model_key(offer.model)
        if key not in ids and not _ENDPOINTS.keys().isdisjoint(offer.endpoints):
            ids[key] = offer.model
    chosen = dict(nsmallest(MAX_ADVERT_MODELS, ids.items(), key=lambda named: named[1]))
    merged: dict[str, AdvertModel] = {}
    for offer in offers:
        key = same_model_key(offer.model)
        if key in chosen:
            merged[key] = _merged(merged.get(key), offer)
    return tuple([merged[key] for key in chosen])


def _merged(known: AdvertModel | None, offer: ModelOffer) -> AdvertModel:
    """What is known of a model, and this offer of it. The first server's word counts, where it gave one."""
    endpoints = {
        _MORE if endpoint in PASSED_ENDPOINTS else endpoint.value
        for endpoint in offer.endpoints
        if endpoint.value in _ENDPOINTS
    }
    said = _said_of(offer)
    if known is not None and known.endpoints:
        endpoints |= set(known.endpoints)
        facts = known if known.family or known.parameter_size or known.size_bytes else said
        said = msgspec.structs.replace(
            facts,
            id=known.id,
            context_tokens=known.context_tokens or said.context_tokens,
            capabilities=known.capabilities or said.capabilities,
        )
    return msgspec.structs.replace(said, endpoints=tuple(sorted(endpoints)))
