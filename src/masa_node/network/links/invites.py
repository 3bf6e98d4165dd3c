"""Invites: one word to copy that lets another node join; and BOOTNODES, the nodes that the owner names. Pure.

A link is `masa1-` and base32 of: the payload's length (2 bytes), the payload (msgpack), the first bytes of its SHA-256.
Letters and digits only, so that no chat program breaks it. The checksum finds accidents and is no protection: whoever
has the link may join, until its token is used up, revoked or expired. Only the token's hash is stored.
"""

import base64
import binascii
import hashlib
import re
from datetime import UTC, datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from masa_node.chat.errors import ConfigurationError
from masa_node.network.transport.addresses import (
    MAX_RELAY_CHARS,
    is_host_and_port,
    is_relay_url,
    pack_address,
    read_address,
    unpack_address,
    write_address,
)
from masa_node.network.transport.interfaces import (
    MAX_ADDRESSES,
    MAX_CLOCK_SKEW_S,
    NodeId,
    PeerAddress,
    is_node_id,
    short_id,
)

TOKEN_BYTES = 16
MAX_LINK_CHARS = 1024  # MAX_ADDRESSES of IPv6 and the longest relay URL take 800
MAX_EXPIRY_UNIX_S = 1 << 40  # tens of thousands of years: more is no time
MAX_BOOTNODES = 100  # a few are enough to join; each is dialled at every start
PREFIX = "masa1-"

_PREFIXES = re.compile(r"masa([0-9]+)-")
# Where the link is in what was pasted. Programs write other hyphens, break it over lines that are quoted or end in "=",
# and put signs without a width into it.
_LINK = re.compile(
    "masa([0-9]+)[-\u2010-\u2015\u2212]"
    r"(?P<word>(?:[a-z2-7]|\n(?:[ \t]*[>|])+|=\r?\n|\s|[\u00ad\u200b-\u200f\u2060\ufeff])*)"
)
_LENGTH_BYTES = 2
_CHECK_BYTES = 4  # one damaged link in four billion is not noticed
_DOMAIN = b"masa invite 1\n"
_BITS_A_CHAR = 5  # base32
_FOREIGN_CHARACTER = "The invite is damaged: it holds a character that none has. Copy it again."
MIN_LASTS_S = 60  # of an invite
MAX_LASTS_S = 366 * 86_400  # nobody remembers where an older one went


class BadInvite(ConfigurationError):
    """The invite cannot be used: it is cut, damaged, expired, or none at all. Ask for a new one."""

    code = "bad_invite"


class Invite(msgspec.Struct, frozen=True):
    """Whoever holds `token` may join the network of `node_id`. Addresses: `ip:port`, at most MAX_ADDRESSES."""

    node_id: NodeId
    addresses: tuple[str, ...]
    relay_url: str | None
    token: bytes
    expires_at_unix_s: int

    def __repr__(self) -> str:
        """Without the token, so that it may stand in a log or a trace."""
        return f"Invite({short_id(self.node_id)}, {self.addresses}, expires_at_unix_s={self.expires_at_unix_s})"

    @property
    def address(self) -> PeerAddress:
        """Where its node may be found."""
        return PeerAddress(self.node_id, self.addresses, self.relay_url)


class _Payload(msgspec.Struct, frozen=True, array_like=True):
    """As it travels; a newer node may append fields."""

    node_id: Annotated[bytes, Meta(min_length=32, max_length=32)]
    token: Annotated[bytes, Meta(min_length=TOKEN_BYTES, max_length=TOKEN_BYTES)]
    expires_at_unix_s: Annotated[int, Meta(ge=0, le=MAX_EXPIRY_UNIX_S)]
    addresses: Annotated[
        tuple[Annotated[bytes, Meta(min_length=6, max_length=18)], ...], Meta(max_length=MAX_ADDRESSES)
    ]
    relay_url: Annotated[str, Meta(max_length=MAX_RELAY_CHARS)] = ""


def token_hash(token: bytes) -> bytes:
    """What is kept of a token, 32 bytes. Tokens are random, so no salt and no slow hash are needed."""
    return hashlib.sha256(_DOMAIN + token).digest()


def make_link(invite: Invite) -> str:
    """The invite as one word. Raises `ValueError` for what is no whole invite."""
    packed = tuple(pack_address(text) for text in invite.addresses)
    if not is_node_id(invite.node_id) or len(invite.token) != TOKEN_BYTES or len(packed) > MAX_ADDRESSES:
        raise ValueError("not a whole invite")
    relay = invite.relay_url or ""
    payload = msgspec.msgpack.encode(
        _Payload(bytes.fromhex(invite.node_id), invite.token, invite.expires_at_unix_s, packed, relay)
    )
    data = len(payload).to_bytes(_LENGTH_BYTES, "big") + payload + _checksum(payload)
    return PREFIX + base64.b32encode(data).decode().rstrip("=").lower()


def parse_link(text: str, at_unix_s: float) -> Invite:
    """Read a link as people paste it: broken over lines, in quotes, in capitals, in a sentence. Raises `BadInvite`.

    Clocks may differ by MAX_CLOCK_SKEW_S; the node that made the invite decides by its own.
    """
    payload = _payload_in(_word_in(text))
    try:
        packed = msgspec.msgpack.decode(payload, type=_Payload)
        addresses = tuple(unpack_address(address) for address in packed.addresses)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as exc:
        raise BadInvite("The invite holds what no invite holds. Ask for a new one.") from exc
    if packed.relay_url and not is_relay_url(packed.relay_url):
        raise BadInvite("The invite names a relay whose URL cannot be used. Ask for a new one.")
    if at_unix_s > packed.expires_at_unix_s + MAX_CLOCK_SKEW_S:
        ago, now = _in_words(at_unix_s - packed.expires_at_unix_s), datetime.fromtimestamp(at_unix_s, UTC)
        raise BadInvite(
            f"The invite expired {ago} ago. Ask for a new one, unless this machine's clock is wrong: it says "
            f"{now:%Y-%m-%d %H:%M} UTC."
        )
    node_id = NodeId(packed.node_id.hex())
    return Invite(node_id, addresses, packed.relay_url or None, packed.token, packed.expires_at_unix_s)


def parse_bootnodes(text: str) -> list[PeerAddress]:
    """BOOTNODES: comma-separated `ID`, `ID@ip:port`, `ID@host:port@[ip6]:port`, `ID@https://relay`.

    Host names stay as they are: see `resolver.resolve`. Raises `ConfigurationError`.
    """
    entries = [entry.strip() for entry in text.split(",")]
    found = [_bootnode(entry) for entry in entries if entry]
    if len(found) > MAX_BOOTNODES:
        raise ConfigurationError(f"BOOTNODES names {len(found)} nodes; the limit is {MAX_BOOTNODES}. A few are enough.")
    seen: set[NodeId] = set()
    for address in found:
        if address.node_id in seen:
            raise ConfigurationError(
                f"BOOTNODES names {short_id(address.node_id)} twice. Join its addresses with @ in one entry."
            )
        seen.add(address.node_id)
    return found


def write_bootnode(address: PeerAddress) -> str:
    """The entry that others may put into their BOOTNODES."""
    relay = [address.relay_url] if address.relay_url else []
    return "@".join([address.node_id, *address.direct, *relay])


def _bootnode(entry: str) -> PeerAddress:
    if _PREFIXES.match(entry.lower()):
        raise ConfigurationError(
            "BOOTNODES holds an invite. Use it with `masa-node join`, and take it out of BOOTNODES."
        )
    node_id, *places = entry.split("@")
    node_id = node_id.strip().lower()
    if not is_node_id(node_id):
        raise ConfigurationError(
            f"BOOTNODES: {entry!r} does not begin with a node's id (64 hexadecimal digits). `masa-node id` there "
            "prints the whole entry."
        )
    direct: list[str] = []
    relays: list[str] = []
    for location in (location.strip() for location in places):
        _add_place(location, direct, relays)
    if len(relays) > 1 or len(direct) > MAX_ADDRESSES:
        raise ConfigurationError(
            f"BOOTNODES: {short_id(node_id)} has {len(direct)} addresses and {len(relays)} relays; "
            f"{MAX_ADDRESSES} and 1 are the limits."
        )
    return PeerAddress(NodeId(node_id), tuple(dict.fromkeys(direct)), relays[0] if relays else None)


def _add_place(location: str, direct: list[str], relays: list[str]) -> None:
    read = read_address(location)
    if is_relay_url(location):
        relays.append(location)
    elif read is not None and read[1] > 0:
        direct.append(write_address(*read))
    elif is_host_and_port(location):
        direct.append(location.lower())
    else:
        raise ConfigurationError(
            f"BOOTNODES: {location!r} is not an address. Write ip:port, [ip6]:port, host:port or https://relay."
        )


def _word_in(text: str) -> str:
    """The base32 part. Raises `BadInvite` where there is none."""
    text = text.lower()
    match = _LINK.search(text)
    if match is None:
        raise BadInvite(
            f"This is not an invite: it does not begin with {PREFIX}. `masa-node invite` on a node makes one."
        )
    if f"masa{match[1]}-" != PREFIX:
        raise BadInvite("The invite is from a newer version of Masa Node. Update this node.")
    word = _without_text_behind(match["word"])
    if len(word) > MAX_LINK_CHARS:
        raise BadInvite("This is not an invite: it is too long. Paste the link alone.")
    has_text_behind = len(word) < sum(map(str.isalnum, match["word"])) or match["word"][-1:].isspace()
    if text[match.end() : match.end() + 1].isalnum() and not (has_text_behind and _is_whole(word)):
        raise BadInvite(_FOREIGN_CHARACTER)
    return word


def _without_text_behind(text: str) -> str:
    """The word that these parts make. It says how long it is: parts behind its end are the sentence that follows."""
    word = ""
    for part in text.split():
        word += "".join(filter(str.isalnum, part))
        if _is_whole(word) or len(word) > MAX_LINK_CHARS:
            break
    return word


def _is_whole(word: str) -> bool:
    length = int.from_bytes(_decode(word)[:_LENGTH_BYTES], "big")
    return len(word) * _BITS_A_CHAR >= (_LENGTH_BYTES + length + _CHECK_BYTES) * 8


def _payload_in(word: str) -> bytes:
    """The checked payload. Raises `BadInvite`, and tells a cut copy from a damaged one."""
    data = _decode(word)
    length = int.from_bytes(data[:_LENGTH_BYTES], "big")
    missing = _LENGTH_BYTES + length + _CHECK_BYTES - len(data)
    if len(data) < _LENGTH_BYTES or 0 < missing <= MAX_LINK_CHARS:
        raise BadInvite("The invite is cut: its end is missing. Copy the whole link.")
    payload = data[_LENGTH_BYTES : _LENGTH_BYTES + length]
    if missing or data[_LENGTH_BYTES + length :] != _checksum(payload):
        raise BadInvite("The invite is damaged: a letter was changed, or something was added. Copy it again.")
    return payload


def _decode(word: str) -> bytes:
    """Base32 without padding. A word cut anywhere gives the bytes that are whole in it."""
    whole = word[: len(word) - _odd_chars(word)]
    try:
        return base64.b32decode(whole.upper() + "=" * (-len(whole) % 8))
    except binascii.Error as exc:
        raise BadInvite(_FOREIGN_CHARACTER) from exc


def _odd_chars(word: str) -> int:
    """How many characters at its end are too few for a byte: lengths of 1, 3 and 6 modulo 8 do not occur whole."""
    bits = len(word) * _BITS_A_CHAR % 8
    return 1 if bits >= _BITS_A_CHAR else 0


def _checksum(payload: bytes) -> bytes:
    return hashlib.sha256(payload).digest()[:_CHECK_BYTES]


def _in_words(seconds: float) -> str:
    for unit, size_s in (("days", 86_400), ("hours", 3_600)):
        if seconds >= 2 * size_s:
            return f"{seconds / size_s:.0f} {unit}"
    return f"{seconds / 60:.0f} minutes"
