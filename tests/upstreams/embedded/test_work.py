"""A slow answer in one piece is no silence: the LLM's slots tell that it is worked on."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import cast

import pytest

from masa_node.chat.errors import ConnectionRefused, ProviderError
from masa_node.chat.request import Headers
from masa_node.upstreams.embedded.work import LOOK_EVERY_S, Work
from masa_node.upstreams.http.answer import HttpAnswer
from masa_node.upstreams.http.client import HttpClient
from tests.routing.answers.test_odd_answers import Said
from tests.virtual_time import now_s, virtual_time

BUSY, IDLE = b'[{"id":0,"is_processing":false},{"id":1,"is_processing":true}]', b'[{"id":0,"is_processing":false}]'


class Slots:
    """An HTTP client to a server that says this of its slots."""

    def __init__(self, said: bytes | ProviderError, takes_s: float = 0.0) -> None:
        self.said = said
        self.asked: list[tuple[float, str, Headers]] = []
        self._takes_s = takes_s

    async def get(self, url: str, headers: Headers) -> HttpAnswer:
        self.asked.append((now_s(), url, headers))
        await asyncio.sleep(self._takes_s)
        if isinstance(self.said, ProviderError):
            raise self.said
        return cast("HttpAnswer", Said(self.said))


@contextlib.asynccontextmanager
async def shown(slots: Slots, deadlines_s: tuple[float, ...] = (30.0,)) -> AsyncIterator[list[float]]:
    """The times of the signs of life, of requests with these deadlines, from now on."""
    work = Work(cast("HttpClient", slots), "http://llm", "secret")
    signs: list[float] = []
    began_s = asyncio.get_running_loop().time()
    tasks = [asyncio.create_task(work.show(lambda: signs.append(now_s()), began_s + each)) for each in deadlines_s]
    yield signs
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


@virtual_time
async def test_an_llm_that_works_shows_it_until_it_is_done() -> None:
    slots = Slots(BUSY)
    async with shown(slots) as signs:
        await asyncio.sleep(3.5 * LOOK_EVERY_S)
        assert signs == [LOOK_EVERY_S, 2 * LOOK_EVERY_S, 3 * LOOK_EVERY_S]
    assert slots.asked[0][1:] == ("http://llm/slots", (("Authorization", "Bearer secret"),))


@virtual_time
async def test_the_first_look_is_well_before_the_deadline() -> None:
    async with shown(Slots(BUSY), (2.0, -1.0)) as signs:
        await asyncio.sleep(1.5)
        assert signs == [0.0, 1.0]


@pytest.mark.parametrize(
    "said", [IDLE, b"[]", b"{}", b"", b'{"error":{"code":501}}', b'[{"is_processing":1}]', ConnectionRefused("gone")]
)
@virtual_time
async def test_what_does_not_tell_that_it_works_is_no_sign(said: bytes | ProviderError) -> None:
    async with shown(Slots(said)) as signs:
        await asyncio.sleep(5 * LOOK_EVERY_S)
        assert signs == []


@virtual_time
async def test_one_that_does_not_answer_shows_nothing_and_is_not_asked_twice_at_a_time() -> None:
    slots = Slots(BUSY, takes_s=1_000.0)
    async with shown(slots, (30.0, 30.0, 2.0)) as signs:
        await asyncio.sleep(900.0)
        assert (signs, len(slots.asked)) == ([], 1)


@virtual_time
async def test_one_look_is_for_all_that_wait_for_it() -> None:
    slots = Slots(BUSY, takes_s=1.0)
    async with shown(slots, (30.0,) * 20) as signs:
        await asyncio.sleep(LOOK_EVERY_S + 2.0)
        assert (len(signs), len(slots.asked)) == (20, 1)
