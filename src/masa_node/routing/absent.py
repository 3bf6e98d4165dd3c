"""Providers that are away: which served a model until a short time ago. Pure; time is given.

A model whose peer is lost for seconds is not unknown: SDKs ask again after a 503, and not after a 404.
"""

from collections.abc import Collection

import msgspec

from masa_node.chat.ask import Door
from masa_node.chat.offer import ModelOffer, loose_model_key
from masa_node.routing.provider import Provider

AWAY_S = 300.0  # the restart of a machine; a provider that stays away longer has gone
MAX_ABSENT = 512  # as many as there are links; each has at most as many models as an advert


class Absence(msgspec.Struct, frozen=True, gc=False):
    """A provider that left at `since_s`."""

    provider: Provider
    since_s: float


class _Left(msgspec.Struct, frozen=True):
    absence: Absence
    doors: dict[str, frozenset[Door]]  # of each model, by its loose key


class Absences:
    """Those of the last AWAY_S, at most MAX_ABSENT: the one that is away longest goes."""

    def __init__(self) -> None:
        self._left: dict[str, _Left] = {}

    def left(self, provider: Provider, offers: tuple[ModelOffer, ...], now_s: float) -> None:
        """It served these until now."""
        self._left.pop(provider.name, None)
        doors: dict[str, frozenset[Door]] = {}
        for offer in offers:
            key = loose_model_key(offer.model)
            doors[key] = doors.get(key, frozenset()) | offer.doors
        self._left[provider.name] = _Left(Absence(provider, now_s), doors)
        if len(self._left) > MAX_ABSENT:
            del self._left[next(iter(self._left))]

    def back(self, name: str) -> None:
        """It is there again, or is to be forgotten."""
        self._left.pop(name, None)

    def names(self) -> list[str]:
        """Who is away."""
        return list(self._left)

    def serving(self, model: str, doors: Collection[Door], now_s: float) -> list[Absence]:
        """Who served this model at any of these, the latest first."""
        while self._left:
            name, oldest = next(iter(self._left.items()))
            if now_s - oldest.absence.since_s < AWAY_S:
                break
            del self._left[name]
        key = loose_model_key(model)
        return [
            left.absence
            for left in reversed(self._left.values())
            if not left.doors.get(key, frozenset()).isdisjoint(doors)
        ]
