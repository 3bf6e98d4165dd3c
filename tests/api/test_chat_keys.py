"""Keys with names at the chat endpoints: what each allows, and refusals in every dialect.

Covers: `guard`, `responses`.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from masa_node.accounts import key_file
from masa_node.accounts.key_file import change_keys
from masa_node.accounts.keys import KeyRules, made_key, revoked_key
from masa_node.accounts.report import By, UsageQuery
from masa_node.api import chat
from masa_node.dialects.condensing import LARGE_BYTES
from tests.fakes.dialect_samples import ANTHROPIC, MODEL, OLLAMA, OPENAI, SAMPLES, DialectSample
from tests.fakes.llm_server import FakeLlm, send, until, wait_for
from tests.fakes.raw_http import Reply, calling, get, post, request
from tests.fakes.running import RunningNode, node_before, running_node


@contextlib.asynccontextmanager
async def shared(
    folder: Path,
    sample: DialectSample = OPENAI,
    rules: KeyRules | None = None,
    *,
    lasts_s: int | None = None,
    **more: str,
) -> AsyncIterator[tuple[RunningNode, str]]:
    """A node with one key, that of alice."""
    key = change_keys(folder, lambda keys: made_key(keys, "alice", rules or KeyRules(), time.time(), lasts_s))
    async with node_before(sample, send(sample.stream), MASA_DIR=str(folder), **more) as (_, node):
        yield node, key


async def ask(node: RunningNode, key: str, sample: DialectSample = OPENAI, **more: str) -> Reply:
    headers = (("x-api-key", key), *((name.replace("_", "-"), value) for name, value in more.items()))
    return await post(node.port, sample.endpoint, sample.ask(), headers)


async def until_refused(node: RunningNode, key: str) -> None:
    """The node looks once a second."""
    async with asyncio.timeout(20.0):
        while (await ask(node, key)).status != 401:  # noqa: ASYNC110 - nobody tells when it has looked
            await asyncio.sleep(0.02)


async def test_a_key_lets_in_and_its_name_stands_in_the_ledger(tmp_path: Path) -> None:
    async with shared(tmp_path, USAGE="count", API_KEY="own") as (node, key):
        assert (await ask(node, key)).status == 200
        assert (await ask(node, "own")).status == 200
        assert (await ask(node, "wrong")).status == 401
        node.node.tell()
        assert node.node.ledger is not None
        lines = await node.node.ledger.report(UsageQuery((By.KEY,)))
    assert {line.key: line.requests for line in lines} == {"alice": 1, "owner": 1}


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
async def test_a_model_that_the_key_does_not_allow_is_403_in_every_dialect(
    tmp_path: Path, sample: DialectSample
) -> None:
    async with shared(tmp_path, sample, KeyRules(("llama*",))) as (node, key):
        reply = await ask(node, key, sample)
    assert reply.status == 403
    assert sample.message_in(reply.body) == "The key 'alice' does not allow the model 'm', only: llama*."
    assert reply.header("x-should-retry") == "false"


@pytest.mark.parametrize("size", [20_000, LARGE_BYTES])
@pytest.mark.parametrize(("models", "status"), [(("m",), 400), ((), 200)], ids=["of one model", "of all"])
async def test_a_key_of_one_model_sends_no_large_body_in_which_a_server_could_find_none(
    tmp_path: Path, models: tuple[str, ...], status: int, size: int
) -> None:
    body = b'{"messages":[{"content":"%s"}]},"model":"m","stream":true}' % (b"x" * size)
    async with shared(tmp_path, rules=KeyRules(models)) as (node, key):
        assert (await post(node.port, OPENAI.endpoint, body, (("x-api-key", key),))).status == status


async def test_a_key_of_one_model_has_each_part_of_a_large_body_looked_at_for_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aliases = tmp_path / "masa.toml"
    aliases.write_text('[alias]\nmine = "m"\n')
    body = b'{"messages":[{"content":"%s"}],"model":"mine","stream":true}' % (b"x" * LARGE_BYTES)
    monkeypatch.setattr(chat, "renamed", None)
    async with shared(tmp_path, rules=KeyRules(("mine",)), MASA_CONFIG=str(aliases)) as (node, key):
        reply = await post(node.port, OPENAI.endpoint, body, (("x-api-key", key),))
    assert (reply.status, reply.header("x-masa-alias")) == (200, "mine>m")


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
async def test_too_many_in_a_minute_are_429_with_the_time_to_wait(tmp_path: Path, sample: DialectSample) -> None:
    async with shared(tmp_path, sample, KeyRules(rpm=2)) as (node, key):
        replies = [await ask(node, key, sample) for _ in range(3)]
    assert [reply.status for reply in replies] == [200, 200, 429]
    assert 1 <= int(replies[2].header("retry-after") or 0) <= 30
    assert "2 requests a minute" in sample.message_in(replies[2].body)
    assert replies[2].header("x-should-retry") is None


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
async def test_a_key_that_is_over_is_401_and_says_so(tmp_path: Path, sample: DialectSample) -> None:
    async with shared(tmp_path, sample, lasts_s=0) as (node, key):
        reply = await ask(node, key, sample)
    assert reply.status == 401
    assert "'alice' has expired" in sample.message_in(reply.body)
    assert reply.header("www-authenticate") is not None


async def test_the_kinds_of_429_and_403_are_those_that_sdks_know(tmp_path: Path) -> None:
    kinds: dict[tuple[str, int], Any] = {}
    for sample in (OPENAI, ANTHROPIC):
        for status, rules in ((403, KeyRules(("x",))), (429, KeyRules(rpm=1))):
            folder = tmp_path / f"{sample}{status}"
            async with shared(folder, sample, rules) as (node, key):
                await ask(node, key, sample)
                reply = await ask(node, key, sample)
            assert reply.status == status
            kinds[str(sample), status] = json.loads(reply.body)["error"]["type"]
    assert kinds == {
        ("openai", 403): "permission_error",
        ("openai", 429): "rate_limit_error",
        ("anthropic", 403): "permission_error",
        ("anthropic", 429): "rate_limit_error",
    }


async def test_tokens_of_the_day_are_counted_and_the_rest_is_429_until_midnight(tmp_path: Path) -> None:
    async with shared(tmp_path, OLLAMA, KeyRules(tokens_per_day=5)) as (node, key):
        assert (await ask(node, key, OLLAMA)).status == 200
        reply = await ask(node, key, OLLAMA)
    assert reply.status == 429
    assert 0 < int(reply.header("retry-after") or 0) <= 86_400
    assert reply.header("x-should-retry") == "false"


async def test_the_tokens_of_the_day_are_known_after_a_restart(tmp_path: Path) -> None:
    async with shared(tmp_path, ANTHROPIC, KeyRules(tokens_per_day=8), USAGE="count") as (node, key):
        assert (await ask(node, key, ANTHROPIC)).status == 200
    async with node_before(ANTHROPIC, send(ANTHROPIC.stream), MASA_DIR=str(tmp_path), USAGE="count") as (_, again):

        async def status() -> int:
            return (await ask(again, key, ANTHROPIC)).status

        assert await status() in (200, 429)  # it is read beside the start
        assert await status() == 429


async def test_only_so_many_are_under_way_and_one_that_ends_makes_room(tmp_path: Path) -> None:
    key = change_keys(tmp_path, lambda keys: made_key(keys, "alice", KeyRules(concurrent=1), time.time()))
    go_on = asyncio.Event()
    async with node_before(OPENAI, wait_for(go_on), send(OPENAI.stream), MASA_DIR=str(tmp_path)) as (llm, node):
        first = asyncio.ensure_future(ask(node, key))
        await llm.until(lambda: len(llm.asked(OPENAI.endpoint)) == 1, 10.0)
        refused = await ask(node, key)
        go_on.set()
        assert (await first).status == 200
        assert (await ask(node, key)).status == 200
    assert refused.status == 429
    assert refused.header("retry-after") == "1"


async def test_a_caller_that_leaves_makes_room(tmp_path: Path) -> None:
    key = change_keys(tmp_path, lambda keys: made_key(keys, "alice", KeyRules(concurrent=1), time.time()))
    async with node_before(OPENAI, wait_for(asyncio.Event()), MASA_DIR=str(tmp_path)) as (llm, node):
        for number in range(1, 4):
            asking = asyncio.ensure_future(ask(node, key))
            await _asked(llm, number)
            asking.cancel()
            await asyncio.wait([asking])
            await until(lambda: node.node.admission.running == 0, 10.0)


async def _asked(llm: FakeLlm, number: int) -> None:
    await llm.until(lambda: len(llm.asked(OPENAI.endpoint)) == number, 10.0)


async def test_a_key_with_a_ceiling_keeps_requests_here(tmp_path: Path) -> None:
    async with shared(tmp_path, rules=KeyRules(privacy="local")) as (node, key):
        assert (await ask(node, key)).status == 200
        looser = await ask(node, key, x_masa_privacy="any")
    assert looser.status == 400
    assert "can only tighten" in OPENAI.message_in(looser.body)


@pytest.mark.parametrize("long", ["", "x" * LARGE_BYTES])
async def test_a_key_for_some_models_has_none_beside_them_in_the_body(tmp_path: Path, long: str) -> None:
    body = json.dumps({**json.loads(OPENAI.ask()), "models": ["other"], "x": long}).encode()
    for rules, status in ((KeyRules((MODEL,)), 400), (KeyRules(), 200)):
        folder = tmp_path / str(status)
        folder.mkdir()
        async with shared(folder, OPENAI, rules) as (node, key):
            reply = await post(node.port, OPENAI.endpoint, body, (("x-api-key", key),))
        assert reply.status == status, reply.body


async def test_lists_have_only_the_models_that_a_key_allows(tmp_path: Path) -> None:
    async with shared(tmp_path, rules=KeyRules(("other",)), API_KEY="own", DEMO="1") as (node, key):
        for path in ("/v1/models", "/api/tags", "/api/v1/llm/models"):
            owners = await get(node.port, path, (("x-api-key", "own"),))
            theirs = await get(node.port, path, (("x-api-key", key),))
            assert b"masa-demo" in owners.body
            assert b"masa-demo" not in theirs.body
        one = await get(node.port, "/v1/models/masa-demo", (("x-api-key", key),))
        shown = await post(node.port, "/api/show", b'{"model":"masa-demo"}', (("x-api-key", key),))
        owners = await post(node.port, "/api/show", b'{"model":"masa-demo"}', (("x-api-key", "own"),))
    assert one.status == 403
    assert MODEL != "other"
    assert (shown.status, owners.status) == (403, 200)
    assert "'alice' does not allow the model 'masa-demo'" in OLLAMA.message_in(shown.body)


@pytest.mark.parametrize("allowed", ["masa-demi", "masa-dem*"])
async def test_errors_name_only_the_models_that_a_key_allows(tmp_path: Path, allowed: str) -> None:
    key = change_keys(tmp_path, lambda keys: made_key(keys, "alice", KeyRules((allowed,)), time.time()))
    async with running_node(MASA_DIR=str(tmp_path), API_KEY="own", DEMO="1") as node:
        for by, is_named in (("own", True), (key, allowed == "masa-dem*")):
            headers = (("x-api-key", by),)
            unknown = b'{"model":"masa-demi","messages":[]}'
            for reply in (
                await post(node.port, "/v1/chat/completions", unknown, headers),
                await post(node.port, "/v1/messages", unknown, headers),
                await get(node.port, "/v1/models/masa-demi", headers),
                await post(node.port, "/api/pull", b'{"model":"masa-demi"}', headers),
            ):
                assert reply.status == 404
                assert (b"masa-demo" in reply.body) is is_named


async def test_a_key_is_shown_a_model_by_whichever_of_its_names_it_allows(tmp_path: Path) -> None:
    aliases = tmp_path / "masa.toml"
    aliases.write_text('[alias]\nmine = "masa-demo"\n')
    async with shared(tmp_path, rules=KeyRules(("mine",)), DEMO="1", MASA_CONFIG=str(aliases)) as (node, key):
        for name, status in (("mine", 200), ("masa-demo", 403)):
            body = json.dumps({"model": name}).encode()
            assert (await post(node.port, "/api/show", body, (("x-api-key", key),))).status == status
            assert (await get(node.port, f"/v1/models/{name}", (("x-api-key", key),))).status == status


async def test_metrics_are_for_the_owner_and_keys_of_his_own(tmp_path: Path) -> None:
    admin = change_keys(tmp_path, lambda keys: made_key(keys, "scraper", KeyRules(is_admin=True), time.time()))
    async with shared(tmp_path, API_KEY="own") as (node, key):
        statuses = [(await get(node.port, "/metrics", (("x-api-key", each),))).status for each in ("own", admin, key)]
    assert statuses == [200, 200, 403]


async def test_a_revoked_key_lets_nothing_more_in_on_a_connection_that_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_file, "LOOK_EVERY_S", 0.01)
    async with shared(tmp_path) as (node, key):
        ask_again = request(OPENAI.endpoint, OPENAI.ask(stream=True), (("x-api-key", key),))
        async with calling(node.port, ask_again) as call:

            async def status() -> int:
                call.writer.write(ask_again)
                await call.read_head()
                await call.read_rest()
                return call.status

            assert await call.read_head() == 200
            await call.read_rest()
            assert await status() == 200
            change_keys(tmp_path, lambda keys: (None, revoked_key(keys, "alice", time.time())))
            while await status() == 200:  # noqa: ASYNC110 - nobody tells when it has looked
                await asyncio.sleep(0.01)
            assert call.status == 401


async def test_an_expired_key_lets_nothing_more_in_on_a_connection_that_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with shared(tmp_path, lasts_s=3_600) as (node, key):
        ask_again = request(OPENAI.endpoint, OPENAI.ask(), (("x-api-key", key),))
        async with calling(node.port, ask_again) as call:
            assert await call.read_head() == 200
            await call.read_rest()
            monkeypatch.setattr(node.node.access, "_now_unix_s", lambda: time.time() + 3_601)
            call.writer.write(ask_again)
            assert await call.read_head() == 401


async def test_a_key_that_is_made_while_the_node_runs_is_taken_and_one_that_is_revoked_is_not(tmp_path: Path) -> None:
    async with node_before(OPENAI, send(OPENAI.stream), MASA_DIR=str(tmp_path)) as (_, node):
        assert (await ask(node, "")).status == 200
        key = change_keys(tmp_path, lambda keys: made_key(keys, "alice", KeyRules(), time.time()))
        await until_refused(node, "")
        assert (await ask(node, key)).status == 200
        change_keys(tmp_path, lambda keys: (None, revoked_key(keys, "alice", time.time())))
        await until_refused(node, key)
        assert (await ask(node, "")).status == 401
