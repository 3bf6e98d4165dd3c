"""One request on the plain way: one provider is known to serve it, and is free (`dispatch.py`). No task, no timer.

What comes from the server goes to the caller by direct calls, through the same checks as any other answer. Whatever is
not plain - an error, a cut, a large frame, a slow caller, a deadline - goes on by a task, as `Exchange` has it: before
the first piece as if nothing had been read, after it from the next one on. So the outcome is always the exchange's.

See docs/decisions/0026-the-plain-way.md.
"""

import time
from collections.abc import Awaitable, Coroutine
from typing import Any

import msgspec

from masa_node.chat.answer import WRITTEN, Usage, WholeAnswer
from masa_node.chat.errors import ProviderError
from masa_node.chat.headers import passed_back
from masa_node.chat.outcome import WON, Attempt, Outcome
from masa_node.chat.request import Headers, Request
from masa_node.dialects.choices import AskedEndings, Choices
from masa_node.dialects.condensing import LARGE_BYTES
from masa_node.dialects.fields import may_be_odd
from masa_node.dialects.framing import NDJSON
from masa_node.dialects.opening import Shape, is_streamed, shape_of
from masa_node.routing.answers.reader import LOOKED_AT_BYTES, AnswerStream
from masa_node.routing.answers.relay import Relay
from masa_node.routing.exchange import Common, Exchange, Host, has_to_wait
from masa_node.routing.health import Health
from masa_node.routing.provider import AskedNow, AskNow, OpenResponse, Provider, Sign, no_sign
from masa_node.routing.racing.patience import Asked
from masa_node.routing.running.steps import MENDED_BY_READERS_BYTES

MAX_HELD_BYTES = 32 * 1024  # of an answer that is not complete: 4 000 such are 128 MB
MAX_READS = 64  # of what is not given out yet: more are many small ones, which are gathered otherwise
_OK = 200
_PACKED = b"\x1f"  # how gzip begins
_BRACE = ord("{")


class Row(msgspec.Struct, frozen=True):
    """The provider to ask for a model at an endpoint, and its health."""

    provider: Provider
    ask_now: AskNow
    health: Health


class Plain:
    """One request on the plain way, until it is over or goes on in a task. `cancel` it until then.

    It was sent, has a slot, and is counted as running. A whole answer ends here; all else is an exchange's.
    """

    __slots__ = (
        *("_answer_bytes", "_began_s", "_begun", "_came_s", "_common", "_exchange", "_has_parted", "_held", "_host"),
        *("_is_ending", "_now", "_on_sign", "_reads", "_request", "_response", "_row", "_seen_s", "_shape"),
        *("_stream", "_tracker", "_write"),
    )

    def __init__(
        self, request: Request, row: Row, now: AskedNow, host: Host, common: Common, on_sign: Sign = no_sign
    ) -> None:
        self._request = request
        self._row = row
        self._now = now
        self._host = host
        self._common = common
        self._on_sign = on_sign
        self._came_s = common.loop.time()
        self._began_s = common.now_s()
        self._seen_s: float | None = None  # when there was a sign of life
        self._response: OpenResponse | None = None
        self._held = b""  # what was read before the first piece, so that it can be read once more
        self._reads = 0  # of it
        self._shape: Shape | None = None
        self._tracker: Relay | None = None
        self._exchange: Exchange | None = None  # from when it is no whole answer in one piece, or may be none
        self._stream: AnswerStream | None = None  # from the first piece on
        self._answer_bytes = 0  # that were given out
        self._has_parted = False  # it is over, or a task's
        now.listen_for_whole(self.came, self._take_whole)
        common.admission.sweep.add(self)

    def came(self) -> None:
        """Something came from the server, or nothing more will."""
        if self._has_parted:
            return
        try:
            if self._stream is not None:
                self._pass_on(self._stream)
            elif not self._read_begin():
                self._hand_over()
        except Exception as exc:  # noqa: BLE001 - raised by the task: what calls this is a transport
            self._broke(exc)

    def cancel(self) -> None:
        """The caller has left, or the owner ends it. The outcome says so, and the server is stopped."""
        if not self._has_parted:
            self._now.listen(None)
            self._parted().close()

    def look(self, now_s: float) -> None:
        """See `Waiting`."""
        if self._has_parted:
            return
        if self._stream is not None:
            if self._is_ending or self._made_exchange().still.is_silent(now_s):
                self._go_on()
            return
        request, seen_s = self._request, self._seen_s
        due_s = min(request.first_piece_deadline_s, request.given_up_s)
        if seen_s is not None:
            due_s = max(request.first_piece_deadline_s, seen_s + request.idle_timeout_s)
        has_to_hear = seen_s is not None and request.requester is not None  # a peer, of this sign
        if has_to_hear or now_s >= min(due_s, max(request.begin_deadline_s, request.first_piece_deadline_s)):
            self._hand_over(is_expired=seen_s is not None and now_s >= due_s)

    # ---- until the first piece ----

    def _read_begin(self) -> bool:
        """False where it is not plain."""
        response = self._response
        if response is None:
            try:
                response = self._response = self._now.head()
            except ProviderError:  # a proxy's: the task raises it again
                return False
            if response is None:
                return not self._now.is_odd
            if response.status != _OK:
                return False
        piece, is_over = response.take_unpacked(), response.is_read
        if is_over and piece and not self._held and self._give_whole(passed_back(response.headers), piece, response):
            return True
        self._seen_s = self._common.loop.time()
        if piece:
            self._held += piece
            self._reads += 1
        elif piece is None and not is_over:
            return True
        # Not: nothing, or more than is looked at in one go, or held where no budget of bytes counts it.
        is_little = 0 < len(self._held) <= (LARGE_BYTES if is_over else MAX_HELD_BYTES) and self._reads <= MAX_READS
        comes_more = bool(piece) and not self._now.is_odd  # else nobody would tell of anything again
        return is_little and (is_over or comes_more) and self._read_shape(response, piece or b"", is_over=is_over)

    def _take_whole(self, headers: Headers, body: bytes) -> bool:
        """See `AskedNow.listen_for_whole`."""
        try:
            return self._give_whole(headers, body)
        except Exception as exc:  # noqa: BLE001 - see `came`
            return self._broke(exc)

    def _read_shape(self, response: OpenResponse, piece: bytes, *, is_over: bool) -> bool:
        """False where it is not plain."""
        if self._shape is None:
            if self._held.startswith(_PACKED):
                return False
            said = is_streamed(response.content_type, wants_stream=self._request.wants_stream)
            self._shape = shape_of(self._held, self._now.dialect, is_over=is_over, is_stream=said)
        match self._shape:
            case Shape.WHOLE:
                return not is_over or self._give_whole(passed_back(response.headers), self._held, response)
            case Shape.STREAM:
                return self._read_first(response, piece, is_over=is_over)
            case None:
                return not is_over

    def _give_whole(self, headers: Headers, body: bytes, response: OpenResponse | None = None) -> bool:
        """Give it and end all, if it is a whole answer. No response: whoever offered it sees to the server.

        Most come in one piece, of which the shape is not known yet, and begin as nothing else does.
        """
        now, usage, choices = self._now, Usage(), Choices()
        if self._has_parted or self._exchange is not None:
            return False
        size = len(body)
        if self._shape is None and (body[0] != _BRACE or now.dialect.framing is NDJSON or size > LARGE_BYTES):
            return False
        if size > MENDED_BY_READERS_BYTES and may_be_odd(body):
            return False
        if now.dialect.fault_of_whole(body, usage, choices) is not None or not now.endings.judge_whole(choices):
            return False
        request, row, common = self._request, self._row, self._common
        provider, health = row.provider, row.health
        now_s, took_s = common.loop.time(), common.now_s() - self._began_s
        attempt = Attempt(provider.name, WON, 0.0, took_s, provider.is_local)
        if not self._host.give(WholeAnswer(_OK, headers, body, now.dialect.name, usage), attempt):
            return False
        self._has_parted = True
        if response is not None:
            now.answered(usage)
            now.listen(None)
            response.finish()
        health.succeeded(now_s)
        health.answered(took_s, now_s)
        health.running -= 1
        if not provider.is_local:
            common.stats.latency.note(request.model, took_s)
        common.admission.sweep.discard(self)
        common.admission.release(request.requester or "")
        try:
            common.observe(Outcome(  # its first piece is its last
                request.request_id, request.endpoint, request.model, True, request.wants_stream, _OK, None,  # noqa: FBT003
                provider.name, (attempt,), len(request.body), size, 1, usage.input_tokens, usage.output_tokens,
                0.0, took_s, took_s, None if provider.is_local else request.race.mode, 0, request.requester,
                "" if request.requester else request.key, request.first_piece_deadline_s - self._came_s,
                time.time_ns(),
            ))  # fmt: skip
        finally:
            self._host.over()
        return True

    def _read_first(self, response: OpenResponse, piece: bytes, *, is_over: bool) -> bool:
        tracker = self._tracker
        if tracker is None:
            tracker, piece = Relay(self._now.dialect, AskedEndings(self._now.endings, self._now.asked)), self._held
            self._tracker, self._begun = tracker, b""
        endings = self._now.endings
        has_shown = endings.has_shown
        passed = tracker.look_first(tracker.cut(piece), LOOKED_AT_BYTES)
        if passed is None or tracker.fault is not None or not self._host.is_ready:
            endings.has_shown = has_shown  # the task reads it again
            return False
        self._begun += passed
        if tracker.started:
            self._begin_stream(response, tracker)
            return True
        return not is_over

    def _begin_stream(self, response: OpenResponse, tracker: Relay) -> None:
        stream = self._stream = AnswerStream(response, tracker)
        answer = stream.answer(self._now.dialect.name, self._begun, self._now.heard)
        self._held = b""
        self._is_ending = False
        self._now.answered(answer.usage)
        exchange, sink = self._made_exchange(), self._host.sink
        exchange.has(answer)
        sink.head(answer, exchange.made.trail)
        self._write = sink.piece
        rest = self._give(answer.first)
        if rest is not None:
            self._go_on(rest)
        else:
            response.listen(self.came, stream.tracker.to(self._passed, sink.chunks))
            self._pass_on(stream)

    # ---- the rest of a stream ----

    def _give(self, piece: bytes) -> Awaitable[None] | None:
        self._answer_bytes += len(piece)
        written = self._write(piece)
        return written if written is not WRITTEN and has_to_wait(written) else None

    def _passed(self, piece: bytes) -> None:
        """The tracker passes this on."""
        try:
            rest = self._give(piece)
        except Exception as exc:  # noqa: BLE001 - see `came`
            rest = _raised(exc)
        if rest is not None and not self._has_parted:
            self._go_on(rest)

    def _pass_on(self, stream: AnswerStream) -> None:
        response, was_ending = self._response, self._is_ending
        passed = stream.pass_on(self._give)
        if passed is False or self._has_parted or response is None:
            return
        if passed is not True:  # the caller reads slowly
            self._go_on(passed)
            return
        if stream.tracker.ended:
            self._is_ending = True
        if response.is_read and stream.is_light and self._host.is_ready:
            self._end_stream(stream, response)
        elif was_ending or not (self._is_ending and stream.is_light):  # after its end little more may come, or nothing
            self._go_on()

    def _end_stream(self, stream: AnswerStream, response: OpenResponse) -> None:
        last = stream.last_piece()
        self._now.listen(None)
        response.finish()
        rest = self._give(last) if last else None
        if rest is not None or stream.tracker.fault is not None or not self._host.is_ready:
            self._go_on(rest)
            return
        exchange = self._made_exchange()
        exchange.made.succeeded()
        self._host.sink.end(b"")
        exchange.ended(None)
        self._parted().close()  # its connection may be another request's already
        self._host.over()

    def _go_on(self, rest: Awaitable[None] | None = None) -> None:
        """From the next piece on in a task, once `rest` of the last one is over."""
        self._leave(self._made_exchange().go_on(self._host.sink, rest))

    # ---- how it ends ----

    def _hand_over(self, *, is_expired: bool = False) -> None:
        """Before the first piece: to a task, as if nothing had been read; the server may be out of time."""
        if self._response is not None and self._held:
            self._response.put_back(self._held)
        self._leave(self._made_exchange(is_expired=is_expired).give(self._host.sink))

    def _broke(self, error: Exception) -> bool:
        """Have the task tell of it; or the loop's log, where the answer was given already: was it?"""
        if self._has_parted:
            self._common.loop.call_exception_handler({"message": "bug behind an answer", "exception": error})
            return True
        self._leave(_raised(error))
        return False

    def _leave(self, rest: Coroutine[Any, Any, None]) -> None:
        """The rest is a task's."""
        self._now.listen(None)
        self._host.go_on(_closing(rest, self._parted()))

    def _parted(self) -> Exchange:
        """From here on it is the exchange's, which hears what was given out."""
        self._has_parted = True
        if self._stream is not None:
            self._stream.tracker.part()
        self._common.admission.sweep.discard(self)
        exchange = self._made_exchange()
        exchange.given(self._answer_bytes)
        return exchange

    def _made_exchange(self, *, is_expired: bool = False) -> Exchange:
        """What goes on with the request."""
        exchange = self._exchange
        if exchange is None:
            row, let_in = self._row, (self._came_s, self._began_s)
            exchange = self._exchange = Exchange(self._request, self._common, self._on_sign, let_in)
            exchange.made.race = None if row.provider.is_local else self._request.race.mode  # as of one peer
            exchange.made.ahead = Asked(
                row.provider, row.health, exchange.patience, self._came_s, 0.0,
                begun=self._now, seen_s=self._seen_s, is_expired=is_expired,
            )  # fmt: skip
        return exchange


async def _closing(rest: Awaitable[None], exchange: Exchange) -> None:
    try:
        await rest
    finally:
        exchange.close()


async def _raised(error: Exception) -> None:
    raise error
