"""Which providers may be asked for one request: by model, endpoint and privacy."""

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from masa_node.chat.errors import (
    DialectNotServed,
    MasaError,
    NotTranslatable,
    PrivacyRefused,
    ProviderAway,
    ProviderError,
    UnknownModel,
)
from masa_node.chat.request import Endpoint, Privacy, Request, other_ways
from masa_node.dialects.translation.formats import COUNTS, targets_for
from masa_node.routing.balancing import Balancer, conversation_of
from masa_node.routing.catalog import NOBODY, Catalog, Found
from masa_node.routing.health import HealthBook
from masa_node.routing.peer_policy import AnyPeer, PeerPolicy
from masa_node.routing.provider import Provider, may_see
from masa_node.routing.translating import (
    Estimating,
    TranslatingProvider,
    may_be_translated,
    translation_of,
)

if TYPE_CHECKING:
    from masa_node.dialects.translation.translator import Translation

_AGAIN = "Ask again in a few seconds."
MAX_OWN = 8  # own servers that are tried for one request

Find = Callable[[str, Endpoint], Found]
Refresh = Callable[[], Awaitable[None]]
Arriving = Callable[[], Sequence[str]]


class Chosen(msgspec.Struct, frozen=True, gc=False):
    """Own servers in the order in which they are asked, then the peers that may be, group by group, then own servers
    that would only let the caller wait.

    `conversation` is the number of the request's, where there is a choice between own servers.
    """

    own: Sequence[Provider]
    peers: tuple[Sequence[Provider], ...] = ()
    last: Sequence[Provider] = ()
    conversation: int | None = None


class ChoiceRules(msgspec.Struct, frozen=True):
    """What the rest of the node says about the choice; by default nothing.

    `policy` says which peers may be asked. `arriving` lists known peers that are not linked yet, in words, while the
    node has just started. `why_nothing` says why no model at all can be asked, and what to do. `may_see`: may callers
    with the key of that name know of the model of this name?
    """

    policy: PeerPolicy = msgspec.field(default_factory=AnyPeer)
    arriving: Arriving = tuple
    why_nothing: Callable[[], str] = str
    may_see: Callable[[str, str], bool] = lambda _key, _model: True


NO_RULES = ChoiceRules()


class Candidates:
    """Chooses from the catalog. `refresh` looks for models that appeared since own servers were last listed."""

    def __init__(self, catalog: Catalog, refresh: Refresh, health: HealthBook, rules: ChoiceRules = NO_RULES) -> None:
        self._rules = rules
        self._catalog = catalog
        self._refresh = refresh
        self._health = health
        self._balancer = Balancer(health)
        self.knows = catalog.knows

    def note_winner(self, chosen: Chosen, winner: Provider) -> None:
        """The next turn of the conversation goes to the own server that was asked first, if it was that one.

        One that took over after a failure does not keep it: a lost connection should not cost the other's cache.
        """
        if chosen.conversation is not None and chosen.own and winner is chosen.own[0]:
            self._balancer.answered_by(chosen.conversation, chosen.own[0].name)

    def may_be_all(self, peer: Provider, privacy: Privacy) -> bool:
        """May this peer be asked, if it is the only provider?"""
        peers = (peer,)
        return bool(_allowed(peers, privacy)) and bool(self._rules.policy.select(peers).groups)

    async def choose(self, request: Request) -> Chosen:
        """The providers to ask, best first.

        Raises `UnknownModel`, `DialectNotServed`, `NotTranslatable`, `PolicyError`.
        """
        find: Find = self._catalog.find
        found = find(request.model, request.endpoint)
        if found == NOBODY:
            await self._refresh()
            found = find(request.model, request.endpoint)
        if found == NOBODY:
            find = self._catalog.find_any_name
            found = find(request.model, request.endpoint)
            if found.other_endpoints and not may_be_translated(request):
                found = NOBODY  # nobody lists it and nobody answers to it here: it is unknown, not merely elsewhere
        if request.translates_beside:
            chosen = await self._choose_all(request, find, targets_for(request.endpoint, request.model))
            if chosen is not None:
                return chosen
        if found.other_endpoints and may_be_translated(request):
            return await self._choose_translated(request, found.other_endpoints, find)
        return await self._choose(request, found)

    async def _choose_translated(self, request: Request, other_endpoints: Sequence[Endpoint], find: Find) -> Chosen:
        """No provider speaks the caller's format: translate it. Raises `NotTranslatable` before any is asked."""
        spoken = [
            (endpoint, find(request.model, endpoint))
            for endpoint in targets_for(request.endpoint, request.model)
            if endpoint in other_endpoints
        ]
        if request.endpoint in COUNTS and spoken:
            return Chosen([Estimating()])
        own = [endpoint for endpoint, found in spoken if found.own]
        every = [endpoint for endpoint, _ in spoken]
        for endpoints in (own, every):  # what own servers can carry is translated for peers only if they share a format
            chosen = await self._choose_all(request, find, endpoints)
            if chosen is not None:
                return chosen
        await translation_of(request, [*own, *every])
        raise self._no_one(request, Found(other_endpoints=tuple(other_endpoints)))

    async def _choose_all(self, request: Request, find: Find, endpoints: Sequence[Endpoint]) -> Chosen | None:
        """All that serve the model, each in its own format, the best of these `endpoints`.

        None where none has to be asked in translation.
        """
        found = find(request.model, request.endpoint)
        every = [*found.own, *found.peers]
        translations: dict[str, Translation | None] = {provider.name: None for provider in every}
        for endpoint in endpoints:
            others = find(request.model, endpoint)
            more = [provider for provider in (*others.own, *others.peers) if provider.name not in translations]
            translation = None
            if more:
                with contextlib.suppress(NotTranslatable):  # the others may carry the request
                    translation = await translation_of(request, [endpoint])
            if translation is not None:
                every += more
                translations |= {provider.name: translation for provider in more}
        if not any(translations.values()):
            return None
        own, peers = (tuple(each for each in every if each.is_local is is_local) for is_local in (True, False))
        return _in_translation(await self._choose(request, Found(own, peers)), translations)

    async def _choose(self, request: Request, found: Found) -> Chosen:
        own: Sequence[Provider] = found.own
        allowed = _allowed(found.peers, request.privacy) if found.peers else ()
        peers = await self._selected(allowed, is_needed=not (own or self._catalog.unlisted)) if allowed else ()
        if not own and not peers:
            own = self._catalog.unlisted if not found.other_endpoints else ()
            if not own:
                raise self._no_one(request, found)
        conversation = None
        now_s = asyncio.get_running_loop().time()
        if len(own) > 1:
            conversation = conversation_of(request.body, request.model)
            own = self._balancer.in_order(own, conversation, now_s)[:MAX_OWN]
        if not peers:
            return Chosen(own, conversation=conversation)
        last = [provider for provider in own if self._health.of(provider.name).wastes_time(now_s)]
        own = [provider for provider in own if provider not in last] if last else own
        return Chosen(own, peers, last, conversation)

    async def _selected(self, peers: Sequence[Provider], *, is_needed: bool) -> tuple[Sequence[Provider], ...]:
        """Groups of the peers that may be asked. Raises the policy's refusal if there is nothing else (`is_needed`)."""
        policy = self._rules.policy
        selection = policy.select(peers)
        if is_needed and selection.refusal is not None:
            await policy.refresh(peers)
            selection = policy.select(peers)
            if selection.refusal is not None:
                raise selection.refusal
        return selection.groups

    def _no_one(self, request: Request, found: Found) -> MasaError:
        if found.peers:
            return _kept_from(request, len(found.peers))
        away = self._away(request)
        if away is not None:
            return away
        if found.other_endpoints:
            return DialectNotServed(
                f"No LLM known here that serves {request.model!r} speaks the format of this endpoint "
                f"({request.endpoint}). {other_ways(request.endpoint, found.other_endpoints)}"
            )
        arriving = list(self._rules.arriving()) if request.privacy is not Privacy.LOCAL else []
        if arriving:
            return ProviderAway(
                f"No LLM known here serves the model {request.model!r}, but this node has just started, and peers "
                f"that it knows are not linked yet: {', '.join(arriving)}. {_AGAIN}"
            )
        return self._unknown(request)

    def _unknown(self, request: Request) -> UnknownModel:
        nearest = self._catalog.nearest(request.model, partial(self._rules.may_see, request.key))
        if not nearest and not self._catalog.nearest(request.model):
            return UnknownModel(
                f"No model {request.model!r}, nor any other, is served here or by a peer. "
                f"{self._rules.why_nothing() or 'Is an LLM server running?'}"
            )
        if not nearest:
            return UnknownModel(
                f"No LLM known here serves the model {request.model!r}. GET /api/v1/llm/models lists all that this key "
                "allows."
            )
        return UnknownModel(
            f"No LLM known here serves the model {request.model!r}, of this node or of a peer. "
            f"Nearest: {', '.join(nearest)}. GET /api/v1/llm/models lists all."
        )

    def _away(self, request: Request) -> ProviderAway | None:
        """Did a peer that may be asked serve it a short time ago?"""
        now_s = asyncio.get_running_loop().time()
        endpoints = (
            (request.endpoint, *targets_for(request.endpoint, request.model))
            if may_be_translated(request)
            else (request.endpoint,)
        )
        for absence in self._catalog.absences.serving(request.model, endpoints, now_s):
            if _allowed((absence.provider,), request.privacy):
                away_s = max(math.ceil(now_s - absence.since_s), 1)
                error = ProviderAway(
                    f"It serves {request.model!r}, and is away: its link was lost {away_s} s ago. {_AGAIN}"
                )
                error.location = absence.provider.location
                return error
        return None


def is_away(error: ProviderError, away_s: float) -> ProviderAway:
    """The error when the last hope was a provider that was there a short time ago."""
    silent = f"It is away, and has not answered for {max(math.ceil(away_s), 1)} s"  # not when it is back
    away = ProviderAway(f"{silent}: {error.message} {_AGAIN}")
    away.location = error.location
    return away


def _in_translation(chosen: Chosen, translations: "dict[str, Translation | None]") -> Chosen:
    """The same providers; those that these are for, by their names, are asked so."""

    def asked(some: Sequence[Provider]) -> list[Provider]:
        pairs = ((each, translations.get(each.name)) for each in some)
        return [TranslatingProvider(each, translation) if translation else each for each, translation in pairs]

    return Chosen(asked(chosen.own), tuple(map(asked, chosen.peers)), asked(chosen.last), chosen.conversation)


def _allowed(peers: Sequence[Provider], privacy: Privacy) -> Sequence[Provider]:
    """The peers that may see the request."""
    return peers if privacy is Privacy.ANY else [peer for peer in peers if may_see(peer, privacy)]


def _kept_from(request: Request, peers: int) -> PrivacyRefused:
    serve = "1 peer serves" if peers == 1 else f"{peers} peers serve"
    why = "that keeps it on this node" if request.privacy is Privacy.LOCAL else "and none of them is marked as trusted"
    advice = (
        "If a peer may see it, ask with X-Masa-Privacy: any (or trusted), as far as PRIVACY on the node allows it."
        if request.privacy is Privacy.LOCAL
        else "Mark one with `masa-node peers trust`, or, if any peer may see it, ask with "
        "X-Masa-Privacy: any, if PRIVACY on the node allows it."
    )
    return PrivacyRefused(
        f"{serve} {request.model!r}, no LLM server of this node does. The request's privacy is `{request.privacy}` "
        f"(X-Masa-Privacy, or PRIVACY on the node), {why}. {advice}"
    )
