from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masa_node.chat.errors import ConfigurationError
from masa_node.chat.offer import ModelOffer
from masa_node.chat.request import Endpoint
from masa_node.network.requests.sharing import SharedCatalog, SharePolicy, read_policy
from masa_node.routing.catalog import Catalog
from tests.routing.scripted import ScriptedProvider


def provider(name: str, *, is_hosted: bool = False, is_local: bool = True) -> ScriptedProvider:
    made = ScriptedProvider(name)
    made.is_hosted = is_hosted
    made.is_local = is_local
    return made


def offers(*models: str, endpoints: Sequence[Endpoint] = (Endpoint.OPENAI_CHAT,)) -> list[ModelOffer]:
    return [ModelOffer(model, frozenset(endpoints)) for model in models]


def shared_models(share: str, catalog: Catalog) -> set[str]:
    shared = SharedCatalog(read_policy(share))
    shared.follow(catalog)
    return {offer.model for offer in shared.offers()}


@pytest.mark.parametrize(
    ("share", "models"),
    [
        ("none", set()),
        ("local", {"llama3:latest", "qwen:7b"}),
        ("LOCAL", {"llama3:latest", "qwen:7b"}),
        ("all", {"llama3:latest", "qwen:7b", "gpt-5", "gpt-5-mini"}),
        ("gpt-*", {"gpt-5", "gpt-5-mini"}),
        ("gpt-5, qwen*", {"gpt-5", "qwen:7b"}),
        ("local, gpt-5-mini", {"llama3:latest", "qwen:7b", "gpt-5-mini"}),
        ("llama3", {"llama3:latest"}),
        ("GPT-*", set()),
        ("*", {"llama3:latest", "qwen:7b", "gpt-5", "gpt-5-mini"}),
    ],
)
def test_what_is_shared(share: str, models: set[str]) -> None:
    catalog = Catalog()
    catalog.put(provider("llm"), offers("llama3:latest", "qwen:7b"))
    catalog.put(provider("openai", is_hosted=True), offers("gpt-5", "gpt-5-mini"))
    catalog.put(provider("peer", is_local=False), offers("of-a-peer"))
    assert shared_models(share, catalog) == models


@pytest.mark.parametrize("share", ["", " , ", "none,local", "all,gpt-5", "none,all"])
def test_a_policy_that_contradicts_itself_is_refused(share: str) -> None:
    with pytest.raises(ConfigurationError, match="SHARE"):
        read_policy(share)


@given(st.text())
def test_any_text_is_a_policy_or_a_configuration_error(share: str) -> None:
    try:
        policy = read_policy(share)
    except ConfigurationError:
        return
    policy.shares("model", is_hosted=True)


def test_what_a_server_lists_later_is_shared_then_and_what_it_drops_no_more() -> None:
    catalog, shared = Catalog(), SharedCatalog(SharePolicy(local=True))
    catalog.watch(lambda: shared.follow(catalog))
    llm = provider("llm")
    catalog.put(llm, None)
    assert shared.offers() == []
    catalog.put(llm, offers("a", "b"))
    assert {offer.model for offer in shared.offers()} == {"a", "b"}
    catalog.put(llm, offers("b"))
    assert {offer.model for offer in shared.offers()} == {"b"}
    assert shared.catalog.find("a", Endpoint.OPENAI_CHAT).own == ()
    catalog.remove(llm)
    assert shared.offers() == []


def test_the_endpoint_that_tells_of_a_models_inside_is_never_shared() -> None:
    catalog = Catalog()
    catalog.put(provider("llm"), offers("a", endpoints=(Endpoint.OLLAMA_SHOW, Endpoint.OLLAMA_CHAT)))
    catalog.put(provider("other"), offers("b", endpoints=(Endpoint.OLLAMA_SHOW,)))
    shared = SharedCatalog(SharePolicy(everything=True))
    shared.follow(catalog)
    assert [(offer.model, offer.endpoints) for offer in shared.offers()] == [("a", frozenset({Endpoint.OLLAMA_CHAT}))]


def test_peers_and_servers_without_a_list_share_nothing() -> None:
    catalog = Catalog()
    catalog.put(provider("unlisted"), None)
    catalog.put(provider("peer", is_local=False), offers("x"))
    shared = SharedCatalog(SharePolicy(everything=True))
    shared.follow(catalog)
    assert shared.offers() == []
    assert shared.catalog.unlisted == ()


def test_a_model_that_is_not_shared_cannot_be_had_under_the_name_of_one_that_is() -> None:
    catalog = Catalog()
    catalog.put(provider("llm"), offers("adapter", "Adapter", "adapter:latest"))
    shared = SharedCatalog(SharePolicy(globs=("adapter",)))
    shared.follow(catalog)
    assert shared.is_withheld("Adapter")
    assert not shared.is_withheld("adapter")
    assert not shared.is_withheld("unheard-of")
