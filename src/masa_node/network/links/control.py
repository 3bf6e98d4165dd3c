"""What two nodes say to each other on the control stream of their link; the payloads of its frames (`frames.py`).

The dialing node says HELLO, the other WELCOME or REFUSED. From then on both send PING, PONG, GOSSIP and VOUCH.

Two nodes speak the highest version of the protocol that both know. The frames' head, HELLO, WELCOME and REFUSED stay as
they are in every version, so that nodes of any two versions can tell each other what they speak.
"""

from enum import StrEnum
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from masa_node.chat.errors import VersionRefused
from masa_node.network.links.vouchers import MAX_VOUCHER_BYTES, MAX_VOUCHERS_SHOWN

# Of this protocol, docs/protocol.md; not of the program. Nodes of version 1 were never released.
OLDEST_PROTOCOL = 2
NEWEST_PROTOCOL = 2

ProtocolNumber = Annotated[int, Meta(ge=1, le=65_535)]
ShortText = Annotated[str, Meta(max_length=64)]
SignedVoucher = Annotated[bytes, Meta(max_length=MAX_VOUCHER_BYTES)]
MAX_REFERRED = 8  # nodes that a full one names to one that it has no room for,
MAX_REFERRED_BYTES = 3 * 1024  # each by its advert, if that is no longer: all of them fit into a header


class Versions(msgspec.Struct, frozen=True):
    """Which versions of the protocol the sender speaks, from the oldest to the newest."""

    min_protocol: ProtocolNumber = OLDEST_PROTOCOL
    max_protocol: ProtocolNumber = NEWEST_PROTOCOL


OWN_VERSIONS = Versions()


class Hello(msgspec.Struct, frozen=True, omit_defaults=True):
    """The first frame of either side (HELLO, WELCOME): its name, and why it should be let in. Its `Versions` stand in
    it, too, and are read before the rest.

    `invite` is the token of an invite (HELLO only); `vouchers` are members' words for the sender; `has_link` tells
    that the sender still holds another link with the receiver; `is_spare` that it can do without this one (HELLO only).
    """

    version: ShortText = ""
    name: ShortText = ""
    invite: Annotated[bytes, Meta(max_length=64)] | None = None
    vouchers: Annotated[tuple[SignedVoucher, ...], Meta(max_length=MAX_VOUCHERS_SHOWN)] = ()
    has_link: bool = False
    is_spare: bool = False
    # always written: with a factory msgspec does not know the default
    min_protocol: ProtocolNumber = msgspec.field(default_factory=lambda: OLDEST_PROTOCOL)
    max_protocol: ProtocolNumber = msgspec.field(default_factory=lambda: NEWEST_PROTOCOL)


class RefusalCode(StrEnum):
    """Why a link was refused, for programs."""

    NOT_A_MEMBER = "not_a_member"
    BAD_INVITE = "bad_invite"
    BLOCKED = "blocked"
    FULL = "full"
    DUPLICATE = "duplicate"
    VERSION = "version"


class Refused(msgspec.Struct, frozen=True, omit_defaults=True):
    """The other side is not let in. `code` is a `RefusalCode` (others may come to be), `why` is for people; with
    `version` the sender's `Versions` stand in it. With `full` it is referred to others: `others` are their adverts, and
    `voucher` is the sender's word for it.
    """

    code: ShortText
    why: Annotated[str, Meta(max_length=512)] = ""
    min_protocol: ProtocolNumber = msgspec.field(default_factory=lambda: OLDEST_PROTOCOL)
    max_protocol: ProtocolNumber = msgspec.field(default_factory=lambda: NEWEST_PROTOCOL)
    others: Annotated[
        tuple[Annotated[bytes, Meta(max_length=MAX_REFERRED_BYTES)], ...], Meta(max_length=MAX_REFERRED)
    ] = ()
    voucher: SignedVoucher | None = None


class Referral(NamedTuple):
    """For a peer that this node has no room for: adverts of nodes that it may try, and this node's word for it."""

    others: tuple[bytes, ...] = ()
    voucher: bytes | None = None


class Beat(msgspec.Struct, frozen=True):
    """PING and the PONG that answers it with the same number."""

    number: Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]


def common_version(theirs: Versions, own: Versions = OWN_VERSIONS) -> int:
    """The one to speak. Raises `VersionRefused` when there is none; it says which side to update."""
    highest = min(theirs.max_protocol, own.max_protocol)
    if highest < max(theirs.min_protocol, own.min_protocol):
        raise version_refused(theirs, own)
    return highest


def version_refused(theirs: Versions, own: Versions = OWN_VERSIONS) -> VersionRefused:
    """Why there is no link with a node that speaks these."""
    which = "this node" if theirs.max_protocol > own.max_protocol else "it"
    return VersionRefused(
        f"it speaks {_in_words(theirs)} of the protocol, this node {_in_words(own)}: update {which}.",
        RefusalCode.VERSION,
    )


def _in_words(versions: Versions) -> str:
    first, last = versions.min_protocol, versions.max_protocol
    return f"version {first}" if first == last else f"versions {first}-{last}"
