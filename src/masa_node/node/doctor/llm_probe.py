"""Asks each LLM server what it serves, and for one token."""

import asyncio
from collections.abc import Sequence

import msgspec

from masa_node.chat.errors import FirstPieceTimeout, ProviderError, Unreachable
from masa_node.chat.offer import ModelOffer
from masa_node.chat.request import Endpoint, Request, RequestId
from masa_node.node.doctor.facts import ServerFacts
from masa_node.upstreams.embedded.llm import EmbeddedLlm
from masa_node.upstreams.poller import Listable

LISTS_WITHIN_S = 3.5  # together with the token within the ten seconds that people wait
TOKEN_WITHIN_S = 5.0  # a model that is loaded answers in a fraction; one on a slow CPU may not
MAX_SERVERS = 16

_QUESTION = [{"role": "user", "content": "Hi"}]
_BODIES: dict[Endpoint, dict[str, object]] = {
    Endpoint.OPENAI_CHAT: {"messages": _QUESTION, "max_tokens": 1},
    Endpoint.OLLAMA_CHAT: {"messages": _QUESTION, "stream": False, "options": {"num_predict": 1}},
    Endpoint.ANTHROPIC_MESSAGES: {"messages": _QUESTION, "max_tokens": 1},
}


async def ask_servers(servers: Sequence[Listable]) -> tuple[ServerFacts, ...]:
    """All at once, MAX_SERVERS at most; takes LISTS_WITHIN_S + TOKEN_WITHIN_S at most."""
    async with asyncio.TaskGroup() as group:
        looks = [group.create_task(_ask(server)) for server in servers[:MAX_SERVERS]]
    return tuple(look.result() for look in looks)


async def _ask(server: Listable) -> ServerFacts:
    is_embedded = isinstance(server, EmbeddedLlm)
    facts = ServerFacts(server.name, server.location, is_hosted=server.is_hosted, is_embedded=is_embedded)
    try:
        async with asyncio.timeout(LISTS_WITHIN_S):
            offers = await server.offers()
    except TimeoutError:
        return msgspec.structs.replace(facts, code=Unreachable.code, why=f"no answer within {LISTS_WITHIN_S:g} s.")
    except ProviderError as exc:
        return msgspec.structs.replace(facts, code=exc.code, why=exc.message)
    facts = msgspec.structs.replace(
        facts, models=None if offers is None else len(offers), note=server.note.removesuffix(".")
    )
    if server.is_hosted or server.note:
        return facts
    return await _token(server, facts, offers or [])


async def _token(server: Listable, facts: ServerFacts, offers: Sequence[ModelOffer]) -> ServerFacts:
    wanted = ((offer.model, endpoint) for endpoint in _BODIES for offer in offers if endpoint in offer.endpoints)
    model, endpoint = next(wanted, ("", Endpoint.NATIVE))
    if not model:
        return facts
    try:
        async with asyncio.timeout(TOKEN_WITHIN_S):
            answer = await server.answer(_question(model, endpoint))
        answer.close()
    except TimeoutError:
        why = f"{model} gave no token within {TOKEN_WITHIN_S:g} s."
        return msgspec.structs.replace(facts, token_code=FirstPieceTimeout.code, token_why=why)
    except ProviderError as exc:
        return msgspec.structs.replace(facts, token_code=exc.code, token_why=exc.message)
    return msgspec.structs.replace(facts, token_from=model)


def _question(model: str, endpoint: Endpoint) -> Request:
    now_s = asyncio.get_running_loop().time()
    return Request(
        request_id=RequestId("doctor"),
        endpoint=endpoint,
        model=model,
        wants_stream=False,
        body=msgspec.json.encode({"model": model, **_BODIES[endpoint]}),
        headers=(("content-type", "application/json"),),
        first_piece_deadline_s=now_s + TOKEN_WITHIN_S,
        idle_timeout_s=TOKEN_WITHIN_S,
    )
