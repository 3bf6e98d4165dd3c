"""How long a request waits for its first piece: longer while a provider that was asked shows that it works.

A sign of life is whatever a provider sends before its first piece: the head of a 2xx answer, a heartbeat, a peer's
word that its LLM has begun. It never wins a race. The rules:

1. No provider has shown one by the request's deadline (LLM_TIMEOUT): the time is over.
2. Else those that were asked in time and have shown none fail then; the others go on.
3. One that has shown some fails when no more came for LLM_IDLE_TIMEOUT, and never before the deadline of rule 1.
4. When the last one that had shown some fails after the deadline, those that are asked instead have LLM_TIMEOUT again.
5. Signs alone keep no request for ever: LLM_BEGIN_TIMEOUT is the end of all of it.
6. A peer that sent the request may give up before the deadline of rule 1, unless it gets a sign by then. That counts
   against no provider that was asked.
"""

import asyncio
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from masa_node.chat.errors import FirstPieceTimeout, ProviderError, Stalled
from masa_node.chat.request import Request
from masa_node.routing.health import Health
from masa_node.routing.provider import Begun, Provider, Sign, no_sign


@dataclass(slots=True, eq=False)
class Patience:
    """The timers of one request until its first piece: an async context manager whose body is cancelled, with
    `TimeoutError`, when the time is over.

    `has_signs` tells whether anybody has shown a sign of life. `on_sign` is called at each sign.
    """

    request: Request
    came_s: float
    _loop: asyncio.AbstractEventLoop
    _on_sign: Sign
    has_signs: bool = False
    # By name: none is asked twice at a time. The alias `dict[...]` takes as long to call as twenty of these.
    _running: dict[str, "Asked"] = field(default_factory=lambda: {})  # noqa: PIE807
    _alive: int = 0  # how many of these have shown a sign
    _silent_until_s: float = 0.0
    _timer: asyncio.TimerHandle | None = None
    _timer_at_s: float = 0.0  # uvloop's own cannot tell where it is due at once
    _clock: asyncio.Timeout = field(init=False)

    def is_alive(self, name: str) -> bool:
        """Has this provider, which is being asked, shown a sign of life?"""
        asked = self._running.get(name)
        return asked is not None and asked.seen_s is not None

    @property
    def end_s(self) -> float:
        """When all of it is over: LLM_BEGIN_TIMEOUT."""
        return max(self.request.begin_deadline_s, self.request.first_piece_deadline_s)

    @property
    def is_given_up(self) -> bool:
        """Is it the requester's own time that is over?"""
        return not self.has_signs and self.request.given_up_s < self.request.first_piece_deadline_s

    @property
    def is_at_end(self) -> bool:
        """Is it LLM_BEGIN_TIMEOUT that is over?"""
        return self.has_signs and self._loop.time() >= self.end_s

    @property
    def silence_s(self) -> float:
        """How long silence is accepted: LLM_TIMEOUT."""
        return self.request.first_piece_deadline_s - self.came_s

    async def __aenter__(self) -> Self:
        self._clock = asyncio.timeout(None)  # whose end is `_end`: one timer is enough
        await self._clock.__aenter__()
        self._silent_until_s = self.request.first_piece_deadline_s
        self._look_at(self._silent_end_s)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        await self._clock.__aexit__(kind, error, trace)

    # ---- what those that are asked tell ----

    def begun(self, asked: "Asked") -> None:
        """This provider is asked from now on."""
        self._running[asked.provider.name] = asked
        if self.has_signs:  # else nobody's time is over before that of all
            self._look_at(self._due_s(asked))

    def ended(self, asked: "Asked") -> None:
        """This provider has answered, failed, or was given up."""
        self._running.pop(asked.provider.name, None)
        if asked.seen_s is None:
            return
        self._alive -= 1
        if not self._alive:
            now_s = self._loop.time()
            if now_s >= self._silent_until_s:
                self._silent_until_s = now_s + self.silence_s
            self._look_at(self._silent_until_s)

    def came(self, *, is_first: bool) -> None:
        """A sign; `is_first` of this provider."""
        self._alive += is_first
        if not self._clock.expired():
            self.has_signs = True
        self._on_sign()

    # ---- the timer: set for the first that may run out of time; what makes that later does not move it ----

    @property
    def _silent_end_s(self) -> float:
        """When the time is over if nobody shows a sign."""
        return min(self.request.first_piece_deadline_s, self.request.given_up_s)

    def _look_at(self, at_s: float) -> None:
        """Then at the latest, and at the end of all."""
        at_s = min(at_s, self.end_s)
        if self._timer is not None:
            if self._timer_at_s <= at_s:
                return
            self._timer.cancel()
        self._timer_at_s = at_s
        self._timer = self._loop.call_at(at_s, self._look)

    def _look(self) -> None:
        self._timer = None
        now_s = self._loop.time()
        if now_s >= (self.end_s if self.has_signs else self._silent_end_s):
            self._end(now_s)
        elif not self.has_signs:
            self._look_at(self._silent_end_s)
        elif self._alive:
            for asked in self._running.values():
                if now_s >= self._due_s(asked):
                    asked.expire(now_s)
            self._look_at(min(map(self._due_s, self._running.values()), default=self.end_s))
        elif now_s >= self._silent_until_s:
            self._end(now_s)
        else:
            self._look_at(self._silent_until_s)

    def _end(self, now_s: float) -> None:
        if not self._clock.expired():
            self._clock.reschedule(now_s)

    def _due_s(self, asked: "Asked") -> float:
        if asked.is_expired:
            return self.end_s
        deadline_s = self.request.first_piece_deadline_s
        if asked.seen_s is not None:
            return max(deadline_s, asked.seen_s + self.request.idle_timeout_s)
        # A provider that had less than half of the time has not been silent for long.
        is_early = 2 * (deadline_s - asked.at_s) >= self.silence_s
        return deadline_s if is_early else asked.at_s + self.silence_s


@dataclass(slots=True, eq=False)
class Asked:
    """One provider that is asked, since `at_s` of the loop, `after_s` after the request came; and its signs of life.

    An async context manager around the asking. Raises `FirstPieceTimeout` or `Stalled` out of its body when the
    provider is out of time; `wake` is called if that is so before it is entered. `begun` is the request where it was
    sent without waiting.
    """

    provider: Provider
    health: Health
    _patience: Patience
    at_s: float
    after_s: float
    wake: Sign = no_sign
    begun: Begun | None = None
    seen_s: float | None = None
    is_expired: bool = False
    _timeout: asyncio.Timeout | None = None

    def sign(self) -> None:
        """It works."""
        is_first = self.seen_s is None
        self.seen_s = asyncio.get_running_loop().time()
        self._patience.came(is_first=is_first)

    def expire(self, now_s: float) -> None:
        """It is out of time."""
        if not self.is_expired:
            self.is_expired = True
            if self._timeout is None:
                self.wake()
            else:
                self._timeout.reschedule(now_s)

    async def __aenter__(self) -> Self:
        self._timeout = asyncio.timeout(0 if self.is_expired else None)
        await self._timeout.__aenter__()
        self._patience.begun(self)
        if self.seen_s is not None:  # before it was entered
            self._patience.came(is_first=True)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._patience.ended(self)
        self.wake = no_sign  # it leads to the race, and the race to the answer that may keep this
        assert self._timeout is not None  # noqa: S101 - entered
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError:
            raise self._error() from None
        finally:
            del self._timeout  # it holds the task, and what ends a task holds the frame that has this

    def _error(self) -> ProviderError:
        if self.seen_s is None:
            return FirstPieceTimeout(f"it gave no sign of life within {self._patience.silence_s:g} s (LLM_TIMEOUT).")
        idle_s = self._patience.request.idle_timeout_s
        return Stalled(
            f"it had begun, and then nothing came for {idle_s:g} s (LLM_IDLE_TIMEOUT). Raise that if the LLM takes "
            "longer to read the prompt."
        )
