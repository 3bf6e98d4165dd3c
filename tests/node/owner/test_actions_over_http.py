"""Two real nodes that nobody gave a command in a terminal: one invites, the other joins, and asks it for its model."""

import asyncio
import contextlib
import json
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from masa_node import Node, serve
from masa_node.accounts.sessions import hash_of
from tests.fakes.dialect_samples import MODEL, OPENAI
from tests.fakes.http_bytes import whole
from tests.fakes.llm_server import FakeLlm, Step, send, stall, until
from tests.fakes.running import settings_of

PATIENCE_S = 30.0  # for what should come at once, on a busy machine
LISTED = whole(json.dumps({"data": [{"id": MODEL}]}).encode())
TOKEN = "shown-in-a-link"


@dataclass(frozen=True, slots=True)
class Owned:
    """A node, and a session of its console."""

    node: Node
    session: str

    async def call(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Status and JSON of one request, as the console's page sends it."""
        return await asyncio.to_thread(self._call, method, path, body)

    async def read(self, path: str) -> Any:  # noqa: ANN401 - any JSON
        """What stands there."""
        status, found = await self.call("GET", path)
        assert status == 200, found
        return found

    def _call(self, method: str, path: str, body: object) -> tuple[int, Any]:
        data = json.dumps(body).encode() if body is not None else None
        headers = {"Authorization": f"Bearer {self.session}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.node.url + path, data, headers, method=method)  # noqa: S310 - our own
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:  # noqa: S310 - the same
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)


@contextlib.asynccontextmanager
async def owned(folder: Path, name: str, **settings: str) -> AsyncIterator[Owned]:
    """A node of the network that it makes, whose owner is signed in."""
    own = {"NODE_NAME": name, "MASA_DIR": str(folder / name), "FIND_LOCAL": "0"}
    network = {"NETWORK": "auto", "PEER_HOST": "127.0.0.1"}  # there is none before somebody invites, or joins
    async with serve(settings_of(**own, **network, **settings), grace_s=1.0) as node:
        assert not node.node_id
        sessions = node.access.sessions
        sessions.offer(hash_of(TOKEN.encode()), time.time())
        yield Owned(node, sessions.exchange(TOKEN)[0])


@contextlib.asynccontextmanager
async def joined(folder: Path, *steps: Step) -> AsyncIterator[tuple[FakeLlm, Owned, Owned]]:
    """An LLM that plays these steps, the node before it, and one that has joined this by an invite, over HTTP alone."""
    async with (
        OPENAI.fake(*steps, listings=((send(LISTED),),)) as llm,
        owned(folder, "host", SHARE="all", **OPENAI.settings(llm.url)) as host,
        owned(folder, "guest") as guest,
    ):
        status, made = await host.call("POST", "/api/v1/invites", {"note": "guest"})
        assert status == 201, made
        status, told = await guest.call("POST", "/api/v1/join", {"link": made["link"]})
        assert (status, told["words"].split()[0]) == (200, "Joined:"), told
        await until(lambda: bool(guest.node.catalog.offers_of(MODEL)), PATIENCE_S)
        yield llm, host, guest


async def test_whoever_joined_over_http_is_linked_and_has_the_others_model(tmp_path: Path) -> None:
    async with joined(tmp_path, send(OPENAI.whole)) as (_, host, guest):
        for one, other in ((host, guest), (guest, host)):
            peers = {peer["id"]: peer for peer in (await one.read("/api/v1/peers"))["peers"]}
            assert peers[other.node.node_id]["connected"], peers
        assert (await host.read("/api/v1/invites"))["invites"] == [], "it was for one node"
        status, answer = await guest.call("POST", OPENAI.endpoint, json.loads(OPENAI.ask(stream=False)))
        assert (status, answer) == (200, json.loads(OPENAI.answer))
        (race,) = (await guest.read("/api/v1/races"))["races"]
        assert (race["served_by"], race["attempts"][0]["local"]) == (host.node.node_id, False)
        (served,) = (await host.read("/api/v1/races"))["races"]
        assert (served["peer"], served["key"], served["served_by"]) == (guest.node.node_id, "", "openai")
        status, told = await guest.call("POST", "/api/v1/join", {"link": "masa1-nonsense"})
        assert status == 400, told


async def test_a_peers_request_is_seen_while_it_is_under_way_and_its_host_may_end_it(tmp_path: Path) -> None:
    async with joined(tmp_path, stall) as (llm, host, guest):
        asking = asyncio.create_task(guest.call("POST", OPENAI.endpoint, json.loads(OPENAI.ask(stream=False))))
        await until(lambda: len(llm.asked(OPENAI.endpoint)) == 1, PATIENCE_S)
        (listed,) = (await host.read("/api/v1/requests"))["requests"]
        assert (listed["peer"], listed["key"], listed["model"]) == (guest.node.node_id, "", MODEL)
        assert await host.call("DELETE", f"/api/v1/requests/{listed['request_id']}") == (200, {"ended": 1})
        status, told = await asking
        assert status >= 400
        assert "its owner has ended the request" in told["error"]["message"]
        await until(lambda: llm.departures == 1, PATIENCE_S)
        assert (await host.read("/api/v1/requests"))["requests"] == []
        (race,) = (await host.read("/api/v1/races"))["races"]
        assert (race["error"], race["peer"]) == ("ended_by_owner", guest.node.node_id)
