"""Carries a race out: a task for each provider that runs beside others, none for one that runs alone.

A linked peer is asked in this very turn of the loop, and gets its task once it says something.
"""

import asyncio
import random
from collections.abc import Iterator, Sequence
from functools import partial
from operator import itemgetter

from masa_node.chat.answer import Answer
from masa_node.chat.request import RaceMode, Request
from masa_node.routing.candidates import Chosen
from masa_node.routing.health import HealthBook
from masa_node.routing.provider import Provider, Together
from masa_node.routing.racing import race
from masa_node.routing.racing.attempts import Attempts
from masa_node.routing.racing.error_rank import best_error, is_refusal
from masa_node.routing.racing.patience import Asked
from masa_node.routing.racing.provider_stats import ProviderStats
from masa_node.routing.racing.race import DEFAULT_WIDTH, MAX_WIDTH, Candidate, Race, Stage
from masa_node.routing.running.tidy_group import TidyGroup

MAX_RANKED = MAX_WIDTH  # of more peers, as many are drawn: ranking costs about a microsecond each
PATIENCE_SHARE = 1 / 3  # of the time for a first piece: silent peers have it before the next stage is asked
MIN_LINE = 128  # peers that may be asked for one request one after the other, however small the width is


class RaceRunner:
    """One race. `run` owns every task; when it returns or raises, none is left and only the winner's answer is open."""

    def __init__(self, request: Request, chosen: Chosen, attempts: Attempts, stats: ProviderStats) -> None:
        self._request = request
        self._chosen = chosen
        self._attempts = attempts
        self._stats = stats
        self._loop = asyncio.get_running_loop()
        self._field: list[Provider] = []
        self._stage_of: list[int] = []  # of each in the field; later ones have higher numbers
        self._patience_s = 0.0
        self._race = Race(self._stages(), stats.budget)
        self._begun: dict[Candidate, Asked] = {}  # asked, and not heard of since: they have no task yet
        self._tasks: dict[Candidate, asyncio.Task[None]] = {}
        self._clock: asyncio.TimerHandle | None = None
        self._answer: Answer | None = None

    async def run(self) -> Answer:
        """The first valid answer. Raises the most useful `ProviderError` when all have failed."""
        try:
            commands = self._tell(race.RaceStarted())
            while True:
                match commands:
                    case [race.Start(candidate=candidate)]:
                        answer = await self._attempts.make(self._field[candidate])
                        if answer is not None:
                            return answer
                        commands = self._tell(self._failure(candidate))
                    case [race.GiveUp()]:
                        raise best_error(self._attempts.errors)
                    case _:
                        return await self._beside_each_other(commands)
        finally:
            self._race.end()

    async def _beside_each_other(self, commands: Sequence[race.Command]) -> Answer:
        self._done = self._loop.create_future()
        try:
            # Losers are awaited here. They end in a turn or two of the loop: cancelled providers wait for nothing.
            async with TidyGroup() as self._group:
                try:
                    self._execute(commands)
                    await self._done
                finally:  # nothing is asked any more, whatever still happens
                    self._race.end()
                    if self._clock is not None:
                        self._clock.cancel()
        except BaseException:
            if self._answer is not None:
                self._answer.close()  # the caller has gone, or the time was over, while the losers ended
            raise
        finally:
            while self._begun:  # what they wake leads here, ...
                self._attempts.give_up(self._begun.popitem()[1])
            self._tasks.clear()  # ... and so do frames that what ended these holds
        if self._answer is None:
            raise best_error(self._attempts.errors)
        return self._answer

    def _execute(self, commands: Sequence[race.Command]) -> None:
        together = Together(self._request)
        for command in commands:
            match command:
                case race.Start(candidate=candidate, is_hedge=is_hedge):
                    self._attempts.hedges += is_hedge
                    self._start(candidate, together)
                case race.Cancel(candidate=candidate):
                    if candidate in self._tasks:  # one that has none is given up at the end
                        self._tasks[candidate].cancel()
                case race.WakeAt(at_s=at_s):
                    self._set_clock(at_s)
                case race.GiveUp():
                    self._finish()
                case race.Win():
                    pass  # told to the winner by `_has_won`

    def _start(self, candidate: Candidate, together: Together) -> None:
        provider = self._field[candidate]
        # Now and not when a task begins: other races choose in between.
        self._stats.health.of(provider.name).tried(self._loop.time())
        asked = self._attempts.begin(provider, together, partial(self._wake, candidate))
        if asked is None:
            self._tasks[candidate] = self._group.create_task(self._attempt(candidate))
        else:
            self._begun[candidate] = asked

    def _wake(self, candidate: Candidate) -> None:
        """Something came from one that was asked without a task: from here on it needs one."""
        if self._race.is_over or candidate in self._tasks:
            return
        attempt = self._attempt(candidate)
        try:
            self._tasks[candidate] = self._group.create_task(attempt)
        except RuntimeError:  # the group has begun to end
            attempt.close()

    async def _attempt(self, candidate: Candidate) -> None:
        asked = self._begun.pop(candidate, None)
        answer = await self._attempts.make(self._field[candidate], lambda: self._has_won(candidate), asked)
        if answer is not None:
            self._answer = answer
            self._finish()
        elif not self._race.is_over:
            self._execute(self._tell(self._failure(candidate)))

    def _failure(self, candidate: Candidate) -> race.Failed:
        error = self._attempts.last_error
        return race.Failed(candidate, error is not None and is_refusal(error))

    def _has_won(self, candidate: Candidate) -> bool:
        commands = self._tell(race.FirstPiece(candidate))
        self._blame_the_silent(commands, candidate)
        self._execute(commands)
        return race.Win(candidate) in commands

    def _blame_the_silent(self, commands: Sequence[race.Command], winner: Candidate) -> None:
        """One of a later stage won: silent ones of earlier stages fail, or each request would wait for them again."""
        for command in commands:
            if isinstance(command, race.Cancel) and self._stage_of[command.candidate] < self._stage_of[winner]:
                provider = self._field[command.candidate]
                if not self._attempts.patience.is_alive(provider.name):
                    self._stats.health.of(provider.name).failed(self._loop.time(), self._patience_s)

    def _tell(self, event: race.Event) -> list[race.Command]:
        return self._race.happened(event, self._loop.time())

    def _finish(self) -> None:
        if not self._done.done():
            self._done.set_result(None)

    def _set_clock(self, at_s: float) -> None:
        if self._clock is not None:
            self._clock.cancel()
        self._clock = self._loop.call_at(at_s, lambda: self._execute(self._tell(race.Tick())))

    # ---- the field of a race ----

    def _stages(self) -> Iterator[Stage]:
        """Own servers, peers group by group, peers that are not well, own servers that waste time.

        Each is chosen when its turn comes.
        """
        chosen, rule = self._chosen, self._request.race
        yield Stage(self._add(chosen.own), is_own=True)
        width = min(rule.width or DEFAULT_WIDTH, MAX_WIDTH)
        at_first, usual_s = width, None
        if rule.mode is RaceMode.HEDGE:
            at_first, usual_s = 1, self._stats.latency.usual_s(self._request.model)
        self._attempts.race = rule.mode
        line = max(width, MIN_LINE)
        groups = [ranked(peers, self._stats.health, self._loop.time(), line) for peers in chosen.peers]
        stages = [peers for peers in (*(well for well, _ in groups), *(ill for _, ill in groups)) if peers]
        patience_s = self._patience_s = (self._request.first_piece_deadline_s - self._loop.time()) * PATIENCE_SHARE
        is_telling = self._request.wants_stream  # an answer in one piece is silent until it is done
        for later, peers in zip(range(len(stages) - 1, -1, -1), stages, strict=True):
            yield Stage(self._add(peers), at_first, width, usual_s, patience_s if is_telling and later else None)
        yield Stage(self._add(chosen.last), is_own=True)

    def _add(self, providers: Sequence[Provider]) -> tuple[Candidate, ...]:
        first = len(self._field)
        self._field += providers
        self._stage_of += [first] * len(providers)
        return tuple(Candidate(number) for number in range(first, len(self._field)))


def ranked(
    peers: Sequence[Provider], health: HealthBook, now_s: float, at_most: int
) -> tuple[list[Provider], list[Provider]]:
    """The best peers, the best first; and, of those whose breaker is open, as many as there is room for still.

    Equals are in any order, so that many requesters spread over them. Of more than MAX_RANKED peers so many are drawn.
    """
    drawn = random.sample(peers, MAX_RANKED) if len(peers) > MAX_RANKED else peers
    records = [(health.of(peer.name), peer) for peer in drawn]
    ranks = [(record.cost_s(now_s), random.random(), record, peer) for record, peer in records]  # noqa: S311
    ranks.sort(key=itemgetter(0, 1))
    well = [peer for _, _, record, peer in ranks if record.is_well(now_s)][:at_most]
    ill = [peer for _, _, record, peer in ranks if not record.is_well(now_s)][: at_most - len(well)]
    return well, ill
