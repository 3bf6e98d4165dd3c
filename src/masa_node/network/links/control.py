"""What two nodes say to each other on the control stream of their link; the payloads of its frames (`frames.py`).

The dialing node says HELLO, the other WELCOME or REFUSED. From then on both send PING, PONG, GOSSIP and VOUCH.
"""

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from masa_node.network.links.vouchers import MAX_VOUCHER_BYTES, MAX_VOUCHERS_SHOWN

ShortText = Annotated[str, Meta(max_length=64)]
SignedVoucher = Annotated[bytes, Meta(max_length=MAX_VOUCHER_BYTES)]


class Hello(msgspec.Struct, frozen=True, omit_defaults=True):
    """The first frame of either side (HELLO, WELCOME): who this is and why he should be let in.

    `invite` is the token of an invite (HELLO only); `vouchers` are members' words for the sender; `has_link` tells
    that the sender still holds another link with the receiver.
    """

    version: ShortText = ""
    name: ShortText = ""
    invite: Annotated[bytes, Meta(max_length=64)] | None = None
    vouchers: Annotated[tuple[SignedVoucher, ...], Meta(max_length=MAX_VOUCHERS_SHOWN)] = ()
    has_link: bool = False


class RefusalCode(StrEnum):
    """Why a link was refused, for programs."""

    NOT_A_MEMBER = "not_a_member"
    BAD_INVITE = "bad_invite"
    BLOCKED = "blocked"
    FULL = "full"
    DUPLICATE = "duplicate"


class Refused(msgspec.Struct, frozen=True):
    """The other side is not let in. `code` is a `RefusalCode` (others may come to be), `why` is for people."""

    code: ShortText
    why: Annotated[str, Meta(max_length=512)] = ""


class Beat(msgspec.Struct, frozen=True):
    """PING and the PONG that answers it with the same number."""

    number: Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
