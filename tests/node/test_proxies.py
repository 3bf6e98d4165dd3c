"""Which of what a node will ask is looked at before it starts."""

from pathlib import Path

import pytest

from masa_node.chat.errors import ConfigurationError
from masa_node.node.proxies import check_proxies, read_proxies
from masa_node.node.settings.upstreams import upstream_specs
from tests.fakes.running import settings_of

SOCKS = "socks5://me:hunter2@proxy:1080"


def check(**settings: str) -> None:
    values = settings_of(**settings)
    check_proxies(read_proxies(values), values, upstream_specs(values))


@pytest.mark.parametrize(
    "settings",
    [
        {"LLM_CHAT_URL": "https://llm.example"},
        {"OPENAI_API_KEY": "sk-1"},
        {"ANTHROPIC_API_KEY": "sk-1"},
        {"LLM_CF_URL": "https://api.cloudflare.com/client/v4/accounts/0/ai/run", "LLM_CF_TOKEN": "t"},
        {"OLLAMA_HOST": "https://gpu-box"},
        {"STAKE_NETWORK": "sepolia", "RPC_URL": "https://rpc.example/key", "STAKE_CONTRACT": f"0x{'01' * 20}"},
    ],
)
def test_whatever_would_be_asked_through_an_unusable_proxy_stops_the_start(settings: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match=r"^HTTPS_PROXY names a proxy of the kind socks5://") as caught:
        check(HTTPS_PROXY=SOCKS, **settings)
    assert "hunter2" not in caught.value.message
    check(HTTPS_PROXY=SOCKS, NO_PROXY="*", **settings)
    check(HTTPS_PROXY="http://proxy:3128", HTTP_PROXY=SOCKS, **settings)


def test_a_masa_toml_is_looked_at_too(tmp_path: Path) -> None:
    file = tmp_path / "masa.toml"
    file.write_text('[[upstream]]\nname = "x"\nurl = "http://gpu-box:8000"\n')
    with pytest.raises(ConfigurationError, match="gpu-box"):
        check(MASA_CONFIG=str(file), ALL_PROXY=SOCKS)


def test_nothing_to_ask_needs_no_proxy() -> None:
    check(ALL_PROXY=SOCKS, DEMO="1", LLM_CHAT_URL="http://localhost:11434")
