"""Bodies are bounded one by one and together: many large ones cost nobody a usual request, nor the node its memory."""

import asyncio
import contextlib
from collections.abc import Iterator

import pytest

from masa_node.chat.request import ENDPOINT_PATHS
from tests.api.raw_http import CHAT, Line, Reply, ask_once, chat, chunk, line_to, post, post_chunked
from tests.api.serving import ServingNode

BODY, TOTAL = 1_000_000, 3_000_000
LARGE = chat(say="x" * 900_000)


@pytest.fixture(scope="module")
def tight(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServingNode]:
    """Room for three large bodies."""
    settings = {"MAX_BODY": str(BODY), "MAX_BODIES_TOTAL": str(TOTAL), "DEMO_PIECES_PER_S": "20"}
    with ServingNode(tmp_path_factory.mktemp("tight"), settings) as running:
        yield running


async def nearly(stack: contextlib.AsyncExitStack, port: int, count: int, target: bytes = CHAT) -> list[Line]:
    """So many callers whose large bodies are here but for a byte."""
    lines = [await stack.enter_async_context(line_to(port)) for _ in range(count)]
    for line in lines:
        await line.send(post(LARGE, target=target)[:-1])
    return lines


async def leave_within_the_answer(port: int) -> None:
    """Once a large body has got one: the node may still be noticing that others have left."""
    async with asyncio.timeout(30):
        status = b""
        while b" 200 " not in status:
            async with line_to(port) as line:
                await line.send(post(chat(stream=True, say="x" * 900_000)))
                status = await line.reader.readuntil(b"\r\n")
                if b" 200 " in status:
                    await line.reader.readuntil(b"data: ")


async def first_told(lines: list[Line]) -> list[Reply]:
    """The first answers that come; which callers get them depends on how their bytes arrive."""
    tasks = [asyncio.create_task(line.reply()) for line in lines]
    done, others = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    return [task.result() for task in done]


@pytest.mark.parametrize("target", [path.encode() for paths in ENDPOINT_PATHS.values() for path in paths])
async def test_beyond_the_total_it_is_503_with_a_time_to_come_again(tight: ServingNode, target: bytes) -> None:
    async with contextlib.AsyncExitStack() as stack:
        told = await first_told(await nearly(stack, tight.port, 8, target))
        assert {reply.status for reply in told} == {503}
        assert all(int(reply.header("retry-after") or 0) > 0 for reply in told)
        assert all(b"MAX_BODIES_TOTAL" in reply.body for reply in told)


async def test_a_usual_request_is_served_among_them(tight: ServingNode) -> None:
    async with contextlib.AsyncExitStack() as stack:
        await nearly(stack, tight.port, 8)
        for _ in range(3):
            assert (await ask_once(tight.port, post(chat()))).status == 200


async def test_all_of_it_is_given_back_however_they_end(tight: ServingNode) -> None:
    for _ in range(3):
        async with contextlib.AsyncExitStack() as stack:  # they leave within their bodies
            await nearly(stack, tight.port, 8)
        await leave_within_the_answer(tight.port)
    async with asyncio.timeout(30):
        statuses = [0]
        while statuses != [200] * 3:  # the node may still be noticing that they have left
            replies = await asyncio.gather(*(ask_once(tight.port, post(LARGE)) for _ in range(3)))
            statuses = [reply.status for reply in replies]


async def test_chunks_count_as_they_come(tight: ServingNode) -> None:
    async with contextlib.AsyncExitStack() as stack:
        lines = [await stack.enter_async_context(line_to(tight.port)) for _ in range(8)]
        for line in lines:
            await line.send(post_chunked(b"")[:], *[chunk(b"x" * 100_000)] * 9)
        assert {reply.status for reply in await first_told(lines)} == {503}
