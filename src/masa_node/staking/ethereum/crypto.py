"""Keccak-256, addresses (EIP-55) and ECDSA signatures over secp256k1, as Ethereum uses them. Pure.

Strict: for each digest and key that signed it a signature has one form, but for `v` (0 is 27, 1 is 28). The other form
of every signature, with a high s, is refused, as Ethereum refuses it since EIP-2.
"""

import re
from functools import lru_cache
from typing import NewType

from Crypto.Hash import keccak

from masa_node.chat.errors import MasaError

# ---- hashing ----

# Keccak-256 as Ethereum uses it: the submission of 2011, not the later standard SHA3-256, which pads differently.


def keccak256(data: bytes) -> bytes:
    """32 bytes."""
    return keccak.new(digest_bits=256, data=data).digest()


# ---- addresses ----

# Ethereum addresses, as text with EIP-55's checksum in its capitals. Pure.

ADDRESS_BYTES = 20

Address = NewType("Address", str)
"""`0x` and 40 hex digits, checksummed: two of them are the same address when they are the same text."""

_FORM = re.compile(r"\A0x[0-9a-fA-F]{40}\Z")
_LAST_SMALL = "7"  # EIP-55: a letter is a capital where the digit of the hash is 8 or more
_REMEMBERED = 1024  # addresses; the same few come again and again, and each costs a hash


def parse_address(text: str) -> Address:
    """An address that somebody wrote: checksummed, all small or all capitals. Raises `ValueError`, for people."""
    if not _FORM.match(text):
        raise ValueError(f"{text[:60]!r} is not an address: that is 0x and 40 hex digits.")
    address = _checksummed(text[2:].lower())
    digits = text[2:]
    if digits not in (digits.lower(), digits.upper()) and text != address:
        raise ValueError(f"{text}: the checksum (its capital letters) is wrong. Was it copied whole and unchanged?")
    return address


def address_of(raw: bytes) -> Address:
    """The text of these 20 bytes. Raises `ValueError` for another number."""
    if len(raw) != ADDRESS_BYTES:
        raise ValueError(f"an address of {len(raw)} bytes")
    return _checksummed(raw.hex())


def raw_address(address: Address) -> bytes:
    """The 20 bytes. Raises `ValueError` for text that never was an address: padded, it would be another's."""
    raw = bytes.fromhex(address[2:])
    if len(raw) != ADDRESS_BYTES:
        raise ValueError(f"an address of {len(raw)} bytes")
    return raw


@lru_cache(maxsize=_REMEMBERED)
def _checksummed(digits: str) -> Address:
    """https://eips.ethereum.org/EIPS/eip-55"""
    hashed = keccak256(digits.encode()).hex()
    triples = zip(digits, digits.upper(), hashed, strict=False)  # the hash is longer
    return Address("0x" + "".join([large if h > _LAST_SMALL else small for small, large, h in triples]))


# ---- signatures ----

# ECDSA over secp256k1 as Ethereum uses it: signing a digest, and recovering the address that signed one. Pure.
#
# Strict: for each digest and key a signature has one form, but for `v` (0 is 27, 1 is 28). The other form of every
# signature, with a high s, is refused, as Ethereum refuses it since EIP-2.

DIGEST_BYTES = 32
SECRET_BYTES = 32
SIGNATURE_BYTES = 65  # r, s, v
_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141  # SEC 2, 2.4.1: n of secp256k1
_MAX_S = _ORDER // 2
_PARITY = {0: 0, 1: 1, 27: 0, 28: 1}  # v by its two customs, yellow paper and EIP-2098's y parity


class BadSignature(MasaError):
    """The signature is not one that a wallet makes for this. Sign again, and copy the whole of it: 65 bytes."""

    code = "bad_signature"


try:
    from coincurve import PrivateKey, PublicKey

    def _public_key(secret: bytes) -> bytes:
        """64 bytes: x and y."""
        return PrivateKey(secret).public_key.format(compressed=False)[1:]

    def _recovered(digest: bytes, compact: bytes) -> bytes:
        """64 bytes: x and y. `compact` is r, s and the parity. Raises `ValueError` when no key can have signed this."""
        return PublicKey.from_signature_and_message(compact, digest, hasher=None).format(compressed=False)[1:]

    def _signed(digest: bytes, secret: bytes) -> bytes:
        """R, s and the parity; deterministic (RFC 6979), s low."""
        return PrivateKey(secret).sign_recoverable(digest, hasher=None)  # pyright: ignore[reportUnknownMemberType]

except ImportError:  # no wheel for this Python: the same in Python, some milliseconds a signature
    from eth_keys.backends.native.main import NativeECCBackend
    from eth_keys.datatypes import PrivateKey as PlainKey
    from eth_keys.datatypes import Signature
    from eth_keys.exceptions import BadSignature as NoSuchKey

    _BACKEND = NativeECCBackend()

    def _public_key(secret: bytes) -> bytes:
        return PlainKey(secret, backend=_BACKEND).public_key.to_bytes()

    def _recovered(digest: bytes, compact: bytes) -> bytes:
        try:
            return Signature(compact, backend=_BACKEND).recover_public_key_from_msg_hash(digest).to_bytes()
        except NoSuchKey as exc:
            raise ValueError(str(exc)) from exc

    def _signed(digest: bytes, secret: bytes) -> bytes:
        return PlainKey(secret, backend=_BACKEND).sign_msg_hash(digest).to_bytes()


def recover(digest: bytes, signature: bytes) -> Address:
    """The address that signed this digest of 32 bytes. Nearly any signature gives one, so compare. `BadSignature`."""
    _expect(digest, DIGEST_BYTES, "digest")
    parity = _checked_parity(signature)
    try:
        public_key = _recovered(digest, signature[:-1] + bytes([parity]))
    except ValueError as exc:
        raise BadSignature("The signature is none that any key can have made. Was it copied unchanged?") from exc
    return _address(public_key)


def sign(digest: bytes, secret: bytes) -> bytes:
    """r, s and v (27 or 28), the same each time. Raises `ValueError` for a wrong length or a secret that is none."""
    _expect(digest, DIGEST_BYTES, "digest")
    _expect_secret(secret)
    compact = _signed(digest, secret)
    return compact[:-1] + bytes([27 + compact[-1]])


def address_of_secret(secret: bytes) -> Address:
    """The address of this secret key. Raises `ValueError` for what is not a secret key."""
    _expect_secret(secret)
    return _address(_public_key(secret))


def _checked_parity(signature: bytes) -> int:
    """Is y odd, at the point that the signature names? Raises `BadSignature` for all but the one good form."""
    if len(signature) != SIGNATURE_BYTES:
        raise BadSignature(f"The signature has {len(signature)} bytes; it must have 65. Was it copied whole?")
    r, s = int.from_bytes(signature[:32]), int.from_bytes(signature[32:64])
    if not (0 < r < _ORDER and 0 < s < _ORDER):
        raise BadSignature("The signature has an r or s that no signature has. Was it copied unchanged?")
    if s > _MAX_S:
        raise BadSignature("The signature has a high s: a changed copy of another one. Use the one the wallet gave.")
    parity = _PARITY.get(signature[-1])
    if parity is None:
        raise BadSignature(f"The signature ends with v = {signature[-1]}; it must be 0, 1, 27 or 28.")
    return parity


def _address(public_key: bytes) -> Address:
    """Yellow paper, appendix F: the last 20 bytes of the hash."""
    return address_of(keccak256(public_key)[-ADDRESS_BYTES:])


def _expect_secret(secret: bytes) -> None:
    _expect(secret, SECRET_BYTES, "secret key")
    if not 0 < int.from_bytes(secret) < _ORDER:
        raise ValueError("a secret key out of range")


def _expect(data: bytes, size: int, what: str) -> None:
    if len(data) != size:
        raise ValueError(f"a {what} of {len(data)} bytes, {size} are needed")
