"""Decides a race: what happened comes in, what to do goes out. Pure; time is given.

A race is a row of stages. Own LLM servers run first, one after the other; then the peers, by the rule of the request;
then those that are not well. The next stage begins when all of the last one have failed, or, beside it, when peers have
been silent for longer than its patience. The first valid piece wins.

Connections have been raced so for long: RFC 8305 (Happy Eyeballs, 5) starts the next attempt beside a silent one after
a delay, and at once after a failure. The delay of rule `hedge` is that of J. Dean and L. Barroso, The Tail at Scale:
the 95th percentile of what is usual, within a budget (`hedging`).
"""

from collections import deque
from collections.abc import Iterator
from typing import NewType

import msgspec

from masa_node.routing.racing.hedging import HedgeBudget

DEFAULT_WIDTH = 64  # the fastest of so many is hardly slower than that of all, and each costs an upload of the body
MAX_WIDTH = 1_000  # streams of one request; ten such requests reach what one connection endpoint was seen to carry
LOOK_AGAIN_S = 1.0  # the budget is spent: it counts by the second

Candidate = NewType("Candidate", int)  # a runner, by its position in the field


class Stage(msgspec.Struct, frozen=True):
    """The runners of one stage, best first; by default one after the other.

    1. `at_first` start at once, and at most `width` run at the same time.
    2. One that failed is replaced at once.
    3. After `hedge_after_s` without a first piece, one more starts.
    4. When all have started and none has answered after `patience_s`, the next stage begins beside them.
    """

    candidates: tuple[Candidate, ...]
    at_first: int = 1
    width: int = 1
    hedge_after_s: float | None = None
    patience_s: float | None = None
    is_own: bool = False


# ---- what happened ----


class RaceStarted(msgspec.Struct, frozen=True, gc=False):
    """The race may begin."""


class FirstPiece(msgspec.Struct, frozen=True, gc=False):
    """A valid first piece came from this one."""

    candidate: Candidate


class Failed(msgspec.Struct, frozen=True, gc=False):
    """This one will not answer. `is_refusal`: its LLM said that the request itself is wrong (400, 413, 422)."""

    candidate: Candidate
    is_refusal: bool = False


class Tick(msgspec.Struct, frozen=True, gc=False):
    """The time of the last `WakeAt` has come."""


Event = RaceStarted | FirstPiece | Failed | Tick


# ---- what to do ----


class Start(msgspec.Struct, frozen=True, gc=False):
    """Ask this one. `is_hedge`: although another still runs and has not failed."""

    candidate: Candidate
    is_hedge: bool = False


class WakeAt(msgspec.Struct, frozen=True, gc=False):
    """Send a `Tick` then. The last one counts."""

    at_s: float


class Cancel(msgspec.Struct, frozen=True, gc=False):
    """Stop this one: it lost."""

    candidate: Candidate


class Win(msgspec.Struct, frozen=True, gc=False):
    """This one won. The race is over but for the `Cancel`s that come with it."""

    candidate: Candidate


class GiveUp(msgspec.Struct, frozen=True, gc=False):
    """All have failed. The race is over."""


Command = Start | WakeAt | Cancel | Win | GiveUp


class Race:
    """One request's race. Stages are taken when they are needed: a node whose own LLM is well need not rank its peers.

    An own LLM that refused the request itself (`is_refusal`) keeps it from the peers: any LLM would refuse it. A peer's
    word does not end a race. Own servers that are slow but have not failed do not bring in the peers.
    """

    def __init__(self, stages: Iterator[Stage], budget: HedgeBudget) -> None:
        self._stages = stages
        self._budget = budget
        self.stage = Stage(())
        self._line: deque[Candidate] = deque()
        self._running: dict[Candidate, None] = {}  # in the order in which they were asked
        self._due_s: float | None = None  # when one more may be asked beside those that run
        self._own: set[Candidate] = set()
        self._is_counted = False
        self._is_refused = False
        self.is_over = False

    def happened(self, event: Event, now_s: float) -> list[Command]:
        """What to do now, in this order. Events about one that does not run, or after the end, have no effect."""
        match event:
            case RaceStarted():
                return self._next_stage(now_s)
            case FirstPiece(candidate=candidate):
                return self._win(candidate)
            case Failed(candidate=candidate, is_refusal=is_refusal):
                return self._replace(candidate, now_s, is_refusal=is_refusal)
            case Tick():
                return self._hedge(now_s)

    def end(self) -> None:
        """No provider is asked any more. The stages are let go of: they may refer to the runner."""
        self.is_over = True
        self._stages = iter(())

    def _next_stage(self, now_s: float) -> list[Command]:
        return self._begin_stage(now_s) or self._give_up()

    def _begin_stage(self, now_s: float) -> list[Command]:
        """Beside those that run. Nothing is to be done when none is left."""
        is_hedge = bool(self._running)
        self._due_s = None
        for stage in self._stages:
            if stage.candidates:
                self.stage = stage
                self._line = deque(stage.candidates)
                if stage.is_own:
                    self._own.update(stage.candidates)
                if stage.hedge_after_s is not None and not self._is_counted:  # once, when its first peer may be hedged
                    self._is_counted = True
                    self._budget.asked(now_s)
                first = min(stage.at_first, stage.width - len(self._running), len(self._line))
                return [*(self._start_next(is_hedge=is_hedge) for _ in range(first)), *self._set_clock(now_s)]
        return []

    def _win(self, candidate: Candidate) -> list[Command]:
        if self.is_over or candidate not in self._running:
            return []
        self.is_over = True
        return [Win(candidate), *(Cancel(other) for other in self._running if other != candidate)]

    def _replace(self, candidate: Candidate, now_s: float, *, is_refusal: bool) -> list[Command]:
        if self.is_over or candidate not in self._running:
            return []
        del self._running[candidate]
        self._is_refused = self._is_refused or (is_refusal and candidate in self._own)
        if self._line and len(self._running) < self.stage.width:  # ones of an earlier stage may run still
            return [self._start_next(), *self._set_clock(now_s)]
        if self._running:
            return [] if self._due_s is not None else self._set_clock(now_s)
        return self._give_up() if self._is_refused else self._next_stage(now_s)

    def _hedge(self, now_s: float) -> list[Command]:
        due_s = self._due_s
        if self.is_over or due_s is None:
            return []
        if now_s < due_s:
            return [WakeAt(due_s)]
        if self.stage.hedge_after_s is not None and not self._budget.take(now_s):
            self._due_s = now_s + LOOK_AGAIN_S
            return [WakeAt(self._due_s)]
        if not self._line:
            return self._begin_stage(now_s)
        return [self._start_next(is_hedge=True), *self._set_clock(now_s)]

    def _give_up(self) -> list[Command]:
        self.is_over = True
        return [GiveUp()]

    def _start_next(self, *, is_hedge: bool = False) -> Start:
        candidate = self._line.popleft()
        self._running[candidate] = None
        return Start(candidate, is_hedge)

    def _set_clock(self, now_s: float) -> list[Command]:
        """For one more beside those that run. It runs from the newest start."""
        after_s = self.stage.hedge_after_s if self._line else self.stage.patience_s
        if after_s is None or len(self._running) >= self.stage.width:
            self._due_s = None
            return []
        self._due_s = now_s + after_s
        return [WakeAt(self._due_s)]
