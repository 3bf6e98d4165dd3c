"""How well each provider is: a circuit breaker by consecutive failures, and a score for ranking. Pure; time is given.

The breaker is that of M. Nygard, Release It!: closed, open for a while, then one try decides. The score is Finagle's
and linkerd's peak EWMA, with a term for failures. It is an exponentially weighted mean of the time to the first piece,
times the requests under way, plus what recent failures cost.
"""

import math
from dataclasses import dataclass

OPENS_AFTER = 3  # failures in a row; fewer would punish one lost connection
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
SLOW_FAILURE_S = 1.0  # a failure that took longer than this costs the caller time that another would have used

NEWEST_WEIGHT = 0.25  # of one first piece in the mean: about the last eight count
HALF_LIFE_S = 60.0  # what is known fades, so that a provider that was slow or failed is tried again
FAILURE_COSTS_S = 10.0  # one fresh failure ranks a provider like one that takes this long
BUSY = 0.5  # of a failure
# Of a failure: another, asked later, was faster. By design, that befalls one request in twenty of a well peer. With 0.5
# most went to the few that it had not befallen recently, and queued there (`bench/races.py`: p99 1.6 s, now 1.3 s).
PASSED_OVER = 0.05
MOST_FAILURES = 6.0  # fades to less than a tenth within four half-lives
UNKNOWN_COSTS_S = 1.0  # for each request already under way at a provider that never answered yet

SLOW_START_S = 10.0  # one that was broken gets its share back over this time: caches and models are loaded first
LEAST_SHARE = 0.1  # at once; Envoy's `min_weight_percent`

MAX_RECORDS = 16_384  # more than the peers that are remembered (10 000) and any number of own servers


@dataclass(slots=True, eq=False)
class Health:
    """One provider's. A provider that is not well is asked last, never left out: it may be the only one.

    `failures` are those in a row; `running` counts the requests it has now, by whoever sent each.
    `answered_s` is when it last answered; 0.0 of one that never did.
    """

    running: int = 0
    failures: int = 0
    answered_s: float = 0.0
    _back_s: float | None = None
    _pause_s: float = FIRST_PAUSE_S
    _until_s: float = 0.0
    _is_slow: bool = False
    _latency_s: float | None = None
    _bad: float = 0.0
    _bad_at_s: float = 0.0

    def tried(self, now_s: float) -> None:
        """A request goes to it. If its pause is just over, this is the one try: others wait for what comes of it."""
        if self.failures >= OPENS_AFTER and now_s >= self._until_s:
            self._until_s = now_s + self._pause_s

    def succeeded(self, now_s: float | None = None) -> None:
        """It answered (an error of the caller's making counts as an answer). One whose breaker was open is back."""
        if self.failures >= OPENS_AFTER:
            self._back_s = now_s
        self.failures = 0
        self._pause_s = FIRST_PAUSE_S

    def failed(self, now_s: float, took_s: float = 0.0) -> None:
        """It did not: refused, closed, broken, a 5xx, silent; known after `took_s`."""
        self.failures += 1
        self._is_slow = took_s >= SLOW_FAILURE_S
        self._blame(1.0, now_s)
        if self.failures >= OPENS_AFTER:
            self._until_s = now_s + self._pause_s
            self._pause_s = min(self._pause_s * 2, LONGEST_PAUSE_S)

    def busy(self, now_s: float) -> None:
        """It is well but has no slot: it ranks lower for a while, the breaker stays as it is."""
        self._blame(BUSY, now_s)

    def answered(self, took_s: float, now_s: float) -> None:
        """Its first valid piece took this long."""
        before_s = self._latency_s
        self._latency_s = took_s if before_s is None else before_s + NEWEST_WEIGHT * (took_s - before_s)
        self.answered_s = now_s

    def lost(self, after_s: float, now_s: float, *, is_passed_over: bool) -> None:
        """Another was faster: its first piece takes at least this long. Passed over: the other was asked later."""
        if after_s > self.latency_s(now_s):
            self._latency_s = after_s
            self.answered_s = now_s
        if is_passed_over:
            self._blame(PASSED_OVER, now_s)

    def is_well(self, now_s: float) -> bool:
        """May it be preferred? False while the breaker is open."""
        return self.failures < OPENS_AFTER or now_s >= self._until_s

    def wastes_time(self, now_s: float) -> bool:
        """Not well, and its requests wait before they fail."""
        return self._is_slow and not self.is_well(now_s)

    def share(self, now_s: float) -> float:
        """How much of a well server's share of the work it gets: all, or less for SLOW_START_S once it is back."""
        if self._back_s is None:
            return 1.0
        share = max((now_s - self._back_s) / SLOW_START_S, LEAST_SHARE)
        if share < 1.0:
            return share
        self._back_s = None
        return 1.0

    def cost_s(self, now_s: float) -> float:
        """What asking it now is expected to cost in time; the lowest is the best.

        One that is not known yet costs nothing: it is tried once, by one request at a time.
        """
        each_s = self.latency_s(now_s) * (self.running + 1)
        if self._latency_s is None:
            each_s = UNKNOWN_COSTS_S * self.running
        return each_s + FAILURE_COSTS_S * self._faded_bad(now_s)

    def latency_s(self, now_s: float) -> float:
        """The usual time to its first piece, faded; 0.0 of one that is not known."""
        if self._latency_s is None:
            return 0.0
        return self._latency_s * _fading(now_s - self.answered_s)

    def _faded_bad(self, now_s: float) -> float:
        return self._bad * _fading(now_s - self._bad_at_s) if self._bad else 0.0

    def _blame(self, weight: float, now_s: float) -> None:
        self._bad = min(self._faded_bad(now_s) + weight, MOST_FAILURES)
        self._bad_at_s = now_s


class HealthBook:
    """The records of all providers by name, at most MAX_RECORDS: the oldest goes. Dispatchers may share one."""

    def __init__(self) -> None:
        self._records: dict[str, Health] = {}

    def of(self, name: str) -> Health:
        """The record of this provider, a new one if there is none."""
        health = self._records.get(name)
        if health is None:
            if len(self._records) >= MAX_RECORDS:
                del self._records[next(iter(self._records))]
            health = self._records[name] = Health()
        return health


def _fading(passed_s: float) -> float:
    """What is left after this time."""
    return math.exp2(-max(passed_s, 0.0) / HALF_LIFE_S)
