"""A peer's request ends at own LLMs, also where the LLM's URL is another Masa node, or this one."""

from masa_node.accounts.access import OWNERS, Access
from masa_node.api.aliasing import Aliasing
from masa_node.api.chat import ChatEndpoints
from masa_node.api.entry import ChatLimits, Entry
from masa_node.api.guard import Guard, GuardRules
from masa_node.api.http1.reply import Reply
from masa_node.api.http1.request import HttpRequest
from masa_node.api.paths import Place
from masa_node.api.request_body import HeldBody
from masa_node.chat.aliases import Aliases
from masa_node.chat.request import Endpoint, Privacy, Request
from masa_node.routing.answers.byte_budget import ByteBudget
from masa_node.routing.catalog import Catalog
from masa_node.routing.dispatch import Dispatcher, Sink
from tests.api.http1.fake_line import FakeLine
from tests.api.raw_http import post
from tests.network.requests.request_world import Node, ask, take, world
from tests.network.requests.test_server import provider
from tests.routing.scripted import WHOLE
from tests.virtual_time import virtual_time

LIMITS = ChatLimits(1_000, 30.0, 120.0)
BODY = b'{"model":"tiny"}'


class Recording(Dispatcher):
    """Answers nothing."""

    def __init__(self) -> None:
        self.asked: list[Request] = []

    async def answer(self, request: Request, sink: Sink, *more: object) -> None:  # type: ignore[override]
        self.asked.append(request)


async def _no_more() -> None:
    pass


async def via_of_a_peers_request() -> bytes:
    llm = provider(WHOLE)
    async with world(Node((llm,)).serve) as here:
        await take(here.peer, ask(BODY, wants_stream=False))
    return dict(llm.asked[0].headers)["x-masa-via"].encode()


async def asked_with(via: bytes, instance: str) -> tuple[list[Request], bytes]:
    """What the node of that name would have its LLMs or peers answer, and what it says itself."""
    dispatcher = Recording()
    aliasing = Aliasing(Aliases(), Catalog(), lambda offers: offers, _no_more)
    endpoints = ChatEndpoints(dispatcher, LIMITS, lambda outcome: None, instance, aliasing, Access())

    async def app(request: HttpRequest, reply: Reply) -> None:
        with HeldBody(ByteBudget(1_000)) as held:
            guard = Guard(GuardRules())
            entry = Entry(guard, None, is_admitted=True, place=Place("/"), own_id=None, caller=OWNERS, keys_version=0)
            await endpoints.serve(Endpoint.OPENAI_CHAT, entry, request, reply, held)

    line = FakeLine(app)
    line.send(post(BODY, b"X-Masa-Via: %b\r\n" % via))
    await line.settled()
    line.leave()
    return dispatcher.asked, line.answered


@virtual_time
async def test_an_http_endpoint_asks_no_peer_for_what_a_peer_asked() -> None:
    for via, privacy in ((await via_of_a_peers_request(), Privacy.LOCAL), (b"abc", Privacy.ANY)):
        asked, _ = await asked_with(via, "elsewhere")
        assert [request.privacy for request in asked] == [privacy]


@virtual_time
async def test_a_node_notices_that_a_peers_ask_came_back_to_it() -> None:
    asked, answered = await asked_with(await via_of_a_peers_request(), "here")
    assert asked == []
    assert answered.startswith(b"HTTP/1.1 508 ")
    assert b"leads back to this node" in answered
