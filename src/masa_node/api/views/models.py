"""Lists of models, in each client family's shape. The node's own list names everything; the others what they know.

Peers tell of tens of thousands, made up or not: lists are made in slices, between which everything else has its turns.
"""

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from io import BytesIO
from typing import TypeVar

import msgspec

from masa_node.api.families import family_of
from masa_node.chat.offer import NO_FACTS, ModelOffer, same_model_key
from masa_node.chat.request import Endpoint, path_of
from masa_node.dialects.condensing import Steps, at_once
from masa_node.dialects.translation.formats import targets_for
from masa_node.routing.catalog import Offers
from masa_node.routing.running.steps import in_steps

Json = dict[str, object]
Of = TypeVar("Of")
MAX_NAMED = 12  # models in a sentence
MAX_PER_PAGE = 1_000
OFFERS_A_TURN = 2_048  # looked at in one go, half a microsecond each;
ENTRIES_A_TURN = 128  # made in one go, some ten microseconds each
_MAX_DIGITS = 9
AT_GOOGLES = "models/"  # before each name; the ids of Google's own begin so, too
_CHATS = frozenset(targets_for(Endpoint.GEMINI_GENERATE))
_TASK = {
    "id": "c329a1f9-323d-4e91-b2aa-582dd4188d34",
    "name": "Text Generation",
    "description": "Family of generative text models, such as large language models (LLM).",
}
# Of a model of which nothing is told. Clients offer no tools where "tools" is missing, and some do not show the model;
# a server that has none refuses them in its own words.
_UNTOLD = ("completion", "tools")
_NEVER = "0001-01-01T00:00:00Z"


def grouped(offers: Offers) -> Steps[list[Offers]]:
    """The offers of each model together, models in the order in which they were first offered."""
    groups: dict[str, Offers] = {}
    for number, (provider, offer) in enumerate(offers, 1):
        groups.setdefault(same_model_key(offer.model), []).append((provider, offer))
        if number % OFFERS_A_TURN == 0:
            yield
    return [*groups.values()]


def named(offers: Offers) -> str:
    """The models' names in one line, the first MAX_NAMED of them."""
    names = [group[0][1].model for group in at_once(grouped(offers))]
    if not names:
        return "no model now"
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more


async def _firsts(offers: Offers, is_wanted: Callable[[ModelOffer], bool]) -> list[ModelOffer]:
    """The first offer of each model, if it is wanted, in slices."""
    found: list[ModelOffer] = []
    for number, group in enumerate(await in_steps(grouped(offers)), 1):
        if is_wanted(group[0][1]):
            found.append(group[0][1])
        if number % OFFERS_A_TURN == 0:
            await asyncio.sleep(0)
    return found


async def _written(more: Json, key: bytes, them: Sequence[Of], entry_of: Callable[[Of], object]) -> bytes:
    """`more` as JSON and, under `key`, the entry of each, in slices. Of megabytes nothing is copied in the end."""
    out, begun = BytesIO(), msgspec.json.encode(more).removesuffix(b"}")
    out.write(b'%b%b"%b":[' % (begun, b"," if more else b"", key))
    for start in range(0, len(them), ENTRIES_A_TURN):
        entries = msgspec.json.encode([entry_of(one) for one in them[start : start + ENTRIES_A_TURN]])
        out.write((b"," if start else b"") + entries[1:-1])
        await asyncio.sleep(0)
    out.write(b"]}")
    return out.getvalue()


async def own_list(offers: Offers) -> bytes:
    """`GET /api/v1/llm/models`: the models that can be asked for here now, with their providers and endpoints."""
    return await _written({}, b"models", await in_steps(grouped(offers)), _own_entry)


def _own_entry(group: Offers) -> Json:
    endpoints = sorted({endpoint for _, offer in group for endpoint in offer.endpoints})
    spoken = {family_of(endpoint) for endpoint in endpoints if endpoint is not Endpoint.NATIVE}
    contexts = [offer.context_tokens for _, offer in group if offer.context_tokens]
    first = group[0][1]
    return {
        "id": first.model,
        **({"alias_of": first.alias_of} if first.alias_of else {}),
        "served_by": [{"provider": provider.name, "local": provider.is_local} for provider, _ in group],
        "dialects": sorted(spoken),
        "endpoints": [path_of(endpoint) for endpoint in endpoints],
        "context_tokens": max(contexts, default=None),
    }


async def openai_list(offers: Offers) -> bytes:
    """`GET /v1/models`: one shape that the OpenAI and the Anthropic SDKs accept."""
    found = await _firsts(offers, lambda _: True)
    first, last = (found[0].model, found[-1].model) if found else (None, None)
    more: Json = {"object": "list", "has_more": False, "first_id": first, "last_id": last}
    return await _written(more, b"data", found, openai_entry)


def openai_entry(offer: ModelOffer) -> Json:
    """`GET /v1/models/{id}`."""
    created = offer.created_at_unix_s or 0
    return {
        "id": offer.model,
        "object": "model",
        "created": created,
        "owned_by": offer.owned_by or "unknown",
        "context_length": offer.context_tokens,
        # Anthropic's, all of which its SDK wants to find
        "type": "model",
        "display_name": offer.model,
        "created_at": _rfc3339(created),
        "max_input_tokens": offer.context_tokens,
        "max_tokens": None,
        "capabilities": None,
        "lifecycle": "active",
        "deprecated_at": None,
        "retires_at": None,
        "line": None,
    }


async def cloudflare_list(offers: Offers, query: Mapping[str, str]) -> bytes:
    """`GET .../ai/models/search`: the SDK asks page after page until one is empty."""
    wanted, task = query.get("search", "").lower(), query.get("task", _TASK["name"])
    found = await _firsts(offers, lambda offer: task == _TASK["name"] and wanted in offer.model.lower())
    page, per_page = _number(query.get("page"), 1), _number(query.get("per_page"), MAX_PER_PAGE)
    on_it = found[(page - 1) * per_page : page * per_page]
    info = {"page": page, "per_page": per_page, "count": len(on_it), "total_count": len(found)}
    more: Json = {"success": True, "errors": [], "messages": [], "result_info": info}
    return await _written(more, b"result", on_it, _cloudflare_entry)


def _cloudflare_entry(offer: ModelOffer) -> Json:
    context = [{"property_id": "context_window", "value": str(offer.context_tokens)}] if offer.context_tokens else []
    return {
        "id": offer.model,
        "source": 1,
        "name": offer.model,
        "description": f"Served by {offer.owned_by or 'an LLM server'}",
        "task": _TASK,
        "tags": [],
        "properties": context,
    }


def _number(text: str | None, otherwise: int) -> int:
    """A page or a size of one, at least 1."""
    is_number = text is not None and text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS
    return max(1, int(text)) if text is not None and is_number else otherwise


async def gemini_list(offers: Offers) -> bytes:
    """`GET /v1beta/models`: all on one page."""
    return await _written({}, b"models", await _firsts(offers, lambda _: True), gemini_entry)


def gemini_entry(offer: ModelOffer) -> Json:
    """`GET /v1beta/models/{id}`."""
    limit = {"inputTokenLimit": offer.context_tokens} if offer.context_tokens else {}
    methods = ["generateContent", "streamGenerateContent", "countTokens"] if offer.endpoints & _CHATS else []
    methods += ["embedContent"] if Endpoint.OPENAI_EMBEDDINGS in offer.endpoints else []
    return {
        "name": AT_GOOGLES + offer.model.removeprefix(AT_GOOGLES),
        "displayName": offer.model,
        "description": f"Served by {offer.owned_by or 'an LLM server'}",
        **limit,
        "supportedGenerationMethods": methods,
    }


async def ollama_tags(offers: Offers) -> bytes:
    """`GET /api/tags`: Ollama's own entries as Ollama gave them, others in the same shape."""
    return await _written({}, b"models", await in_steps(grouped(offers)), _tag)


def _tag(group: Offers) -> Json | msgspec.Raw:
    for _, offer in group:
        if Endpoint.OLLAMA_SHOW in offer.endpoints and offer.listing != b"{}":
            return msgspec.Raw(offer.listing)
    offer = best_known(group)
    capabilities = offer.capabilities or _UNTOLD
    return {
        "name": offer.model,
        "model": offer.model,
        "modified_at": _modified_at(offer),
        "size": offer.facts.size_bytes,
        # The Ollama CLI shows its first 12 characters. There is no file to hash here; clients (`llm`) keep by it what
        # they were shown of the model's capabilities.
        "digest": hashlib.sha256(" ".join((offer.model, *capabilities)).encode()).hexdigest(),
        "details": _details(offer),
        "capabilities": capabilities,
    }


def best_known(group: Offers) -> ModelOffer:
    """Of one model's offers the first that tells anything of it."""
    return next((offer for _, offer in group if offer.facts != NO_FACTS or offer.capabilities), group[0][1])


def _details(offer: ModelOffer) -> Json:
    facts = offer.facts
    return {
        "parent_model": "",
        "format": facts.format,
        "family": facts.family,
        "families": [facts.family] if facts.family else [],
        "parameter_size": facts.parameter_size,
        "quantization_level": facts.quantization,
    }


def _modified_at(offer: ModelOffer) -> str:
    """Go's zero time, which Ollama's own clients show as "Never", where it is not known."""
    return _NEVER if offer.created_at_unix_s is None else _rfc3339(offer.created_at_unix_s)


def ollama_show(offer: ModelOffer) -> Json:
    """`POST /api/show` for a model whose server is not Ollama: what is known of it."""
    family = offer.facts.family or "unknown"
    info: Json = {"general.architecture": family, "general.basename": offer.model}
    if offer.context_tokens:
        info[f"{family}.context_length"] = offer.context_tokens
    return {
        "license": "",
        "modelfile": f"# {offer.model} is not served by an Ollama of this node; there is no Modelfile",
        "parameters": "",
        "template": "",
        "details": _details(offer),
        "model_info": info,
        "capabilities": offer.capabilities or _UNTOLD,
        "modified_at": _modified_at(offer),
    }


def _rfc3339(unix_s: int) -> str:
    return datetime.fromtimestamp(unix_s, UTC).isoformat().replace("+00:00", "Z")
