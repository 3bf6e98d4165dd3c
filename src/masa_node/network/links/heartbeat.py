"""When a peer is asked whether it is still there, and when it is lost. Pure; time is given.

While requests are under way, and while an answer is due, a peer is asked every HEARTBEAT_S, so that its death is seen
within LOST_AFTER_S. A link on which nothing happens is asked every QUIET_S: a question and its answer are four packets,
250 bytes.
"""

HEARTBEAT_S = 1.25
QUIET_S = 4.9  # iroh sends something every 5 s by itself, and does not where this was sent
# The side that dialed asks. The other one hears that, and asks itself when it does not: so much later, for clocks and
# ways differ. It also asks a few times an hour to know how long the way is.
OTHER_SIDE_S = 0.15
OTHER_SIDE_QUIET_S = 1.0
MEASURE_EVERY = 180
LOST_AFTER_S = 3.9  # without a word, so that it is known within 4 s, of which
UNANSWERED_S = 2.5  # with a question unanswered: two more were asked meanwhile
CHANGED_WAY_S = 10.0  # after a change of the way QUIC may need longer to find the other one than a peer may be silent
MAX_QUESTIONS_KEPT = 8  # that were not answered: a peer may talk on, and answer none


class Heartbeat:
    """Of one link, from one side. `is_dialed`: this side made it."""

    def __init__(self, now_s: float, *, is_dialed: bool) -> None:
        self.rtt_s: float | None = None
        self._is_dialed = is_dialed
        self._heard_s = now_s
        self._asked_s: float | None = None  # the first question since something was heard
        self._sent: dict[int, float] = {}
        self._number = 0
        self._last_sent_s = float("-inf")
        self._measured_s = float("-inf")
        self._changed_s = float("-inf")

    @property
    def questions(self) -> int:
        """How many were not answered, as far as is remembered."""
        return len(self._sent)

    def heard(self, now_s: float) -> None:
        """The peer sent something."""
        self._heard_s, self._asked_s = now_s, None

    def answered(self, number: int, now_s: float) -> bool:
        """It answered this question; False if that was not open."""
        sent_s = self._sent.pop(number, None)
        if sent_s is None:
            return False
        self.rtt_s = now_s - sent_s
        self._sent = {later: at_s for later, at_s in self._sent.items() if later > number}
        return True

    def way_changed(self, now_s: float) -> None:
        """Packets take another way, or will have to: be patient."""
        self._changed_s = now_s

    def question(self, now_s: float, *, is_busy: bool) -> int | None:
        """The number of the question to ask now, if one is due. `is_busy`: requests are under way."""
        if now_s < self._due_s(is_busy=is_busy):
            return None
        self._number += 1
        self._last_sent_s = self._measured_s = self._sent[self._number] = now_s
        self._sent.pop(self._number - MAX_QUESTIONS_KEPT, None)
        if self._asked_s is None:
            self._asked_s = now_s
        return self._number

    def rest_s(self, now_s: float, *, is_busy: bool) -> float:
        """How long nothing is due. Look again after HEARTBEAT_S anyway: a request may have begun."""
        due_s = min(self._due_s(is_busy=is_busy), self._lost_s())
        return min(max(due_s - now_s, 0.001), HEARTBEAT_S)

    def is_lost(self, now_s: float) -> bool:
        """Has it been silent for too long?"""
        return now_s >= self._lost_s()

    def _due_s(self, *, is_busy: bool) -> float:
        if self._asked_s is not None or not self._number:
            return self._last_sent_s + HEARTBEAT_S
        every_s, later_s = (HEARTBEAT_S, OTHER_SIDE_S) if is_busy else (QUIET_S, OTHER_SIDE_QUIET_S)
        if self._is_dialed:
            return self._last_sent_s + every_s
        return min(self._heard_s + every_s + later_s, self._measured_s + MEASURE_EVERY * QUIET_S)

    def _lost_s(self) -> float:
        if self._asked_s is None:
            return float("inf")
        silent_s = CHANGED_WAY_S if self._heard_s - self._changed_s < CHANGED_WAY_S else LOST_AFTER_S
        return max(self._asked_s + UNANSWERED_S, self._heard_s + silent_s)
