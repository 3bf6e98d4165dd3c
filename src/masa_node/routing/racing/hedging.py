"""When to hedge: how long a first piece usually takes, and how many hedges all races may ask. Pure; time is given."""

import math
from collections import deque

from masa_node.chat.offer import same_model_key

WINDOW = 128  # first pieces of a model that count: some minutes of a busy model, and its p95 rests on six of them
PERCENTILE = 0.95  # J. Dean, L. Barroso, The Tail at Scale: hedge after the 95th percentile
SHORTEST_S = 0.05  # below that a second request gains less than it costs
START_S = 1.0  # while too little is known: hosted models take some hundred milliseconds, local ones up to a second
FEWEST = 20  # samples under which one slow answer would be the 95th percentile
MAX_TIMED_MODELS = 1_000  # that are asked now and then; the one that was noted longest ago goes


class LatencyBook:
    """How long a model's first piece usually takes: the 95th percentile of recent ones."""

    def __init__(self) -> None:
        self._recent: dict[str, deque[float]] = {}

    def note(self, model: str, took_s: float) -> None:
        """A first piece of this model took this long (or at least this long, if it was given up)."""
        key = same_model_key(model)
        recent = self._recent.pop(key, None) or deque[float](maxlen=WINDOW)
        if len(self._recent) >= MAX_TIMED_MODELS:
            del self._recent[next(iter(self._recent))]
        recent.append(took_s)
        self._recent[key] = recent  # the model that was noted last comes last

    def usual_s(self, model: str) -> float:
        """The time within which nearly all first pieces of this model come: at least SHORTEST_S."""
        recent = self._recent.get(same_model_key(model), ())
        if len(recent) < FEWEST:
            return START_S
        return max(sorted(recent)[math.ceil(PERCENTILE * len(recent)) - 1], SHORTEST_S)


HEDGE_SHARE = 0.10  # SRE book, chapter 21: a client's retry budget is a tenth of its requests
WINDOW_S = 60
ALWAYS = 1  # hedge a minute, however few requests there are: a lone caller is not left with a stalled peer


class HedgeBudget:
    """How many hedges all races of a node may ask: a tenth of the requests of the last minute."""

    def __init__(self) -> None:
        self._seconds: deque[list[int]] = deque(maxlen=WINDOW_S + 1)  # second, requests, hedges

    def asked(self, now_s: float) -> None:
        """A request went to its first peer."""
        self._second(now_s)[1] += 1

    def take(self, now_s: float) -> bool:
        """May one more be asked? If so it is counted.

        Parts of a second are counted so that the share never exceeds in any minute that ends with a hedge.
        """
        here = self._second(now_s)
        requests = sum(requests for second, requests, _ in self._seconds if second > here[0] - WINDOW_S)
        hedges = sum(hedges for second, _, hedges in self._seconds if second >= here[0] - WINDOW_S)
        if hedges + 1 > max(ALWAYS, int(requests * HEDGE_SHARE)):
            return False
        here[2] += 1
        return True

    def _second(self, now_s: float) -> list[int]:
        now = int(now_s)
        if not self._seconds or self._seconds[-1][0] < now:
            self._seconds.append([now, 0, 0])
        return self._seconds[-1]
