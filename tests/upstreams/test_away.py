"""An own LLM server that is down for the moment: 503 with Retry-After in the caller's format, and whole again after.

Covers: `upstream`.
"""

import pytest

from tests.fakes.dialect_samples import SAMPLES, DialectSample
from tests.fakes.llm_server import send
from tests.fakes.no_server import closed_port
from tests.fakes.raw_http import post
from tests.fakes.running import running_node

every_dialect = pytest.mark.parametrize("speech", SAMPLES, ids=str)


@every_dialect
async def test_a_server_that_goes_down_is_a_503_that_names_it_and_says_for_how_long(speech: DialectSample) -> None:
    async with speech.fake(send(speech.whole)) as llm, running_node(**speech.settings(llm.url)) as running:
        assert (await post(running.port, speech.endpoint, speech.ask(stream=False))).status == 200
        await llm.stop()
        reply = await post(running.port, speech.endpoint, speech.ask(stream=False))
    message = speech.message_in(reply.body)
    assert (reply.status, reply.header("retry-after")) == (503, "2")
    for words in (speech.provider, llm.url, "away", "connection refused", "Ask again"):
        assert words in message


@every_dialect
async def test_a_server_that_is_not_up_yet_is_a_503(speech: DialectSample) -> None:
    async with running_node(settled=False, **speech.settings(f"http://127.0.0.1:{closed_port()}")) as running:
        reply = await post(running.port, speech.endpoint, speech.ask(stream=False))
    assert (reply.status, reply.header("retry-after")) == (503, "2")
