"""A reading outlives the node that made it, unchanged, and only for the chain and contract it is of."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masa_node.staking.delegation import Domain
from masa_node.staking.ethereum.crypto import address_of
from masa_node.staking.gate.reading_codec import MAX_KEPT_BYTES, from_bytes, to_bytes
from masa_node.staking.gate.readings import MAX_AMOUNT_WEI, MAX_BLOCK, MAX_EPOCH, MAX_UNBONDING_S, MAX_UNIX_S
from masa_node.staking.gate.values import Reading
from tests.staking.delegations import AT, DOMAIN, Owner

READING = Reading(Owner().address, 1000 * 10**18, 10**21, 3, 100, AT, 604_800, AT + 0.5)
DATA = to_bytes(READING, DOMAIN)


@given(
    st.builds(
        Reading,
        owner=st.binary(min_size=20, max_size=20).map(address_of),
        stake_wei=st.integers(0, MAX_AMOUNT_WEI),
        minimum_wei=st.integers(0, MAX_AMOUNT_WEI),
        epoch=st.integers(0, MAX_EPOCH),
        block=st.integers(0, MAX_BLOCK),
        block_unix_s=st.integers(0, MAX_UNIX_S),
        unbonding_s=st.integers(0, MAX_UNBONDING_S),
        read_at_unix_s=st.floats(0, MAX_UNIX_S),
    )
)
def test_it_comes_back_as_it_was_and_is_never_too_large(reading: Reading) -> None:
    data = to_bytes(reading, DOMAIN)
    assert len(data) <= MAX_KEPT_BYTES
    assert from_bytes(data, DOMAIN) == reading


def test_it_is_of_one_chain_and_contract() -> None:
    assert from_bytes(DATA, DOMAIN) == READING
    assert from_bytes(DATA, Domain(DOMAIN.chain_id + 1, DOMAIN.contract)) is None
    assert from_bytes(DATA, Domain(DOMAIN.chain_id, Owner().address)) is None


@given(st.binary(max_size=200) | st.integers(0, len(DATA)).map(lambda at: DATA[:at] + DATA[at + 1 :]))
def test_garbage_is_nothing_or_a_reading_within_bounds(data: bytes) -> None:
    read = from_bytes(data, DOMAIN)
    assert read is None or 0 <= read.stake_wei <= MAX_AMOUNT_WEI


@pytest.mark.parametrize(
    "change",
    [
        {"owner": "0x12"},
        {"owner": DOMAIN.contract.swapcase()},
        {"numbers": ["0x1"] * 3 + [hex(1 << 100)] + ["0x1"] * 2},  # no later block would be believed
        {"numbers": ["0x1"] * 5},
        {"numbers": ["0x1"] * 7},
        {"numbers": ["-0x1"] + ["0x1"] * 5},
        {"numbers": ["one"] * 6},
        {"numbers": [hex(2**256)] + ["0x1"] * 5},
        {"numbers": [1] * 6},
        {"read_at_unix_s": -1},
        {"read_at_unix_s": 1e30},
        {"read_at_unix_s": "now"},
        {"chain_id": 31_337},
        {"more": 1},
        {"owner": "x" * MAX_KEPT_BYTES},
    ],
)
def test_what_was_changed_so_that_it_cannot_be_is_dropped(change: dict[str, object]) -> None:
    assert from_bytes(json.dumps(msgspec.json.decode(DATA) | change).encode(), DOMAIN) is None
