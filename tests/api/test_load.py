"""MAX_CONCURRENT at once, MAX_QUEUE wait, the next one hears at once when to come again.

Covers: `chat`, `responses`.
"""

import asyncio
from collections.abc import Iterator

import openai
import pytest

from tests.api.raw_http import PATIENCE_S, ask_once, chat, get, line_to, post
from tests.api.serving import ServingNode


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServingNode]:
    """A node with one place and one seat to wait, whose answers take about a second."""
    settings = {"MAX_CONCURRENT": "1", "MAX_QUEUE": "1", "DEMO_PIECES_PER_S": "20"}
    with ServingNode(tmp_path_factory.mktemp("full"), settings) as running:
        yield running


async def gauge(node: ServingNode, name: str, wanted: int) -> None:
    """Wait until a gauge has this value."""
    line = f"\n{name} {wanted:.1f}\n".encode()
    async with asyncio.timeout(PATIENCE_S):
        while line not in (await ask_once(node.port, get(b"/metrics"))).body:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.fixture
def client(full: ServingNode) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{full.address}/v1", api_key="none", max_retries=0) as made:
        yield made


async def test_one_is_served_one_waits_and_the_third_is_told_when_to_come_again(
    full: ServingNode, client: openai.OpenAI
) -> None:
    async with line_to(full.port) as first, line_to(full.port) as second:
        await first.send(post(chat(stream=True)))
        await first.reader.readuntil(b"data: ")
        await second.send(post(chat(stream=True), target=b"/v1/messages"))
        await gauge(full, "masa_requests_waiting", 1)
        await gauge(full, "masa_requests_in_flight", 1)

        third = await ask_once(full.port, post(chat()))
        assert (third.status, third.error_code, third.header("retry-after")) == (503, "overloaded", "1")
        assert "MAX_CONCURRENT" in third.body.decode()
        with pytest.raises(openai.InternalServerError) as raised:
            await asyncio.to_thread(client.chat.completions.create, model="masa-demo", messages=[])
        assert raised.value.status_code == 503

        assert (await ask_once(full.port, get(b"/healthz"))).status == 200
        assert (await ask_once(full.port, get(b"/v1/models"))).status == 200
        await first.reader.readuntil(b"[DONE]")
        assert b"message_stop" in (await second.reply()).body
    await gauge(full, "masa_requests_in_flight", 0)


async def test_who_gives_up_waiting_frees_his_seat(full: ServingNode) -> None:
    async with line_to(full.port) as first:
        await first.send(post(chat(stream=True)))
        await first.reader.readuntil(b"data: ")
        for _ in range(3):
            async with line_to(full.port) as second:
                await second.send(post(chat()))
                await gauge(full, "masa_requests_waiting", 1)
            await gauge(full, "masa_requests_waiting", 0)
    await gauge(full, "masa_requests_in_flight", 0)
