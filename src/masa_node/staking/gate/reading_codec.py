"""A reading as the bytes that are stored between two runs. Pure.

It is of one chain and contract; read for another it would say what was never so.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from masa_node.staking.delegation import Domain
from masa_node.staking.ethereum.crypto import parse_address
from masa_node.staking.gate.readings import MAX_AMOUNT_WEI, MAX_BLOCK, MAX_EPOCH, MAX_UNBONDING_S, MAX_UNIX_S
from masa_node.staking.gate.values import Reading

MAX_KEPT_BYTES = 1024  # one takes 250 to 650
# What a reading of the chain may have.
_MOST = (MAX_AMOUNT_WEI, MAX_AMOUNT_WEI, MAX_EPOCH, MAX_BLOCK, MAX_UNIX_S, MAX_UNBONDING_S)

_Text = Annotated[str, Meta(max_length=80)]


class _Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`numbers` are stake, minimum, epoch, block, its time, unbonding; in hex, no integer type is so large."""

    chain_id: _Text
    contract: _Text
    owner: _Text
    numbers: tuple[_Text, _Text, _Text, _Text, _Text, _Text]
    read_at_unix_s: float


_DECODER = msgspec.json.Decoder(_Kept)


def to_bytes(reading: Reading, domain: Domain) -> bytes:
    """At most MAX_KEPT_BYTES, when its numbers are uint256."""
    numbers = (
        hex(reading.stake_wei),
        hex(reading.minimum_wei),
        hex(reading.epoch),
        hex(reading.block),
        hex(reading.block_unix_s),
        hex(reading.unbonding_s),
    )
    record = _Kept(hex(domain.chain_id), domain.contract, reading.owner, numbers, reading.read_at_unix_s)
    return msgspec.json.encode(record)


def from_bytes(data: bytes, domain: Domain) -> Reading | None:
    """The stored reading; None if it cannot be read, or is of another chain or contract. Any byte may have changed."""
    if len(data) > MAX_KEPT_BYTES:
        return None
    try:
        record = _DECODER.decode(data)
        if (record.chain_id, record.contract) != (hex(domain.chain_id), domain.contract):
            return None
        numbers = [int(number, 16) for number in record.numbers]
        owner = parse_address(record.owner)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
        return None
    if not all(0 <= number <= most for number, most in zip(numbers, _MOST, strict=True)):
        return None
    if not 0 <= record.read_at_unix_s <= MAX_UNIX_S:
        return None
    stake, minimum, epoch, block, block_unix_s, unbonding_s = numbers
    return Reading(
        owner=owner,
        stake_wei=stake,
        minimum_wei=minimum,
        epoch=epoch,
        block=block,
        block_unix_s=block_unix_s,
        unbonding_s=unbonding_s,
        read_at_unix_s=record.read_at_unix_s,
    )
