"""A member's signed statement about another node: "I know this key, let it in". Pure.

Networks are closed by default. A node invited by one member presents that member's voucher to the others. Each
decides which members' vouchers it accepts (`membership.py`).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from masa_node.chat.errors import ProtocolFault
from masa_node.network.transport.interfaces import MAX_CLOCK_SKEW_S, Keys, NodeId

VOUCHER_LIFETIME_S = 90 * 24 * 3600  # given again at each link; a node that was away longer needs an invite again
MAX_VOUCHER_BYTES = 512
MAX_VOUCHERS_SHOWN = 4  # that are shown in one greeting, of different members
_SIGNATURE_BYTES = 64
_DOMAIN = b"masa voucher 1\n"

Draw = Callable[[Sequence[NodeId], int], list[NodeId]]  # so many of them, at random
Key = Annotated[str, Meta(min_length=64, max_length=64)]


class Voucher(msgspec.Struct, frozen=True):
    """`by` vouches for `member`; times are Unix seconds."""

    member: Key
    by: Key
    issued_at_unix_s: Annotated[int, Meta(ge=0)]
    expires_at_unix_s: Annotated[int, Meta(ge=0)]


def vouchers_to_show(vouchers: Mapping[NodeId, bytes], theirs: Sequence[bytes], draw: Draw) -> tuple[bytes, ...]:
    """At most MAX_VOUCHERS_SHOWN of `vouchers` (by signer, the newest last), for a peer that presented `theirs`.

    1. First those of common signers: a member that vouched for the peer is likely a member to it.
    2. The rest are drawn, so that a node refused for lack of the right one is let in some other time.
    """
    common = [by for by in map(_signer, theirs) if by is not None and by in vouchers]
    others = [by for by in vouchers if by not in common]
    chosen = [*dict.fromkeys(common), *draw(others, min(MAX_VOUCHERS_SHOWN, len(others)))]
    return tuple(vouchers[by] for by in chosen[:MAX_VOUCHERS_SHOWN])


def _signer(signed: bytes) -> NodeId | None:
    """Its signer, as it says. Not checked: only for choosing which to present."""
    voucher = _unchecked(signed)
    return None if voucher is None else NodeId(voucher.by)


def said_at_unix_s(signed: bytes) -> int | None:
    """When it was made, as it says. Not checked, so also of one that is not in force; None where it is no voucher."""
    voucher = _unchecked(signed)
    return None if voucher is None else voucher.issued_at_unix_s


def _unchecked(signed: bytes) -> Voucher | None:
    if len(signed) > MAX_VOUCHER_BYTES:
        return None
    try:
        return msgspec.msgpack.decode(signed[:-_SIGNATURE_BYTES], type=Voucher)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def make_voucher(member: NodeId, keys: Keys, at_unix_s: float) -> bytes:
    """This node's own voucher for `member`."""
    issued = int(at_unix_s)
    payload = msgspec.msgpack.encode(Voucher(member, keys.node_id, issued, issued + VOUCHER_LIFETIME_S))
    return payload + keys.sign(_DOMAIN + payload)


def open_voucher(signed: bytes, keys: Keys, at_unix_s: float) -> Voucher:
    """Check a received one: size, form, times, signature. Raises `ProtocolFault`."""
    if not _SIGNATURE_BYTES < len(signed) <= MAX_VOUCHER_BYTES:
        raise ProtocolFault(f"it showed a voucher of {len(signed)} bytes.")
    payload, signature = signed[:-_SIGNATURE_BYTES], signed[-_SIGNATURE_BYTES:]
    try:
        voucher = msgspec.msgpack.decode(payload, type=Voucher)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise ProtocolFault(f"it showed a malformed voucher: {exc}.") from exc
    if not voucher.issued_at_unix_s - MAX_CLOCK_SKEW_S <= at_unix_s < voucher.expires_at_unix_s + MAX_CLOCK_SKEW_S:
        raise ProtocolFault("it showed a voucher that is not in force. Are both clocks right?")
    if voucher.expires_at_unix_s > voucher.issued_at_unix_s + VOUCHER_LIFETIME_S:
        raise ProtocolFault("it showed a voucher that is valid for too long.")
    if not keys.verify(NodeId(voucher.by), _DOMAIN + payload, signature):
        raise ProtocolFault("it showed a voucher with a wrong signature.")
    return voucher
