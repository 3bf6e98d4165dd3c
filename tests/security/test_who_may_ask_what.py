"""Each kind of caller at each endpoint: who is let in, who is told that it is not theirs, who may change the node."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from enum import IntEnum
from pathlib import Path

import pytest

from masa_node.accounts.key_file import change_keys
from masa_node.accounts.keys import KeyRules, made_key
from masa_node.accounts.sessions import hash_of
from masa_node.api.control.events import EVENTS
from masa_node.api.routes import CHANGES, GETS
from masa_node.api.views.openapi import NodeEndpoint
from masa_node.chat.request import Endpoint, Request, RequestId
from tests.fakes.dialect_samples import OPENAI
from tests.fakes.llm_server import send
from tests.fakes.raw_http import calling, get, request
from tests.fakes.running import RunningNode, running_node

API_KEY, TOKEN = "of-the-owners-programs", "shown-in-a-link"
REFUSED = (401, 403)
PARTS = {"{request_id}": "none", "{model}": "m", "{account}": "0", "{file}": "app.js", "{invite_id}": "0" * 8}
PARTS |= {"{node_id}": "a" * 64, "{verb}": "block"}


class Right(IntEnum):
    """What a caller needs, each with all of those before it."""

    NONE = 0
    KEY = 1
    SEES = 2  # what is the owner's
    CHANGES = 3


# Every other endpoint takes a key, any.
NEEDS = {
    **dict.fromkeys(["/", "/console", "/console/", "/console/{file}"], Right.NONE),
    **dict.fromkeys(["/healthz", "/health", "/v1/health", "/readyz"], Right.NONE),
    **dict.fromkeys(["/metrics", "/api/v1/peers", "/api/v1/stake", "/api/v1/doctor", "/api/v1/invites"], Right.SEES),
}
HAS = {
    "nobody": Right.NONE,
    "alice": Right.KEY,
    "api_key": Right.SEES,
    "admin": Right.CHANGES,
    "session": Right.CHANGES,
}
Secrets = dict[str, str]


def path_of(template: str) -> str:
    for brace, part in PARTS.items():
        template = template.replace(brace, part)
    return template


def bearing(secret: str) -> tuple[tuple[str, str], ...]:
    return (("Authorization", f"Bearer {secret}"),) if secret else ()


async def status_at(node: RunningNode, method: str, path: str, secret: str) -> int:
    """Of the head alone: one of these answers never ends."""
    async with calling(node.port, request(path, b"{}", bearing(secret), method=method)) as call:
        return await call.read_head()


@pytest.fixture
async def locked(tmp_path: Path) -> AsyncIterator[tuple[RunningNode, Secrets]]:
    """A node with keys of every kind, and what each caller sends."""

    def key(name: str, rules: KeyRules) -> str:
        return change_keys(tmp_path, lambda keys: made_key(keys, name, rules, time.time()))

    secrets = {"nobody": "", "alice": key("alice", KeyRules()), "admin": key("admin", KeyRules(is_admin=True))}
    async with OPENAI.fake(send(OPENAI.whole)) as llm:
        settings = {**OPENAI.settings(llm.url), "MASA_DIR": str(tmp_path), "API_KEY": API_KEY}
        async with running_node(**settings) as node:
            sessions = node.node.access.sessions
            sessions.offer(hash_of(TOKEN.encode()), time.time())
            yield node, {**secrets, "api_key": API_KEY, "session": sessions.exchange(TOKEN)[0]}


@pytest.mark.parametrize("who", HAS)
async def test_what_may_be_read(locked: tuple[RunningNode, Secrets], who: str) -> None:
    node, secrets = locked
    for path in [*(each.path for each in GETS), EVENTS.path]:
        status = await status_at(node, "GET", path_of(path), secrets[who])
        if HAS[who] >= NEEDS.get(path, Right.KEY):
            assert status not in REFUSED, f"{path} for {who}"
        else:
            assert status == REFUSED[HAS[who] > Right.NONE], f"{path} for {who}"


@pytest.mark.parametrize("who", HAS)
async def test_what_may_be_changed(locked: tuple[RunningNode, Secrets], who: str) -> None:
    node, secrets = locked
    for endpoint in [each for each in CHANGES if each.is_owners]:
        status = await status_at(node, endpoint.method, path_of(endpoint.path), secrets[who])
        if HAS[who] is Right.CHANGES:
            assert status not in REFUSED, f"{endpoint.path} for {who}"
        else:
            assert status == REFUSED[HAS[who] > Right.NONE], f"{endpoint.path} for {who}"


async def test_where_nobody_needs_a_key_a_program_of_this_machine_sees_everything_and_changes_nothing() -> None:
    async with OPENAI.fake(send(OPENAI.whole)) as llm, running_node(**OPENAI.settings(llm.url)) as node:
        for path in [*(each.path for each in GETS), EVENTS.path]:
            assert await status_at(node, "GET", path_of(path), "") not in REFUSED, path
        for endpoint in [each for each in CHANGES if each.is_owners]:
            assert await status_at(node, endpoint.method, path_of(endpoint.path), "") == 403, endpoint.path


def test_every_change_but_these_is_the_owners() -> None:
    def told(endpoint: NodeEndpoint) -> str:
        return f"{endpoint.method} {endpoint.path}"

    assert [told(each) for each in CHANGES if not each.is_owners] == [
        "POST /api/v1/console/session",  # takes a token of the owner's, and
        "DELETE /api/v1/console/session",  # the session itself
        "DELETE /api/v1/requests/{request_id}",  # see below
    ]


async def test_a_key_with_a_name_is_told_of_the_node_no_more_than_what_it_is(
    locked: tuple[RunningNode, Secrets],
) -> None:
    node, secrets = locked
    told = json.loads((await get(node.port, "/api/v1/node", bearing(secrets["alice"]))).body)
    everything = json.loads((await get(node.port, "/api/v1/node", bearing(secrets["admin"]))).body)
    assert sorted(told) == ["name", "node_id", "version"]
    assert set(everything) > {"addresses", "relay_url", "peers_running", "share", "staking"}


# Whose request it is, and with which right it may be ended; 404: it is not even told that there is such a request.
ENDED = {
    ("alice", "alice"): 200,
    ("alice", "bob"): 404,
    ("alice", "owner"): 404,
    ("alice", "peer"): 404,
    ("api_key", "alice"): 403,
    ("api_key", "owner"): 200,
    ("api_key", "peer"): 403,
    ("admin", "alice"): 200,
    ("admin", "owner"): 200,
    ("admin", "peer"): 200,
    ("session", "alice"): 200,
    ("session", "owner"): 200,
    ("session", "peer"): 200,
    ("nobody", "owner"): 401,
}


async def test_who_may_end_whose_request(locked: tuple[RunningNode, Secrets]) -> None:
    node, secrets = locked
    assert set(HAS) == {who for who, _ in ENDED}
    for (who, whose), status in ENDED.items():
        ended = asyncio.Event()
        noted = node.node.access.under_way.add(_request_of(whose), _Answering(ended.set))
        assert await status_at(node, "DELETE", "/api/v1/requests/r", secrets[who]) == status, f"{who}, {whose}"
        assert ended.is_set() == (status == 200), f"{who}, {whose}"
        node.node.access.under_way.remove(noted)
        assert await status_at(node, "DELETE", "/api/v1/requests/r", secrets[who]) in (401, 404)


class _Answering:
    def __init__(self, end: Callable[[], None]) -> None:
        self.cancel = end

    def uncancel(self) -> int:
        return 0


def _request_of(whose: str) -> Request:
    key, peer = ("owner", "b" * 64) if whose == "peer" else (whose, None)
    return Request(
        request_id=RequestId("r"),
        endpoint=Endpoint.OPENAI_CHAT,
        model="m",
        wants_stream=False,
        body=b"{}",
        headers=(),
        first_piece_deadline_s=0.0,
        idle_timeout_s=1.0,
        requester=peer,
        key=key,
    )
