import base64
import hashlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masa_node.chat.errors import ConfigurationError
from masa_node.network.links import invites as module
from masa_node.network.links.invites import (
    MAX_BOOTNODES,
    MAX_LINK_CHARS,
    PREFIX,
    TOKEN_BYTES,
    BadInvite,
    Invite,
    make_link,
    parse_bootnodes,
    parse_link,
    token_hash,
    write_bootnode,
)
from masa_node.network.transport.interfaces import MAX_ADDRESSES, MAX_CLOCK_SKEW_S, NodeId, PeerAddress

AT = 1_750_000_000
A, B = NodeId("a1" * 32), NodeId("b2" * 32)
INVITE = Invite(A, ("192.168.1.5:4433", "[2001:db8::1]:4433"), "https://relay.example.org/", bytes(range(16)), AT + 60)
LINK = make_link(INVITE)

node_ids = st.binary(min_size=32, max_size=32).map(lambda key: NodeId(key.hex()))
ips = st.one_of(
    st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).filter(lambda ip: not ip.ipv4_mapped).map("[{}]".format)
)
addresses = st.builds("{}:{}".format, ips, st.integers(1, 65535))
invites = st.builds(
    Invite,
    node_id=node_ids,
    addresses=st.lists(addresses, max_size=MAX_ADDRESSES).map(tuple),
    relay_url=st.sampled_from([None, "https://relay.example.org/", f"https://{'a.' * 120}org"]),
    token=st.binary(min_size=TOKEN_BYTES, max_size=TOKEN_BYTES),
    expires_at_unix_s=st.integers(AT, AT + 10**9),
)


@given(invites)
def test_a_link_says_what_was_put_into_it(invite: Invite) -> None:
    link = make_link(invite)
    assert parse_link(link, AT) == invite
    assert link.isascii()
    assert link.removeprefix(PREFIX).isalnum()
    assert len(link) <= MAX_LINK_CHARS


@given(st.integers(len(PREFIX), len(LINK) - 1))
def test_a_link_cut_anywhere_is_told_to_be_cut(end: int) -> None:
    with pytest.raises(BadInvite, match="cut"):
        parse_link(LINK[:end], AT)


@given(st.integers(len(PREFIX), len(LINK) - 1), st.sampled_from("abcdefghijklmnopqrstuvwxyz234567"))
def test_a_changed_letter_never_gives_another_invite(at: int, letter: str) -> None:
    changed = LINK[:at] + letter + LINK[at + 1 :]
    if changed == LINK:
        return
    try:
        assert parse_link(changed, AT) == INVITE  # the last letter holds bits that mean nothing
    except BadInvite as exc:
        assert "damaged" in exc.message or "cut" in exc.message  # noqa: PT017 - either may be


@given(st.text(max_size=300) | st.from_regex(r"masa1-[a-z2-7]{0,300}", fullmatch=True))
def test_any_text_is_an_invite_or_said_to_be_none(text: str) -> None:
    with pytest.raises(BadInvite):
        parse_link(text, AT)


@given(st.binary(max_size=200))
def test_any_payload_with_a_right_checksum_is_an_invite_or_said_to_be_none(payload: bytes) -> None:
    with pytest.raises(BadInvite):
        parse_link(_wrapped(payload), AT)


@pytest.mark.parametrize(
    "payload",
    [
        [b"n" * 31, b"t" * 16, AT, []],
        [b"n" * 32, b"t" * 15, AT, []],
        [b"n" * 32, b"t" * 16, -1, []],
        [b"n" * 32, b"t" * 16, 1 << 63, []],
        [b"n" * 32, b"t" * 16, AT, [b"\x7f\0\0\1\0\1"] * (MAX_ADDRESSES + 1)],
        [b"n" * 32, b"t" * 16, AT, [b"\x7f\0\0\1\0\0"]],
        [b"n" * 32, b"t" * 16, AT, [b"\x7f\0\0\1\0\1\2"]],
        [b"n" * 32, b"t" * 16, AT, [], "https://u:p@relay"],
        [b"n" * 32, b"t" * 16, AT, [], "file:///etc/passwd"],
        {"node_id": b"n" * 32},
    ],
)
def test_a_whole_link_with_a_part_that_none_has_is_refused(payload: object) -> None:
    with pytest.raises(BadInvite, match="Ask for a new one"):
        parse_link(_wrapped(msgspec.msgpack.encode(payload)), AT)


def test_fields_that_a_newer_node_appends_are_passed_over() -> None:
    payload = [bytes.fromhex(A), b"t" * 16, AT, [], "", "a newer field"]
    assert parse_link(_wrapped(msgspec.msgpack.encode(payload)), AT).node_id == A


def test_a_link_is_read_as_people_paste_it() -> None:
    pasted = f'  "{LINK[:50].upper()}\r\n  {LINK[50:]}" \n'
    assert parse_link(pasted, AT) == INVITE


@pytest.mark.parametrize(
    "pasted",
    [
        f"{LINK}.",
        f"Join me: {LINK}, it is good for a day.",
        f"masa-node join {LINK}",
        f"{LINK}\n\nSee you, ada",
        f"{LINK[:64]}\n{LINK[64:]} see you",
        f"<{LINK}>",
        f"https://{LINK}",
        f"[{LINK}](http://{LINK})",
        f"\u201c{LINK}\u201d",
        f"\u00ab {LINK} \u00bb",
        f"({LINK})",
        f"**{LINK}**",
        f"`{LINK}`!",
        LINK.replace("-", "\u2011"),
        LINK.replace("-", "\u2013").capitalize(),
        f"> {LINK[:40]}\r\n> {LINK[40:90]}\n> {LINK[90:]}\n> \n> See you",
        f"> > {LINK[:40]}\n> > {LINK[40:]}\n",
        f"{LINK[:70]}=\r\n{LINK[70:]}",
        "\u200b".join((LINK[:30], LINK[30:60], LINK[60:])),
        f"\ufeff{LINK}\u200e",
        f"{LINK} is good until 10:00",
        f"{LINK}\n\nbis sp\u00e4ter",
        f"\u0130\u015fte: {LINK},kat\u0131l",
        f"{LINK[:60]}\n{LINK[60:]} 1 day",
    ],
)
def test_a_link_is_found_in_what_chat_and_mail_programs_make_of_it(pasted: str) -> None:
    assert parse_link(pasted, AT) == INVITE


@pytest.mark.parametrize("letter", ["1", "0", "8", "\u00e9", "\u0430"])
def test_a_character_that_no_link_has_is_damage_and_not_the_end(letter: str) -> None:
    with pytest.raises(BadInvite, match="damaged"):
        parse_link(f"{LINK[:60]}{letter}{LINK[61:]}", AT)


def test_an_expired_link_says_since_when_and_what_to_do() -> None:
    at = INVITE.expires_at_unix_s + 3 * 3600
    with pytest.raises(BadInvite, match=r"expired 3 hours ago\. Ask for a new one.* clock .* 2025-06-15 18:07 UTC"):
        parse_link(LINK, at)


def test_clocks_may_differ_a_little() -> None:
    latest = INVITE.expires_at_unix_s + MAX_CLOCK_SKEW_S
    assert parse_link(LINK, latest) == INVITE
    with pytest.raises(BadInvite, match="expired"):
        parse_link(LINK, latest + 1)


def test_a_link_of_a_newer_version_says_to_update() -> None:
    with pytest.raises(BadInvite, match="newer version"):
        parse_link("masa2-abc", AT)


@pytest.mark.parametrize("text", ["", "hello", "https://example.org/invite", "masa-abc", A])
def test_what_is_no_invite_says_how_to_get_one(text: str) -> None:
    with pytest.raises(BadInvite, match="`masa-node invite`"):
        parse_link(text, AT)


def test_something_behind_the_link_is_noticed() -> None:
    with pytest.raises(BadInvite, match="damaged"):
        parse_link(LINK + "abcdefgh", AT)
    with pytest.raises(BadInvite, match="too long"):
        parse_link(LINK + "a" * MAX_LINK_CHARS, AT)


def test_of_a_text_that_goes_on_no_more_is_read_than_a_link_has(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    decode = module._decode
    monkeypatch.setattr(module, "_decode", lambda word: read.append(len(word)) or decode(word))
    with pytest.raises(BadInvite, match="too long"):
        parse_link(PREFIX + "77 " * 10_000, AT)
    assert len(read) < MAX_LINK_CHARS


@pytest.mark.parametrize("wrong", [{"token": b"short"}, {"node_id": "x"}, {"addresses": ("host:1",)}])
def test_half_an_invite_makes_no_link(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="not a"):
        make_link(msgspec.structs.replace(INVITE, **wrong))


def test_the_token_is_neither_shown_nor_stored() -> None:
    assert repr(INVITE.token) not in repr(INVITE)
    assert INVITE.token.hex() not in repr(INVITE)
    assert token_hash(INVITE.token) == hashlib.sha256(b"masa invite 1\n" + INVITE.token).digest()


def test_an_invite_tells_where_its_node_is() -> None:
    assert INVITE.address == PeerAddress(A, INVITE.addresses, INVITE.relay_url)


def test_bootnodes_may_have_addresses_names_and_a_relay() -> None:
    text = f" {A} ,\n{B.upper()}@10.0.0.1:4433@[fd00::1]:4433@Boot.example.org:1@https://relay.example.org, "
    assert parse_bootnodes(text) == [
        PeerAddress(A),
        PeerAddress(B, ("10.0.0.1:4433", "[fd00::1]:4433", "boot.example.org:1"), "https://relay.example.org"),
    ]


def test_no_bootnodes_are_none() -> None:
    assert parse_bootnodes(" , ") == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("boot.example.org:4433", "does not begin with a node's id"),
        (f"{A[:-1]}@10.0.0.1:1", "64 hexadecimal digits"),
        (f"{A}@10.0.0.1", "'10.0.0.1' is not an address. Write ip:port"),
        (f"{A}@10.0.0.1:0", "is not an address"),
        (f"{A}@300.0.0.1:1", "is not an address"),
        (f"{A}@", "'' is not an address"),
        (f"{A}@ftp://relay", "is not an address"),
        (f"{A}@https://a.org@https://b.org", "2 relays"),
        (f"{A}@" + "@".join(f"10.0.0.{last}:1" for last in range(9)), "9 addresses"),
        (f"{A},{A}@10.0.0.1:1", "twice"),
        (LINK, "masa-node join"),
    ],
)
def test_wrong_bootnodes_are_told_what_is_wrong(text: str, says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_bootnodes(text)
    assert caught.value.message.startswith("BOOTNODES")
    assert says in caught.value.message


def test_bootnodes_are_bounded() -> None:
    ids = [f"{number:064x}" for number in range(MAX_BOOTNODES + 1)]
    assert len(parse_bootnodes(",".join(ids[:-1]))) == MAX_BOOTNODES
    with pytest.raises(ConfigurationError, match="the limit is"):
        parse_bootnodes(",".join(ids))


@given(invites)
def test_what_a_node_prints_for_bootnodes_is_read(invite: Invite) -> None:
    (read,) = parse_bootnodes(write_bootnode(invite.address))
    assert (read.node_id, read.relay_url) == (invite.node_id, invite.relay_url)
    assert set(read.direct) == set(invite.addresses)


@given(st.text(max_size=100) | st.text(max_size=100).map(lambda text: f"{A}@{text}"))
def test_any_text_is_bootnodes_or_a_clear_error(text: str) -> None:
    try:
        parse_bootnodes(text)
    except ConfigurationError as exc:
        assert exc.message.startswith("BOOTNODES")  # noqa: PT017 - either may be


def _wrapped(payload: bytes) -> str:
    """A link around any payload, written down here again so that a change of the format is noticed."""
    data = len(payload).to_bytes(2, "big") + payload + hashlib.sha256(payload).digest()[:4]
    return "masa1-" + base64.b32encode(data).decode().rstrip("=").lower()
