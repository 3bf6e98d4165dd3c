"""Which of several own servers is asked first. Pure; time is given.

Those of the lowest `priority` number that are well share the work. The one with the fewest requests in flight is asked,
weighed by how slow each is, as in the peak EWMA of Finagle and linkerd. A conversation stays where it was while the
load allows: that server still holds the beginning of its prompt (KV cache). A server that comes back has its share grow
(Envoy's slow start).
"""

from collections.abc import Sequence

from masa_node.routing.health import Health, HealthBook
from masa_node.routing.provider import Provider

# First pieces that come this soon tell machines apart no more than their noise does.
LEAST_LATENCY_S = 0.010
SLOWER_FROM = 2.0  # times the fastest: what is less is noise, and prompts of different length
# ... and what is more may be the same: a few whole answers among streams. Such a server gets a fifth, not nothing.
SLOWEST = 4.0
STAYS_WITHIN = 1  # requests in flight more than at the least busy one: a longer wait costs more than a new prompt

MAX_CONVERSATIONS = 4_096  # some 100 bytes each; more than a few servers hold in their caches
KEY_BYTES = 2_048  # where a first message is longer, conversations with the same beginning count as one
_TURNS = (b'"messages"', b'"input"')


class Balancer:
    """Orders own servers. `health` has what is known of each; conversations are kept, the latest MAX_CONVERSATIONS."""

    def __init__(self, health: HealthBook) -> None:
        self._health = health
        self._server_of: dict[int, str] = {}

    def in_order(self, own: Sequence[Provider], conversation: int | None, now_s: float) -> list[Provider]:
        """All of them, the best first.

        What counts, in this order: being well; `priority`; holding this conversation; load and speed; having answered
        longest ago, and at last the order in which they were named.
        """
        health = {provider.name: self._health.of(provider.name) for provider in own}
        tiers = {provider.name: (not health[provider.name].is_well(now_s), provider.priority) for provider in own}
        best = min(tiers.values())
        equals = [health[name] for name, tier in tiers.items() if tier == best]
        known = [latency_s for each in equals if (latency_s := each.latency_s(now_s)) > 0.0]
        fastest_s = max(min(known, default=0.0), LEAST_LATENCY_S)
        costs = {  # the load that one more request would find, in those of the fastest server
            name: (each.running + 1) * _slowness(each, fastest_s, now_s) / each.share(now_s)
            for name, each in health.items()
        }
        holder = self._holder(conversation, equals, fastest_s, now_s)

        def rank(provider: Provider) -> tuple[tuple[bool, int], bool, float, float]:
            name = provider.name
            return tiers[name], health[name] is not holder, costs[name], health[name].answered_s

        return sorted(own, key=rank)

    def answered_by(self, conversation: int, name: str) -> None:
        """This server has the conversation now."""
        self._server_of.pop(conversation, None)
        self._server_of[conversation] = name
        if len(self._server_of) > MAX_CONVERSATIONS:
            del self._server_of[next(iter(self._server_of))]

    def _holder(
        self, conversation: int | None, equals: Sequence[Health], fastest_s: float, now_s: float
    ) -> Health | None:
        """The server that has the conversation, if it may stay there."""
        name = self._server_of.get(conversation) if conversation is not None else None
        if name is None:
            return None
        holder = self._health.of(name)
        least = min(each.running for each in equals)
        may_stay = (
            holder.running <= least + STAYS_WITHIN
            and _slowness(holder, fastest_s, now_s) == 1.0
            and holder.share(now_s) == 1.0
        )
        return holder if may_stay else None


def conversation_of(body: bytes, model: str) -> int | None:
    """The same number in every turn of a conversation: of the model and the beginning of what was said.

    Clients append turns, so a first turn and a later one are the same up to the end of the first message of the user.
    Nothing is parsed: it takes a few microseconds of any body. None: too little was said to tell.
    """
    start = next((at for field in _TURNS if (at := body.find(field, 0, KEY_BYTES)) >= 0), 0)
    if not start and len(body) < KEY_BYTES:
        return None
    beginning = body[start : start + KEY_BYTES]
    user = beginning.find(b'"user"')
    end = beginning.find(b"}", user) if user >= 0 else -1  # of the message, a part of it, or before: the same each turn
    if end >= 0:
        beginning = beginning[:end]
    return hash((model, beginning))


def _slowness(health: Health, fastest_s: float, now_s: float) -> float:
    """How many times as long as the fastest it takes, as far as that is known; an unknown one is no slower."""
    ratio = health.latency_s(now_s) / fastest_s
    return min(ratio, SLOWEST) if ratio >= SLOWER_FROM else 1.0
