"""One request on its way: a slot, the providers, the timers, the stream, and the outcome at the end."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import CoroutineType
from typing import Any, Protocol

from masa_node.chat.answer import WRITTEN, Answer, ChunkWriter, StreamedAnswer, WholeAnswer
from masa_node.chat.errors import CallerStalled, ErrorInStream, FirstPieceTimeout, MasaError, ProviderError, Stalled
from masa_node.chat.outcome import CALLER_GONE, MAX_TRAIL, STATUS_CALLER_GONE, Attempt, Outcome
from masa_node.chat.request import Request
from masa_node.chat.statuses import status_of
from masa_node.routing.admission import SlotPool
from masa_node.routing.candidates import Candidates, Chosen, is_away
from masa_node.routing.provider import Sign
from masa_node.routing.racing.attempts import Attempts
from masa_node.routing.racing.error_rank import best_error
from masa_node.routing.racing.patience import Patience
from masa_node.routing.racing.provider_stats import ProviderStats
from masa_node.routing.racing.race_runner import RaceRunner
from masa_node.routing.running.exact_clock import exact_clock
from masa_node.routing.standstill import Standstill

Observe = Callable[[Outcome], None]


def has_to_wait(written: object) -> bool:
    """See `Sink`."""
    return isinstance(written, (CoroutineType, asyncio.Future))


class Sink(Protocol):
    """Gives one answer to whoever asked, in their protocol. What is called, in this order:

    1. A stream: `head`, each `piece`, `end`. When it breaks, `failed` takes the place of what is missing.
    2. A whole answer: `head`, then `end` with its body.
    3. No answer: `failed` alone.

    Each returns when it has written what it was given; until then nothing more is taken from the LLM. What `piece`
    returns is waited for only if it is a coroutine or a future: anything else says that all is written. `attempts` are
    those made so far. Whatever else a sink raises ends the request, and comes out of `Dispatcher.answer`.
    """

    def head(self, answer: Answer, attempts: Sequence[Attempt]) -> Awaitable[None]:
        """This answer begins: its status and headers."""
        ...

    @property
    def chunks(self) -> ChunkWriter | None:
        """What takes further pieces in chunks, as they came, after the first piece; None where they do not go so."""
        ...

    def piece(self, data: bytes, /) -> Awaitable[None]:
        """The next bytes of a stream: whole frames."""
        ...

    def end(self, last: bytes) -> Awaitable[None]:
        """The answer is whole with these bytes. Raises `CallerStalled` when nobody takes them in time."""
        ...

    async def failed(self, error: MasaError, attempts: Sequence[Attempt]) -> int:
        """There is no answer, or not the rest of it. Returns how many bytes of a body tell so.

        Not called for a caller that takes nothing of a stream: nobody would read it.
        """
        ...


class Host(Protocol):
    """Whoever has a request answered on the plain way. `sink` takes the answer."""

    @property
    def sink(self) -> Sink:
        """Of which `head` and `end` return at once while it `is_ready`."""
        ...

    @property
    def is_ready(self) -> bool:
        """Does the caller read?"""
        ...

    def give(self, answer: WholeAnswer, attempt: Attempt) -> bool:
        """A whole answer, at once; False, and nothing is given, unless it `is_ready`."""
        ...

    def go_on(self, rest: Coroutine[Any, Any, None]) -> None:
        """Run the rest in a task, and cancel that when the caller leaves."""
        ...

    def over(self) -> None:
        """All is told, and nothing more will happen."""
        ...


@dataclass(eq=False)
class Common:
    """What all requests of a dispatcher have in common. `observe` gets each outcome."""

    admission: SlotPool
    candidates: Candidates
    stats: ProviderStats
    observe: Observe

    @cached_property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The one that runs, looked up once."""
        return asyncio.get_running_loop()

    @cached_property
    def now_s(self) -> Callable[[], float]:
        """The exact clock, of which nothing but differences are told."""
        return exact_clock(self.loop)


class Exchange:
    """`give()`, then `close()` in every case. `Dispatcher.answer` is the one way to it.

    Before the first valid piece anything may be tried again; after it nothing is. The task that runs an exchange owns
    everything under it: cancel it, `close()` it, and the LLM is stopped. `ended` notes what the caller has; without it
    the outcome says that the caller had gone. One that was `let_in` before has a slot since then: when it came, on the
    loop's clock and on the exact one.
    """

    def __init__(
        self, request: Request, common: Common, on_sign: Sign, let_in: tuple[float, float] | None = None
    ) -> None:
        self._request = request
        self._common = common
        self.loop = common.loop
        self._now_s = common.now_s
        self._came_s, self._began_s = let_in or (self.loop.time(), self._now_s())
        self._admitted_s = None if let_in is None else 0.0
        self._has_slot = let_in is not None
        self._first_piece_s: float | None = None
        self._answer: Answer | None = None
        self.patience = Patience(request, self._came_s, self.loop, on_sign)
        self.made = Attempts(request, common.stats, self.patience, self.loop, self._now_s, self._began_s)
        self._error: str | None = CALLER_GONE
        self._status = STATUS_CALLER_GONE
        self._answer_bytes = 0
        self._writing = False

    async def give(self, sink: Sink) -> None:
        """All of the answer, or why there is none. Raises nothing but what the sink does."""
        try:
            answer = await self.answer()
            if isinstance(answer, WholeAnswer):
                self._leave_slot()
            written = sink.head(answer, self.made.trail)
            if isinstance(answer, WholeAnswer) or written is WRITTEN:
                await written
            else:
                async with self.still:
                    await self.still.taken(written)
        except MasaError as error:
            self._status = status_of(error)
            await self._failed(error, sink)
            return
        if isinstance(answer, WholeAnswer):
            await sink.end(answer.body)
            self.ended(None, len(answer.body))
            return
        await self._to_the_end(answer, sink)

    async def go_on(self, sink: Sink, rest: Awaitable[None] | None = None) -> None:
        """What is left of a stream of which pieces were `given`; `rest` is that of the last one."""
        if isinstance(self._answer, StreamedAnswer):
            await self._to_the_end(self._answer, sink, rest or WRITTEN)

    async def _to_the_end(self, answer: StreamedAnswer, sink: Sink, rest: Awaitable[None] | None = None) -> None:
        """Every piece, in order; with `rest` only those that `next_piece` gives, once that is over."""
        try:
            await self._send(answer, sink, rest)
            self._leave_slot()
            await sink.end(b"")
            self.ended(None)
        except CallerStalled as error:
            self.ended(error)
        except MasaError as error:
            await self._failed(error, sink)

    async def _failed(self, error: MasaError, sink: Sink) -> None:
        self._leave_slot()
        self.ended(error, await sink.failed(error, self.made.trail))

    def _leave_slot(self) -> None:
        """No LLM is to work for this any more, however slowly the caller takes the rest."""
        if not self._has_slot:
            return
        self._has_slot = False
        if isinstance(self._answer, StreamedAnswer):
            self._answer.close()
        self._common.admission.release(self._request.requester or "")

    async def answer(self) -> Answer:
        """The answer, with its first valid piece. An error of an LLM that the caller should see is an answer too.

        Raises `MasaError`. At most one call.
        """
        request, attempts = self._request, self.made
        try:
            async with self.patience:
                if self._admitted_s is None:
                    await self._common.admission.acquire(request.requester or request.key)
                    self._has_slot = True
                    self._admitted_s = self._now_s() - self._began_s
                chosen = await self._chosen()
                if chosen.peers:
                    answer = await RaceRunner(request, chosen, attempts, self._common.stats).run()
                else:
                    answer = await attempts.in_turn(chosen.own)
                if chosen.conversation is not None and attempts.winner is not None:
                    self._common.candidates.note_winner(chosen, attempts.winner.provider)
        except TimeoutError:
            if self.patience.is_given_up:
                raise FirstPieceTimeout("the requester's time ran out.") from None
            attempts.note_silence()
            raise best_error([self._timed_out(), *attempts.errors]) from None
        except ProviderError as exc:
            if exc.away_for_s is None:
                raise
            raise is_away(exc, exc.away_for_s) from exc
        self.has(answer)
        return answer

    async def _chosen(self) -> Chosen:
        """Whom to ask. One that was asked ahead was chosen when it was, and is the first."""
        ahead = self.made.ahead
        if ahead is None:
            return await self._common.candidates.choose(self._request)
        first = ahead.provider
        try:
            chosen = await self._common.candidates.choose(self._request)
        except MasaError:
            return Chosen((first,))
        own, last, *peers = (
            [each for each in some if each is not first] for some in (chosen.own, chosen.last, *chosen.peers)
        )
        return Chosen((first, *own), tuple(group for group in peers if group), last, chosen.conversation)

    def has(self, answer: Answer) -> None:
        """This is the answer, which the caller gets: its first valid piece is there."""
        self._answer = answer
        if self.made.ahead is not None:  # it was read by calls
            self.made.won(self.made.ahead, answer)
        self._status = answer.status
        self._first_piece_s = self._now_s() - self._began_s
        if isinstance(answer, StreamedAnswer):
            request, slots = self._request, self._common.admission
            self.still = Standstill(answer, request.idle_timeout_s, slots, request.requester or "", self.loop.time())

    def given(self, size: int) -> None:
        """So many bytes of it went to the caller."""
        self._answer_bytes += size

    async def _send(self, answer: StreamedAnswer, sink: Sink, rest: Awaitable[None] | None) -> None:
        """Raises `BrokenAnswer` when it was cut; `Stalled`, `CallerStalled`: see `Standstill`.

        Whatever happens to the LLM after its terminal frame, or after its finish where it has none, is no matter.
        """
        try:
            async with self.still:
                await self._pass_on(answer, sink, rest)
        except (CallerStalled, ProviderError) as error:
            if not self._has_given_all():
                if isinstance(error, ProviderError):
                    self.made.broke_off(error, is_its_fault=isinstance(error, Stalled) or not self.still.was_slow)
                raise
        self.made.succeeded()

    async def _pass_on(self, answer: StreamedAnswer, sink: Sink, rest: Awaitable[None] | None) -> None:
        def give(piece: bytes) -> Awaitable[None] | None:
            self._answer_bytes += len(piece)
            self._writing = True
            written = write(piece)
            self._writing = written is not WRITTEN and has_to_wait(written)
            return written if self._writing else None

        flow, next_piece, write = answer.flow, answer.next_piece, sink.piece
        piece = answer.first
        self._writing = rest is not None
        while piece:
            if rest is None:
                rest = give(piece)
            if rest is None and flow is not None:  # where each piece has to be waited for, the task may as well read it
                rest = await flow(give, sink.chunks)
            if rest is not None:
                if rest is not WRITTEN:
                    await self.still.taken(rest)
                rest, self._writing = None, False
            piece = await next_piece()
            self.still.came()

    def _has_given_all(self) -> bool:
        """Does the caller have an answer that is whole, whatever else was to come?"""
        answer = self._answer
        return isinstance(answer, StreamedAnswer) and self._answer_bytes > 0 and not self._writing and answer.is_whole()

    def ended(self, error: MasaError | None, body_bytes: int = 0) -> None:
        """The caller has everything: a whole answer, or this error instead of it or in the middle of it."""
        self._error = error.code if error is not None else None
        self._answer_bytes += body_bytes

    def close(self) -> Outcome:
        """End the exchange: stop the LLM if it still works, give the slot back, report the outcome. One call."""
        if self._error == CALLER_GONE and self._has_given_all():  # SDKs close when they have read the terminal frame
            self._error = None
            self.made.succeeded()
        if isinstance(self._answer, WholeAnswer):
            self._answer.close()
        self._leave_slot()
        self.made.close()
        outcome = self._made_outcome()
        self._common.observe(outcome)
        return outcome

    def _timed_out(self) -> FirstPieceTimeout:
        asked = self._who_was_asked()
        if self.patience.is_at_end:
            waited_s = self.patience.end_s - self._came_s
            return FirstPieceTimeout(
                f"No piece of an answer within {round(waited_s, 2):g} s (LLM_BEGIN_TIMEOUT), only signs of work; "
                f"asked: {asked}. Raise LLM_BEGIN_TIMEOUT if reading the prompt takes longer."
            )
        advice = (
            "The LLM may still be loading the model: raise LLM_TIMEOUT if it takes longer than that."
            if self._request.wants_stream
            else 'An answer that is not streamed usually begins when it is complete: ask with "stream": true, or '
            "raise LLM_TIMEOUT."
        )
        silence_s = round(self.patience.silence_s, 2)
        return FirstPieceTimeout(f"No answer within {silence_s:g} s (LLM_TIMEOUT); asked: {asked}. {advice}")

    def _who_was_asked(self) -> str:
        names = [attempt.provider for attempt in self.made.trail]
        if not names:
            nobody = "all slots were taken" if self._admitted_s is None else "the lists of models did not come in time"
            return f"nobody: {nobody}"
        more = f" and {len(names) - MAX_TRAIL} more" if len(names) > MAX_TRAIL else ""
        return ", ".join(names[:MAX_TRAIL]) + more

    def _made_outcome(self) -> Outcome:
        request, answer, attempts = self._request, self._answer, self.made
        total_s = self._now_s() - self._began_s
        usage = answer.usage if answer is not None else None
        pieces, in_chunks, error = int(answer is not None), 0, self._error
        if error is None and usage is not None and usage.has_failed:
            error = ErrorInStream.code
        if isinstance(answer, StreamedAnswer):
            pieces, in_chunks = answer.frames(), answer.in_chunks()
        return Outcome(  # by position: to name two dozen arguments takes four times as long
            request.request_id, request.endpoint, request.model, self._common.candidates.knows(request.model),
            request.wants_stream, self._status, error,
            attempts.winner.provider.name if attempts.winner is not None else None, attempts.trail,
            len(request.body), self._answer_bytes + in_chunks, pieces,
            usage.input_tokens if usage is not None else None, usage.output_tokens if usage is not None else None,
            total_s if self._admitted_s is None else self._admitted_s, self._first_piece_s, total_s,
            attempts.race, attempts.hedges, request.requester, request.key if request.requester is None else "",
            request.first_piece_deadline_s - self._came_s, time.time_ns(),
        )  # fmt: skip
