import socket

import pytest

from masa_node.chat.errors import ConfigurationError
from masa_node.network.transport import bind
from masa_node.network.transport.bind import (
    addresses_to_bind,
    advertisable,
    loopback_of,
)
from masa_node.network.transport.interfaces import MAX_ADDRESSES


@pytest.fixture
def both_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bind, "free_port", lambda ip, port=0: port or 4433)


@pytest.mark.usefixtures("both_versions")
@pytest.mark.parametrize(
    ("host", "locations"),
    [
        ("127.0.0.1", ["127.0.0.1:7", "[::1]:0"]),
        ("192.168.1.5", ["192.168.1.5:7", "[::1]:0"]),
        ("0.0.0.0", ["0.0.0.0:7", "[::]:7"]),  # noqa: S104
        ("::", ["[::]:7", "0.0.0.0:7"]),
        ("::1", ["[::1]:7", "127.0.0.1:0"]),
        ("fd00::2", ["[fd00::2]:7", "127.0.0.1:0"]),
    ],
)
def test_nothing_but_the_host_can_be_reached_from_outside(host: str, locations: list[str]) -> None:
    assert addresses_to_bind(host, 7) == locations


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])  # noqa: S104
def test_both_versions_have_the_same_port_also_when_any_will_do(host: str) -> None:
    locations = addresses_to_bind(host, 0)
    if len(locations) == 1:
        pytest.skip("this machine has one IP version only")
    ports = {int(location.rpartition(":")[2]) for location in locations}
    assert len(ports) == 1
    assert ports != {0}


@pytest.mark.usefixtures("both_versions")
def test_any_two_ports_are_taken_where_no_common_one_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bind, "free_port", lambda ip, port=0: None if port else 4433)
    assert addresses_to_bind("0.0.0.0", 0) == ["0.0.0.0:0", "[::]:0"]  # noqa: S104


def test_a_machine_without_ipv6_binds_the_host_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_ipv6(family: int, kind: int) -> socket.socket:
        raise OSError("Address family not supported by protocol")

    monkeypatch.setattr(bind.socket, "socket", without_ipv6)
    assert addresses_to_bind("127.0.0.1", 7) == ["127.0.0.1:7"]


@pytest.mark.parametrize("host", ["localhost", "", "example.org", "1.2.3", "[::1]", "127.0.0.1:80"])
def test_a_host_that_is_no_address_is_the_owners_to_mend(host: str) -> None:
    with pytest.raises(ConfigurationError, match="PEER_HOST"):
        addresses_to_bind(host, 0)


def test_what_others_can_reach_comes_first_and_loopback_not_at_all() -> None:
    found = ["127.0.0.1:1", "169.254.1.1:1", "172.17.0.1:1", "10.0.0.2:1", "8.8.8.8:1", "[::1]:1", "[2606:4700::1]:1"]
    told = advertisable(found)
    assert set(told[:2]) == {"8.8.8.8:1", "[2606:4700::1]:1"}
    assert told[2:] == ("10.0.0.2:1", "172.17.0.1:1", "169.254.1.1:1")


def test_loopback_is_told_when_there_is_nothing_else() -> None:
    assert advertisable(["127.0.0.1:1", "[::1]:2"]) == ("127.0.0.1:1", "[::1]:2")


def test_no_more_than_a_few_are_told_and_container_bridges_give_way() -> None:
    told = advertisable([f"172.{number}.0.1:1" for number in range(16, 32)] + ["192.168.1.5:1"])
    assert len(told) == MAX_ADDRESSES
    assert told[0] == "192.168.1.5:1"


def test_a_socket_on_all_addresses_is_met_on_loopback() -> None:
    assert loopback_of("0.0.0.0:7") == "127.0.0.1:7"
    assert loopback_of("[::]:7") == "[::1]:7"
    assert loopback_of("192.168.1.5:7") == "192.168.1.5:7"
