"""Which models each family of clients can ask for, through its doors: as they are spoken, or translated. Pure."""

from masa_node.chat.errors import DialectNotServed
from masa_node.chat.offer import ModelOffer
from masa_node.chat.request import CONVERSATION_DOORS, DIALECT_OF_DOOR, DialectName, Door, path_of
from masa_node.dialects.translation.formats import REQUEST_WRITERS
from masa_node.routing.provider import Provider

Offers = list[tuple[Provider, ModelOffer]]

# What merely tells of a model, or counts its tokens, is no way to ask it.
_ASKS_NOTHING = frozenset({Door.NATIVE, Door.OLLAMA_SHOW, Door.ANTHROPIC_COUNT_TOKENS})
_FAMILY_OF_DIALECT = {DialectName.OPENAI_RESPONSES: DialectName.OPENAI}

# A conversation that a server takes through one of these can be had by every family.
_TRANSLATED = frozenset(REQUEST_WRITERS)


def family_of(door: Door) -> DialectName:
    """The clients that use this door."""
    dialect = DIALECT_OF_DOOR[door]
    return _FAMILY_OF_DIALECT.get(dialect, dialect)


DOORS_OF_FAMILY: dict[DialectName, frozenset[Door]] = {
    family: frozenset(door for door in Door if door not in _ASKS_NOTHING and family_of(door) is family)
    for family in (DialectName.OPENAI, DialectName.ANTHROPIC, DialectName.OLLAMA, DialectName.CLOUDFLARE)
}


def offers_for(family: DialectName, offers: Offers) -> Offers:
    """Those that clients of this family can ask: in its own format, or in one that theirs is translated to."""
    doors = DOORS_OF_FAMILY[family] | _TRANSLATED
    return [(provider, offer) for provider, offer in offers if offer.doors & doors]


def not_in_family(model: str, family: DialectName, offers: Offers) -> DialectNotServed:
    """The model is here, and clients of this family cannot ask it."""
    doors = {door for _, offer in offers for door in offer.doors}
    ways = ", ".join(f"POST {path_of(door)}" for door in CONVERSATION_DOORS if door in doors)
    return DialectNotServed(
        f"The model {model!r} is here, but none of its LLM servers speaks the format of {family} clients. "
        f"A chat with it goes through: {ways or 'no door of this node'}."
    )
