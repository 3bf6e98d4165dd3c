"""The attempts of one request: makes them, notes how each went, and what that says of the provider."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from masa_node.chat.answer import Answer, WholeAnswer
from masa_node.chat.errors import ErrorAnswer, FirstPieceTimeout, MemoryFull, ProviderError
from masa_node.chat.outcome import CANCELLED, WON, Attempt
from masa_node.chat.request import RaceMode, Request
from masa_node.routing.health import Health
from masa_node.routing.provider import Begin, Begun, Provider, Sign, Together, no_sign
from masa_node.routing.racing.error_rank import best_error, is_busy, is_the_callers_fault
from masa_node.routing.racing.patience import Asked, Patience
from masa_node.routing.racing.provider_stats import ProviderStats, RaceEvent, RaceStep
from masa_node.routing.translating import answered

Accept = Callable[[], bool]


@dataclass(slots=True, eq=False)
class Attempts:
    """The request came at `began_s` of the clock `now_s`: for what is told; what is decided goes by the loop's.

    `trail` is in the order in which the attempts ended. `errors` is the most useful error yet, if there is any: the
    errors of a thousand peers, of a megabyte each, are not kept for that. `last_error` is the newest.

    `race` is the rule by which peers were asked, None while none was; `hedges` how many of them were hedges.
    """

    _request: Request
    _stats: ProviderStats
    patience: Patience
    _loop: asyncio.AbstractEventLoop
    _now_s: Callable[[], float]
    _began_s: float
    trail: tuple[Attempt, ...] = ()
    errors: tuple[ProviderError, ...] = ()
    last_error: ProviderError | None = None
    winner: Asked | None = None
    race: RaceMode | None = None
    hedges: int = 0
    ahead: Asked | None = None  # asked as the request came, and `running`; `make` goes on, or it has `won`
    _doubtful: tuple[Health, ...] = ()
    _silent: tuple[tuple[int, Asked], ...] = ()  # with their places in the trail

    async def in_turn(self, providers: Sequence[Provider]) -> Answer:
        """The answer of the first that gives one. Raises the most useful `ProviderError` when none does."""
        for provider in providers:
            answer = await self.make(provider)
            if answer is not None:
                return answer
        raise best_error(self.errors)

    def begin(self, provider: Provider, together: Together, wake: Sign) -> Asked | None:
        """Ask this one without waiting, if it can be asked so: `make` the rest once `wake` is called, or `give_up`."""
        begin: Begin | None = getattr(provider, "begin", None)
        begun = begin(together, wake) if begin is not None else None
        if begun is None:
            return None
        asked = self._asked(provider, begun, wake)
        self.patience.begun(asked)
        return asked

    def give_up(self, asked: Asked) -> None:
        """Another has won, or nobody waits any more."""
        if asked.begun is not None:
            asked.begun.close()
        self.patience.ended(asked)
        self._cancelled(asked)

    async def make(self, provider: Provider, accept: Accept | None = None, asked: Asked | None = None) -> Answer | None:
        """Ask this one, or go on with what was `asked`. None if it failed (the error is then `last_error`) or if it
        does not win.

        `accept`, called as soon as the answer is there, says whether it wins; if not, it is closed.
        When cancelled nothing is left open.
        """
        if asked is None and self.ahead is not None and self.ahead.provider is provider:
            asked, self.ahead = self.ahead, None
        asked = asked or self._asked(provider)
        try:
            async with asked:
                answer = await answered(provider, self._request, asked.sign, asked.begun)
        except ProviderError as exc:
            self._failed(asked, exc)
            return None
        except BaseException:
            self._cancelled(asked)
            raise
        if accept is not None and not accept():
            answer.close()
            self._cancelled(asked)
            return None
        self.won(asked, answer)
        return answer

    def _asked(self, provider: Provider, begun: Begun | None = None, wake: Sign = no_sign) -> Asked:
        health, asked_s = self._stats.health.of(provider.name), self._loop.time()
        if health.failures:
            health.tried(asked_s)
        health.running += 1
        after_s = self._now_s() - self._began_s
        self._tell(provider, RaceStep.ASKED, after_s)
        return Asked(provider, health, self.patience, asked_s, after_s, wake, begun)

    def succeeded(self) -> None:
        """The winner's answer has ended whole."""
        if self.winner is not None:
            self.winner.health.succeeded(self._loop.time())

    def broke_off(self, error: ProviderError, *, is_its_fault: bool) -> None:
        """The winner failed with this after its first piece."""
        if self.winner is not None:
            if is_its_fault:
                self.winner.health.failed(self._loop.time())
            error.location = error.location or self.winner.provider.location

    def note_silence(self) -> None:
        """The time for the first piece is over: providers that were still asked did not answer.

        It counts as a failure of those that had half of the time or more.
        """
        now_s, trail = self._loop.time(), list(self.trail)
        for index, asked in self._silent:
            trail[index] = msgspec.structs.replace(trail[index], result=FirstPieceTimeout.code)
            took_s = now_s - asked.at_s
            if 2 * took_s >= now_s - self.patience.came_s:
                asked.health.failed(now_s, took_s)
        self.trail = tuple(trail)

    def close(self) -> None:
        """End the winner's attempt: it has nothing more to do; and what was asked ahead. At most one call."""
        ahead, self.ahead = self.ahead, None
        if ahead is not None and ahead.begun is not None:
            ahead.begun.close()
            self._cancelled(ahead)
        self.errors, self.last_error = (), None  # they hold the frames that they passed, which lead here
        self._silent = ()  # so do those that were given up
        if self.winner is not None:
            self.winner.health.running -= 1

    def won(self, asked: Asked, answer: Answer) -> None:
        """It has answered: its first valid piece is there."""
        self.ahead, self.winner = None, asked
        now_s = self._loop.time()
        took_s = now_s - asked.at_s
        self._note(asked, WON, RaceStep.WON)
        if isinstance(answer, WholeAnswer):  # of a stream it is known at its end
            asked.health.succeeded(now_s)
        asked.health.answered(took_s, now_s)
        if not asked.provider.is_local:
            self._stats.latency.note(self._request.model, took_s)
            for other in self._doubtful:
                other.failed(now_s)

    def _failed(self, asked: Asked, error: ProviderError) -> None:
        now_s = self._loop.time()
        health = asked.health
        self.last_error = error
        self.errors = (best_error([*self.errors, error]),)
        result = f"http_{error.status}" if isinstance(error, ErrorAnswer) else error.code
        self._note(asked, result, RaceStep.FAILED, error.code)
        health.running -= 1
        if is_busy(error):
            health.busy(now_s)
        elif isinstance(error, MemoryFull):
            pass  # that is this node's lack, whoever answered
        elif not is_the_callers_fault(error):
            health.failed(now_s, now_s - asked.at_s)
        elif asked.provider.is_local:
            health.succeeded(now_s)
        else:
            self._doubtful += (health,)  # held against it if another answers

    def _cancelled(self, asked: Asked) -> None:
        now_s, winner = self._loop.time(), self.winner
        self._note(asked, CANCELLED, RaceStep.CANCELLED)
        asked.health.running -= 1
        if winner is None:
            self._silent += ((len(self.trail) - 1, asked),)
        else:
            took_s, is_passed_over = now_s - asked.at_s, not winner.provider.is_local and asked.at_s < winner.at_s
            asked.health.lost(took_s, now_s, is_passed_over=is_passed_over)
            if is_passed_over:  # else slow first pieces, given up for a hedge, would never count as usual
                self._stats.latency.note(self._request.model, took_s)

    def _note(self, asked: Asked, result: str, step: RaceStep, why: str | None = None) -> None:
        provider, ended_after_s = asked.provider, self._now_s() - self._began_s
        self.trail += (Attempt(provider.name, result, asked.after_s, ended_after_s, provider.is_local),)
        self._tell(provider, step, ended_after_s, why)

    def _tell(self, provider: Provider, step: RaceStep, after_s: float, why: str | None = None) -> None:
        request, watch = self._request, self._stats.watch
        if watch is not None:
            watch(RaceEvent(request.request_id, request.model, step, provider.name, provider.is_local, after_s, why))
