"""An owner's signed word that a node key acts for their stake: EIP-712, to be signed by any wallet. Pure.

The node's key holds no money. Its owner (a wallet, a Safe) signs a delegation to it, and the node presents that in
its advert. docs/protocol.md specifies the bytes. https://eips.ethereum.org/EIPS/eip-712
"""

from functools import lru_cache
from typing import Annotated

import msgspec
from msgspec import Meta

from masa_node.chat.errors import MasaError
from masa_node.staking.ethereum.abi import word
from masa_node.staking.ethereum.crypto import (
    ADDRESS_BYTES,
    Address,
    BadSignature,
    address_of,
    keccak256,
    raw_address,
    recover,
)

MAX_LIFETIME_S = 90 * 86400  # as long as a voucher: an owner that signs four times a year remembers it
MAX_CLOCK_SKEW_S = 300  # nodes' clocks may differ by this, as for adverts
MAX_BYTES = 1024  # what an advert has room for: a Safe's eleven signatures
KEY_BYTES = 32
_MAX_UINT64 = (1 << 64) - 1
_NAME, _VERSION = "Masa Node Staking", "1"
_DOMAIN_FIELDS = (("string", "name"), ("string", "version"), ("uint256", "chainId"), ("address", "verifyingContract"))
_FIELDS = (("bytes32", "nodeKey"), ("uint64", "epoch"), ("uint64", "notBefore"), ("uint64", "notAfter"))
KNOWN_DOMAINS = 16  # a node has one; more are others' mistakes


class BadDelegation(MasaError):
    """The delegation does not prove what it should. Have the owner sign a new one: masa-node stake delegate."""

    code = "bad_delegation"


class Domain(msgspec.Struct, frozen=True):
    """Where a delegation is valid: on one chain, for one staking contract. Raises `BadDelegation`."""

    chain_id: int
    contract: Address

    def __post_init__(self) -> None:
        if not 0 < self.chain_id <= _MAX_UINT64:
            raise BadDelegation(f"A chain's id is 1 to {_MAX_UINT64}; correct the network profile.")


class Delegation(msgspec.Struct, frozen=True):
    """`node_key` acts for `owner` within [not_before, not_after), Unix seconds, unless the owner has since revoked it.

    Raises `BadDelegation` for what no delegation can hold: numbers beyond uint64, a key that is none.
    """

    owner: Address
    node_key: bytes
    epoch: int
    not_before_unix_s: int
    not_after_unix_s: int
    domain: Domain

    def __post_init__(self) -> None:
        if len(self.node_key) != KEY_BYTES or not any(self.node_key):
            raise BadDelegation("The delegation names no node key; take the node's id, 64 hexadecimal digits.")
        if not 0 <= self.epoch <= _MAX_UINT64:
            raise BadDelegation(f"A delegation's epoch is 0 to {_MAX_UINT64}; take the one of the contract.")
        if not 0 <= self.not_before_unix_s <= self.not_after_unix_s <= _MAX_UINT64:
            raise BadDelegation(
                "The delegation ends before it begins, or its times are not Unix seconds; sign a new one."
            )


class SignedDelegation(msgspec.Struct, frozen=True):
    """`is_contract`: the owner is a contract (a Safe), which says on chain whether the signature is good (ERC-1271)."""

    delegation: Delegation
    signature: bytes
    is_contract: bool = False


_Raw20 = Annotated[bytes, Meta(min_length=ADDRESS_BYTES, max_length=ADDRESS_BYTES)]
_Raw32 = Annotated[bytes, Meta(min_length=KEY_BYTES, max_length=KEY_BYTES)]


class _Wire(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """As it travels. Nothing unknown is taken: what the owner signed has no more fields than these."""

    owner: _Raw20
    node_key: _Raw32
    epoch: int
    not_before_unix_s: int
    not_after_unix_s: int
    chain_id: int
    contract: _Raw20
    signature: bytes
    is_contract: bool = False


_DECODER = msgspec.msgpack.Decoder(_Wire)


def typed_data(d: Delegation) -> dict[str, object]:
    """What a wallet is given to sign (`eth_signTypedData_v4`), ready for JSON.

    A uint64 stands as decimal text: JavaScript's numbers end at 2^53, and wallets take both.
    """
    return {
        "types": {
            "EIP712Domain": [{"name": name, "type": kind} for kind, name in _DOMAIN_FIELDS],
            "NodeDelegation": [{"name": name, "type": kind} for kind, name in _FIELDS],
        },
        "primaryType": "NodeDelegation",
        "domain": {
            "name": _NAME,
            "version": _VERSION,
            "chainId": d.domain.chain_id,
            "verifyingContract": d.domain.contract,
        },
        "message": {
            "nodeKey": f"0x{d.node_key.hex()}",
            "epoch": str(d.epoch),
            "notBefore": str(d.not_before_unix_s),
            "notAfter": str(d.not_after_unix_s),
        },
    }


def digest(d: Delegation) -> bytes:
    """The 32 bytes that are signed."""
    struct = TYPE_HASH + d.node_key + word(d.epoch) + word(d.not_before_unix_s) + word(d.not_after_unix_s)
    return keccak256(b"\x19\x01" + separator_of(d.domain) + keccak256(struct))


def encode(s: SignedDelegation) -> bytes:
    """The bytes for an advert. Raises `BadDelegation` when they would be more than MAX_BYTES."""
    d = s.delegation
    wire = _Wire(
        owner=raw_address(d.owner),
        node_key=d.node_key,
        epoch=d.epoch,
        not_before_unix_s=d.not_before_unix_s,
        not_after_unix_s=d.not_after_unix_s,
        chain_id=d.domain.chain_id,
        contract=raw_address(d.domain.contract),
        signature=s.signature,
        is_contract=s.is_contract,
    )
    data = msgspec.msgpack.encode(wire)
    if len(data) > MAX_BYTES:
        raise BadDelegation(f"A signature of {len(s.signature)} bytes has no room in an advert; use fewer signers.")
    return data


def decode(data: bytes) -> SignedDelegation:
    """Read what a peer showed. Raises `BadDelegation`. Anybody can have written what it returns: see `check`."""
    if len(data) > MAX_BYTES:
        raise BadDelegation(f"The delegation has {len(data)} bytes, and the limit is {MAX_BYTES}; sign a new one.")
    try:
        wire = _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        # What was wrong is not quoted: it may hold the sender's own text.
        raise BadDelegation("The delegation is malformed, or of a newer version; sign a new one.") from exc
    domain = Domain(wire.chain_id, address_of(wire.contract))
    times = wire.not_before_unix_s, wire.not_after_unix_s
    delegation = Delegation(address_of(wire.owner), wire.node_key, wire.epoch, *times, domain)
    return SignedDelegation(delegation, wire.signature, wire.is_contract)


def check(s: SignedDelegation, presented_by: str, domain: Domain, at_unix_s: float) -> None:
    """Does it hold here and now, for the key of this very connection? Cheapest first. Raises `BadDelegation`.

    `presented_by` is that key, 64 lower-case hexadecimal digits. Not checked here, as only the chain knows: the
    epoch, and the signature of a contract.
    """
    check_subject(s.delegation, presented_by, domain)
    check_in_force(s.delegation, at_unix_s)
    check_signature(s)


def check_subject(d: Delegation, presented_by: str, domain: Domain) -> None:
    """The part of `check` about what it is for: this key, this chain, this contract."""
    _check_key(d, presented_by)
    _check_domain(d.domain, domain)


def _check_key(d: Delegation, presented_by: str) -> None:
    key = d.node_key.hex()
    if key != presented_by:
        raise BadDelegation(
            f"The delegation is for the node key {key[:8]}…, not for {presented_by[:8]}…, which showed it; "
            "have the owner sign one for it."
        )


def _check_domain(given: Domain, expected: Domain) -> None:
    if given.chain_id != expected.chain_id:
        raise BadDelegation(
            f"The delegation is for chain {given.chain_id}, stakes are on chain {expected.chain_id}; sign one for it."
        )
    if given.contract != expected.contract:
        raise BadDelegation(
            f"The delegation is for the contract {given.contract}, this one is {expected.contract}; sign one for it."
        )


def check_in_force(d: Delegation, at_unix_s: float) -> None:
    """The part of `check` about the time."""
    lifetime_s = d.not_after_unix_s - d.not_before_unix_s
    if lifetime_s > MAX_LIFETIME_S:
        raise BadDelegation(f"The delegation lasts {_span(lifetime_s)}, and the limit is 90 days; sign a shorter one.")
    early_s = d.not_before_unix_s - at_unix_s
    if early_s > MAX_CLOCK_SKEW_S:
        raise BadDelegation(
            f"The delegation begins only in {_span(early_s)}; wait, or see whether the clocks are right."
        )
    late_s = at_unix_s - d.not_after_unix_s
    if late_s >= MAX_CLOCK_SKEW_S:
        raise BadDelegation(f"The delegation ended {_span(late_s)} ago; have the owner sign a new one.")


def check_signature(s: SignedDelegation) -> None:
    """The part of `check` that costs something, 0.1 ms. A contract's signature is not looked at."""
    if s.is_contract:
        return
    try:
        signer = recover(digest(s.delegation), s.signature)
    except BadSignature as exc:
        raise BadDelegation(exc.message) from exc
    if signer != s.delegation.owner:
        raise BadDelegation(
            f"The delegation is signed by another than its owner {s.delegation.owner}, or was changed since; "
            "have the owner sign it as it stands."
        )


def _span(seconds: float) -> str:
    """A duration in words, rounded down to one unit."""
    for unit_s, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * unit_s:
            return f"{int(seconds // unit_s)} {unit}"
    return f"{int(seconds)} s"


@lru_cache(maxsize=KNOWN_DOMAINS)
def separator_of(domain: Domain) -> bytes:
    """What ties a signature to one chain and one contract (EIP-712); those of the last few domains are remembered."""
    name, version = keccak256(_NAME.encode()), keccak256(_VERSION.encode())
    return keccak256(_DOMAIN_TYPE_HASH + name + version + word(domain.chain_id) + word(domain.contract))


def _type_hash(name: str, fields: tuple[tuple[str, str], ...]) -> bytes:
    """EIP-712's encodeType, hashed."""
    members = ",".join(f"{kind} {member}" for kind, member in fields)
    return keccak256(f"{name}({members})".encode())


TYPE_HASH = _type_hash("NodeDelegation", _FIELDS)
_DOMAIN_TYPE_HASH = _type_hash("EIP712Domain", _DOMAIN_FIELDS)
