"""What is known of a stake, what follows from it, and what the chain is asked. Frozen values; pure."""

from enum import StrEnum

import msgspec

from masa_node.staking.ethereum.crypto import Address

# ---- verdicts ----

# What is known of a stake, and what follows from it. Frozen values; pure.


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

    The figures are those of the reading it rests on; None where there is none. `nodes` are the keys seen of the owner:
    the stake must hold the minimum for each.
    """

    answer: StakeAnswer
    reason: str
    owner: Address | None = None
    stake_wei: int | None = None
    minimum_wei: int | None = None
    nodes: int | None = None
    block: int | None = None
    read_at_unix_s: float | None = None


# ---- queries ----

# What the chain is asked. Pure.


class SignatureQuery(msgspec.Struct, frozen=True):
    """Did this contract sign that? (ERC-1271)"""

    owner: Address
    digest: bytes
    signature: bytes


Query = Address | SignatureQuery
"""Of an address: what is its stake?"""


def owner_of(query: Query) -> Address:
    """The kind of its answer."""
    return query.owner if isinstance(query, SignatureQuery) else query
