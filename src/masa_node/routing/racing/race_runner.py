"""Carries a race out: a task for each provider that runs beside others, none for one that runs alone."""

import asyncio
import random
from collections.abc import Iterator, Sequence

from masa_node.chat.answer import Answer
from masa_node.chat.request import Ask, RaceMode
from masa_node.routing.candidates import Chosen
from masa_node.routing.health import HealthBook
from masa_node.routing.provider import Provider
from masa_node.routing.racing import race
from masa_node.routing.racing.attempts import Attempts
from masa_node.routing.racing.error_rank import is_refusal, most_useful
from masa_node.routing.racing.provider_stats import Experience
from masa_node.routing.racing.race import DEFAULT_WIDTH, MAX_WIDTH, Entrant, Heat, Race, own_heat, peers_heat

MAX_RANKED = MAX_WIDTH  # of more peers, as many are drawn: ranking costs about a microsecond each
PATIENCE_SHARE = 1 / 3  # of the time for a first piece: silent peers have it before those of the next heat are asked
MIN_LINE = 128  # peers that may be asked for one request one after the other, however small the width is


class Runners:
    """One race. `run` owns every task; when it returns or raises, none is left and only the winner's answer is open."""

    def __init__(self, ask: Ask, chosen: Chosen, attempts: Attempts, experience: Experience) -> None:
        self._ask = ask
        self._chosen = chosen
        self._attempts = attempts
        self._experience = experience
        self._loop = asyncio.get_running_loop()
        self._field: list[Provider] = []
        self._heat_of: list[int] = []  # of each in the field; later ones have higher numbers
        self._patience_s = 0.0
        self._race = Race(self._heats(), experience.budget)
        self._tasks: dict[Entrant, asyncio.Task[None]] = {}
        self._clock: asyncio.TimerHandle | None = None
        self._answer: Answer | None = None

    async def run(self) -> Answer:
        """The first valid answer. Raises the most useful `ProviderError` when all have failed."""
        commands = self._tell(race.Started())
        while True:
            match commands:
                case [race.Ask(entrant=entrant)]:
                    answer = await self._attempts.make(self._field[entrant])
                    if answer is not None:
                        return answer
                    commands = self._tell(self._failure(entrant))
                case [race.GiveUp()]:
                    raise most_useful(self._attempts.errors)
                case _:
                    return await self._beside_each_other(commands)

    async def _beside_each_other(self, commands: Sequence[race.Command]) -> Answer:
        self._done = self._loop.create_future()
        try:
            # Losers are awaited here. They end in a turn or two of the loop: cancelled providers wait for nothing.
            async with asyncio.TaskGroup() as self._group:
                try:
                    self._carry_out(commands)
                    await self._done
                finally:
                    self._end()
        except BaseException:
            if self._answer is not None:
                self._answer.close()  # the caller has gone, or the time was over, while the losers ended
            raise
        if self._answer is None:
            raise most_useful(self._attempts.errors)
        return self._answer

    def _carry_out(self, commands: Sequence[race.Command]) -> None:
        for command in commands:
            match command:
                case race.Ask(entrant=entrant, is_hedge=is_hedge):
                    self._attempts.hedges += is_hedge
                    # Now and not when the task begins: other races choose in between.
                    self._experience.health.of(self._field[entrant].name).tried(self._loop.time())
                    self._tasks[entrant] = self._group.create_task(self._attempt(entrant))
                case race.Cancel(entrant=entrant):
                    self._tasks[entrant].cancel()
                case race.WakeAt(at_s=at_s):
                    self._set_clock(at_s)
                case race.GiveUp():
                    self._finish()
                case race.Crown():
                    pass  # told to the winner by `_is_crowned`

    async def _attempt(self, entrant: Entrant) -> None:
        answer = await self._attempts.make(self._field[entrant], lambda: self._is_crowned(entrant))
        if answer is not None:
            self._answer = answer
            self._finish()
        elif not self._race.is_over:
            self._carry_out(self._tell(self._failure(entrant)))

    def _failure(self, entrant: Entrant) -> race.Failed:
        error = self._attempts.last_error
        return race.Failed(entrant, error is not None and is_refusal(error))

    def _is_crowned(self, entrant: Entrant) -> bool:
        commands = self._tell(race.FirstPiece(entrant))
        self._blame_the_silent(commands, entrant)
        self._carry_out(commands)
        return race.Crown(entrant) in commands

    def _blame_the_silent(self, commands: Sequence[race.Command], winner: Entrant) -> None:
        """One of a later heat answered first: else those who hang would keep every request waiting for that heat."""
        for command in commands:
            if isinstance(command, race.Cancel) and self._heat_of[command.entrant] < self._heat_of[winner]:
                provider = self._field[command.entrant]
                if not self._attempts.is_alive(provider):
                    self._experience.health.of(provider.name).failed(self._loop.time(), self._patience_s)

    def _tell(self, event: race.Event) -> list[race.Command]:
        return self._race.happened(event, self._loop.time())

    def _finish(self) -> None:
        if not self._done.done():
            self._done.set_result(None)

    def _end(self) -> None:
        """Nothing is asked any more, whatever still happens."""
        self._race.is_over = True
        if self._clock is not None:
            self._clock.cancel()

    def _set_clock(self, at_s: float) -> None:
        if self._clock is not None:
            self._clock.cancel()
        self._clock = self._loop.call_at(at_s, self._tick)

    def _tick(self) -> None:
        self._carry_out(self._tell(race.Tick()))

    # ---- who runs ----

    def _heats(self) -> Iterator[Heat]:
        """Own servers, peers group by group, peers that are not well, own servers that waste time.

        Each is chosen when its turn comes.
        """
        chosen, rule = self._chosen, self._ask.race
        yield own_heat(self._enter(chosen.own))
        width = min(rule.width or DEFAULT_WIDTH, MAX_WIDTH)
        usual_s = self._experience.latency.usual_s(self._ask.model) if rule.mode is RaceMode.HEDGE else 0.0
        self._attempts.race = rule.mode
        line = max(width, MIN_LINE)
        groups = [ranked(peers, self._experience.health, self._loop.time(), line) for peers in chosen.peers]
        heats = [peers for peers in (*(well for well, _ in groups), *(ill for _, ill in groups)) if peers]
        patience_s = self._patience_s = (self._ask.first_piece_deadline_s - self._loop.time()) * PATIENCE_SHARE
        is_telling = self._ask.wants_stream  # who answers in one piece is silent until it is done
        for later, peers in zip(range(len(heats) - 1, -1, -1), heats, strict=True):
            yield peers_heat(
                self._enter(peers), rule.mode, width, usual_s, patience_s if is_telling and later else None
            )
        yield own_heat(self._enter(chosen.last))

    def _enter(self, providers: Sequence[Provider]) -> tuple[Entrant, ...]:
        first = len(self._field)
        self._field += providers
        self._heat_of += [first] * len(providers)
        return tuple(Entrant(number) for number in range(first, len(self._field)))


def ranked(
    peers: Sequence[Provider], health: HealthBook, now_s: float, at_most: int
) -> tuple[list[Provider], list[Provider]]:
    """The best peers, the best first; and, of those whose breaker is open, as many as there is room for still.

    Equals are in any order, so that many askers spread over them. Of more than MAX_RANKED peers so many are drawn.
    """
    drawn = random.sample(peers, min(len(peers), MAX_RANKED))
    costs = {peer.name: health.of(peer.name).cost_s(now_s) for peer in drawn}
    drawn.sort(key=lambda peer: costs[peer.name])
    well = [peer for peer in drawn if health.of(peer.name).is_well(now_s)][:at_most]
    ill = [peer for peer in drawn if not health.of(peer.name).is_well(now_s)][: at_most - len(well)]
    return well, ill
