"""Writes a wallet's key file as every Ethereum wallet reads it: the "Web3 Secret Storage", version 3. Pure.

Only for throw-away keys of a local chain: the few rounds make it quick to open, and as quick to break.
https://ethereum.org/developers/docs/data-structures-and-encoding/web3-secret-storage
"""

import hashlib
from uuid import UUID

import msgspec
from Crypto.Cipher import AES

from masa_node.staking.ethereum.crypto import Address, keccak256, raw_address

RANDOM_BYTES = 64  # salt, start of the counter, and the file's own id
ROUNDS = 1_000  # a real wallet's file takes a million
_SALT = slice(0, 32)
_COUNTER = slice(32, 48)
_ID = slice(48, 64)
_KEY_BYTES = 32
_CIPHER_KEY = slice(0, 16)
_MAC_KEY = slice(16, 32)


def keystore(secret: bytes, address: Address, passphrase: str, randomness: bytes) -> bytes:
    """The file's content, for this secret key. Raises `ValueError` without RANDOM_BYTES of randomness."""
    if len(randomness) != RANDOM_BYTES:
        raise ValueError(f"{len(randomness)} bytes of randomness, {RANDOM_BYTES} are needed")
    salt, counter = randomness[_SALT], randomness[_COUNTER]
    derived = hashlib.pbkdf2_hmac("sha256", passphrase.encode(), salt, ROUNDS, _KEY_BYTES)
    key = derived[_CIPHER_KEY]
    cipher = AES.new(key, AES.MODE_CTR, nonce=b"", initial_value=counter)  # pyright: ignore[reportUnknownMemberType] - a bare `Dict` in it
    text = cipher.encrypt(secret)
    crypto = {
        "cipher": "aes-128-ctr",
        "cipherparams": {"iv": counter.hex()},
        "ciphertext": text.hex(),
        "kdf": "pbkdf2",
        "kdfparams": {"c": ROUNDS, "dklen": _KEY_BYTES, "prf": "hmac-sha256", "salt": salt.hex()},
        "mac": keccak256(derived[_MAC_KEY] + text).hex(),
    }
    file = {
        "version": 3,
        "id": str(UUID(bytes=randomness[_ID], version=4)),
        "address": raw_address(address).hex(),
        "crypto": crypto,
    }
    return msgspec.json.format(msgspec.json.encode(file), indent=2)
