"""Ethereum addresses, as text with EIP-55's checksum in its capitals. Pure."""

import re
from typing import NewType

from masa_node.staking.hashing import keccak256

ADDRESS_BYTES = 20

Address = NewType("Address", str)
"""`0x` and 40 hex digits, checksummed: two of them are the same address when they are the same text."""

_FORM = re.compile(r"\A0x[0-9a-fA-F]{40}\Z")
_FIRST_CAPITAL = 8  # EIP-55: a letter is a capital where the digit of the hash is 8 or more


def parse_address(text: str) -> Address:
    """An address somebody wrote: checksummed, or all small, or all capitals. Raises `ValueError` saying what is wrong."""
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
    """The 20 bytes."""
    return bytes.fromhex(address[2:])


def _checksummed(digits: str) -> Address:
    """https://eips.ethereum.org/EIPS/eip-55"""
    capitals = keccak256(digits.encode()).hex()
    pairs = zip(digits, capitals, strict=False)
    return Address("0x" + "".join(d.upper() if int(c, 16) >= _FIRST_CAPITAL else d for d, c in pairs))
