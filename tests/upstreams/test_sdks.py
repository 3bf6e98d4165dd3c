"""The real SDKs in front of the node: a whole answer is one to them, and every cut one raises.

To all three a stream that ends cleanly without its terminal frame is a success.

Covers: `upstream`.
"""

from collections.abc import AsyncIterator, Callable

import anthropic
import httpx
import httpx2
import ollama
import openai
import pytest

from tests.fakes.dialect_samples import ANTHROPIC, MODEL, OLLAMA, OPENAI, SAMPLES, DialectSample
from tests.fakes.http_bytes import LAST_CHUNK, chunk, whole
from tests.fakes.llm_server import Step, close, flood, reset, send, stall
from tests.fakes.running import node_before

TIMEOUT_S = 20.0  # on a busy machine; a node waits 30 s for an LLM


async def openai_text(address: str) -> str:
    async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="k", max_retries=0, timeout=TIMEOUT_S) as client:
        stream = await client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "hello"}], stream=True
        )
        return "".join([piece.choices[0].delta.content or "" async for piece in stream])


async def anthropic_text(address: str) -> str:
    async with anthropic.AsyncAnthropic(base_url=address, api_key="k", max_retries=0, timeout=TIMEOUT_S) as client:
        streaming = client.messages.stream(model=MODEL, max_tokens=9, messages=[{"role": "user", "content": "hello"}])
        async with streaming as stream:
            return "".join([text async for text in stream.text_stream])


async def ollama_text(address: str) -> str:
    async with ollama.AsyncClient(host=address, timeout=TIMEOUT_S) as client:
        messages = [{"role": "user", "content": "hello"}]
        stream: AsyncIterator[ollama.ChatResponse] = await client.chat(model=MODEL, messages=messages, stream=True)
        return "".join([piece.message.content or "" async for piece in stream])


TEXT_OF = {OPENAI: openai_text, ANTHROPIC: anthropic_text, OLLAMA: ollama_text}
RAISED = (
    openai.APIError,
    anthropic.APIError,
    ollama.ResponseError,
    httpx.TransportError,
    httpx2.TransportError,
    ConnectionError,
)

every_sdk = pytest.mark.parametrize("speech", SAMPLES, ids=str)


async def text_through(speech: DialectSample, *steps: Step, **settings: str) -> str:
    async with node_before(speech, *steps, **settings) as (_, node):
        return await TEXT_OF[speech](node.address)


@every_sdk
async def test_a_whole_stream_is_an_answer(speech: DialectSample) -> None:
    assert await text_through(speech, send(speech.stream)) == "Hello"


CUTS: list[Callable[[DialectSample], tuple[Step, ...]]] = [
    lambda speech: (send(speech.begun()), close),
    lambda speech: (send(speech.begun()), reset),
    lambda speech: (send(speech.begun(chunk(speech.frames[1][:-3]))), close),
    lambda speech: (send(speech.begun(chunk(speech.frames[1][:-3]), LAST_CHUNK)),),
    lambda speech: (send(speech.begun(LAST_CHUNK)),),
    lambda speech: (send(speech.begun(*map(chunk, speech.frames[1:-2]), LAST_CHUNK)),),
    lambda speech: (send(speech.begun(b"zz\r\n")), stall),
    lambda speech: (send(speech.begun()), stall),
    lambda speech: (send(speech.begun()), flood(chunk(b"x"))),
    lambda speech: (send(speech.begun(chunk(speech.error_frame), LAST_CHUNK)),),
    lambda speech: (send(speech.begun(chunk(speech.error_frame))), close),
]


@every_sdk
@pytest.mark.parametrize(
    "cut",
    CUTS,
    ids=[
        "closed between frames",
        "reset between frames",
        "closed inside a frame",
        "ended inside a frame",
        "ended after the first frame",
        "ended before the terminal frame",
        "garbage between chunks",
        "silent after the first frame",
        "half frames only",
        "an error of the LLM's own",
        "an error of the LLM's own, then closed",
    ],
)
async def test_a_cut_stream_raises(speech: DialectSample, cut: Callable[[DialectSample], tuple[Step, ...]]) -> None:
    with pytest.raises(RAISED):
        await text_through(speech, *cut(speech), LLM_IDLE_TIMEOUT="0.1")


FAULTS: list[tuple[tuple[Step, ...], str]] = [
    ((close,), "closed the connection"),
    ((stall,), "LLM_TIMEOUT"),
    ((send(whole(b"<html>", content_type="text/html")),), "text/html"),
    ((send(whole(b"no such page", status=404, content_type="text/plain")),), "no such page"),
]


@every_sdk
@pytest.mark.parametrize(("script", "words"), FAULTS)
async def test_a_fault_before_the_first_piece_raises_with_our_words(
    speech: DialectSample, script: tuple[Step, ...], words: str
) -> None:
    with pytest.raises(RAISED, match=words):
        await text_through(speech, *script, LLM_TIMEOUT="0.15")


@every_sdk
async def test_an_error_of_the_llms_own_raises_with_its_words(speech: DialectSample) -> None:
    with pytest.raises(RAISED, match="boom") as caught:
        await text_through(speech, send(whole(speech.error_answer, status=429)))
    assert getattr(caught.value, "status_code", None) == 429
