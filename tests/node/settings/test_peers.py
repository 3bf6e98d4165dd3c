import pytest

from masa_node.chat.errors import ConfigurationError
from masa_node.network.transport.addresses import PUBLIC_RELAYS
from masa_node.node.settings.environment import Settings
from masa_node.node.settings.peers import read_peer_settings

BOB = "b" * 64


def test_trusted_peers_are_node_ids_in_any_case() -> None:
    assert read_peer_settings(Settings(trusted_peers=f" {BOB.upper()}, {'c' * 64}")).trusted == {BOB, "c" * 64}


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("trusted_peers", "bob"),
        ("trusted_peers", f"{BOB},{BOB[:-1]}"),
        ("relay_url", "relay.example.org"),
        ("bootnodes", "nonsense"),
        ("share", "none,llama3"),
        ("peer_address", "81.2.69.7"),
        ("peer_address", "81.2.69.7:0"),
        ("peer_address", "host:4433"),
    ],
)
def test_what_is_not_understood_is_named_by_its_setting(setting: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=setting.upper()):
        read_peer_settings(Settings(**{setting: value}))  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["", PUBLIC_RELAYS, "https://relay.example.org"])
def test_a_relay_may_be_none_the_public_ones_or_an_own_one(value: str) -> None:
    assert read_peer_settings(Settings(relay_url=value)).bootnodes == ()
