"""A peer's request ends at own LLMs, also where the LLM's URL is another Masa node, or this one."""

import pytest

from masa_node.api.chat import ChatEndpoints, ChatLimits
from masa_node.chat.errors import RequestLoop
from masa_node.chat.request import Endpoint, Privacy, RequestId
from tests.network.requests.request_world import Node, ask, take, world
from tests.network.requests.test_server import provider
from tests.routing.scripted import WHOLE, World
from tests.virtual_time import virtual_time


async def via_of_a_peers_request() -> bytes:
    llm = provider(WHOLE)
    async with world(Node((llm,)).serve) as here:
        await take(here.peer, ask(b'{"model":"tiny"}', wants_stream=False))
    return dict(llm.asked[0].headers)["x-masa-via"].encode()


def endpoints(instance: str) -> ChatEndpoints:
    return ChatEndpoints(World().dispatcher, ChatLimits(1_000, 30.0, 120.0), lambda outcome: None, instance)


@virtual_time
async def test_an_http_endpoint_asks_no_peer_for_what_a_peer_asked() -> None:
    via = await via_of_a_peers_request()
    for headers, privacy in (([(b"x-masa-via", via)], Privacy.LOCAL), ([(b"x-masa-via", b"abc")], Privacy.ANY)):
        scope = {"headers": headers, "query_string": b""}
        asked = await endpoints("elsewhere")._request(
            Endpoint.OPENAI_CHAT, RequestId("r"), scope, b'{"model":"tiny"}', 0.0
        )
        assert asked.privacy is privacy


@virtual_time
async def test_a_node_notices_that_a_peers_ask_came_back_to_it() -> None:
    scope = {"headers": [(b"x-masa-via", await via_of_a_peers_request())], "query_string": b""}
    with pytest.raises(RequestLoop):
        await endpoints("here")._request(Endpoint.OPENAI_CHAT, RequestId("r"), scope, b'{"model":"tiny"}', 0.0)
