"""A peer's request on the plain way, between its stream and routing: answered by calls as far as it is plain."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

import msgspec

from masa_node.accounts.under_way import UnderWay
from masa_node.chat.answer import WholeAnswer
from masa_node.chat.errors import MasaError, PeerBusy, PeerRefused, ProtocolFault, ProviderError
from masa_node.chat.journal_errors import NodeStopping
from masa_node.chat.outcome import Attempt
from masa_node.chat.request import Request
from masa_node.network.links.frames import Frame, FrameKind, FrameStream
from masa_node.network.requests.frames import FRAMES_OF_A_SHORT_REQUEST
from masa_node.network.requests.peer_sink import PeerSink
from masa_node.network.requests.quotas import PeerQuota, Quotas
from masa_node.network.requests.request_reader import RequesterGone, went_on
from masa_node.network.requests.response_writer import ResponseWriter
from masa_node.network.requests.sign_teller import SignTeller
from masa_node.network.transport.interfaces import NodeId
from masa_node.routing.dispatch import Dispatcher
from masa_node.routing.plain import Plain, Row
from masa_node.routing.running.sweep import Sweep

MAX_WAITING_BYTES = 4096  # of a first frame; a REQUEST has some hundred. No quota counts it yet
LINGER_S = 2.0  # for the requester to finish, too, so that the last frames are surely read

Guarded = Callable[[NodeId, PeerQuota, FrameStream, Awaitable[None]], Coroutine[Any, Any, None]]


class Around(msgspec.Struct, frozen=True):
    """What is around a request: what all of them use, the end of all exceptions, and who hears of breaches."""

    quotas: Quotas
    under_way: UnderWay
    guarded: Guarded
    misbehaves: Callable[[NodeId, PeerQuota, ProtocolFault], None]


class Arriving:
    """The frames of a short request, in one read mostly; else the rest is waited for until the sweep looks.

    `arrived` gets what has come then. It is called once; the stream is its to end.
    """

    __slots__ = ("_arrived", "_came", "_stream", "_sweep")

    def __init__(self, stream: FrameStream, sweep: Sweep, arrived: Callable[[Sequence[Frame]], None]) -> None:
        self._stream = stream
        self._sweep = sweep
        self._arrived = arrived
        self._came: list[Frame] = []
        stream.listen(self._look)
        self._look()  # what is there already

    def look(self, now_s: float) -> None:
        """See `Waiting`."""
        del now_s
        self._go_on()

    def _look(self) -> None:
        frames = self._stream.receive_now()
        if frames == []:
            return
        self._came += frames or ()
        if frames is None or len(self._came) >= FRAMES_OF_A_SHORT_REQUEST or len(frames[0][1]) > MAX_WAITING_BYTES:
            self._go_on()
        else:
            self._sweep.add(self)

    def _go_on(self) -> None:
        self._sweep.discard(self)
        self._stream.listen(None)
        self._arrived(self._came)


class PlainServing:
    """One request, as `Answering`, as routing's `Host`, and as `Waiting` for the requester to finish.

    It is stopped at once when the requester finishes or is gone before all is said; also for anything that it sends.
    """

    __slots__ = (
        *("_around", "_fault", "_group", "_has_left", "_noted", "_plain", "_quota", "_request", "_signs", "_stream"),
        *("_sweep", "_task", "_until_s", "sink"),
    )

    def __init__(
        self, request: Request, quota: PeerQuota, stream: FrameStream, group: asyncio.TaskGroup, around: Around
    ) -> None:
        self._request = request
        self._quota = quota
        self._stream = stream
        self._group = group
        self._around = around
        out = ResponseWriter(stream, request.model)
        self._signs = SignTeller(out)
        self.sink = PeerSink(request, out, self._signs)
        self._task: asyncio.Task[None] | None = None
        self._has_left = False
        self._fault: ProtocolFault | None = None

    def begin(self, way: Dispatcher, row: Row) -> bool:
        """False, and nothing has happened, where it is not plain. The quotas have to have room for it now."""
        request, around = self._request, self._around
        plain = way.begin(row, request, self, self._signs.sign)
        if plain is None:
            return False
        self._plain: Plain | None = plain
        self._sweep = way.sweep
        self._quota.take()
        around.quotas.hold_bytes(self._quota, len(request.body))
        self._noted = around.under_way.add(request, self)
        self._stream.listen(self._look)
        return True

    # ---- see `Answering`: the owner ends it ----

    def cancel(self) -> None:
        """The requester is told."""
        if self._task is not None:
            self._cancel_soon(self._task)
        elif self._plain is not None:
            self._plain.cancel()
            if self._noted.ended_by is not None:
                self.go_on(self._tell(self._noted.ended_by))

    def uncancel(self) -> int:
        """See `asyncio.Task`."""
        return self._task.uncancel() if self._task is not None else 0

    # ---- see `Host` ----

    @property
    def is_ready(self) -> bool:
        """Does the requester read?"""
        return self._stream.has_room

    def give(self, answer: WholeAnswer, attempt: Attempt) -> bool:
        """A whole answer, at once."""
        if not self._stream.has_room:
            return False
        self.sink.head(answer, (attempt,))
        self.sink.end(answer.body)
        return True

    def go_on(self, rest: Coroutine[Any, Any, None]) -> None:
        """The rest is a task's."""
        self._task = self._group.create_task(self._run(rest))
        self._task.add_done_callback(self._task_is_over)

    def over(self) -> None:
        """All is told. The requester has a moment to finish, too."""
        self._plain = None
        self._around.under_way.remove(self._noted)
        if self._has_left or not self.sink.out.has_ended:
            self._end()
        else:
            self._until_s = asyncio.get_running_loop().time() + LINGER_S
            self._sweep.add(self)

    def look(self, now_s: float) -> None:
        """See `Waiting`."""
        if now_s >= self._until_s:
            self._end()

    # ---- inside ----

    def _look(self) -> None:
        """What does the requester say behind its request?"""
        frames = self._stream.receive_now()
        said = next((kind for kind, _ in frames or () if kind is not FrameKind.IGNORED), None)
        if said is not None and self._fault is None:
            self._fault = went_on(said)
        if (frames is None or said is not None) and not self._has_left:
            self._has_left = True
            self._stop()

    def _stop(self) -> None:
        if self._task is not None:
            self._cancel_soon(self._task)
        elif self._plain is not None:
            self._plain.cancel()
            self.over()
        else:
            self._end()

    @staticmethod
    def _cancel_soon(task: asyncio.Task[None]) -> None:
        """Not now: a task that is cancelled before its first step never takes one, and what it was given stays open."""
        task.get_loop().call_soon(task.cancel)

    async def _run(self, rest: Coroutine[Any, Any, None]) -> None:
        peer = NodeId(self._request.requester or "")
        await self._around.guarded(peer, self._quota, self._stream, self._rest(rest))

    async def _rest(self, rest: Coroutine[Any, Any, None]) -> None:
        try:
            await rest
        except asyncio.CancelledError:
            if self._has_left:
                raise RequesterGone from None
            why = self._noted.why_ended()
            if why is None:
                raise
            await self._tell(why)

    async def _tell(self, why: MasaError) -> None:
        await self.sink.failed(as_told(why), ())

    def _task_is_over(self, task: asyncio.Task[None]) -> None:
        del task
        self._task = None
        self.over()

    def _end(self) -> None:
        self._signs.stop()
        self._sweep.discard(self)
        self._stream.listen(None)
        self._around.quotas.release_bytes(self._quota, len(self._request.body))
        self._quota.release()
        self._stream.abort()
        if self._fault is not None:
            self._around.misbehaves(NodeId(self._request.requester or ""), self._quota, self._fault)


def as_told(why: MasaError) -> ProviderError:
    """What the requester is told of why its request was ended."""
    if isinstance(why, NodeStopping):
        return PeerBusy("it is stopping.")
    return PeerRefused("its owner has ended the request.")
