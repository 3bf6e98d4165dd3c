"""llama.cpp closes connections that it announced to keep: no answer may be lost to that."""

import asyncio
from collections.abc import Callable
from typing import Any

import openai
from pair import Serve

HELLO: list[Any] = [{"role": "user", "content": "hello"}]
REQUESTS = 100
AT_ONCE = 8


def counted(last: int) -> str:
    return "".join(f" {number}" for number in range(1, last + 1))


def length(request: int) -> int:
    """How far request number so-and-so counts: neighbours differ, so that a mixed-up answer shows."""
    return request % 17 + 1


def test_a_hundred_requests_one_after_the_other_get_their_answers(
    serve: Serve, openai_at: Callable[[str], openai.OpenAI]
) -> None:
    chat = openai_at(serve("count").node.url).chat.completions
    for request in range(REQUESTS):
        answer = ask_kwargs(request)
        if request % 2:
            text = "".join(chunk.choices[0].delta.content or "" for chunk in chat.create(stream=True, **answer))
        else:
            text = chat.create(**answer).choices[0].message.content
        assert text == counted(length(request))


async def test_a_hundred_requests_eight_at_a_time_get_their_answers(serve: Serve) -> None:
    url = serve("count").node.url
    places = asyncio.Semaphore(AT_ONCE)
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:

        async def ask(request: int) -> str:
            async with places:
                if request % 2:
                    stream = await client.chat.completions.create(stream=True, **ask_kwargs(request))
                    return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
                whole = await client.chat.completions.create(**ask_kwargs(request))
                return whole.choices[0].message.content or ""

        answers = await asyncio.gather(*map(ask, range(REQUESTS)))
    assert answers == [counted(length(request)) for request in range(REQUESTS)]


def ask_kwargs(request: int) -> dict[str, Any]:
    return {"model": "count", "messages": HELLO, "max_tokens": length(request)}
