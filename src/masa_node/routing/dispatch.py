"""Has one ask answered: admission, then the providers that serve the model, one after the other, until one answers.

Before the first valid piece anything may be tried again; after it nothing is. The task that runs an `Exchange` owns
everything under it: cancel it, `close()` it, and the LLM is stopped.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from masa_node.chat.answer import Answer, StreamedAnswer, WholeAnswer
from masa_node.chat.ask import CONVERSATION_DOORS, DOOR_PATHS, Ask
from masa_node.chat.errors import (
    CallerError,
    CallerStalled,
    DialectNotServed,
    ErrorAnswer,
    FirstPieceTimeout,
    MasaError,
    ProviderError,
    Stalled,
    UnknownModel,
)
from masa_node.chat.outcome import Attempt, Outcome
from masa_node.routing.admission import Admission
from masa_node.routing.catalog import Catalog, Found
from masa_node.routing.health import Health
from masa_node.routing.idle import IdleTimer
from masa_node.routing.provider import Provider
from masa_node.routing.verdict import is_the_callers_fault, most_useful

MAX_ATTEMPTS = 8  # own servers that are tried for one ask
CALLER_GONE = "caller_gone"
STATUS_CALLER_GONE = 499  # nginx's: nobody was there any more to be told
WON = "won"
CANCELLED = "cancelled"

Observe = Callable[[Outcome], None]
Refresh = Callable[[], Awaitable[None]]


class Dispatcher:
    """Answers asks. `refresh` looks for models that appeared since the last listing; `observe` gets each outcome."""

    def __init__(self, catalog: Catalog, admission: Admission, refresh: Refresh, observe: Observe) -> None:
        self.catalog = catalog
        self.admission = admission
        self.refresh = refresh
        self.observe = observe
        self._health: dict[str, Health] = {}

    def open(self, ask: Ask) -> "Exchange":
        """Begin one ask. The exchange must be closed in every case, also when nothing was asked of it yet."""
        return Exchange(self, ask)

    def health_of(self, provider: Provider) -> Health:
        """The health record of a provider."""
        health = self._health.get(provider.name)
        if health is None:
            health = self._health[provider.name] = Health()
        return health

    def forget(self, provider: Provider) -> None:
        """Drop the record of a provider that is gone."""
        self._health.pop(provider.name, None)

    async def candidates(self, ask: Ask) -> list[Provider]:
        """Who is asked, best first. Raises `UnknownModel`, `DialectNotServed`."""
        found = self.catalog.find(ask.model, ask.door)
        if not found.providers and not found.other_doors:
            await self.refresh()
            found = self.catalog.find(ask.model, ask.door)
        chosen = found.providers or (found.unlisted if not found.other_doors else ())
        if not chosen:
            raise self._no_one(ask, found)
        if len(chosen) == 1:
            return [chosen[0]]
        now_s = asyncio.get_running_loop().time()
        return sorted(chosen, key=lambda provider: not self.health_of(provider).is_well(now_s))[:MAX_ATTEMPTS]

    def _no_one(self, ask: Ask, found: Found) -> CallerError:
        if found.other_doors:
            doors = [door for door in CONVERSATION_DOORS if door in found.other_doors]
            paths = ", ".join(f"POST {DOOR_PATHS[door][0]}" for door in doors) or "no door of this node"
            return DialectNotServed(
                f"The LLM that serves {ask.model!r} here does not speak the format of this door ({ask.door}). "
                f"A chat with it goes through: {paths}."
            )
        nearest = self.catalog.nearest(ask.model)
        if not nearest:
            return UnknownModel(f"No model {ask.model!r}, nor any other, is served here. Is an LLM server running?")
        return UnknownModel(
            f"No LLM known here serves the model {ask.model!r}. Nearest: {', '.join(nearest)}. "
            "GET /api/v1/llm/models lists all."
        )


class Exchange:
    """One ask on its way. Call `answer()`, then `send()` if it streams, then `close()`.

    `begun` and `ended` note what the caller was told; without `ended` the outcome says that the caller had gone.
    """

    def __init__(self, dispatcher: Dispatcher, ask: Ask) -> None:
        self._dispatcher = dispatcher
        self._ask = ask
        self._loop = asyncio.get_running_loop()
        self._came_s = self._loop.time()
        self._admitted_s: float | None = None
        self._first_piece_s: float | None = None
        self._answer: Answer | None = None
        self._asked: Provider | None = None
        self._errors: list[ProviderError] = []
        self._winner: Provider | None = None
        self._error: str | None = CALLER_GONE
        self._status = STATUS_CALLER_GONE
        self._answer_bytes = 0
        self._closed = False
        self._writing = False
        self.attempts: list[Attempt] = []

    @property
    def served_by(self) -> Provider | None:
        """Who answers, once somebody does."""
        return self._winner

    async def answer(self) -> Answer:
        """The answer, with its first valid piece. An error of an LLM that the caller should see is an answer too.

        Raises `MasaError`. At most one call.
        """
        ask, dispatcher = self._ask, self._dispatcher
        try:
            async with asyncio.timeout_at(ask.first_piece_deadline_s):
                await dispatcher.admission.enter()
                self._admitted_s = self._loop.time()
                answer = await self._ask_in_turn(await dispatcher.candidates(ask))
        except TimeoutError:
            self._note_silence()
            raise most_useful([self._timed_out(), *self._errors]) from None
        self._answer = answer
        self._first_piece_s = self._loop.time() - self._came_s
        return answer

    async def send(self, answer: StreamedAnswer, write: Callable[[bytes], Awaitable[None]]) -> None:
        """Give every piece of the answer to `write`, in order; returns when the answer has ended whole.

        Raises `BrokenAnswer` when it was cut, `Stalled` when nothing came for the ask's idle time.
        Backpressure: the next piece is taken when `write` has returned.
        """
        async with IdleTimer(self._ask.idle_timeout_s) as idle:
            try:
                await self._pass_on(answer, write, idle)
            except ProviderError as exc:
                raise self._broke_off(exc) from None
        if idle.expired:
            raise self._stalled()
        if self._winner is not None:
            self._note_health(self._winner, is_failure=False)

    async def _pass_on(
        self, answer: StreamedAnswer, write: Callable[[bytes], Awaitable[None]], idle: IdleTimer
    ) -> None:
        next_piece = answer.next_piece
        piece = answer.first
        while piece:
            self._answer_bytes += len(piece)
            self._writing = True
            await write(piece)
            self._writing = False
            idle.touch()
            piece = await next_piece()
            idle.touch()  # the caller's time and the LLM's are not added up

    def begun(self, status: int) -> None:
        """The caller was told this status; what follows is still open."""
        self._status = status

    def ended(self, error: MasaError | None, body_bytes: int = 0) -> None:
        """The caller was given everything: a whole answer, or this error (instead of one, or in the middle of it)."""
        self._error = error.code if error is not None else None
        self._answer_bytes += body_bytes

    def close(self) -> None:
        """End the exchange: stop the LLM if it still works, give the place back, report the outcome. Idempotent."""
        if self._closed:
            return
        self._closed = True
        if self._answer is not None:
            self._answer.close()
        if self._admitted_s is not None:
            self._dispatcher.admission.leave()
        self._dispatcher.observe(self._outcome())

    async def _ask_in_turn(self, candidates: Sequence[Provider]) -> Answer:
        for provider in candidates:
            self._asked = provider
            asked_s = self._loop.time()
            result = CANCELLED
            try:
                answer = await provider.answer(self._ask)
                result = WON
            except ProviderError as exc:
                result = exc.code if not isinstance(exc, ErrorAnswer) else f"http_{exc.status}"
                self._errors.append(exc)
                self._note_health(provider, is_failure=not is_the_callers_fault(exc))
                continue
            finally:
                now_s = self._loop.time()
                self.attempts.append(Attempt(provider.name, result, asked_s - self._came_s, now_s - self._came_s))
            if isinstance(answer, WholeAnswer):  # of a stream it is known at its end
                self._note_health(provider, is_failure=False)
            self._winner = provider
            return answer
        raise most_useful(self._errors)

    def _note_silence(self) -> None:
        if self._asked is not None:
            self._note_health(self._asked, is_failure=True)
            self.attempts[-1] = msgspec.structs.replace(self.attempts[-1], result=FirstPieceTimeout.code)

    def _note_health(self, provider: Provider, *, is_failure: bool) -> None:
        health = self._dispatcher.health_of(provider)
        if is_failure:
            health.failed(self._loop.time())
        else:
            health.succeeded()

    def _timed_out(self) -> FirstPieceTimeout:
        waited_s = self._ask.first_piece_deadline_s - self._came_s
        nobody = "all places were taken" if self._admitted_s is None else "the lists of models did not come in time"
        asked = ", ".join(attempt.provider for attempt in self.attempts) or f"nobody: {nobody}"
        advice = (
            "The LLM may still be loading the model: raise LLM_TIMEOUT if it takes longer than that."
            if self._ask.wants_stream
            else 'An answer that is not streamed has to be complete by then: ask with "stream": true, or '
            "raise LLM_TIMEOUT."
        )
        return FirstPieceTimeout(f"No answer within {round(waited_s, 2):g} s (LLM_TIMEOUT); asked: {asked}. {advice}")

    def _stalled(self) -> MasaError:
        if self._writing:
            return CallerStalled(f"The caller read nothing for {self._ask.idle_timeout_s:g} s (LLM_IDLE_TIMEOUT).")
        return self._broke_off(
            Stalled(f"nothing came for {self._ask.idle_timeout_s:g} s (LLM_IDLE_TIMEOUT), so the answer was cut.")
        )

    def _broke_off(self, error: ProviderError) -> ProviderError:
        """The winner failed after its first piece."""
        if self._winner is not None:
            self._note_health(self._winner, is_failure=True)
            error.place = error.place or self._winner.place
        return error

    def _outcome(self) -> Outcome:
        ask, answer, now_s = self._ask, self._answer, self._loop.time()
        usage = answer.usage if answer is not None else None
        match answer:
            case StreamedAnswer():
                pieces = answer.frames()
            case WholeAnswer():
                pieces = 1
            case None:
                pieces = 0
        return Outcome(
            request_id=ask.request_id,
            door=ask.door,
            model=ask.model,
            model_known=self._dispatcher.catalog.knows(ask.model),
            wants_stream=ask.wants_stream,
            status=self._status,
            error=self._error,
            served_by=self._winner.name if self._winner is not None else None,
            attempts=tuple(self.attempts),
            body_bytes=len(ask.body),
            answer_bytes=self._answer_bytes,
            pieces=pieces,
            input_tokens=usage.input_tokens if usage is not None else None,
            output_tokens=usage.output_tokens if usage is not None else None,
            queued_s=(self._admitted_s or now_s) - self._came_s,
            first_piece_s=self._first_piece_s,
            total_s=now_s - self._came_s,
        )
