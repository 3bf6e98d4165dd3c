"""What Ollama's clients are shown of a model that no Ollama of this node serves: its facts, as its peer tells them.

Covers: `views.models`, `show`.
"""

import msgspec
from ollama import ListResponse, ShowResponse

from masa_node.api.views.models import ollama_show, ollama_tags
from masa_node.chat.offer import ModelFacts, ModelOffer
from masa_node.chat.request import Endpoint
from masa_node.routing.provider import Provider
from tests.routing.scripted import ScriptedPeer

CHAT = frozenset({Endpoint.OLLAMA_CHAT})
KNOWN = ModelOffer(
    "llama3:8b",
    CHAT,
    created_at_unix_s=1_790_000_000,
    context_tokens=8192,
    capabilities=("completion", "tools"),
    facts=ModelFacts("llama", "8.0B", "Q4_K_M", 4_900_000_000, "gguf"),
)
UNKNOWN = ModelOffer("llama3:8b", CHAT)
BOB: Provider = ScriptedPeer("bob")


async def test_a_peers_model_is_listed_with_its_facts() -> None:
    (model,) = ListResponse.model_validate_json(await ollama_tags([(BOB, UNKNOWN), (BOB, KNOWN)])).models
    assert model.details is not None
    assert (model.details.family, model.details.parameter_size) == ("llama", "8.0B")
    assert (model.details.quantization_level, model.details.format) == ("Q4_K_M", "gguf")
    assert model.size == 4_900_000_000
    assert model.modified_at is not None
    assert model.modified_at.year == 2026


def test_it_is_shown_with_them_and_clients_that_look_for_tools_find_them() -> None:
    shown = ShowResponse.model_validate(ollama_show(KNOWN))
    assert shown.capabilities == ["completion", "tools"]
    assert shown.modelinfo is not None
    assert (shown.modelinfo["general.architecture"], shown.modelinfo["llama.context_length"]) == ("llama", 8192)
    assert shown.details is not None
    assert (shown.details.quantization_level, shown.details.format) == ("Q4_K_M", "gguf")


async def test_a_time_that_nobody_knows_is_shown_as_never_and_not_as_1970() -> None:
    (model,) = ListResponse.model_validate_json(await ollama_tags([(BOB, UNKNOWN)])).models
    assert model.modified_at is not None
    assert model.modified_at.year == 1
    assert ollama_show(UNKNOWN)["modified_at"] == "0001-01-01T00:00:00Z"


async def test_clients_that_look_for_tools_find_them_where_nobody_tells_of_any() -> None:
    """Without the word `llm` refuses tools by itself, and editors leave the model out of their lists."""
    told = msgspec.json.decode(await ollama_tags([(BOB, UNKNOWN)]), type=dict[str, list[dict[str, object]]])
    assert told["models"][0]["capabilities"] == ["completion", "tools"]
    assert ShowResponse.model_validate(ollama_show(UNKNOWN)).capabilities == ["completion", "tools"]


async def test_the_digest_changes_with_the_capabilities_that_clients_keep_by_it() -> None:
    offers = [UNKNOWN, msgspec.structs.replace(UNKNOWN, capabilities=("completion",)), UNKNOWN]
    lists = [ListResponse.model_validate_json(await ollama_tags([(BOB, offer)])).models[0] for offer in offers]
    first, changed, again = [listed.digest for listed in lists]
    assert first == again != changed
