"""Decides a race: what happened comes in, what to do goes out. Pure; time is given.

A race is a row of heats. Own LLM servers run first, one after the other; then the peers, by the rule of the request;
then those that are not well. The next heat begins when all of the last one have failed, or, beside it, when peers have
been silent for longer than its patience. The first valid piece wins.
"""

from collections import deque
from collections.abc import Iterator
from typing import NewType

import msgspec

from masa_node.chat.request import RaceMode
from masa_node.routing.racing.hedging import HedgeBudget

DEFAULT_WIDTH = 64  # the fastest of so many is hardly slower than that of all, and each costs an upload of the body
MAX_WIDTH = 1_000  # streams of one request; ten such requests reach what one connection endpoint was seen to carry
LOOK_AGAIN_S = 1.0  # the budget is spent: it counts by the second

Entrant = NewType("Entrant", int)  # who runs, by his place in the field


class Heat(msgspec.Struct, frozen=True):
    """Who runs now, best first. `at_first` start at once, at most `width` run at the same time, one who failed is
    replaced at once, and after `hedge_after_s` without a first piece one more starts. When all have started and none of
    them has answered after `patience_s`, the next heat begins beside them.
    """

    entrants: tuple[Entrant, ...]
    at_first: int = 1
    width: int = 1
    hedge_after_s: float | None = None
    patience_s: float | None = None
    is_own: bool = False


def own_heat(entrants: tuple[Entrant, ...]) -> Heat:
    """Own LLM servers: in turn."""
    return Heat(entrants, is_own=True)


def peers_heat(
    entrants: tuple[Entrant, ...],
    mode: RaceMode,
    width: int,
    hedge_after_s: float,
    patience_s: float | None = None,
) -> Heat:
    """Peers: all at once, or the best one first."""
    if mode is RaceMode.ALL:
        return Heat(entrants, at_first=width, width=width, patience_s=patience_s)
    return Heat(entrants, width=width, hedge_after_s=hedge_after_s, patience_s=patience_s)


# ---- what happened ----


class Started(msgspec.Struct, frozen=True, gc=False):
    """The race may begin."""


class FirstPiece(msgspec.Struct, frozen=True, gc=False):
    """A valid first piece came from this one."""

    entrant: Entrant


class Failed(msgspec.Struct, frozen=True, gc=False):
    """This one will not answer. `is_refusal`: its LLM said that the request itself is wrong (400, 413, 422)."""

    entrant: Entrant
    is_refusal: bool = False


class Tick(msgspec.Struct, frozen=True, gc=False):
    """The time of the last `WakeAt` has come."""


Event = Started | FirstPiece | Failed | Tick


# ---- what to do ----


class Ask(msgspec.Struct, frozen=True, gc=False):
    """Ask this one. `is_hedge`: although another still runs and has not failed."""

    entrant: Entrant
    is_hedge: bool = False


class WakeAt(msgspec.Struct, frozen=True, gc=False):
    """Send a `Tick` then. The last one counts."""

    at_s: float


class Cancel(msgspec.Struct, frozen=True, gc=False):
    """Stop this one: it lost."""

    entrant: Entrant


class Crown(msgspec.Struct, frozen=True, gc=False):
    """This one won. The race is over but for the `Cancel`s that come with it."""

    entrant: Entrant


class GiveUp(msgspec.Struct, frozen=True, gc=False):
    """All have failed. The race is over."""


Command = Ask | WakeAt | Cancel | Crown | GiveUp


class Race:
    """One request's. Heats are taken when they are needed: who has a well LLM of his own need not rank his peers.

    An own LLM that refused the request itself (`is_refusal`) keeps it from the peers: any LLM would refuse it. A peer's
    word does not end a race. Own servers that are slow but have not failed do not bring in the peers.
    """

    def __init__(self, heats: Iterator[Heat], budget: HedgeBudget) -> None:
        self._heats = heats
        self._budget = budget
        self._heat = Heat(())
        self._line: deque[Entrant] = deque()
        self._running: dict[Entrant, None] = {}  # in the order in which they were asked
        self._due_s: float | None = None  # when one more may be asked beside those that run
        self._own: set[Entrant] = set()
        self._is_counted = False
        self._is_refused = False
        self.is_over = False
        self.hedges = 0

    def happened(self, event: Event, now_s: float) -> list[Command]:
        """What to do now, in this order. Events about one who does not run, or after the end, are without effect."""
        match event:
            case Started():
                return self._next_heat(now_s)
            case FirstPiece(entrant=entrant):
                return self._crown(entrant)
            case Failed(entrant=entrant, is_refusal=is_refusal):
                return self._replace(entrant, now_s, is_refusal=is_refusal)
            case Tick():
                return self._hedge(now_s)

    def _next_heat(self, now_s: float) -> list[Command]:
        return self._begin_heat(now_s) or self._give_up()

    def _begin_heat(self, now_s: float) -> list[Command]:
        """Beside those that run. Nothing is to be done when none is left."""
        is_hedge = bool(self._running)
        self._due_s = None
        for heat in self._heats:
            if heat.entrants:
                self._heat = heat
                self._line = deque(heat.entrants)
                if heat.is_own:
                    self._own.update(heat.entrants)
                self._count(now_s)
                first = min(heat.at_first, heat.width - len(self._running), len(self._line))
                return [*(self._ask_next(is_hedge=is_hedge) for _ in range(first)), *self._set_clock(now_s)]
        return []

    def _crown(self, entrant: Entrant) -> list[Command]:
        if self.is_over or entrant not in self._running:
            return []
        self.is_over = True
        return [Crown(entrant), *(Cancel(other) for other in self._running if other != entrant)]

    def _replace(self, entrant: Entrant, now_s: float, *, is_refusal: bool) -> list[Command]:
        if self.is_over or entrant not in self._running:
            return []
        del self._running[entrant]
        self._is_refused = self._is_refused or (is_refusal and entrant in self._own)
        if self._line:
            return [self._ask_next(), *self._set_clock(now_s)]
        if self._running:
            return [] if self._due_s is not None else self._set_clock(now_s)
        return self._give_up() if self._is_refused else self._next_heat(now_s)

    def _hedge(self, now_s: float) -> list[Command]:
        due_s = self._due_s
        if self.is_over or due_s is None:
            return []
        if now_s < due_s:
            return [WakeAt(due_s)]
        if self._heat.hedge_after_s is not None and not self._budget.take(now_s):
            self._due_s = now_s + LOOK_AGAIN_S
            return [WakeAt(self._due_s)]
        if not self._line:
            commands = self._begin_heat(now_s)
            self.hedges += sum(isinstance(command, Ask) for command in commands)
            return commands
        self.hedges += 1
        return [self._ask_next(is_hedge=True), *self._set_clock(now_s)]

    def _give_up(self) -> list[Command]:
        self.is_over = True
        return [GiveUp()]

    def _ask_next(self, *, is_hedge: bool = False) -> Ask:
        entrant = self._line.popleft()
        self._running[entrant] = None
        return Ask(entrant, is_hedge)

    def _set_clock(self, now_s: float) -> list[Command]:
        """For one more beside those that run. It runs from the newest ask."""
        after_s = self._heat.hedge_after_s if self._line else self._heat.patience_s
        if after_s is None or len(self._running) >= self._heat.width:
            self._due_s = None
            return []
        self._due_s = now_s + after_s
        return [WakeAt(self._due_s)]

    def _count(self, now_s: float) -> None:
        """A request counts once in the budget, when its first peer may be hedged."""
        if self._heat.hedge_after_s is not None and not self._is_counted:
            self._is_counted = True
            self._budget.asked(now_s)
