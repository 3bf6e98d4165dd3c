"""A client of each format before a server of another: the SDK sees a server of its own kind.

Each conversation is an agent's: a tool is called, its result goes back, and the answer comes as a stream.

Covers: `upstream`.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import anthropic
import httpx
import httpx2
import ollama
import openai
import pytest

from tests.dialects.translation.calling import call, delta, frames, lines, named
from tests.fakes.dialect_samples import ANTHROPIC, OLLAMA, OPENAI, DialectSample
from tests.fakes.http_bytes import JSON, NDJSON, SSE, chunk, chunked, stream_head, whole
from tests.fakes.llm_server import FakeLlm, Step, close, send, stall, wait_for
from tests.fakes.running import RunningNode, running_node

TIMEOUT_S = 20.0  # on a busy machine; a node waits 30 s for an LLM
RAISED = (openai.APIError, anthropic.APIError, ollama.ResponseError, httpx.TransportError, httpx2.TransportError)
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
LISTS = {
    OLLAMA: {"models": [{"name": "m", "model": "m"}]},
    OPENAI: {"object": "list", "data": [{"id": "m", "object": "model"}]},
    ANTHROPIC: {"data": [{"id": "m", "type": "model", "created_at": "2026-01-01T00:00:00Z"}], "has_more": False},
}
NO_TYPE = {"model": "m", "created_at": "2026-11-22T23:14:02Z"}
CALLING = {
    OLLAMA: (NDJSON, lines(
        {**NO_TYPE, "message": {"role": "assistant", "content": "", "tool_calls": [{"id": "call_7", "function": {"name": "weather", "arguments": {"city": "Rome"}}}]}, "done": False},
        {**NO_TYPE, "message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop", "prompt_eval_count": 4, "eval_count": 7},
    )),
    OPENAI: (SSE, frames(delta(tool_calls=[call(0, '{"ci', "weather", "call_7")]), delta(tool_calls=[call(0, 'ty":"Rome"}')]), delta("tool_calls"), b"[DONE]")),
    ANTHROPIC: (SSE, named(
        {"type": "message_start", "message": {"id": "msg_1", "model": "m", "usage": {"input_tokens": 4, "output_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "id": "toolu_7", "name": "weather", "input": {}}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": '{"city":"Rome"}'}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 7}},
        {"type": "message_stop"},
    )),
}  # fmt: skip
SAYING = {
    OLLAMA: (NDJSON, lines(
        {**NO_TYPE, "message": {"role": "assistant", "content": "Sun"}, "done": False},
        {**NO_TYPE, "message": {"role": "assistant", "content": "ny."}, "done": False},
        {**NO_TYPE, "message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop", "prompt_eval_count": 4, "eval_count": 2},
    )),
    OPENAI: (SSE, frames(delta(content="Sun"), delta(content="ny."), delta("stop"), b"[DONE]")),
    ANTHROPIC: (SSE, named(
        {"type": "message_start", "message": {"id": "msg_2", "model": "m", "usage": {"input_tokens": 4, "output_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Sun"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "ny."}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
        {"type": "message_stop"},
    )),
}  # fmt: skip
ERRORS = {
    OPENAI: {"error": {"message": "slow down", "type": "rate_limit_error", "code": "rate_limit_exceeded"}},
    ANTHROPIC: {"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}},
}


def streamed(answer: tuple[str, bytes]) -> tuple[Step, ...]:
    kind, raw = answer
    return (send(stream_head(kind) + chunked([raw])),)


@contextlib.asynccontextmanager
async def node_before(
    server: DialectSample, *scripts: tuple[Step, ...], **settings: str
) -> AsyncIterator[tuple[FakeLlm, RunningNode]]:
    listing = (send(whole(json.dumps(LISTS[server]).encode())),)
    fake = FakeLlm().answer(server.listing, listing).answer(server.endpoint, *scripts)
    async with fake as llm, running_node(**server.settings(llm.url), **settings) as node:
        yield llm, node


async def chat_client(address: str) -> tuple[str, str]:
    """The id of the call, and the answer to its result."""
    async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="k", max_retries=0, timeout=TIMEOUT_S) as client:
        tools: Any = [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}]
        messages: list[Any] = [{"role": "user", "content": "Rome?"}]
        async with client.chat.completions.stream(model="m", messages=messages, tools=tools) as stream:
            message = (await stream.get_final_completion()).choices[0].message
        assert message.tool_calls
        assert json.loads(message.tool_calls[0].function.arguments) == {"city": "Rome"}
        id_ = message.tool_calls[0].id
        messages += [message.model_dump(exclude_none=True), {"role": "tool", "tool_call_id": id_, "content": "sun"}]
        async with client.chat.completions.stream(model="m", messages=messages, tools=tools) as stream:
            return id_, (await stream.get_final_completion()).choices[0].message.content or ""


async def responses_client(address: str) -> tuple[str, str]:
    async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="k", max_retries=0, timeout=TIMEOUT_S) as client:
        tools: Any = [{"type": "function", "name": "weather", "parameters": SCHEMA, "strict": False}]
        said: list[Any] = [{"role": "user", "content": "Rome?"}]
        async with client.responses.stream(model="m", input=said, tools=tools, store=False) as stream:
            response = await stream.get_final_response()
        item: Any = response.output[0]
        assert json.loads(item.arguments) == {"city": "Rome"}
        said += [
            item.model_dump(exclude_none=True, exclude={"parsed_arguments"}),
            {"type": "function_call_output", "call_id": item.call_id, "output": "sun"},
        ]
        async with client.responses.stream(model="m", input=said, tools=tools, store=False) as stream:
            return item.call_id, (await stream.get_final_response()).output_text


async def messages_client(address: str) -> tuple[str, str]:
    async with anthropic.AsyncAnthropic(base_url=address, api_key="k", max_retries=0, timeout=TIMEOUT_S) as client:
        asked: Any = {"model": "m", "max_tokens": 99, "tools": [{"name": "weather", "input_schema": SCHEMA}]}
        messages: list[Any] = [{"role": "user", "content": "Rome?"}]
        async with client.messages.stream(messages=messages, **asked) as stream:
            message = await stream.get_final_message()
        block: Any = message.content[0]
        assert (message.stop_reason, block.input) == ("tool_use", {"city": "Rome"})
        result = {"type": "tool_result", "tool_use_id": block.id, "content": "sun"}
        messages += [{"role": "assistant", "content": message.content}, {"role": "user", "content": [result]}]
        async with client.messages.stream(messages=messages, **asked) as stream:
            return block.id, await stream.get_final_text()


async def ollama_client(address: str) -> tuple[str, str]:
    async with ollama.AsyncClient(host=address, timeout=TIMEOUT_S) as client:
        tools: Any = [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}]
        messages: list[Any] = [{"role": "user", "content": "Rome?"}]
        pieces = [piece async for piece in await client.chat(model="m", messages=messages, tools=tools, stream=True)]
        calls = [each for piece in pieces for each in piece.message.tool_calls or ()]
        assert [dict(each.function.arguments) for each in calls] == [{"city": "Rome"}]
        messages += [
            {"role": "assistant", "content": "", "tool_calls": calls},
            {"role": "tool", "tool_name": "weather", "content": "sun"},
        ]
        pieces = [piece async for piece in await client.chat(model="m", messages=messages, tools=tools, stream=True)]
        return "", "".join(piece.message.content or "" for piece in pieces)


CLIENTS: dict[str, Callable[[str], Any]] = {
    "openai": chat_client,
    "openai.responses": responses_client,
    "anthropic": messages_client,
    "ollama": ollama_client,
}
PAIRS = [
    ("anthropic", OPENAI), ("ollama", OPENAI), ("openai", ANTHROPIC), ("openai.responses", ANTHROPIC), ("ollama", ANTHROPIC),
]  # fmt: skip
every_pair = pytest.mark.parametrize(("client", "server"), PAIRS, ids=str)


@every_pair
async def test_an_agent_calls_a_tool_and_goes_on_at_a_server_of_another_kind(
    client: str, server: DialectSample
) -> None:
    async with node_before(server, streamed(CALLING[server]), streamed(SAYING[server])) as (llm, node):
        id_, text = await CLIENTS[client](node.address)
    assert text == "Sunny."
    first, second = llm.asked(server.endpoint)
    assert first.header("content-type") == ["application/json"]
    if client != "ollama":  # its SDK sends no ids back
        assert id_ in ("call_7", "toolu_7")
        assert second.body.count(id_.encode()) == 2


@pytest.mark.parametrize("server", [OPENAI, OLLAMA])
async def test_a_conversation_that_anthropics_sdk_would_have_kept_by_the_server_comes_whole(
    server: DialectSample,
) -> None:
    """Its `tool_runner` asks for a `thread`, and where it is not refused sends nothing but what is new from then on."""
    asked: list[str] = []

    @anthropic.beta_async_tool
    async def weather(city: str) -> str:
        """The weather."""
        asked.append(city)
        return "sun"

    user: Any = {"role": "user", "content": "Rome?"}
    async with (
        node_before(server, streamed(CALLING[server]), streamed(SAYING[server])) as (llm, node),
        anthropic.AsyncAnthropic(base_url=node.address, api_key="k", max_retries=0, timeout=TIMEOUT_S) as client,
    ):
        runner = client.beta.messages.tool_runner(model="m", max_tokens=99, messages=[user], tools=[weather])
        message = await runner.until_done()
    assert (asked, [getattr(block, "text", None) for block in message.content]) == (["Rome"], ["Sunny."])
    first, second = [json.loads(each.body)["messages"] for each in llm.asked(server.endpoint)]
    assert [message["role"] for message in first] == ["user"]
    assert [message["role"] for message in second] == ["user", "assistant", "tool"]


BODIES: dict[str, tuple[str, dict[str, Any]]] = {
    "openai": ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}], "seed": 1}),
    "openai.responses": ("/v1/responses", {"input": "hi", "metadata": {"a": "b"}}),
    "anthropic": ("/v1/messages", {"max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], "top_k": 1}),
    "ollama": ("/api/chat", {"messages": [{"role": "user", "content": "hi"}], "options": {"num_ctx": 9}}),
}
DROPPED = {"openai": "seed", "openai.responses": "metadata", "anthropic": "top_k", "ollama": "options.num_ctx"}


async def asked(node: RunningNode, client: str, **more: Any) -> httpx.Response:
    path, body = BODIES[client]
    headers = more.pop("headers", {})
    async with httpx.AsyncClient(base_url=node.address, timeout=TIMEOUT_S) as http:
        return await http.post(path, json={"model": "m", **body, **more}, headers=headers)


@every_pair
async def test_a_translation_is_declared_with_what_it_left_out(client: str, server: DialectSample) -> None:
    async with node_before(server, streamed(SAYING[server])) as (_, node):
        answer = await asked(node, client, stream=True)
    assert answer.headers["x-masa-translated"] == f"{client}>{server}"
    assert (DROPPED[client] in answer.headers.get("x-masa-dropped", "")) == (
        (client, server) != ("anthropic", ANTHROPIC)
    )
    assert answer.headers["content-type"].startswith(NDJSON if client == "ollama" else SSE)
    assert b"Sun" in answer.content


@every_pair
async def test_an_error_keeps_its_status_and_when_to_ask_again(client: str, server: DialectSample) -> None:
    refusal = whole(json.dumps(ERRORS[server]).encode(), status=429, headers=[("Retry-After", "7")])
    async with node_before(server, (send(refusal),)) as (_, node):
        answer = await asked(node, client)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")
    assert "slow down" in answer.text
    error = answer.json()["error"]
    assert client == "ollama" or error["type"] == "rate_limit_error"


@every_pair
async def test_a_cut_is_a_cut_in_the_callers_format(client: str, server: DialectSample) -> None:
    kind, raw = SAYING[server]
    begun = (send(stream_head(kind) + chunk(raw[: len(raw) // 2])), close)
    async with node_before(server, begun) as (_, node):
        with pytest.raises(RAISED):
            await CLIENTS[client](node.address)


@every_pair
async def test_strict_forbids_it(client: str, server: DialectSample) -> None:
    async with node_before(server, streamed(SAYING[server])) as (llm, node):
        answer = await asked(node, client, headers={"X-Masa-Strict": "1"})
        assert (await asked(node, client, headers={"X-Masa-Strict": "so"})).status_code == 400
    assert answer.status_code in (400, 404)
    assert not llm.asked(server.endpoint)


async def test_what_cannot_be_carried_is_refused_by_name_and_nothing_is_sent() -> None:
    async with node_before(ANTHROPIC, streamed(SAYING[ANTHROPIC])) as (llm, node):
        answer = await asked(node, "openai", n=2)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "not_translatable")
    assert "`n`" in answer.json()["error"]["message"]
    assert not llm.asked("/v1/messages")


@every_pair
async def test_words_come_as_they_are_made(client: str, server: DialectSample) -> None:
    go_on = asyncio.Event()
    kind, raw = SAYING[server]
    at = raw.index(b"ny.") - 30
    at = raw.rindex(b"\n\n", 0, at) + 2
    script = (send(stream_head(kind) + chunk(raw[:at])), wait_for(go_on), send(chunked([raw[at:]])))
    path, body = BODIES[client]
    async with (
        node_before(server, script) as (_, node),
        httpx.AsyncClient(base_url=node.address, timeout=TIMEOUT_S) as http,
        http.stream("POST", path, json={"model": "m", **body, "stream": True}) as answer,
    ):
        got = b""
        async for piece in answer.aiter_raw():
            got += piece
            if b"Sun" in got:
                go_on.set()
    assert b"ny." in got


@every_pair
async def test_a_caller_who_leaves_stops_the_server(client: str, server: DialectSample) -> None:
    kind, raw = SAYING[server]
    begun = raw[: raw.index(b"ny.")]
    begun = begun[: begun.rindex(b"\n\n") + 2]
    path, body = BODIES[client]
    async with node_before(server, (send(stream_head(kind) + chunk(begun)), stall)) as (llm, node):
        async with (
            httpx.AsyncClient(base_url=node.address, timeout=TIMEOUT_S) as http,
            http.stream("POST", path, json={"model": "m", **body, "stream": True}) as answer,
        ):
            async for piece in answer.aiter_raw():
                if b"Sun" in piece:
                    break
        await llm.until(lambda: llm.departures == 1)


async def test_tokens_are_estimated_where_the_server_cannot_count_them() -> None:
    async with node_before(OPENAI, streamed(SAYING[OPENAI])) as (llm, node):
        async with anthropic.AsyncAnthropic(base_url=node.address, api_key="k", max_retries=0) as client:
            raw = await client.messages.with_raw_response.count_tokens(
                model="m", messages=[{"role": "user", "content": "hi " * 99}]
            )
        assert 50 < (await raw.parse()).input_tokens < 200
    assert raw.headers["x-masa-estimated"]
    assert not llm.asked(OPENAI.endpoint)


async def test_a_server_that_streams_although_it_was_not_asked_to_gives_a_whole_answer() -> None:
    async with node_before(OPENAI, streamed(SAYING[OPENAI])) as (_, node):
        answer = await asked(node, "anthropic")
    assert answer.json()["content"] == [{"type": "text", "text": "Sunny."}]
    assert answer.headers["content-type"].startswith(JSON)


async def test_a_server_that_answers_whole_although_a_stream_was_asked_for_gives_a_stream() -> None:
    body = {
        "id": "c",
        "model": "m",
        "choices": [{"index": 0, "message": {"content": "Sunny."}, "finish_reason": "stop"}],
    }
    async with node_before(OPENAI, (send(whole(json.dumps(body).encode())),)) as (_, node):
        answer = await asked(node, "anthropic", stream=True)
    assert answer.text.count("message_stop") == 2


async def test_a_server_that_lists_nothing_is_asked_in_the_format_that_it_turns_out_to_speak() -> None:
    async with OPENAI.fake(*streamed(SAYING[OPENAI])) as llm, running_node(**OPENAI.settings(llm.url)) as node:
        answer = await asked(node, "anthropic")
        refused = await asked(node, "anthropic", messages=[{"role": "user", "content": [{"type": "container_upload"}]}])
        strict = await asked(node, "anthropic", headers={"X-Masa-Strict": "1"})
    assert answer.json()["content"] == [{"type": "text", "text": "Sunny."}]
    assert answer.headers["x-masa-translated"] == "anthropic>openai"
    assert (refused.status_code, refused.json()["error"]["type"]) == (400, "invalid_request_error")
    assert "container_upload" in refused.text
    assert strict.status_code == 400
    assert len(llm.asked(OPENAI.endpoint)) == 1


async def test_lists_of_every_family_show_what_can_be_had_by_translation() -> None:
    async with (
        node_before(OPENAI, streamed(SAYING[OPENAI])) as (_, node),
        httpx.AsyncClient(base_url=node.address) as http,
    ):
        tags = (await http.get("/api/tags")).json()["models"]
        anthropics = (await http.get("/v1/models", headers={"anthropic-version": "2023-06-01"})).json()["data"]
    assert [tag["name"] for tag in tags] == ["m"]
    assert [entry["id"] for entry in anthropics] == ["m"]


async def test_cloudflares_clients_are_served_by_others() -> None:
    async with (
        node_before(ANTHROPIC, streamed(SAYING[ANTHROPIC])) as (_, node),
        httpx.AsyncClient(base_url=node.address) as http,
    ):
        path = "/client/v4/accounts/0a/ai/run/m"
        answer = await http.post(path, json={"messages": [{"role": "user", "content": "hi"}]})
        stream = await http.post(path, json={"prompt": "hi", "stream": True})
    assert answer.json()["result"]["response"] == "Sunny."
    assert answer.headers["x-masa-translated"] == "cloudflare>anthropic"
    assert stream.text.endswith("data: [DONE]\n\n")


async def test_prompts_of_older_kinds_are_served_by_others() -> None:
    async with node_before(ANTHROPIC, streamed(SAYING[ANTHROPIC])) as (_, node):
        async with openai.AsyncOpenAI(base_url=f"{node.address}/v1", api_key="k", max_retries=0) as client:
            assert (await client.completions.create(model="m", prompt="hi")).choices[0].text == "Sunny."
        async with ollama.AsyncClient(host=node.address) as client:
            pieces = [piece.response async for piece in await client.generate(model="m", prompt="hi", stream=True)]
    assert "".join(pieces) == "Sunny."


@pytest.mark.parametrize("client", ["openai", "openai.responses", "anthropic"])
async def test_an_ollama_from_before_it_spoke_others_formats_serves_them_all(client: str) -> None:
    """It has no `/v1/*`: its first 404 is the reason to translate, and no answer."""
    async with node_before(OLLAMA, streamed(CALLING[OLLAMA]), streamed(SAYING[OLLAMA])) as (llm, node):
        id_, text = await CLIENTS[client](node.address)
    assert (id_, text) == ("call_7", "Sunny.")
    second = llm.asked("/api/chat")[1]
    assert json.loads(second.body)["messages"][-1] == {
        "role": "tool",
        "content": "sun",
        "tool_name": "weather",
        "tool_call_id": "call_7",
    }


async def test_a_server_without_responses_is_asked_for_a_chat() -> None:
    async with node_before(OPENAI, streamed(CALLING[OPENAI]), streamed(SAYING[OPENAI])) as (llm, node):
        assert await responses_client(node.address) == ("call_7", "Sunny.")
    assert len(llm.asked("/v1/chat/completions")) == 2
    assert len(llm.asked("/v1/responses")) == 1
