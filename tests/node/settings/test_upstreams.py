import pytest

from masa_node.accounts.report import Used
from masa_node.chat.errors import ConfigurationError
from masa_node.node.settings.environment import Settings
from masa_node.node.settings.upstreams import prices_of, upstream_specs
from masa_node.upstreams.spec import UpstreamKind


def test_the_settings_name_the_servers() -> None:
    specs = upstream_specs(
        Settings(
            masa_config="",
            masa_dir="/nowhere",
            llm_chat_url="http://a:1",
            llm_cf_url="https://cf.example/client/v4/accounts/x/ai/run",
            openai_api_key="k",
            anthropic_api_key="k",
            demo=True,
        )
    )
    assert [spec.name for spec in specs] == ["llm", "cloudflare", "openai", "anthropic", "demo"]
    assert [spec.kind for spec in specs] == [
        UpstreamKind.AUTO,
        UpstreamKind.CLOUDFLARE,
        UpstreamKind.OPENAI,
        UpstreamKind.ANTHROPIC,
        UpstreamKind.DEMO,
    ]
    assert [spec.hosted for spec in specs] == [False, True, True, True, False]


def test_an_llm_of_the_nodes_own_is_a_server_like_others() -> None:
    (spec,) = upstream_specs(Settings(masa_dir="/nowhere", llm="smollm2"))
    assert (spec.name, spec.kind, spec.url, spec.hosted) == ("embedded", UpstreamKind.EMBEDDED, "smollm2", False)
    assert upstream_specs(Settings(masa_dir="/nowhere", llm="none")) == []


def test_a_url_that_is_none_is_refused_by_its_settings_name() -> None:
    with pytest.raises(ConfigurationError, match=r"^LLM_CHAT_URL: 'ftp://localhost:11434' is not a URL"):
        upstream_specs(Settings(masa_dir="/nowhere", llm_chat_url="ftp://localhost:11434"))


def test_what_vendors_charge_is_seen_by_where_each_server_is() -> None:
    prices = prices_of(Settings(masa_dir="/nowhere", llm_chat_url="https://api.openai.com/v1"))
    used = Used(20_600, "gpt-4o", "llm", is_peer=False, requests=1, unknown=0, input_tokens=1_000_000, output_tokens=0)
    assert prices(used) == 2.5
    assert prices(used._replace(provider="ollama")) is None
