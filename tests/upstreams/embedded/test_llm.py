"""An LLM that the node brings itself: its process dies, comes back, and ends with the node. The process is a fake."""

import asyncio
import contextlib
import gc
import itertools
import weakref
from collections.abc import AsyncIterator
from unittest import mock

import pytest

from masa_node.chat.errors import ErrorAnswer, ProviderError, Unreachable
from masa_node.chat.request import Endpoint
from masa_node.upstreams.embedded import llm as embedded
from masa_node.upstreams.embedded import work
from masa_node.upstreams.embedded.llm import EmbeddedLlm, default_threads
from masa_node.upstreams.embedded.program import EmbeddedModel
from masa_node.upstreams.http.client import HttpClient
from masa_node.upstreams.spec import UpstreamKind, UpstreamSpec
from tests.fakes.dialect_samples import listed
from tests.fakes.http_bytes import whole
from tests.fakes.llm_server import FakeLlm, close, send, wait_for
from tests.routing.test_translating import CHAT_ANSWER
from tests.routing.test_translating_steps import asked
from tests.virtual_time import now_s, settle, until, virtual_time

MODEL = EmbeddedModel("/models/tiny.gguf", "tiny")


class FakeProcess:
    """Loads and ends when it is told to."""

    def __init__(self, options: EmbeddedModel) -> None:
        self.options = options
        self.started_at_s = now_s()
        self.is_killed = False
        self._url: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._why: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def load(self, url: str = "http://127.0.0.1:1") -> None:
        self._url.set_result(url)

    def die(self, why: str = "it was ended by signal 9") -> None:
        if not self._url.done():
            self._url.set_result("")
        self._why.set_result(why)

    async def loaded(self) -> str:
        return await asyncio.shield(self._url)

    async def ended(self) -> str:
        return await asyncio.shield(self._why)

    async def end(self) -> None:
        self.is_killed = True
        if not self._why.done():
            self.die()


class World:
    """An embedded LLM that runs, and every process that it has started."""

    def __init__(self, http: HttpClient) -> None:
        self.started: asyncio.Queue[FakeProcess] = asyncio.Queue()
        self.refuse_to_start = False
        self.llm = EmbeddedLlm(UpstreamSpec("embedded", UpstreamKind.EMBEDDED, "tiny"), MODEL, http, self._start)

    async def _start(self, options: EmbeddedModel) -> FakeProcess:
        if self.refuse_to_start:
            raise OSError("no more processes")
        process = FakeProcess(options)
        await self.started.put(process)
        return process


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[World]:
    async with HttpClient() as http:
        world = World(http)
        task = asyncio.create_task(world.llm.run())
        try:
            yield world
        finally:
            task.cancel()
            await asyncio.wait([task])


@virtual_time
async def test_a_request_waits_while_the_model_is_loaded() -> None:
    async with running() as world:
        process = await world.started.get()
        is_loaded = asyncio.create_task(world.llm.is_loaded())
        await settle()
        assert not is_loaded.done()
        process.load()
        assert await is_loaded


@virtual_time
async def test_a_request_is_refused_at_once_and_in_words_while_it_is_down() -> None:
    async with running() as world:
        (await world.started.get()).die("it ended with exit code 1 (no such model)")
        await until(lambda: bool(world.llm.trouble))
        assert not await world.llm.is_loaded()
        before_s = now_s()
        with pytest.raises(Unreachable) as refused:
            await world.llm.offers()
        assert now_s() == before_s
        assert "it ended with exit code 1 (no such model); it is started again within 1 s" in refused.value.message
        assert refused.value.location == "embedded (tiny, built in)"


@virtual_time
async def test_a_process_that_dies_again_and_again_is_started_after_pauses_that_double_up_to_a_minute() -> None:
    async with running() as world:
        starts_s: list[float] = []
        for _ in range(10):
            process = await world.started.get()
            starts_s.append(process.started_at_s)
            process.die()
        assert [later - earlier for earlier, later in itertools.pairwise(starts_s)] == [1, 2, 4, 8, 16, 32, 60, 60, 60]


@virtual_time
async def test_one_that_has_served_for_long_is_started_again_soon() -> None:
    async with running() as world:
        for _ in range(3):
            (await world.started.get()).die()
        steady = await world.started.get()
        steady.load()
        await asyncio.sleep(embedded.STEADY_AFTER_S)
        died_at_s = now_s()
        steady.die()
        assert (await world.started.get()).started_at_s - died_at_s == embedded.FIRST_PAUSE_S


@virtual_time
async def test_one_that_cannot_even_be_started_is_tried_again() -> None:
    async with running() as world:
        (await world.started.get()).die()
        world.refuse_to_start = True
        await until(lambda: "it cannot be started: no more processes" in world.llm.trouble)
        world.refuse_to_start = False
        (await world.started.get()).load()
        assert await world.llm.is_loaded()


async def invalidated(llm: EmbeddedLlm) -> None:
    await llm.invalidation.wait()
    llm.invalidation.clear()


@virtual_time
async def test_the_list_is_doubted_when_it_goes_down_and_when_it_is_back() -> None:
    async with running() as world:
        process = await world.started.get()
        process.load()
        await invalidated(world.llm)
        process.die()
        await invalidated(world.llm)
        assert world.llm.trouble
        (await world.started.get()).load()
        await invalidated(world.llm)
        assert not world.llm.trouble


@virtual_time
@pytest.mark.parametrize("is_loaded", [True, False])
async def test_the_process_is_killed_when_the_node_ends(*, is_loaded: bool) -> None:
    async with running() as world:
        process = await world.started.get()
        if is_loaded:
            process.load()
            await settle()
    assert process.is_killed


@virtual_time
async def test_each_start_has_a_key_of_its_own_that_is_never_shown() -> None:
    async with running() as world:
        process = await world.started.get()
        process.die()
        first, second = process.options, (await world.started.get()).options
        assert first.key != second.key
        assert min(len(first.key), len(second.key)) >= 32
        assert first.key not in repr(first)


async def test_it_is_asked_for_its_models_once_as_they_cannot_change() -> None:
    async with FakeLlm().answer("/v1/models", listed("tiny")) as server, running() as world:
        process = await world.started.get()
        process.load(server.url)
        for _ in range(3):
            assert [offer.model for offer in await world.llm.offers()] == ["tiny"]
        (listing,) = server.asked("/v1/models")
        assert listing.header("authorization") == [f"Bearer {process.options.key}"]


async def test_it_is_offered_for_the_endpoints_that_it_has_and_no_others_before_and_after_it_is_loaded() -> None:
    has = {
        *(Endpoint.NATIVE, Endpoint.OPENAI_CHAT, Endpoint.OPENAI_COMPLETIONS, Endpoint.OPENAI_RESPONSES),
        *(Endpoint.ANTHROPIC_MESSAGES, Endpoint.ANTHROPIC_COUNT_TOKENS),
    }
    llama = FakeLlm().answer("/v1/models", listed("tiny"))
    llama.answer("/v1/messages", (send(whole(b'{"error": {"message": "no model"}}', status=400)),))
    async with llama as server, running() as world:
        process = await world.started.get()
        assert [offer.endpoints for offer in world.llm.expected()] == [has]
        process.load(server.url)
        assert [offer.endpoints for offer in await world.llm.offers()] == [has]


async def test_a_list_that_failed_is_asked_for_again() -> None:
    async with FakeLlm().answer("/v1/models", (close,), listed("tiny")) as server, running() as world:
        (await world.started.get()).load(server.url)
        with pytest.raises(ProviderError):
            await world.llm.offers()
        assert [offer.model for offer in await world.llm.offers()] == ["tiny"]


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 1), (3, 1), (8, 4), (64, 8)])
def test_it_takes_half_of_the_cores_and_no_more_than_eight(
    monkeypatch: pytest.MonkeyPatch, cores: int, threads: int
) -> None:
    monkeypatch.setattr(embedded.os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    assert default_threads() == threads


@pytest.mark.parametrize("is_noticed", [True, False])
async def test_a_process_that_has_just_died_is_told_as_that_and_not_as_a_wrong_url(*, is_noticed: bool) -> None:
    async with running() as world:
        process = await world.started.get()
        process.load()  # nothing listens there
        assert await world.llm.is_loaded()
        with mock.patch.object(embedded, "NOTICED_WITHIN_S", 5.0 if is_noticed else 0.05):
            asking = asyncio.create_task(world.llm.answer(asked(b'{"model":"tiny"}', Endpoint.OPENAI_CHAT)))
            await asyncio.sleep(0.05)
            if is_noticed:
                process.die()
            with pytest.raises(ProviderError) as refused:
                await asking
        assert ("ended by signal 9; it is started again" in refused.value.message) is is_noticed
        assert ("nothing listens there" in refused.value.message) is not is_noticed


@pytest.mark.parametrize("busy", [True, False])
async def test_an_answer_that_is_worked_on_for_long_gives_signs_of_life_and_one_that_is_not_none(*, busy: bool) -> None:
    done = asyncio.Event()
    signs: list[float] = []
    slots = whole(b'[{"is_processing":%b}]' % (b"true" if busy else b"false"))
    llama = FakeLlm().answer("/v1/models", listed("tiny")).answer("/slots", (send(slots),))
    llama.answer("/v1/chat/completions", (wait_for(done), send(whole(CHAT_ANSWER.body))))
    with mock.patch.object(work, "LOOK_EVERY_S", 0.01):
        async with llama as server, running() as world:
            (await world.started.get()).load(server.url)
            asking = asyncio.create_task(world.llm.answer(asked(b'{"model":"tiny"}'), lambda: signs.append(now_s())))
            await until(lambda: len(server.asked("/slots")) > 2)
            assert bool(signs) is busy
            done.set()
            assert (await asking).status == 200


async def test_an_answer_that_fails_while_it_is_watched_fails_as_it_is_and_leaves_nothing() -> None:
    llama = FakeLlm().answer("/v1/models", listed("tiny"))
    llama.answer("/v1/chat/completions", (send(whole(b'{"error":{"message":"too long"}}', status=400)),))
    async with llama as server, running() as world:
        (await world.started.get()).load(server.url)
        gc.collect()
        gc.disable()
        try:
            error = await _failure(world.llm)
            assert "too long" in error.message
            left = weakref.ref(error)
            del error
            await settle()
            assert left() is None
        finally:
            gc.enable()


async def _failure(llm: EmbeddedLlm) -> ErrorAnswer:
    try:
        await llm.answer(asked(b'{"model":"tiny"}'))
    except ErrorAnswer as error:
        return error
    raise AssertionError("it answered")
