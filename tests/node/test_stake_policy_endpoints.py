"""What a caller at each endpoint, and who looks at the node, is told of stakes: a whole node, but for its sockets."""

import json
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

import pytest

from masa_node.chat.errors import NoStakedPeer, PolicyError, ProviderError, StakeDemanded, StakeRequired, StakeUnknown
from masa_node.chat.offer import ModelOffer
from masa_node.chat.request import CONVERSATION_ENDPOINTS, ENDPOINT_PATHS, Endpoint, Request
from masa_node.node import node as node_module
from masa_node.node.no_stakes import NoStakes
from masa_node.node.node import Node
from masa_node.node.settings.environment import Settings
from masa_node.node.views import STAKING_OFF
from masa_node.routing.peer_policy import Selection
from masa_node.routing.provider import Provider, Sign, no_sign
from masa_node.upstreams.http.client import HttpClient
from tests.api.calling import HEADERS, Called, call

PROFILE = """
name = "mine"
chain_id = 31337
rpc_urls = ["http://127.0.0.1:1"]
contract = "0x1111111111111111111111111111111111111111"
"""
MODEL = "far"
CHAT = json.dumps({"model": MODEL, "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}).encode()
ENDPOINTS = (Endpoint.OPENAI_CHAT, Endpoint.ANTHROPIC_MESSAGES, Endpoint.OLLAMA_CHAT)


class FarPeer:
    """A peer that serves MODEL, and fails with this error when it is asked."""

    name = "ab" * 32
    location = "peer ababababab"
    is_local = is_trusted = is_hosted = False
    priority = 0

    def __init__(self, error: ProviderError) -> None:
        self._error = error

    async def answer(self, request: Request, sign: Sign = no_sign) -> object:
        del request
        self._error.location = self.location
        raise self._error


class Refuses(NoStakes):
    """A rule that lets nobody through."""

    def __init__(self, why: PolicyError) -> None:
        self._why = why

    def select(self, peers: Sequence[Provider]) -> Selection:
        del peers
        return Selection((), self._why)


def a_node(folder: Path, error: ProviderError | None = None, **values: str) -> Node:
    """One whose network is not up; with an error a peer is in its catalog anyway."""
    profile = folder / "mine.toml"
    profile.write_text(PROFILE)
    is_on = "stake_providers" in values
    settings = Settings(masa_dir=str(folder), stake_network=str(profile) if is_on else "", network="off", **values)
    node = Node(settings, HttpClient())
    if error is not None:
        peer: Provider = FarPeer(error)  # type: ignore[assignment]
        node.catalog.put(peer, [ModelOffer(MODEL, frozenset(CONVERSATION_ENDPOINTS))])
    return node


async def asked(node: Node, endpoint: Endpoint) -> Called:
    headers = (*HEADERS, (b"content-type", b"application/json"))
    return await call(node.app, "POST", ENDPOINT_PATHS[endpoint][0], CHAT, headers)


def words(reply: Called, endpoint: Endpoint) -> tuple[str, str]:
    """What kind of error it is called in this endpoint's format, and its message."""
    body = json.loads(reply.body)
    match endpoint:
        case Endpoint.OPENAI_CHAT:
            return body["error"]["code"], body["error"]["message"]
        case Endpoint.ANTHROPIC_MESSAGES:
            return body["error"]["type"], body["error"]["message"]
        case _:
            return "", body["error"]


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize(
    ("why", "status", "of_anthropic"),
    [
        (StakeRequired("this node is not staked."), 403, "permission_error"),
        (NoStakedPeer("none is staked."), 403, "permission_error"),
        (StakeUnknown("no RPC answers."), 503, "overloaded_error"),
    ],
    ids=lambda value: getattr(value, "code", ""),
)
async def test_a_refusal_for_lack_of_a_stake_is_told_in_the_format_of_the_endpoint(
    tmp_path: Path, endpoint: Endpoint, why: PolicyError, status: int, of_anthropic: str
) -> None:
    with mock.patch.object(node_module, "make_stake_policy", return_value=Refuses(why)):
        node = a_node(tmp_path, ProviderError("never asked"))
    reply = await asked(node, endpoint)
    kind, message = words(reply, endpoint)
    assert (reply.status, message) == (status, why.message)
    expected = {Endpoint.OPENAI_CHAT: why.code, Endpoint.ANTHROPIC_MESSAGES: of_anthropic}
    assert kind == expected.get(endpoint, "")
    assert (b"retry-after" in reply.headers) == (status == 503)
    assert b"x-masa-attempts" not in reply.headers


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_a_peer_that_demands_a_stake_is_named_and_stands_in_the_trail(tmp_path: Path, endpoint: Endpoint) -> None:
    node = a_node(tmp_path, StakeDemanded("it serves staked nodes only."))
    reply = await asked(node, endpoint)
    kind, message = words(reply, endpoint)
    assert (reply.status, message) == (403, "peer ababababab: it serves staked nodes only.")
    assert kind == {Endpoint.OPENAI_CHAT: "stake_demanded", Endpoint.ANTHROPIC_MESSAGES: "permission_error"}.get(
        endpoint, ""
    )
    assert reply.headers[b"x-masa-attempts"].startswith(b"ab" * 32 + b"=stake_demanded;")


async def test_while_the_network_is_not_up_no_peer_is_taken_for_staked(tmp_path: Path) -> None:
    node = a_node(tmp_path, ProviderError("never asked"), stake_providers="require")
    reply = await asked(node, Endpoint.OPENAI_CHAT)
    assert (reply.status, words(reply, Endpoint.OPENAI_CHAT)[0]) == (503, "stake_unknown")


# ---- the node's state ----


@pytest.mark.parametrize("policy", ["", "require"])
async def test_every_endpoint_about_the_node_says_the_same_of_stakes(tmp_path: Path, policy: str) -> None:
    node = a_node(tmp_path, **{"stake_providers": policy} if policy else {})
    said = [
        json.loads((await call(node.app, "GET", f"/api/v1/{endpoint}")).body) for endpoint in ("node", "peers", "stake")
    ]
    on = "on - providers: require, callers: prefer (mine, chain 31337)"
    assert [each["staking"] for each in said] == [on if policy else STAKING_OFF] * 3


async def test_the_list_of_peers_has_the_same_form_without_a_network(tmp_path: Path) -> None:
    told = json.loads((await call(a_node(tmp_path).app, "GET", "/api/v1/peers")).body)
    assert (told["node_id"], told["state"], told["why"], told["known"], told["peers"]) == (
        "",
        "off",
        "NETWORK=off",
        0,
        [],
    )


@pytest.mark.parametrize(("policy", "status"), [("", 200), ("prefer", 200), ("require", 503)])
async def test_a_node_that_may_ask_none_of_its_peers_is_not_ready(tmp_path: Path, policy: str, status: int) -> None:
    node = a_node(tmp_path, ProviderError("never asked"), **{"stake_providers": policy} if policy else {})
    reply = await call(node.app, "GET", "/readyz")
    assert (reply.status, json.loads(reply.body)["ready"]) == (status, status == 200)
