"""Providers that do what a test tells them, and remember what became of them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import takewhile

from masa_node.chat.answer import Answer, StreamedAnswer, Usage, WholeAnswer
from masa_node.chat.errors import ErrorAnswer, MasaError, ProviderError
from masa_node.chat.offer import ModelOffer
from masa_node.chat.outcome import Attempt, Outcome
from masa_node.chat.request import DialectName, Endpoint, Privacy, RaceMode, RaceRule, Request, RequestId
from masa_node.routing.admission import Admission
from masa_node.routing.candidates import NO_RULES, ChoiceRules
from masa_node.routing.catalog import Catalog
from masa_node.routing.dispatch import Dispatcher
from masa_node.routing.provider import Begun, Sign, Together, no_sign
from tests.fakes.sinks import Keeps, TakesAll

MODEL = "tiny"
TURN = 0.0  # a step that only lets others go on
DEADLINE_S = 30.0
ALL = RaceRule()
HEDGE = RaceRule(RaceMode.HEDGE)
IDLE_S = 120.0
BEGIN_S = 600.0

WHOLE = WholeAnswer(200, (), b'{"choices":[]}', DialectName.OPENAI, Usage(3, 4))


@dataclass(slots=True)
class ScriptedStream:
    """A streamed answer; its steps are pieces, seconds to wait, and how it breaks. Whole when they are used up."""

    steps: Sequence[bytes | float | ProviderError]
    open: bool = False
    closed: int = 0
    frames: int = 1
    whole_at: int | None = None  # the number of the frame that is the last of a whole answer

    async def next_piece(self) -> bytes:
        while self.steps:
            step, *self.steps = self.steps
            match step:
                case bytes():
                    self.frames += 1
                    return step
                case float():
                    await asyncio.sleep(step)
                case ProviderError():
                    raise step
        return b""

    def close(self) -> None:
        self.open = False
        self.closed += 1

    def as_answer(self) -> StreamedAnswer:
        self.open = True
        return StreamedAnswer(
            200, (), DialectName.OPENAI, b"first", self.next_piece, self.close, lambda: self.frames, Usage(5, 6),
            self.is_whole,
        )  # fmt: skip

    def is_whole(self) -> bool:
        return self.whole_at is not None and self.frames >= self.whole_at


class Alive(Enum):
    """A step: a sign of life, such as a heartbeat."""

    SIGN = "sign"


SIGN = Alive.SIGN
Step = float | Alive | ProviderError | WholeAnswer | ScriptedStream


class ScriptedProvider:
    """Goes through its steps each time it is asked: waits, then fails or answers; never, if the steps end before."""

    is_local = True
    is_trusted = True
    is_hosted = False

    def __init__(self, name: str, *steps: Step) -> None:
        self.name = name
        self.priority = 0
        self.location = f"{name} (http://{name})"
        self.asked: list[Request] = []
        self.at_work = 0
        self.steps = steps

    async def answer(self, ask: Request, sign: Sign = no_sign) -> Answer:
        self.asked.append(ask)
        self.at_work += 1
        try:
            return await self.play(self.steps, sign)
        finally:
            self.at_work -= 1

    async def play(self, steps: Sequence[Step], sign: Sign) -> Answer:
        for step in steps:
            match step:
                case float():
                    await asyncio.sleep(step)
                case Alive():
                    sign()
                case ProviderError():
                    step.location = self.location
                    raise step
                case ScriptedStream():
                    return step.as_answer()
                case WholeAnswer():
                    return step
        await asyncio.get_running_loop().create_future()
        raise AssertionError


class ScriptedPeer(ScriptedProvider):
    """The same, as a peer. One that `begins_at_once` needs no task until it has something to say."""

    is_local = False
    is_trusted = False
    begins_at_once = False

    def begin(self, together: Together, wake: Callable[[], None]) -> Begun | None:
        return ScriptedBegun(self, together.request, wake) if self.begins_at_once else None


class ScriptedBegun:
    """Its peer waits as its first steps say, wakes whoever asked, and goes on when it is told to."""

    def __init__(self, peer: ScriptedPeer, request: Request, wake: Callable[[], None]) -> None:
        self._peer = peer
        self._is_open = True
        peer.asked.append(request)
        peer.at_work += 1
        waits = list(takewhile(lambda step: isinstance(step, float), peer.steps))
        self._steps = peer.steps[len(waits) :]
        delay_s = sum(step for step in waits if isinstance(step, float))
        self._timer = asyncio.get_running_loop().call_later(delay_s, wake) if self._steps else None

    async def answer(self, request: Request, sign: Sign = no_sign) -> Answer:
        try:
            return await self._peer.play(self._steps, sign)
        finally:
            self.close()

    def close(self) -> None:
        self._peer.at_work -= self._is_open
        self._is_open = False
        if self._timer is not None:
            self._timer.cancel()


class TrustedPeer(ScriptedPeer):
    """One that the owner trusts."""

    is_trusted = True


def http_error(status: int) -> ErrorAnswer:
    return ErrorAnswer(f"it answered {status}: boom", status=status, headers=(), body=b"{}", is_json=True)


def offer(model: str = MODEL, *endpoints: Endpoint) -> ModelOffer:
    return ModelOffer(model, frozenset(endpoints or (Endpoint.OPENAI_CHAT,)))


async def nothing_new() -> None:
    """A refresh that finds what was there before."""


@dataclass(slots=True)
class World:
    """A dispatcher with these providers; all of them serve MODEL at the OpenAI endpoint."""

    providers: Sequence[ScriptedProvider] = ()
    max_running: int = 10
    max_waiting: int = 10
    refresh: Callable[[], Awaitable[None]] = nothing_new
    rules: ChoiceRules = NO_RULES
    outcomes: list[Outcome] = field(default_factory=list)
    catalog: Catalog = field(default_factory=Catalog)
    admission: Admission = field(init=False)
    dispatcher: Dispatcher = field(init=False)

    def __post_init__(self) -> None:
        for provider in self.providers:
            self.catalog.put(provider, [offer()])
        self.admission = Admission(self.max_running, self.max_waiting)
        self.dispatcher = Dispatcher(self.catalog, self.admission, self.refresh, self.outcomes.append, rules=self.rules)

    @property
    def outcome(self) -> Outcome:
        (outcome,) = self.outcomes
        return outcome

    def ask(
        self,
        model: str = MODEL,
        endpoint: Endpoint = Endpoint.OPENAI_CHAT,
        race: RaceRule = ALL,
        privacy: Privacy = Privacy.ANY,
    ) -> Request:
        return Request(
            request_id=RequestId("r-1"),
            endpoint=endpoint,
            model=model,
            wants_stream=True,
            body=b'{"model":"tiny"}',
            headers=(),
            first_piece_deadline_s=asyncio.get_running_loop().time() + DEADLINE_S,
            idle_timeout_s=IDLE_S,
            begin_deadline_s=asyncio.get_running_loop().time() + BEGIN_S,
            privacy=privacy,
            race=race,
        )

    async def answer(self, ask: Request | None = None) -> Answer:
        """Have one request answered to its end. Raises the error that its caller gets."""
        caller = Keeps()
        await self.dispatcher.answer(ask or self.ask(), caller)
        if caller.error is not None:
            raise caller.error
        assert caller.answer is not None
        return caller.answer

    @contextlib.asynccontextmanager
    async def begun(self, ask: Request | None = None) -> AsyncIterator[Answer]:
        """An answer that has begun; its caller takes no piece of it, and has gone when the block ends."""
        caller = StandsStill(asyncio.get_running_loop().create_future())
        answering = asyncio.create_task(self.dispatcher.answer(ask or self.ask(), caller))
        try:
            yield await caller.begun
        finally:
            answering.cancel()
            await asyncio.wait([answering])


@dataclass
class StandsStill(TakesAll):
    """A caller that learns that an answer begins, and takes nothing of it."""

    begun: asyncio.Future[Answer]

    async def head(self, answer: Answer, attempts: Sequence[Attempt]) -> None:
        self.begun.set_result(answer)
        await asyncio.Event().wait()

    async def failed(self, error: MasaError, attempts: Sequence[Attempt]) -> int:
        self.begun.set_exception(error)
        return 0


def all_equal(peer: str) -> int:
    """The rank of a peer where there are no ranks."""
    return 0
