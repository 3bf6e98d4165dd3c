"""How well each provider is: a circuit breaker by consecutive failures. Pure; time is given.

After M. Nygard, Release It! (circuit breaker): closed, open for a while, then one try decides.
"""

OPENS_AFTER = 3  # failures in a row; fewer would punish one lost connection
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0


class Health:
    """One provider's. A provider that is not well is asked last, never left out: it may be the only one."""

    __slots__ = ("_failures", "_pause_s", "_until_s")

    def __init__(self) -> None:
        self._failures = 0
        self._pause_s = FIRST_PAUSE_S
        self._until_s = 0.0

    def succeeded(self) -> None:
        """It answered (an error of the caller's making counts as an answer)."""
        self._failures = 0
        self._pause_s = FIRST_PAUSE_S

    def failed(self, now_s: float) -> None:
        """It did not: refused, closed, broken, a 5xx, silent."""
        self._failures += 1
        if self._failures >= OPENS_AFTER:
            self._until_s = now_s + self._pause_s
            self._pause_s = min(self._pause_s * 2, LONGEST_PAUSE_S)

    def is_well(self, now_s: float) -> bool:
        """May it be preferred? False while the breaker is open."""
        return self._failures < OPENS_AFTER or now_s >= self._until_s
