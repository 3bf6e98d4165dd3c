"""Covers: `interfaces`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masa_node.network.transport.addresses import (
    MAX_ADDRESS_CHARS,
    MAX_RELAY_CHARS,
    PUBLIC_RELAYS,
    AddressScope,
    canonical,
    filter_dialable,
    is_host_and_port,
    is_relay_url,
    is_shared_by_carrier,
    may_dial,
    pack_address,
    read_address,
    relay_key,
    scope_of,
    unpack_address,
    write_address,
)
from masa_node.network.transport.interfaces import MAX_ADDRESSES, NodeId, PeerAddress

PUBLIC = ["8.8.8.8:4433", "[2606:4700::1111]:4433", "[::ffff:8.8.8.8]:4433"]
PRIVATE = ["10.0.0.1:1", "172.16.0.1:1", "172.31.255.255:1", "192.168.1.1:65535", "[fd00::1]:1", "[fec0::1]:1"]
CARRIER = ["100.64.0.1:1", "100.127.255.255:1"]
NOT_ROUTED = ["192.0.2.1:1", "198.18.0.1:1", "[2001:db8::1]:1"]
LINK_LOCAL = ["169.254.169.254:80", "[fe80::1]:1"]
LOOPBACK = ["127.0.0.1:1", "127.255.255.254:1", "[::1]:1", "[::ffff:127.0.0.1]:1"]
NOWHERE = [
    "0.0.0.0:1",
    "0.1.2.3:1",
    "[::]:1",
    "224.0.0.1:1",
    "[ff02::1]:1",
    "255.255.255.255:1",
    "240.0.0.1:1",
    "192.88.99.1:1",
    "[2002:7f00:1::]:1",  # 6to4 of 127.0.0.1
    "[2002:808:808::]:1",  # 6to4 of a public one
    "[64:ff9b::7f00:1]:1",  # NAT64 of 127.0.0.1
    "[64:ff9b:1::a00:1]:1",
    "[2001:0:4136:e378:8000:63bf:3fff:fdd2]:1",  # Teredo
    "[::127.0.0.1]:1",  # IPv4-compatible
    "[::ffff:0.0.0.0]:1",
    "8.8.8.8:0",
]
UNREADABLE = [
    "",
    "8.8.8.8",
    "8.8.8.8:",
    "8.8.8.8:65536",
    "8.8.8.8:-1",
    "8.8.8.8:+1",
    "8.8.8.8:1 ",
    " 8.8.8.8:1",
    "8.8.8.8:1\n",
    "8.8.8.8:\u0661",
    "010.0.0.1:1",
    "0x7f.1:1",
    "2130706433:1",
    "127.1:1",
    "[127.0.0.1]:1",
    "::1:1",
    "[::1:1",
    "[fe80::1%eth0]:1",
    "localhost:1",
    "http://8.8.8.8:1",
    "8.8.8.8:1/x",
    "8.8.8.8:1" * 100,
]
NODE = NodeId("a" * 64)


@pytest.mark.parametrize(
    ("kind", "addresses"),
    [
        (AddressScope.PUBLIC, PUBLIC),
        (AddressScope.PRIVATE, PRIVATE + CARRIER + NOT_ROUTED),
        (AddressScope.LINK_LOCAL, LINK_LOCAL),
        (AddressScope.LOOPBACK, LOOPBACK),
        (AddressScope.NOWHERE, NOWHERE + UNREADABLE),
    ],
)
def test_every_class_of_address_is_known(kind: AddressScope, addresses: list[str]) -> None:
    assert {address: scope_of(address) for address in addresses} == dict.fromkeys(addresses, kind)


@pytest.mark.parametrize("address", UNREADABLE)
def test_what_is_no_address_is_not_read(address: str) -> None:
    assert read_address(address) is None


@pytest.mark.parametrize("teller_address", ["", "8.8.8.8:1", "https://relay.example.org/", "garbage"])
def test_a_teller_from_afar_is_believed_public_addresses_only(teller_address: str) -> None:
    told = PUBLIC + PRIVATE + CARRIER + NOT_ROUTED + LINK_LOCAL + LOOPBACK + NOWHERE + UNREADABLE
    assert [address for address in told if may_dial(address, teller_address, allow_private=False)] == PUBLIC


@pytest.mark.parametrize("teller_address", ["", "127.0.0.1:1", "10.0.0.2:1", "8.8.8.8:1"])
@pytest.mark.parametrize("address", NOWHERE + UNREADABLE)
def test_what_leads_nowhere_is_dialed_for_nobody(address: str, teller_address: str) -> None:
    assert not may_dial(address, teller_address, allow_private=False)
    assert not may_dial(address, teller_address, allow_private=True)


@pytest.mark.parametrize("address", PRIVATE + CARRIER + NOT_ROUTED + LINK_LOCAL + LOOPBACK)
def test_an_owner_may_allow_private_peers(address: str) -> None:
    assert may_dial(address, "", allow_private=True)


@pytest.mark.parametrize(
    ("teller_address", "address", "may"),
    [
        ("192.168.1.7:1", "192.168.2.9:1", True),
        ("192.168.1.7:1", "10.0.0.1:1", False),
        ("172.17.0.1:1", "10.0.0.1:1", False),  # a peer from afar looks so to a node in a container
        ("10.1.1.1:1", "10.200.0.1:1", True),
        ("100.64.0.1:1", "100.100.0.1:1", True),
        ("100.64.0.1:1", "192.168.0.1:1", False),
        ("[fd00::1]:1", "[fd00::2]:1", True),
        ("[fd00::1]:1", "192.168.0.1:1", False),
        ("192.0.2.1:1", "192.0.2.2:1", True),
        ("169.254.0.1:1", "169.254.169.254:1", True),
        ("10.0.0.1:1", "169.254.169.254:1", False),
        ("10.0.0.1:1", "127.0.0.1:1", False),
        ("127.0.0.1:1", "127.0.0.1:2", True),
        ("[::1]:1", "127.0.0.1:2", True),
        ("127.0.0.1:1", "192.168.0.1:1", True),
    ],
)
def test_a_teller_in_a_private_network_may_tell_of_that_network(
    teller_address: str, address: str, *, may: bool
) -> None:
    assert may_dial(address, teller_address, allow_private=False) is may


def test_of_a_told_address_only_the_dialable_part_is_kept() -> None:
    told = PeerAddress(NODE, ("127.0.0.1:1", "[::ffff:8.8.8.8]:1", "8.8.8.8:1", "junk"), "https://relay.example.org/")
    kept = filter_dialable(told, "", allow_private=False, relays=frozenset({"https://mine.example.org/"}))
    assert kept == PeerAddress(NODE, ("8.8.8.8:1",), None)


def test_a_told_relay_is_kept_if_the_owner_named_it() -> None:
    told = PeerAddress(NODE, (), "https://mine.example.org/")
    kept = filter_dialable(told, "", allow_private=False, relays=frozenset({"https://mine.example.org/"}))
    assert kept.relay_url == "https://mine.example.org/"


def test_a_flood_of_told_addresses_is_cut() -> None:
    told = PeerAddress(NODE, tuple(f"8.8.8.{last}:1" for last in range(200)))
    assert len(filter_dialable(told, "", allow_private=False, relays=frozenset()).direct) == MAX_ADDRESSES


def test_one_address_in_several_spellings_is_one() -> None:
    assert canonical(("[::FFFF:8.8.8.8]:01", "8.8.8.8:1", "[2606:4700:0:0::1]:1", "[2606:4700::1]:1", "x")) == (
        "8.8.8.8:1",
        "[2606:4700::1]:1",
    )


@pytest.mark.parametrize("text", ["node-a:4433", "boot.example.org:1", "Boot.Example.org.:65535", "3com.com:1", "a:1"])
def test_a_host_name_with_a_port_is_one(text: str) -> None:
    assert is_host_and_port(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", "a", "a:", "a:0", "a:65536", ":1", "-a:1", "a-:1", "a..b:1", "8.8.8:1", "300.1.1.1:1", "a_b:1", "a b:1"),
        *("é.org:1", "a/b:1", "u@a:1", f"{'a' * 64}:1", f"{'a.' * 40}a:1"),
    ],
)
def test_what_is_no_host_name_with_a_port_is_none(text: str) -> None:
    assert not is_host_and_port(text)


def test_a_host_name_of_the_longest_that_a_record_holds_is_one_and_a_longer_one_is_none() -> None:
    longest = f"{'a.' * 30}ab:1"
    assert len(longest) == MAX_ADDRESS_CHARS == 64
    assert is_host_and_port(longest)
    assert not is_host_and_port(f"a{longest}")


@pytest.mark.parametrize(
    "text", ["https://relay.example.org", "https://relay.example.org:8443/", "http://10.0.0.1:3340"]
)
def test_a_relay_url_is_one(text: str) -> None:
    assert is_relay_url(text)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "relay.example.org",
            "ftp://relay",
            "https://",
            "https://u:p@relay",
            "https://relay/path",
            "https://relay?x",
        ),
        *(
            "https://relay#x",
            "https://relay:x",
            "https://relay:0",
            "https://[::1",
            "https://re lay",
            "https://relay\r\n",
        ),
        *("https://relay\x00", "https://é", "javascript://relay", f"https://{'a' * 300}"),
    ],
)
def test_what_is_no_relay_url_is_none(text: str) -> None:
    assert not is_relay_url(text)


def test_a_relay_url_of_the_longest_that_an_advert_holds_is_one_and_a_longer_one_is_none() -> None:
    longest = f"https://{'a' * 248}"
    assert len(longest) == MAX_RELAY_CHARS == 256
    assert is_relay_url(longest)
    assert not is_relay_url(f"{longest}a")


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)), st.integers(1, 65535))
def test_an_address_is_read_as_it_was_written_and_packed(ip: object, port: int) -> None:
    text = f"[{ip}]:{port}" if ":" in str(ip) else f"{ip}:{port}"
    read = read_address(text)
    assert read is not None
    kept = write_address(*read)
    assert canonical((text,)) == canonical((kept,)) == (kept,)
    assert unpack_address(pack_address(text)) == kept


@pytest.mark.parametrize("address", [*UNREADABLE, "8.8.8.8:0", "[2606:4700::1111]:0"])
def test_what_cannot_be_dialed_is_not_packed(address: str) -> None:
    with pytest.raises(ValueError, match="not an address"):
        pack_address(address)


@pytest.mark.parametrize("ip_bytes", [4, 16])
def test_a_packed_address_with_port_0_is_none(ip_bytes: int) -> None:
    assert unpack_address(b"\x08" * ip_bytes + b"\0\1").endswith(":1")
    with pytest.raises(ValueError, match="no address"):
        unpack_address(b"\x08" * ip_bytes + b"\0\0")


@given(st.text(max_size=80) | st.from_regex(r"[\[\]0-9a-f:.%]{1,60}:[0-9]{1,6}", fullmatch=True))
def test_any_text_is_judged_without_an_error(text: str) -> None:
    assert may_dial(text, text, allow_private=True) == (scope_of(text) is not AddressScope.NOWHERE)
    is_host_and_port(text)
    is_relay_url(text)


@given(st.binary(max_size=20))
def test_any_bytes_are_an_address_or_a_value_error(packed: bytes) -> None:
    try:
        text = unpack_address(packed)
    except ValueError:
        return
    assert read_address(text) is not None


@pytest.mark.parametrize(
    "spelling",
    [
        "https://Relay.example.org",
        "https://relay.example.org/",
        "https://relay.example.org.:443/",
        "HTTPS://relay.example.org:443",
    ],
)
def test_a_relay_is_known_however_its_url_is_spelt(spelling: str) -> None:
    address = PeerAddress(NodeId("a" * 64), (), "https://relay.example.org./")
    kept = filter_dialable(address, "", allow_private=False, relays=frozenset({spelling}))
    assert kept.relay_url == "https://relay.example.org./"  # as iroh spells it: for it another one is another relay


@pytest.mark.parametrize(
    "other", ["http://relay.example.org", "https://relay.example.org:444", "https://a.relay.example.org", "nonsense"]
)
def test_other_relays_are_others(other: str) -> None:
    assert relay_key(other) != relay_key("https://relay.example.org")


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("https://relay.example.org./", "https://relay.example.org:443"),
        ("http://relay.example.org", "http://relay.example.org:80"),
        ("http://relay.example.org:81", "http://relay.example.org:81"),
        ("https://[2001:db8::1]/", "https://[2001:db8::1]:443"),
        ("nonsense", "nonsense"),
        ("other nonsense", "other nonsense"),
    ],
)
def test_the_form_in_which_relays_are_compared(url: str, key: str) -> None:
    assert relay_key(url) == key


def test_the_word_for_the_public_relays_is_what_owners_write() -> None:
    assert PUBLIC_RELAYS == "public"


def test_a_carriers_address_is_known_as_such() -> None:
    assert is_shared_by_carrier("100.64.1.1:4433")
    assert not any(map(is_shared_by_carrier, ["100.128.0.1:1", "10.0.0.1:1", "nonsense"]))
