"""Keccak-256 as Ethereum uses it: the submission of 2011, not the later standard SHA3-256, which pads differently."""

from Crypto.Hash import keccak


def keccak256(data: bytes) -> bytes:
    """32 bytes."""
    return keccak.new(digest_bits=256, data=data).digest()
