"""How long a model's first piece usually takes: the 95th percentile of recent ones. Pure."""

import math
from collections import deque

from masa_node.chat.offer import same_model_key

WINDOW = 128  # first pieces of a model that count: some minutes of a busy model, and its p95 rests on six of them
PERCENTILE = 0.95  # J. Dean, L. Barroso, The Tail at Scale: hedge after the 95th percentile
SHORTEST_S = 0.05  # below that a second ask gains less than it costs
START_S = 1.0  # while too little is known: hosted models take some hundred milliseconds, local ones up to a second
FEWEST = 20  # samples under which one slow answer would be the 95th percentile
MAX_MODELS = 1_000  # that are asked now and then; the one that was noted longest ago goes


class LatencyBook:
    """The usual times to the first piece, by model."""

    def __init__(self) -> None:
        self._recent: dict[str, deque[float]] = {}

    def note(self, model: str, took_s: float) -> None:
        """A first piece of this model took this long (or at least this long, if it was given up)."""
        key = same_model_key(model)
        recent = self._recent.pop(key, None)
        if recent is None:
            recent = deque[float](maxlen=WINDOW)
            if len(self._recent) >= MAX_MODELS:
                del self._recent[next(iter(self._recent))]
        recent.append(took_s)
        self._recent[key] = recent  # the newest last

    def usual_s(self, model: str) -> float:
        """The time within which nearly all first pieces of this model come: at least SHORTEST_S."""
        recent = self._recent.get(same_model_key(model), ())
        if len(recent) < FEWEST:
            return START_S
        return max(sorted(recent)[math.ceil(PERCENTILE * len(recent)) - 1], SHORTEST_S)
