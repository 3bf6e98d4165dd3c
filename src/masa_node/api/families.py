"""Which models each family of clients can ask for, through its endpoints: as they are spoken, or translated. Pure."""

from masa_node.api.http1.request import HeaderPairs
from masa_node.chat.errors import DialectNotServed
from masa_node.chat.request import DIALECT_OF_ENDPOINT, DialectName, Endpoint, chat_paths
from masa_node.dialects.translation.formats import COUNTS, is_translated_from, targets_for
from masa_node.routing.catalog import Offers

_BY_HEADER = {
    b"anthropic-version": DialectName.ANTHROPIC,
    b"x-goog-api-client": DialectName.GEMINI,
    b"x-goog-api-key": DialectName.GEMINI,
}
# What merely tells of a model, or counts its tokens, is no way to ask it.
_ASKS_NOTHING = COUNTS | {Endpoint.NATIVE, Endpoint.OLLAMA_SHOW}


def named_in(headers: HeaderPairs) -> DialectName | None:
    """The format of the client that sends these headers, as far as they tell: Anthropic's and Google's SDKs say so."""
    return next((_BY_HEADER[name] for name, _ in headers if name in _BY_HEADER), None)


def family_of(endpoint: Endpoint) -> DialectName:
    """The clients that use this endpoint: the name of its dialect begins with theirs."""
    return DialectName(DIALECT_OF_ENDPOINT[endpoint].partition(".")[0])


def offers_for(family: DialectName, offers: Offers) -> Offers:
    """The offers that clients of this family can ask for: in its format, or in one it is translated to."""
    spoken = {each for each in Endpoint if each not in _ASKS_NOTHING and family_of(each) == family}
    endpoints = spoken.union(*(targets_for(each) for each in spoken if is_translated_from(each)))
    return [(provider, offer) for provider, offer in offers if offer.endpoints & endpoints]


def not_in_family(model: str, family: DialectName, offers: Offers) -> DialectNotServed:
    """The model is here, and clients of this family cannot ask it."""
    endpoints = {endpoint for _, offer in offers for endpoint in offer.endpoints}
    return DialectNotServed(
        f"The model {model!r} is here, but none of its LLM servers speaks the format of {family} clients. "
        f"A chat with it goes through: {chat_paths(endpoints)}."
    )
