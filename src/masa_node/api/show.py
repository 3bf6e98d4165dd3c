"""`POST /api/show`: Ollama answers for its own models; for the others the node says what it knows."""

from masa_node.accounts.access import Caller
from masa_node.api.aliasing import Aliasing, renamed
from masa_node.api.families import not_in_family, offers_for
from masa_node.api.views.models import best_known
from masa_node.chat.errors import BadJson, BadModel
from masa_node.chat.offer import ModelOffer
from masa_node.chat.request import DialectName, Endpoint
from masa_node.dialects.bodies.peek import peek
from masa_node.dialects.condensing import REQUEST_DEPTH
from masa_node.routing.running.steps import readable


async def known_elsewhere(aliasing: Aliasing, body: bytes, caller: Caller) -> ModelOffer | None:
    """What is known of the model that this body names; None if an Ollama serves it, or nobody does.

    Raises `DialectNotServed` for what no Ollama client can ask, `KeyRefused` for what the caller's key does not allow.
    """
    try:
        asked = peek(await readable(body, REQUEST_DEPTH), Endpoint.OLLAMA_SHOW).model
    except (BadJson, BadModel):
        return None  # the chat endpoint says what is wrong with it
    model = aliasing.means(asked)
    caller.check_model(asked, model)
    offers = aliasing.offers_of(model)
    found = offers_for(DialectName.OLLAMA, offers)
    if offers and not found:
        raise not_in_family(model, DialectName.OLLAMA, offers)
    if not found or any(Endpoint.OLLAMA_SHOW in offer.endpoints for _, offer in found):
        return None
    return best_known(renamed(found, asked, model))
