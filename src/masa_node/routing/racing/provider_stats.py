"""What a dispatcher has learnt of providers, and the watcher of its races: shared by all its exchanges."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec

from masa_node.chat.request import RequestId
from masa_node.routing.health import HealthBook
from masa_node.routing.racing.hedging import HedgeBudget, LatencyBook


class RaceStep(StrEnum):
    """What happened to one provider in a race."""

    ASKED = "asked"
    WON = "won"  # its first valid piece is there
    FAILED = "failed"
    CANCELLED = "cancelled"  # another won, the caller has gone, or the time for the first piece is over


class RaceEvent(msgspec.Struct, frozen=True, gc=False):
    """One step, as it happens. `after_s` is seconds after the request came; `why` an error's code, of a failure."""

    request_id: RequestId
    model: str
    step: RaceStep
    provider: str
    is_local: bool
    after_s: float
    why: str | None = None


Watch = Callable[[RaceEvent], None]


@dataclass(slots=True)
class ProviderStats:
    """`health` may be shared by several dispatchers of a node. `watch` is told every step, while one is set: it
    must not raise, and costs nothing while it is None.
    """

    health: HealthBook = field(default_factory=HealthBook)
    latency: LatencyBook = field(default_factory=LatencyBook)
    budget: HedgeBudget = field(default_factory=HedgeBudget)
    watch: Watch | None = None
