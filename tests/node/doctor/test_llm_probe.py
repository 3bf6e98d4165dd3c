import asyncio

import msgspec

from masa_node.chat.answer import Answer
from masa_node.chat.errors import ConnectionRefused, ErrorAnswer
from masa_node.chat.offer import ModelOffer
from masa_node.chat.request import Endpoint, Request
from masa_node.node.doctor.llm_probe import LISTS_WITHIN_S, MAX_SERVERS, TOKEN_WITHIN_S, ask_servers
from masa_node.routing.provider import Sign, no_sign
from masa_node.upstreams.demo import DemoModel
from masa_node.upstreams.embedded.llm import EmbeddedLlm
from masa_node.upstreams.embedded.program import EmbeddedModel
from masa_node.upstreams.http.client import HttpClient
from masa_node.upstreams.spec import UpstreamKind, UpstreamSpec
from tests.virtual_time import now_s, virtual_time

OFFER = ModelOffer("tiny", frozenset({Endpoint.OPENAI_CHAT}))


class Server(DemoModel):
    """Lists and answers as it is made to."""

    def __init__(
        self, *, lists: object = (OFFER,), answers: object = None, is_hosted: bool = False, note: str = ""
    ) -> None:
        super().__init__("llm", 1000)
        self.is_hosted, self.note = is_hosted, note
        self.lists, self.answers = lists, answers
        self.asked: list[Request] = []

    async def offers(self) -> list[ModelOffer]:
        if isinstance(self.lists, Exception):
            raise self.lists
        if self.lists is None:
            await asyncio.Event().wait()
        return list(self.lists)  # type: ignore[call-overload]

    async def answer(self, request: Request, sign: Sign = no_sign) -> Answer:
        self.asked.append(request)
        if isinstance(self.answers, Exception):
            raise self.answers
        if self.answers == "never":
            await asyncio.Event().wait()
        return await super().answer(msgspec.structs.replace(request, model="masa-demo"), sign)


@virtual_time
async def test_a_server_that_works_gives_a_token() -> None:
    server = Server()
    (facts,) = await ask_servers([server])
    assert (facts.code, facts.models, facts.token_from) == ("", 1, "tiny")
    assert msgspec.json.decode(server.asked[0].body)["max_tokens"] == 1


async def test_a_process_of_the_nodes_own_is_known_as_one() -> None:
    async with HttpClient() as http:
        spec = UpstreamSpec("embedded", UpstreamKind.EMBEDDED, "tiny")
        own = EmbeddedLlm(spec, EmbeddedModel("/m/tiny.gguf", "tiny"), http)
        own.trouble = "it ended"
        facts, other = await ask_servers([own, Server()])
    assert (facts.is_embedded, facts.code, other.is_embedded) == (True, "unreachable", False)


@virtual_time
async def test_what_keeps_it_from_answering_is_known_by_its_code() -> None:
    refused = ErrorAnswer("out of memory", status=500, headers=(), body=b"", is_json=False)
    off, broken = await ask_servers([Server(lists=ConnectionRefused("nobody")), Server(answers=refused)])
    assert (off.code, off.why) == ("connection_refused", "nobody")
    assert (broken.token_code, broken.token_why) == ("error_answer", "out of memory")


@virtual_time
async def test_servers_that_never_answer_are_given_up_within_ten_seconds() -> None:
    began_s = now_s()
    silent, slow = await ask_servers([Server(lists=None), Server(answers="never")])
    assert now_s() - began_s <= LISTS_WITHIN_S + TOKEN_WITHIN_S < 10
    assert silent.code == "unreachable"
    assert slow.token_code == "first_piece_timeout"


@virtual_time
async def test_nobody_pays_for_the_look() -> None:
    servers = [Server(is_hosted=True), Server(note="it refuses its key"), Server(lists=())]
    for facts in await ask_servers(servers):
        assert facts.token_from == facts.token_code == ""
    assert not any(server.asked for server in servers)


@virtual_time
async def test_a_model_that_cannot_chat_is_asked_nothing() -> None:
    server = Server(lists=(ModelOffer("embed", frozenset({Endpoint.OPENAI_EMBEDDINGS})),))
    (facts,) = await ask_servers([server])
    assert (facts.models, facts.token_from) == (1, "")
    assert not server.asked


@virtual_time
async def test_no_more_servers_are_asked_than_people_read_about() -> None:
    assert len(await ask_servers([Server() for _ in range(MAX_SERVERS + 1)])) == MAX_SERVERS
