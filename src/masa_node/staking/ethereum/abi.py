"""The little of Solidity's ABI that stake needs: calls with words and at most one `bytes`, answers of words. Pure.

https://docs.soliditylang.org/en/latest/abi-spec.html
"""

from masa_node.staking.ethereum.crypto import ADDRESS_BYTES, Address, address_of, keccak256, raw_address

WORD = 32
SELECTOR = 4
_MAX_UINT256 = (1 << 256) - 1

Argument = int | bytes | Address


def selector(signature: str) -> bytes:
    """The first four bytes of the hash of `name(type,…)`: what a call or a custom error begins with."""
    return keccak256(signature.encode())[:SELECTOR]


def word(value: Argument) -> bytes:
    """One argument in 32 bytes: a uint, an address, or bytes32. Raises `ValueError` for what does not fit."""
    match value:
        case int():
            if not 0 <= value <= _MAX_UINT256:
                raise ValueError(f"{value} is not a uint256")
            return value.to_bytes(WORD)
        case bytes():
            if len(value) != WORD:
                raise ValueError(f"{len(value)} bytes are not a bytes32")
            return value
        case _:
            return raw_address(value).rjust(WORD, b"\0")


def call_data(signature: str, *arguments: Argument, tail: bytes | None = None) -> bytes:
    """The input of a call. `tail` is the last argument, if that is `bytes`."""
    head = b"".join(word(argument) for argument in arguments)
    if tail is None:
        return selector(signature) + head
    offset = len(head) + WORD
    padded = tail + bytes(-len(tail) % WORD)
    return selector(signature) + head + word(offset) + word(len(tail)) + padded


def uints(data: bytes, count: int) -> tuple[int, ...]:
    """The first `count` words of an answer, as unsigned integers. Raises `ValueError` when there are fewer."""
    if len(data) < count * WORD:
        raise ValueError(f"an answer of {len(data)} bytes, {count * WORD} were expected")
    return tuple(int.from_bytes(data[at : at + WORD]) for at in range(0, count * WORD, WORD))


def address_in(data: bytes) -> Address:
    """The first word of an answer, as an address. Raises `ValueError`."""
    (number,) = uints(data, 1)
    if number >> (8 * ADDRESS_BYTES):
        raise ValueError("a word that is not an address")
    return address_of(number.to_bytes(ADDRESS_BYTES))
