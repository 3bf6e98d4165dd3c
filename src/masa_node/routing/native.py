"""The product's own endpoint: in which format a request through it is served, chosen before anybody is asked."""

import asyncio
import contextlib

import msgspec

from masa_node.chat.request import DialectName, Endpoint, Request
from masa_node.dialects.bodies.body_format import BODY_DEPTH, body_format, endpoint_in, fewer_messages, own_format
from masa_node.dialects.bodies.peek import streams
from masa_node.routing.candidates import Refresh
from masa_node.routing.catalog import Catalog, Offers
from masa_node.routing.provider import may_see
from masa_node.routing.running.steps import in_steps, readable

# Where nothing may be translated: the first of these that somebody speaks.
_BY_PREFERENCE = (
    DialectName.OLLAMA,
    DialectName.OPENAI,
    DialectName.ANTHROPIC,
    DialectName.CLOUDFLARE,
)


async def in_one_format(request: Request, wanted: DialectName | None, catalog: Catalog, refresh: Refresh) -> Request:
    """The request as one through the endpoint of the format that it is answered in.

    That is the `wanted` one, else what the body unmistakably is, else that which all that may be asked have as their
    own, else Ollama's. It stays as it is for the only server there is when what that one serves is not known.
    """
    small = await in_steps(fewer_messages(request.body))
    shape = body_format(await readable(small, BODY_DEPTH))
    chosen = wanted or shape.said or await _served_in(request, catalog, refresh)
    if chosen is None:
        return request
    endpoint = endpoint_in(chosen, is_prompt=shape.is_prompt)
    return msgspec.structs.replace(
        request,
        endpoint=endpoint,
        wants_stream=streams(msgspec.Raw(shape.stream), endpoint),
        translates_beside=request.may_translate,
    )


async def _served_in(request: Request, catalog: Catalog, refresh: Refresh) -> DialectName | None:
    """The format for a body that could be anybody's; None: the one server's own, whichever it is."""
    offers = catalog.offers_of(request.model)
    if not offers:
        with contextlib.suppress(TimeoutError):  # the requests behind it notice
            async with asyncio.timeout_at(request.first_piece_deadline_s):
                await refresh()
        offers = catalog.offers_of(request.model)
    if not offers:
        takers = catalog.find_any_name(request.model, Endpoint.NATIVE).own or catalog.unlisted
        return None if len(takers) == 1 else DialectName.OLLAMA
    return _common(request, offers)


def _common(request: Request, offers: Offers) -> DialectName | None:
    endpoints: dict[str, frozenset[Endpoint]] = {}
    for provider, offer in offers:
        if may_see(provider, request.privacy):
            endpoints[provider.name] = endpoints.get(provider.name, frozenset()) | offer.endpoints
    formats = {own_format(each) for each in endpoints.values()}
    if DialectName.OPENAI_RESPONSES in formats:  # a body that could be anybody's has no `input`: this is nearest
        formats = formats - {DialectName.OPENAI_RESPONSES} | {DialectName.OPENAI}
    if len(formats) == 1:
        return formats.pop()
    if request.may_translate:
        return DialectName.OLLAMA
    return next((dialect for dialect in _BY_PREFERENCE if dialect in formats), DialectName.OLLAMA)
