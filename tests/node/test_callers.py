import pytest

from masa_node.chat.errors import ConfigurationError
from masa_node.node.callers import bodies_bytes, guard_rules
from masa_node.node.settings.environment import Settings
from masa_node.routing.answers.byte_budget import OVERHEAD_BYTES


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "gpu-box", "8.8.8.8"])  # noqa: S104
def test_a_bind_that_others_can_reach_needs_a_key(host: str) -> None:
    with pytest.raises(ConfigurationError, match="API_KEY"):
        guard_rules(Settings(host=host))
    assert guard_rules(Settings(host=host, api_key="a,b")).api_keys == ("a", "b")
    assert guard_rules(Settings(host=host), has_named_keys=True).api_keys == ()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.1.2.3"])
def test_loopback_needs_no_key(host: str) -> None:
    assert guard_rules(Settings(host=host)).api_keys == ()


def test_all_bodies_together_have_room_for_one_at_least() -> None:
    assert bodies_bytes(Settings(max_body=1_000, max_bodies_total=1)) == 1_000 + OVERHEAD_BYTES
    assert bodies_bytes(Settings(max_body=1_000, max_bodies_total=10_000_000)) == 10_000_000
