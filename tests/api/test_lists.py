"""The lists of models, in each family's shape, as the real SDKs read them.

Covers: `views.models`, `routes`.
"""

import anthropic
import ollama
import openai
import pytest

from masa_node.chat.request import ENDPOINT_PATHS, RUN_PATH
from tests.api.raw_http import MODEL, ask_once, get, post
from tests.api.serving import ServingNode


def test_openais_sdk_lists_and_finds_the_model(node: ServingNode) -> None:
    with openai.OpenAI(base_url=f"{node.address}/v1", api_key="none", max_retries=0) as client:
        (listed,) = client.models.list()
        found = client.models.retrieve(MODEL)
    assert (listed.id, listed.object, listed.owned_by, listed.created) == (MODEL, "model", "masa-node", 1_700_000_000)
    assert found == listed


def test_openais_sdk_may_leave_v1_out_of_its_base_url(node: ServingNode) -> None:
    """As it may before llama.cpp, LocalAI and LiteLLM."""
    with openai.OpenAI(base_url=node.address, api_key="none", max_retries=0) as client:
        assert [each.id for each in client.models.list()] == [MODEL]
        asked = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "Hello"}])
        assert asked.choices[0].message.content
        assert client.responses.create(model=MODEL, input="Hello").output_text
        assert client.completions.create(model=MODEL, prompt="Hello").choices[0].text
        with pytest.raises(openai.BadRequestError, match=r"openai\.embeddings"):
            client.embeddings.create(model=MODEL, input="Hello")


@pytest.mark.parametrize("path", ["/messages", "/messages/count_tokens"])
async def test_anthropics_clients_may_leave_it_out_too(node: ServingNode, path: str) -> None:
    """Those whose base URL is meant to end with it: DSPy, Continue, the `ai` package."""
    body = b'{"model": "%b", "max_tokens": 20, "messages": [{"role": "user", "content": "Hello"}]}' % MODEL.encode()
    reply = await ask_once(node.port, post(body, target=path.encode()))
    unknown = await ask_once(node.port, post(body, target=b"/messages/nowhere"))
    assert (reply.status, unknown.status) == (200, 404)
    assert reply.json()["content" if path == "/messages" else "input_tokens"]
    assert unknown.json()["type"] == "error"


def test_anthropics_sdk_lists_and_finds_the_model(node: ServingNode) -> None:
    with anthropic.Anthropic(base_url=node.address, api_key="none", max_retries=0) as client:
        page = client.models.list()
        found = client.models.retrieve(MODEL)
        (listed,) = page
    assert (listed.id, listed.type, listed.display_name) == (MODEL, "model", MODEL)
    assert listed.created_at.year == 2023
    assert found == listed
    assert (page.has_more, page.first_id, page.last_id) == (False, MODEL, MODEL)


def test_ollamas_sdk_lists_and_shows_the_model(node: ServingNode) -> None:
    with ollama.Client(host=node.address) as client:
        (listed,) = client.list().models
        shown = client.show(MODEL)
    assert listed.model == MODEL
    assert listed.digest is not None
    assert len(listed.digest) == 64
    assert listed.modified_at is not None
    assert shown.capabilities == ["completion", "tools"]
    assert shown.modelinfo == {
        "general.architecture": "unknown",
        "general.basename": MODEL,
        "unknown.context_length": 4096,
    }


async def test_show_takes_either_name_and_the_empty_one_of_the_ollama_cli(node: ServingNode) -> None:
    for body in (b'{"model": "masa-demo"}', b'{"name": "masa-demo"}', b'{"model": "", "name": "masa-demo"}'):
        assert (await ask_once(node.port, post(body, target=b"/api/show"))).status == 200


async def test_a_model_is_found_with_and_without_latest(node: ServingNode) -> None:
    for target in (b"/v1/models/masa-demo:latest", b"/v1/models/masa-demo%3Alatest", b"/v1/models/masa%2Ddemo"):
        assert (await ask_once(node.port, get(target))).json()["display_name"] == MODEL


async def test_the_nodes_own_list_says_who_serves_what_and_how(node: ServingNode) -> None:
    (model,) = (await ask_once(node.port, get(b"/api/v1/llm/models"))).json()["models"]  # type: ignore[misc]
    assert model["id"] == MODEL
    assert model["served_by"] == [{"provider": "demo", "local": True}]
    assert model["context_tokens"] == 4096
    assert {"anthropic", "ollama", "openai"} <= set(model["dialects"])
    assert set(model["endpoints"]) <= {RUN_PATH, *(paths[0] for paths in ENDPOINT_PATHS.values())}
    assert "/v1/chat/completions" in model["endpoints"]


async def test_the_version_is_ollamas_with_ours_beside_it(node: ServingNode) -> None:
    """Ollama's clients refuse versions that look too old."""
    version = (await ask_once(node.port, get(b"/api/version"))).json()
    assert [int(part) for part in str(version["version"]).split(".")] >= [0, 32, 0]
    assert version["masa_node"]
