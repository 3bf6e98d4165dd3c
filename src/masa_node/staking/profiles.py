"""Which chain and which contract: a network profile. Values; read from files by `profile_files.py`. Pure."""

from enum import StrEnum

import msgspec

from masa_node.staking.addresses import Address


class Shape(StrEnum):
    """Which functions the staking contract has: our own contract's, or only those of the first Masa contract.

    The latter (`stakes`, `minimumStake`) lets a stake be withdrawn at once: it can be borrowed for a block.
    """

    MASA_NODE = "masa-node"
    MASA = "masa"


class BlockTag(StrEnum):
    """At which block the chain is read: the later, the safer from reorganisations, the older the answer."""

    LATEST = "latest"
    SAFE = "safe"
    FINALIZED = "finalized"


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One staking network. URLs are asked in their order. `max_head_age_s` None: the head's age is not looked at.

    `fresh_s` is how long a reading is taken as it is, in seconds.
    """

    name: str
    chain_id: int
    rpc_urls: tuple[str, ...]
    contract: Address
    shape: Shape = Shape.MASA_NODE
    block_tag: BlockTag = BlockTag.LATEST
    max_head_age_s: float | None = 300.0
    fresh_s: float = 300.0
    symbol: str = "MASA"
    decimals: int = 18
