import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masa_node.staking.ethereum.crypto import keccak256

_MASK = (1 << 64) - 1
_RATE = 136
_SHA3, _KECCAK = 0x06, 0x01  # the first byte of the padding: all that the standard changed


def rotated(lane: int, by: int) -> int:
    by %= 64
    return (lane << by | lane >> (64 - by)) & _MASK


def permuted(lanes: list[list[int]]) -> list[list[int]]:
    """Keccak-f[1600] as https://keccak.team/keccak_specs_summary.html has it."""
    feedback = 1
    for _ in range(24):
        parity = [column[0] ^ column[1] ^ column[2] ^ column[3] ^ column[4] for column in lanes]
        mixed = [parity[x - 1] ^ rotated(parity[(x + 1) % 5], 1) for x in range(5)]
        lanes = [[lane ^ mixed[x] for lane in lanes[x]] for x in range(5)]
        x, y, current = 1, 0, lanes[1][0]
        for step in range(24):
            x, y = y, (2 * x + 3 * y) % 5
            current, lanes[x][y] = lanes[x][y], rotated(current, (step + 1) * (step + 2) // 2)
        for row in range(5):
            old = [lanes[column][row] for column in range(5)]
            for column in range(5):
                lanes[column][row] = old[column] ^ (~old[(column + 1) % 5] & old[(column + 2) % 5] & _MASK)
        for bit in range(7):
            feedback = (feedback << 1 ^ (feedback >> 7) * 0x71) % 256
            if feedback & 2:
                lanes[0][0] ^= 1 << ((1 << bit) - 1)
    return lanes


def sponge(data: bytes, padding: int) -> bytes:
    padded = bytearray(data + bytes([padding]) + bytes(-(len(data) + 1) % _RATE))
    padded[-1] |= 0x80
    lanes = [[0] * 5 for _ in range(5)]
    for start in range(0, len(padded), _RATE):
        for number in range(_RATE // 8):
            at = start + 8 * number
            lanes[number % 5][number // 5] ^= int.from_bytes(padded[at : at + 8], "little")
        lanes = permuted(lanes)
    return b"".join(lanes[x][0].to_bytes(8, "little") for x in range(4))


@pytest.mark.parametrize(
    ("text", "digest"),
    [
        ("", "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"),
        ("abc", "4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45"),
        ("Transfer(address,address,uint256)", "ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"),
    ],
)
def test_the_published_hashes_come_out(text: str, digest: str) -> None:
    assert keccak256(text.encode()).hex() == digest


@given(st.binary(max_size=300))
def test_it_is_the_submission_and_not_the_standard(data: bytes) -> None:
    assert sponge(data, _SHA3) == hashlib.sha3_256(data).digest()  # so the sponge here is right
    assert keccak256(data) == sponge(data, _KECCAK)


@pytest.mark.parametrize("size", [135, 136, 137, 271, 272, 273])
def test_a_block_that_is_just_full_is_padded_right(size: int) -> None:
    assert keccak256(b"x" * size) == sponge(b"x" * size, _KECCAK)
