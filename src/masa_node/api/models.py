"""Lists of models, in each client family's shape. The node's own list names everything; the others what they know."""

import hashlib
from datetime import UTC, datetime

import msgspec

from masa_node.chat.ask import DIALECT_OF_DOOR, DOOR_PATHS, Door
from masa_node.chat.offer import ModelOffer, same_model_key
from masa_node.routing.catalog import Catalog
from masa_node.routing.provider import Provider

Json = dict[str, object]
Offers = list[tuple[Provider, ModelOffer]]

_NO_DETAILS: Json = {
    "parent_model": "",
    "format": "",
    "family": "",
    "families": [],
    "parameter_size": "",
    "quantization_level": "",
}


def grouped(offers: Offers) -> list[Offers]:
    """The offers of each model together, models in the order in which they were first offered."""
    groups: dict[str, Offers] = {}
    for provider, offer in offers:
        groups.setdefault(same_model_key(offer.model), []).append((provider, offer))
    return list(groups.values())


def own_list(catalog: Catalog) -> Json:
    """`GET /api/v1/llm/models`: what can be asked here now, who serves it, through which doors."""
    return {"models": [_own_entry(group) for group in grouped(catalog.all_offers())]}


def _own_entry(group: Offers) -> Json:
    doors = sorted({door for _, offer in group for door in offer.doors if door in DOOR_PATHS})
    spoken = {DIALECT_OF_DOOR[door].value.partition(".")[0] for door in doors if door is not Door.NATIVE}
    contexts = [offer.context_tokens for _, offer in group if offer.context_tokens]
    return {
        "id": group[0][1].model,
        "served_by": [{"provider": provider.name, "local": provider.is_local} for provider, _ in group],
        "dialects": sorted(spoken),
        "doors": [DOOR_PATHS[door][0] for door in doors],
        "context_tokens": max(contexts, default=None),
    }


def openai_list(catalog: Catalog) -> Json:
    """`GET /v1/models`: one shape that the OpenAI and the Anthropic SDKs accept."""
    data = [openai_entry(group[0][1]) for group in grouped(catalog.all_offers())]
    ids = [entry["id"] for entry in data]
    return {
        "object": "list",
        "data": data,
        "has_more": False,
        "first_id": ids[0] if ids else None,
        "last_id": ids[-1] if ids else None,
    }


def openai_entry(offer: ModelOffer) -> Json:
    """`GET /v1/models/{id}`."""
    created = offer.created_at_unix_s or 0
    return {
        "id": offer.model,
        "object": "model",
        "created": created,
        "owned_by": offer.owned_by or "unknown",
        "type": "model",
        "display_name": offer.model,
        "created_at": _rfc3339(created),
        "context_length": offer.context_tokens,
    }


def ollama_tags(catalog: Catalog) -> Json:
    """`GET /api/tags`: Ollama's own entries as Ollama gave them, others in the same shape."""
    return {"models": [_tag(group) for group in grouped(catalog.all_offers())]}


def _tag(group: Offers) -> Json | msgspec.Raw:
    for _, offer in group:
        if Door.OLLAMA_SHOW in offer.doors and offer.listing != b"{}":
            return msgspec.Raw(offer.listing)
    offer = group[0][1]
    return {
        "name": offer.model,
        "model": offer.model,
        "modified_at": _rfc3339(offer.created_at_unix_s or 0),
        "size": 0,
        # The Ollama CLI shows its first 12 characters. There is no file to hash here, so it is the name's.
        "digest": hashlib.sha256(offer.model.encode()).hexdigest(),
        "details": _NO_DETAILS,
    }


def ollama_show(offer: ModelOffer) -> Json:
    """`POST /api/show` for a model whose server is not Ollama: what is known of it."""
    info: Json = {"general.architecture": "unknown", "general.basename": offer.model}
    if offer.context_tokens:
        info["unknown.context_length"] = offer.context_tokens
    return {
        "license": "",
        "modelfile": f"# {offer.model} is not served by Ollama; there is no Modelfile",
        "parameters": "",
        "template": "",
        "details": _NO_DETAILS,
        "model_info": info,
        "capabilities": ["completion"],
        "modified_at": _rfc3339(offer.created_at_unix_s or 0),
    }


def _rfc3339(unix_s: int) -> str:
    return datetime.fromtimestamp(unix_s, UTC).isoformat().replace("+00:00", "Z")
