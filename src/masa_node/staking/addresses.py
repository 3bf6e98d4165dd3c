"""Ethereum addresses, as text with EIP-55's checksum in its capitals. Pure."""

import re
from functools import lru_cache
from typing import NewType

from masa_node.staking.hashing import keccak256

ADDRESS_BYTES = 20

Address = NewType("Address", str)
"""`0x` and 40 hex digits, checksummed: two of them are the same address when they are the same text."""

_FORM = re.compile(r"\A0x[0-9a-fA-F]{40}\Z")
_LAST_SMALL = "7"  # EIP-55: a letter is a capital where the digit of the hash is 8 or more
_REMEMBERED = 1024  # addresses; the same few come again and again, and each costs a hash


def parse_address(text: str) -> Address:
    """An address that somebody wrote: checksummed, all small or all capitals. Raises `ValueError`, for people."""
    if not _FORM.match(text):
        raise ValueError(f"{text[:60]!r} is no address: 0x and 40 hex digits are.")
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
