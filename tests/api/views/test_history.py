"""The journal, the requests under way and usage over HTTP: what they say, and to whom."""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from masa_node.accounts.key_file import change_keys
from masa_node.accounts.keys import KeyRules, made_key
from masa_node.accounts.prices import Prices
from tests.fakes.dialect_samples import ANTHROPIC, MODEL, OLLAMA, OPENAI, SAMPLES, DialectSample
from tests.fakes.llm_server import send, stall, wait_for
from tests.fakes.raw_http import Reply, calling, get, post, request
from tests.fakes.running import RunningNode, node_before

NOBODY = ""


def with_key(key: str) -> tuple[tuple[str, str], ...]:
    return (("x-api-key", key),) if key else ()


async def ask(node: RunningNode, request_id: str, key: str = NOBODY, sample: DialectSample = OPENAI) -> Reply:
    return await post(node.port, sample.endpoint, sample.ask(), (("x-request-id", request_id), *with_key(key)))


async def read(node: RunningNode, path: str, key: str = NOBODY) -> Any:  # noqa: ANN401 - any JSON
    reply = await get(node.port, path, with_key(key))
    assert reply.status == 200, reply.body
    assert reply.header("content-type") == "application/json"
    return json.loads(reply.body)


async def status(node: RunningNode, path: str, key: str = NOBODY, method: str = "GET") -> int:
    return (await get(node.port, path, with_key(key), method=method)).status


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, str]:
    """Two people's, and one that may see all."""

    def add(name: str, rules: KeyRules) -> str:
        return change_keys(tmp_path, lambda keys: made_key(keys, name, rules, time.time()))

    return {name: add(name, KeyRules(is_admin=name == "root")) for name in ("alice", "bob", "root")}


# ---- races ----


async def test_a_race_is_found_by_the_id_of_its_answer(tmp_path: Path) -> None:
    async with node_before(OPENAI, send(OPENAI.whole)) as (_, node):
        reply = await ask(node, "mine")
        race = await read(node, f"/api/v1/races/{reply.header('x-request-id')}")
        listed = await read(node, "/api/v1/races")
        missing = await get(node.port, "/api/v1/races/another")
    assert listed == {"races": [race], "before": None}
    assert (race["request_id"], race["model"], race["status"], race["error"]) == ("mine", MODEL, 200, None)
    assert [(each["provider"], each["result"], each["local"]) for each in race["attempts"]] == [("openai", "won", True)]
    assert (race["input_tokens"], race["output_tokens"], race["key"]) == (9, 2, "owner")
    assert race["attempts"][0]["ended_ms"] <= race["first_piece_ms"] <= race["total_ms"]
    assert missing.status == 404
    assert "JOURNAL" in json.loads(missing.body)["error"]["message"]


async def test_races_are_paged_and_filtered() -> None:
    async with node_before(OPENAI, send(OPENAI.whole)) as (_, node):
        for number in range(5):
            await ask(node, f"r{number}")
        await post(node.port, OPENAI.endpoint, b"no json", (("x-request-id", "bad"),))
        first = await read(node, "/api/v1/races?limit=2")
        second = await read(node, f"/api/v1/races?limit=2&before={first['before']}")
        failed = await read(node, "/api/v1/races?failed=true")
        good = await read(node, "/api/v1/races?failed=false&model=m&limit=1000")
        of_none = await read(node, "/api/v1/races?model=other")
    assert [race["request_id"] for race in (*first["races"], *second["races"])] == ["bad", "r4", "r3", "r2"]
    assert [(race["request_id"], race["error"]) for race in failed["races"]] == [("bad", "bad_json")]
    assert len(good["races"]) == 5
    assert of_none == {"races": [], "before": None}


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=1001", "limit=x", "limit=", "before=0", "before=-1", "before=1e30", "failed=maybe", "failed="],
)
async def test_a_query_that_means_nothing_is_refused(query: str) -> None:
    async with node_before(OPENAI) as (_, node):
        assert await status(node, f"/api/v1/races?{query}") == 400


async def test_a_journal_that_is_off_has_nothing() -> None:
    async with node_before(OPENAI, send(OPENAI.whole), JOURNAL="0") as (_, node):
        await ask(node, "r")
        assert await read(node, "/api/v1/races") == {"races": [], "before": None}


async def test_no_prompt_and_no_answer_is_in_the_journal() -> None:
    async with node_before(OPENAI, send(OPENAI.whole)) as (_, node):
        await ask(node, "r")
        text = (await get(node.port, "/api/v1/races")).body + (await get(node.port, "/api/v1/races/r")).body
    assert b"hello" not in text
    assert b"Hello" not in text


# ---- under way ----


async def test_a_request_under_way_is_listed_and_gone_when_it_has_ended() -> None:
    go_on = asyncio.Event()
    async with node_before(OPENAI, wait_for(go_on), send(OPENAI.stream)) as (llm, node):
        asking = asyncio.ensure_future(ask(node, "long"))
        await llm.until(lambda: len(llm.asked(OPENAI.endpoint)) == 1, 10.0)
        (listed,) = (await read(node, "/api/v1/requests"))["requests"]
        go_on.set()
        await asking
        assert await read(node, "/api/v1/requests") == {"requests": []}
    assert (listed["request_id"], listed["model"], listed["stream"], listed["key"]) == ("long", MODEL, True, "owner")
    assert listed["running_s"] >= 0


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
async def test_one_that_is_ended_before_its_answer_says_so_and_the_llm_stops(sample: DialectSample) -> None:
    async with node_before(sample, stall) as (llm, node):
        asking = asyncio.ensure_future(ask(node, "long", sample=sample))
        await llm.until(lambda: len(llm.asked(sample.endpoint)) == 1, 10.0)
        ended = await get(node.port, "/api/v1/requests/long", method="DELETE")
        reply = await asking
        await llm.until(lambda: llm.departures == 1, 10.0)
        race = await read(node, "/api/v1/races/long")
        assert await status(node, "/api/v1/requests/long", method="DELETE") == 404
    assert (ended.status, json.loads(ended.body)) == (200, {"ended": 1})
    assert reply.status == 403
    assert "owner of this node has ended the request" in sample.message_in(reply.body)
    assert reply.header("x-should-retry") == "false"
    assert race["error"] == "ended_by_owner"


@pytest.mark.parametrize("sample", [OPENAI, ANTHROPIC, OLLAMA], ids=str)
async def test_a_stream_that_is_ended_tells_so_and_never_looks_whole(sample: DialectSample) -> None:
    async with node_before(sample, send(sample.begun()), stall) as (llm, node):
        async with calling(node.port, request(sample.endpoint, sample.ask(), (("x-request-id", "long"),))) as call:
            assert await call.read_head() == 200
            assert await call.read_chunk() == sample.first
            assert await status(node, "/api/v1/requests/long", method="DELETE") == 200
            frame = await call.read_chunk()
            assert await call.read_chunk() is None
        await llm.until(lambda: llm.departures == 1, 10.0)
        assert (await read(node, "/api/v1/races/long"))["error"] == "ended_by_owner"
        assert node.node.admission.running == 0
    assert frame is not None
    assert "has ended the request" in sample.message_in_frame(frame)


async def test_what_is_ended_is_ended_by_delete_alone() -> None:
    async with node_before(OPENAI) as (_, node):
        for method in ("GET", "POST", "PUT"):
            reply = await get(node.port, "/api/v1/requests/x", method=method)
            assert (reply.status, reply.header("allow")) == (405, "DELETE")
        assert await status(node, "/api/v1/requests", method="DELETE") == 405
        assert await status(node, "/api/v1/races/x", method="DELETE") == 405


# ---- keys ----


async def test_each_key_sees_its_own_requests_and_the_owner_all(tmp_path: Path, keys: dict[str, str]) -> None:
    settings = {"MASA_DIR": str(tmp_path), "API_KEY": "own", "USAGE": "count"}
    async with node_before(OPENAI, send(OPENAI.whole), **settings) as (_, node):
        for name in ("alice", "bob"):
            await ask(node, f"of-{name}", keys[name])
        await ask(node, "of-owner", "own")
        seen = {
            name: [race["request_id"] for race in (await read(node, "/api/v1/races", key))["races"]]
            for name, key in (("owner", "own"), *keys.items())
        }
        used = {
            name: {line["key"] for line in (await read(node, "/api/v1/usage?by=key", key))["lines"]}
            for name, key in (("owner", "own"), *keys.items())
        }
        assert await status(node, "/api/v1/races/of-bob", keys["alice"]) == 404
        assert await status(node, "/api/v1/races/of-bob", keys["bob"]) == 200
        assert await status(node, "/api/v1/races") == 401
        assert await status(node, "/api/v1/usage", "wrong") == 401
    everything = ["of-owner", "of-bob", "of-alice"]
    assert seen == {"owner": everything, "alice": ["of-alice"], "bob": ["of-bob"], "root": everything}
    everybody = {"alice", "bob", "owner"}
    assert used == {"owner": everybody, "alice": {"alice"}, "bob": {"bob"}, "root": everybody}


async def test_nobody_ends_what_another_key_asked_but_the_owner(tmp_path: Path, keys: dict[str, str]) -> None:
    async with node_before(OPENAI, stall, MASA_DIR=str(tmp_path)) as (llm, node):
        asking = asyncio.ensure_future(ask(node, "long", keys["alice"]))
        await llm.until(lambda: len(llm.asked(OPENAI.endpoint)) == 1, 10.0)
        assert (await read(node, "/api/v1/requests", keys["bob"])) == {"requests": []}
        assert await status(node, "/api/v1/requests/long", keys["bob"], "DELETE") == 404
        assert await status(node, "/api/v1/requests/long", NOBODY, "DELETE") == 401
        assert not asking.done()
        assert await status(node, "/api/v1/requests/long", keys["root"], "DELETE") == 200
        assert (await asking).status == 403


# ---- usage ----


async def test_usage_has_what_was_asked_a_moment_ago(tmp_path: Path) -> None:
    async with node_before(OPENAI, send(OPENAI.whole), MASA_DIR=str(tmp_path), USAGE="count") as (_, node):
        await ask(node, "r")
        found = await read(node, "/api/v1/usage?by=day,model,provider&since=1d")
    (line,) = found["lines"]
    assert found["counted"] is True
    assert (line["model"], line["provider"], line["requests"], line["output_tokens"]) == (MODEL, "openai", 1, 2)


async def test_usage_that_is_not_counted_says_so() -> None:
    async with node_before(OPENAI, send(OPENAI.whole), USAGE="off") as (_, node):
        await ask(node, "r")
        assert await read(node, "/api/v1/usage") == {"counted": False, "priced": False, "lines": []}


@pytest.mark.parametrize("query", ["by=", "by=cost", "since=soon", "since=0d", "since=", "by=key;day", "cost=much"])
async def test_a_query_of_usage_that_means_nothing_is_refused(query: str) -> None:
    async with node_before(OPENAI) as (_, node):
        assert await status(node, f"/api/v1/usage?{query}") == 400


async def test_usage_has_costs_where_they_are_wanted_and_the_extra_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Prices, "__call__", lambda _, used: 0.25 * used.output_tokens)
    async with node_before(OPENAI, send(OPENAI.whole), MASA_DIR=str(tmp_path), USAGE="count") as (_, node):
        await ask(node, "r")
        (line,) = (priced := await read(node, "/api/v1/usage?cost=true"))["lines"]
        (plain,) = (await read(node, "/api/v1/usage?cost=false"))["lines"]
    assert (priced["priced"], line["cost_usd"], line["cost_unknown"]) == (True, 0.5, 0)
    assert "cost_usd" not in plain


async def test_without_the_extra_usage_has_no_costs_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    async with node_before(OPENAI, send(OPENAI.whole), MASA_DIR=str(tmp_path), USAGE="count") as (_, node):
        await ask(node, "r")
        found = await read(node, "/api/v1/usage?cost=true")
    assert (found["priced"], "cost_usd" in found["lines"][0]) == (False, False)


# ---- USAGE=ask ----


async def test_streams_are_asked_for_their_counts_where_the_owner_wants_it_and_the_answer_says_so() -> None:
    async with node_before(OPENAI, send(OPENAI.stream), USAGE="ask", MASA_DIR="/dev/null") as (llm, node):
        plain = OPENAI.ask()
        said = plain[:-1] + b', "stream_options": {"include_usage": false}}'
        whole = OPENAI.ask(stream=False)
        replies = [await post(node.port, OPENAI.endpoint, body) for body in (plain, said, whole)]
    sent = [got.body for got in llm.asked(OPENAI.endpoint)]
    assert sent == [plain[:-1] + b',"stream_options":{"include_usage":true}}', said, whole]
    assert [reply.header("x-masa-usage") for reply in replies] == ["asked", None, None]


async def test_a_stream_is_not_asked_by_default_nor_one_of_another_format() -> None:
    async with node_before(OPENAI, send(OPENAI.stream)) as (llm, node):
        reply = await post(node.port, OPENAI.endpoint, OPENAI.ask())
    assert (llm.asked(OPENAI.endpoint)[0].body, reply.header("x-masa-usage")) == (OPENAI.ask(), None)
    async with node_before(ANTHROPIC, send(ANTHROPIC.stream), USAGE="ask", MASA_DIR="/dev/null") as (llm, node):
        reply = await post(node.port, ANTHROPIC.endpoint, ANTHROPIC.ask())
    assert (llm.asked(ANTHROPIC.endpoint)[0].body, reply.header("x-masa-usage")) == (ANTHROPIC.ask(), None)
