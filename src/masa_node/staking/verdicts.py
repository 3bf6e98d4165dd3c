"""What is known of a stake, and what follows from it. Frozen values; pure."""

from enum import StrEnum

import msgspec

from masa_node.chat.errors import MasaError
from masa_node.staking.addresses import Address


class StakeAnswer(StrEnum):
    """The three answers, none of which is ever folded into another; and that this node's owner allows it anyway."""

    STAKED = "staked"
    NOT_STAKED = "not staked"
    UNKNOWN = "unknown"
    ALLOWED = "allowed"


class Reading(msgspec.Struct, frozen=True):
    """What the chain said of one owner at one block.

    Amounts are in the token's smallest unit. `unbonding_s` is how long a withdrawal takes; 0: it is instant.
    `read_at_unix_s` is this node's clock, `block_unix_s` the chain's.
    """

    owner: Address
    stake_wei: int
    minimum_wei: int
    epoch: int
    block: int
    block_unix_s: int
    unbonding_s: int
    read_at_unix_s: float


class Verdict(msgspec.Struct, frozen=True):
    """What this node makes of one node's stake. `reason` is a sentence that says why, and what to do about it.

    The figures are those of the reading it rests on; None where there is none. `nodes` are the keys seen of the owner,
    who needs the minimum for each.
    """

    answer: StakeAnswer
    reason: str
    owner: Address | None = None
    stake_wei: int | None = None
    minimum_wei: int | None = None
    nodes: int | None = None
    block: int | None = None
    read_at_unix_s: float | None = None


class ChainUnknown(MasaError):
    """The chain could not be read, so nothing is known. See whether RPC_URL answers, and for the right chain."""

    code = "chain_unknown"
