"""`POST /api/show`: Ollama answers for its own models; for the others the node says what it knows."""

import msgspec

from masa_node.accounts.access import Caller
from masa_node.api.aliasing import Aliasing, alias_header, renamed
from masa_node.api.chat import ChatEndpoints
from masa_node.api.entry import Entry
from masa_node.api.families import not_in_family, offers_for
from masa_node.api.http1.reply import Reply
from masa_node.api.http1.request import HttpRequest
from masa_node.api.request_body import HeldBody, read_body
from masa_node.api.views import models
from masa_node.chat.errors import BadJson, BadModel
from masa_node.chat.request import DialectName, Endpoint
from masa_node.dialects.bodies.peek import peek
from masa_node.dialects.condensing import REQUEST_DEPTH
from masa_node.routing.catalog import Offers
from masa_node.routing.running.steps import readable


class ShowEndpoint:
    """Serves `/api/show`. `aliasing` knows which models may be asked for, by which names."""

    def __init__(self, aliasing: Aliasing, chat: ChatEndpoints, max_body_bytes: int) -> None:
        self._aliasing = aliasing
        self._chat = chat
        self._max_body_bytes = max_body_bytes

    async def serve(self, endpoint: Endpoint, entry: Entry, request: HttpRequest, reply: Reply, held: HeldBody) -> None:
        """Answer one request. Raises what `read_body` raises, `DialectNotServed` for what no Ollama client can ask.

        `KeyRefused` for what the caller's key does not allow.
        """
        body = await read_body(request, held, self._max_body_bytes)
        offers = self._offers_elsewhere(await readable(body, REQUEST_DEPTH), entry.caller)
        if offers:
            best = models.best_known(offers)
            alias = alias_header(best.model, best.alias_of or best.model)
            headers = [(b"content-type", b"application/json"), *alias]
            await reply.whole(200, headers, msgspec.json.encode(models.ollama_show(best)))
            return
        held.again = body
        await self._chat.serve(endpoint, entry, request, reply, held)

    def _offers_elsewhere(self, body: bytes, caller: Caller) -> Offers:
        """The model's offers if it is known here and no Ollama serves it. Raises `DialectNotServed`, `KeyRefused`."""
        try:
            asked = peek(body, Endpoint.OLLAMA_SHOW).model
        except (BadJson, BadModel):
            return []  # the chat endpoint says what is wrong with it
        model = self._aliasing.means(asked)
        caller.check_model(asked, model)
        offers = self._aliasing.offers_of(model)
        found = offers_for(DialectName.OLLAMA, offers)
        if offers and not found:
            raise not_in_family(model, DialectName.OLLAMA, offers)
        is_ollamas = any(Endpoint.OLLAMA_SHOW in offer.endpoints for _, offer in found)
        return [] if is_ollamas else renamed(found, asked, model)
