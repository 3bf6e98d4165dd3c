"""Two servers with the same model: the next is asked when one fails before its first piece, and only then.

Covers: `upstream`.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes.dialect_samples import OPENAI, listed
from tests.fakes.http_bytes import chunk, head, whole
from tests.fakes.llm_server import FakeLlm, Script, close, send, stall
from tests.fakes.no_server import closed_port
from tests.fakes.raw_http import post
from tests.fakes.running import RunningNode, running_node

GOOD: Script = (send(OPENAI.whole),)
STREAM: Script = (send(OPENAI.stream),)


@contextlib.asynccontextmanager
async def node_with(folder: Path, *urls: str, **settings: str) -> AsyncIterator[RunningNode]:
    """A node whose `masa.toml` names these servers `one`, `two`, ..., each with the model `m`."""
    file = folder / "masa.toml"
    tables = [
        f'[[upstream]]\nname = "{name}"\nkind = "openai"\nurl = "{url}/v1"\nmodels = ["m"]\nhosted = true\n'
        for name, url in zip(("one", "two", "three"), urls, strict=False)
    ]
    file.write_text("\n".join(tables))
    async with running_node(MASA_CONFIG=str(file), **settings) as node:
        yield node


@contextlib.asynccontextmanager
async def two_servers(
    folder: Path, first: Script, second: Script, **settings: str
) -> AsyncIterator[tuple[FakeLlm, FakeLlm, RunningNode]]:
    """Two servers with the same model that answer requests so, and a node in front of them."""
    async with (
        FakeLlm().answer(OPENAI.endpoint, first) as one,
        FakeLlm().answer(OPENAI.endpoint, second) as two,
        node_with(folder, one.url, two.url, **settings) as node,
    ):
        yield one, two, node


def trail(header: str | None) -> list[str]:
    """The attempts without their times."""
    assert header is not None
    return [part.partition(";")[0] for part in header.split(", ")]


async def test_when_the_first_refuses_the_second_answers(tmp_path: Path) -> None:
    async with two_servers(tmp_path, GOOD, GOOD) as (one, two, node):
        await one.stop()
        reply = await post(node.port, OPENAI.endpoint, OPENAI.ask(stream=False))
    assert (reply.status, reply.body) == (200, OPENAI.answer)
    assert trail(reply.header("x-masa-attempts")) == ["one=connection_refused", "two=won"]
    assert two.asked(OPENAI.endpoint)[0].body == OPENAI.ask(stream=False)


FAILURES = [
    ((close,), "connection_closed"),
    ((send(whole(b"<html>", content_type="text/html")),), "not_an_answer"),
    ((send(whole(b"{}", status=500)),), "http_500"),
    ((send(whole(b"{}", status=429)),), "http_429"),
    ((send(whole(b'{"error":{"message":"no"}}', status=404)),), "http_404"),
    ((send(whole(b'{"error":{"message":"no"}}', status=400)),), "http_400"),
    ((send(head(302, [("Location", "/x"), ("Content-Length", "0")])),), "not_an_answer"),
    ((send(head(200, [("Content-Type", "text/event-stream")]) + OPENAI.error_frame), close), "http_500"),
    ((send(head(200, [("Content-Length", "5")]) + b"{"), close), "broken_answer"),
]


@pytest.mark.parametrize(("script", "result"), FAILURES)
async def test_whatever_the_first_fails_with_the_second_answers(tmp_path: Path, script: Script, result: str) -> None:
    async with two_servers(tmp_path, script, STREAM) as (_, _, node):
        reply = await post(node.port, OPENAI.endpoint, OPENAI.ask())
    assert (reply.status, reply.body, reply.is_whole) == (200, b"".join(OPENAI.frames), True)
    assert trail(reply.header("x-masa-attempts"))[-2:] == [f"one={result}", "two=won"]


async def test_after_the_first_piece_nobody_else_is_asked(tmp_path: Path) -> None:
    broken = (send(OPENAI.begun(chunk(OPENAI.frames[1]))), close)
    async with two_servers(tmp_path, broken, STREAM) as (_, two, node):
        reply = await post(node.port, OPENAI.endpoint, OPENAI.ask())
    assert not reply.is_whole
    assert reply.body.startswith(OPENAI.frames[0] + OPENAI.frames[1] + b'data: {"error"')
    assert two.asked(OPENAI.endpoint) == []


async def test_when_the_first_answers_the_second_hears_nothing(tmp_path: Path) -> None:
    async with two_servers(tmp_path, GOOD, GOOD) as (one, two, node):
        for _ in range(3):
            assert (await post(node.port, OPENAI.endpoint, OPENAI.ask(stream=False))).status == 200
    assert (len(one.asked(OPENAI.endpoint)), len(two.asked(OPENAI.endpoint))) == (3, 0)


USEFUL = [
    # what the three fail with, and whose error the caller gets
    ((500, 400, 503), 400),
    ((401, 404, 500), 404),
    ((500, 429, 401), 429),
    ((503, 500, 403), 403),
    ((422, 400, 413), 422),
]


@pytest.mark.parametrize(("statuses", "told"), USEFUL)
async def test_when_all_fail_the_most_useful_error_is_told(
    tmp_path: Path, statuses: tuple[int, ...], told: int
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        scripts = [(send(whole(b'{"error":{"message":"from %d"}}' % status, status=status)),) for status in statuses]
        servers = [await stack.enter_async_context(FakeLlm().answer(OPENAI.endpoint, script)) for script in scripts]
        node = await stack.enter_async_context(node_with(tmp_path, *(server.url for server in servers)))
        reply = await post(node.port, OPENAI.endpoint, OPENAI.ask())
    assert (reply.status, reply.body) == (told, b'{"error":{"message":"from %d"}}' % told)
    results = [f"{name}=http_{status}" for name, status in zip(("one", "two", "three"), statuses, strict=True)]
    assert trail(reply.header("x-masa-attempts")) == results


async def test_an_error_of_an_llm_is_more_useful_than_no_connection(tmp_path: Path) -> None:
    async with two_servers(tmp_path, GOOD, (send(whole(b'{"error":"own"}', status=500)),)) as (one, _, node):
        await one.stop()
        reply = await post(node.port, OPENAI.endpoint, OPENAI.ask())
    assert trail(reply.header("x-masa-attempts")) == ["one=connection_refused", "two=http_500"]
    assert (reply.status, reply.body) == (500, b'{"error":"own"}')


async def test_when_nobody_can_be_reached_the_error_names_one_and_the_trail_all(tmp_path: Path) -> None:
    urls = [f"http://127.0.0.1:{closed_port()}" for _ in range(3)]
    async with node_with(tmp_path, *urls) as node:
        reply = await post(node.port, OPENAI.endpoint, OPENAI.ask())
    assert (reply.status, trail(reply.header("x-masa-attempts"))) == (
        503,
        ["one=connection_refused", "two=connection_refused", "three=connection_refused"],
    )
    assert f"one ({urls[0]}/v1): It is away, and has not answered for 1 s: connection refused" in reply.body.decode()


async def test_a_silent_first_leaves_no_time_for_the_second_and_the_error_says_who_was_asked(tmp_path: Path) -> None:
    async with two_servers(tmp_path, (stall,), GOOD, LLM_TIMEOUT="0.15") as (_, two, node):
        reply = await post(node.port, OPENAI.endpoint, OPENAI.ask())
    assert reply.status == 504
    assert "asked: one." in reply.body.decode()
    assert two.asked(OPENAI.endpoint) == []


async def test_a_server_that_keeps_failing_is_asked_last(tmp_path: Path) -> None:
    async with two_servers(tmp_path, (send(whole(b"{}", status=500)),), GOOD) as (one, two, node):
        for _ in range(6):
            assert (await post(node.port, OPENAI.endpoint, OPENAI.ask(stream=False))).status == 200
    assert (len(one.asked(OPENAI.endpoint)), len(two.asked(OPENAI.endpoint))) == (3, 6)


async def test_a_server_that_lists_a_model_twice_is_asked_once(tmp_path: Path) -> None:
    async with FakeLlm().answer("/v1/models", listed("m", "m", "m:latest")) as llm:
        llm.answer(OPENAI.endpoint, (send(whole(b"{}", status=500)),))
        async with running_node(**OPENAI.settings(llm.url)) as node:
            await post(node.port, OPENAI.endpoint, OPENAI.ask())
    assert len(llm.asked(OPENAI.endpoint)) == 1


async def test_two_servers_share_requests_that_come_at_once(tmp_path: Path) -> None:
    async with two_servers(tmp_path, (stall,), (stall,)) as (one, two, node), asyncio.TaskGroup() as group:
        callers = [group.create_task(post(node.port, OPENAI.endpoint, OPENAI.ask())) for _ in range(16)]
        await one.until(lambda: len(one.asked(OPENAI.endpoint)) + len(two.asked(OPENAI.endpoint)) == len(callers), 5.0)
        assert abs(len(one.asked(OPENAI.endpoint)) - len(two.asked(OPENAI.endpoint))) <= 4
        for caller in callers:
            caller.cancel()
