"""How much may be done now: a token bucket. Pure; time is given."""


class TokenBucket:
    """So much a second, and so much at once when nothing was done for a while."""

    __slots__ = ("_at_s", "_burst", "_level", "_per_s")

    def __init__(self, per_s: float, burst: float, now_s: float) -> None:
        self._per_s = per_s
        self._burst = burst
        self._level = burst
        self._at_s = now_s

    def level(self, now_s: float) -> float:
        """What may be done at once."""
        if now_s > self._at_s:
            self._level = min(self._burst, self._level + (now_s - self._at_s) * self._per_s)
            self._at_s = now_s
        return self._level

    def take(self, amount: float, now_s: float) -> bool:
        """Do so much, if it may be done now."""
        if (self._level if now_s <= self._at_s else self.level(now_s)) < amount:
            return False
        self._level -= amount
        return True

    def when_s(self, amount: float, now_s: float) -> float:
        """When so much may be done, if nothing else is; never later than a full allowance."""
        missing = min(amount, self._burst) - self.level(now_s)
        return now_s + max(0.0, missing) / self._per_s
