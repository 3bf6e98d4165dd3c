"""An own server that is asked by calls: a test says what comes from it, and when."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from masa_node.chat.answer import WRITTEN, Answer, Usage, WholeAnswer
from masa_node.chat.errors import BrokenAnswer, ConnectionClosed
from masa_node.chat.outcome import Attempt
from masa_node.chat.request import DialectName, Headers, Request
from masa_node.dialects.choices import Endings
from masa_node.dialects.registry import DIALECTS
from masa_node.routing.answers.reader import take_answer
from masa_node.routing.dispatch import Dispatcher
from masa_node.routing.plain import Plain
from masa_node.routing.provider import Sign, Taker, TakeWhole, no_sign
from tests.fakes.http_bytes import chunk, unchunked
from tests.fakes.sinks import Keeps
from tests.routing.scripted import ScriptedProvider, World

PIECE = b'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}\n\n'
LAST = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"
WHOLE = b'{"choices":[{"index":0,"message":{"content":"a"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3}}'


class Talk:
    """One request to it and the response, both as the plain way and as a task reads them."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.dialect = DIALECTS[DialectName.OPENAI]
        self.endings = Endings()
        self.asked = 0
        self.status = 0
        self.headers: Headers = ()
        self.content_type = ""
        self.closed = self.finished = False
        self.was_answered = False
        self.error: BrokenAnswer | ConnectionClosed | None = None
        self._pieces: list[bytes] = []
        self._is_over = False
        self._came: Callable[[], None] | None = None
        self._taker: Taker | None = None
        self._take_whole: TakeWhole | None = None
        self._more = asyncio.Event()

    # ---- what a test says ----

    def heads(self, status: int = 200, content_type: str = "text/event-stream") -> None:
        self.status, self.content_type = status, content_type
        self._tell()

    def says(self, *pieces: bytes, is_over: bool = False) -> None:
        if self._taker is not None and not self._pieces and pieces:
            pieces = tuple(unchunked(self._taker.take(b"".join(map(chunk, pieces))))[0])
        self._pieces += pieces
        self._is_over = is_over
        self._tell()

    def offers(self, body: bytes) -> bool:
        """A whole answer at once: was it taken in this very call?"""
        headers = (("content-type", "application/json"),)
        if self._take_whole is not None and self._take_whole(headers, body):
            self.finished = self.was_answered = True
            self._came = self._take_whole = None
            return True
        self.headers = headers
        self.heads(content_type="application/json")
        self.says(body, is_over=True)
        return False

    def breaks(self) -> None:
        self.error = BrokenAnswer("cut") if self.status else ConnectionClosed("closed")
        self._tell()

    def _tell(self) -> None:
        self._more.set()
        if self._came is not None:
            self._came()

    # ---- see `AskedNow` ----

    @property
    def is_odd(self) -> bool:
        return self.error is not None

    def heard(self) -> int:
        return 0

    def listen(self, came: Callable[[], None] | None, taker: Taker | None = None) -> None:
        self._came, self._taker, self._take_whole = came, taker, None

    def listen_for_whole(self, came: Callable[[], None], take: TakeWhole) -> None:
        self.listen(came)
        self._take_whole = take

    def head(self) -> "Talk | None":
        return self if self.status else None

    def answered(self, usage: Usage) -> None:
        del usage
        self.was_answered = True

    async def answer(self, request: Request, sign: Sign = no_sign) -> Answer:
        while not self.status:
            if self.error is not None:
                raise self.error
            await self._wait()
        return await take_answer(self, self.dialect, is_stream=True, endings=self.endings, sign=sign)

    # ---- see `OpenResponse` ----

    @property
    def is_read(self) -> bool:
        return self._is_over and not self._pieces

    def take_now(self) -> bytes | None:
        if self._pieces:
            taken, self._pieces = b"".join(self._pieces), []
            return taken
        return b"" if self._is_over or self.error is not None else None

    take_unpacked = take_now

    def put_back(self, data: bytes) -> None:
        self._pieces.insert(0, data)

    def finish(self) -> None:
        self.finished = True

    async def read_piece(self) -> bytes:
        while True:
            piece = self.take_now()
            if piece is None:
                await self._wait()
            elif piece or self.error is None:
                return piece
            else:
                raise self.error

    read_trailer = read_piece

    def close(self) -> None:
        self.closed = True

    async def _wait(self) -> None:
        self._more.clear()
        await self._more.wait()


class TalkingServer(ScriptedProvider):
    """It keeps what it is asked; `is_free`: has it a connection?"""

    def __init__(self, name: str = "own") -> None:
        super().__init__(name)
        self.talks: list[Talk] = []
        self.is_free = True

    @property
    def talk(self) -> Talk:
        return self.talks[-1]

    def ask_now(self, request: Request) -> Talk | None:
        if not self.is_free:
            return None
        self.talks.append(Talk(request))
        return self.talk


@dataclass
class AtOnce(Keeps):
    """Takes all in the very call; `slow` is waited for at the next piece, if it is there."""

    slow: Awaitable[None] | None = None

    def head(self, answer: Answer, attempts: Sequence[Attempt]) -> Awaitable[None]:  # type: ignore[override]
        self.answer = answer
        return WRITTEN

    def piece(self, data: bytes, /) -> Awaitable[None]:  # type: ignore[override]
        self.came.append(data)
        slow, self.slow = self.slow, None
        return slow or WRITTEN

    def end(self, last: bytes) -> Awaitable[None]:  # type: ignore[override]
        self.came.append(last)
        return WRITTEN


@dataclass
class PlainCaller:
    """A caller of the plain way. It reads while it `is_ready`."""

    sink: AtOnce = field(default_factory=AtOnce)
    is_ready: bool = True
    task: "asyncio.Task[None] | None" = None
    is_over: bool = False

    def give(self, answer: WholeAnswer, attempt: Attempt) -> bool:
        if self.is_ready:
            self.sink.head(answer, (attempt,))
            self.sink.end(answer.body)
        return self.is_ready

    def go_on(self, rest: Coroutine[Any, Any, None]) -> None:
        self.task = asyncio.get_running_loop().create_task(rest)

    def over(self) -> None:
        self.is_over = True

    @property
    def text(self) -> bytes:
        return b"".join(self.sink.came)


def world_of(*servers: ScriptedProvider) -> tuple[World, Dispatcher]:
    """A world that has these servers, and the way in to the plain way there."""
    world = World(servers)
    return world, world.dispatcher


def begin(world: World, way: Dispatcher, caller: PlainCaller) -> Plain | None:
    """Have a request answered by calls; None where that is not plain."""
    request = world.ask()
    row = way.row(request.model, request.endpoint)
    return None if row is None else way.begin(row, request, caller)
