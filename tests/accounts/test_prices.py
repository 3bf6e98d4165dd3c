"""What vendors charge: by whose list, for what, and when that is not known. Nobody is asked."""

import socket
import subprocess
import sys

import pytest
from genai_prices.data_snapshot import get_snapshot

from masa_node.accounts.prices import Prices, has_prices, need_prices
from masa_node.accounts.report import Used
from masa_node.chat.errors import ConfigurationError

DAY = 20_600  # May 2026
URLS = {
    "openai": "https://api.openai.com/v1",
    "claude": "https://api.anthropic.com",
    "mine": "http://127.0.0.1:11434",
}
PER_MILLION_IN, PER_MILLION_OUT = 2.5, 10.0  # of gpt-4o, in US dollars, since 2024


def used(model: str = "gpt-4o", provider: str = "openai", requests: int = 1, **changed: int | bool) -> Used:
    made = Used(DAY, model, provider, is_peer=False, requests=requests, unknown=0, input_tokens=1, output_tokens=1)
    return made._replace(**changed)


@pytest.fixture
def prices(monkeypatch: pytest.MonkeyPatch) -> Prices:
    """With no way to the network."""

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket, "getaddrinfo", refused)
    monkeypatch.setattr(socket.socket, "connect", refused)
    return Prices(URLS)


def test_a_vendors_list_price_counts_for_what_it_answered(prices: Prices) -> None:
    cost = prices(used(requests=3, input_tokens=2_000_000, output_tokens=1_000_000))
    assert cost == pytest.approx(2 * PER_MILLION_IN + PER_MILLION_OUT)
    assert prices(used(input_tokens=0, output_tokens=0)) == 0


def test_where_long_prompts_cost_more_the_mean_request_says_which_price_counts(prices: Prices) -> None:
    def claude(requests: int) -> float:
        many = {"input_tokens": 500_000, "output_tokens": 0}
        return prices(used("claude-sonnet-4-5", "claude", requests, **many)) or 0.0

    assert claude(100) == pytest.approx(0.5 * 3)  # each below 200 000 tokens
    assert claude(1) == pytest.approx(0.5 * 6)


@pytest.mark.parametrize(
    "what",
    [
        used(provider="mine"),  # no vendor is there
        used(provider="gone-from-the-settings"),
        used(model="of-no-list"),
        used(model=""),
        used(is_peer=True),
        used(requests=0),
    ],
)
def test_what_has_no_list_price_is_unknown(prices: Prices, what: Used) -> None:
    assert prices(what) is None


def remembered() -> int:
    vendors = get_snapshot()
    return sum(map(len, (vendors._lookup_cache, vendors._provider_cache, vendors._provider_misses)))


def test_names_that_strangers_made_up_are_remembered_nowhere(prices: Prices) -> None:
    before = remembered()
    for number in range(100):
        prices(used(f"gpt-4o-{number}"))
        prices(used(f"made-up-{number}"))
        prices(used(f"made-up-{number}", "mine"))
    assert remembered() - before <= len(URLS)


def test_without_the_extra_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert has_prices()
    need_prices()
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    assert not has_prices()
    with pytest.raises(ConfigurationError, match=r"pip install 'masa-node\[prices\]'"):
        need_prices()


def test_a_node_takes_no_time_and_no_memory_for_prices_before_one_is_wanted() -> None:
    program = "import sys, masa_node.node.serve, masa_node.cli.usage; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True).stdout.split()
    assert "masa_node.accounts.prices" in modules
    assert {"genai_prices", "pydantic", "httpx2"} & set(modules) == set()
