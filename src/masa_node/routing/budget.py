"""How many hedges all races together may ask: a tenth of the requests of the last minute. Pure; time is given."""

from collections import deque

HEDGE_SHARE = 0.10  # SRE book, chapter 21: a client's retry budget is a tenth of its requests
WINDOW_S = 60
ALWAYS = 1  # hedge a minute, however few requests there are: a lone caller is not left with a stalled peer


class HedgeBudget:
    """Counts requests and hedges by the second; one object for all races of a node."""

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
        asks = sum(asks for second, asks, _ in self._seconds if second > here[0] - WINDOW_S)
        hedges = sum(hedges for second, _, hedges in self._seconds if second >= here[0] - WINDOW_S)
        if hedges + 1 > max(ALWAYS, int(asks * HEDGE_SHARE)):
            return False
        here[2] += 1
        return True

    def _second(self, now_s: float) -> list[int]:
        now = int(now_s)
        if not self._seconds or self._seconds[-1][0] < now:
            self._seconds.append([now, 0, 0])
        return self._seconds[-1]
