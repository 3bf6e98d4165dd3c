"""When the next digest goes out: soon while much is missing, seldom where nothing changes. Pure; time is given."""

import math
import random

SOONEST_DIGEST_S = 0.5  # between digests while much is missing;
GREETING_DIGEST_S = 0.25  # to one new link and to the next: each tells another part of what is missing;
CHANGED_DIGEST_S = 10.0  # after something has changed, for a push may miss somebody;
CHANGED_DIGESTS = 6  # so many: one that was missed hears of it from as many peers, and one in 400 later;
LATEST_DIGEST_S = 600.0  # each further one doubles the pause up to this: nothing changes, and digests find nothing
_LEAST, _MOST = 0.75, 1.25  # of the pause: nodes that started together soon send apart


class DigestTimes:
    """`at_s` is when the next one is due; infinity for never."""

    def __init__(self, rng: random.Random) -> None:
        self.at_s = math.inf
        self._rng = rng
        self._pause_s = SOONEST_DIGEST_S
        self._near = 0  # so many of the next ones come within CHANGED_DIGEST_S

    def linked(self, now_s: float) -> None:
        """A new link: a digest goes over it at once, more or less."""
        self._pause_s = SOONEST_DIGEST_S
        self.at_s = min(self.at_s, now_s + self._rng.uniform(0, SOONEST_DIGEST_S))

    def alone(self) -> None:
        """There is no link any more."""
        self.at_s = math.inf

    def sent(self, now_s: float, *, are_more_greeted: bool) -> None:
        """One went out. `are_more_greeted`: other new links wait for theirs."""
        pause_s = GREETING_DIGEST_S if are_more_greeted else self._pause_s
        self.at_s = now_s + pause_s * self._rng.uniform(_LEAST, _MOST)
        if are_more_greeted:
            self._pause_s = SOONEST_DIGEST_S
        else:
            self._pause_s = min(2 * self._pause_s, CHANGED_DIGEST_S if self._near else LATEST_DIGEST_S)
            self._near -= bool(self._near)

    def missed_much(self, now_s: float) -> None:
        """A peer knows much that this node does not."""
        self._pause_s = SOONEST_DIGEST_S
        self.at_s = min(self.at_s, now_s + SOONEST_DIGEST_S)

    def changed(self, now_s: float) -> None:
        """Something is new here, or a digest has found something."""
        self._near = CHANGED_DIGESTS
        if self._pause_s > CHANGED_DIGEST_S:
            self._pause_s = CHANGED_DIGEST_S
            self.at_s = min(self.at_s, now_s + self._pause_s * self._rng.uniform(_LEAST, _MOST))
