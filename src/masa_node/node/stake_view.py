"""What `GET /api/v1/stake` tells, and what `GET /api/v1/peers` tells of a peer's stake. Imports no chain code."""

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from masa_node.staking.gate import GateSummary
    from masa_node.staking.profiles import Profile
    from masa_node.staking.verdicts import Verdict

STAKING_OFF = "off - stakes are not checked"
INSTANT_WITHDRAWAL = (
    "A stake in this contract can be withdrawn at once, so it can be borrowed for a block: it shows less than one "
    "that is bound for days."
)


class StakeRow(msgspec.Struct, frozen=True):
    """A verdict. Amounts are text, in the token's smallest unit: they are larger than what JSON readers hold exactly.

    `verdict` is `staked`, `not staked`, `unknown`, or `allowed` (by STAKE_ALLOW). `nodes` are the node keys seen of the
    owner; `age_s` is how long ago the chain was read.
    """

    verdict: str
    reason: str
    owner: str | None
    stake_wei: str | None
    minimum_wei: str | None
    nodes: int | None
    block: int | None
    age_s: int | None


class StakeNetworkView(msgspec.Struct, frozen=True):
    """The profile in force, without its RPC URLs: they may hold keys. `warning` is "" for a contract that unbonds."""

    name: str
    chain_id: int
    contract: str
    shape: str
    block_tag: str
    symbol: str
    decimals: int
    warning: str


class ChainView(msgspec.Struct, frozen=True):
    """How reading the chain goes. `block` is the highest that was read; `failure` says what went wrong last, "" if
    nothing has since the node started.
    """

    owners: int
    lookups_running: int
    lookups_waiting: int
    block: int | None
    failure: str
    failed_s_ago: int | None


class StakeView(msgspec.Struct, frozen=True):
    """All of it. `staking` is one line for people; `peers` counts the linked ones by verdict; `chain` is how reading
    it goes.
    """

    staking: str
    providers: str
    callers: str
    network: StakeNetworkView | None
    own: StakeRow | None
    peers: dict[str, int]
    chain: ChainView | None


def stake_off() -> StakeView:
    """While stakes are not checked."""
    return StakeView(STAKING_OFF, "off", "off", None, None, {}, None)


def network_row(profile: "Profile") -> StakeNetworkView:
    """What is told of the chain."""
    return StakeNetworkView(
        profile.name,
        profile.chain_id,
        profile.contract,
        profile.shape.value,
        profile.block_tag.value,
        profile.symbol,
        profile.decimals,
        INSTANT_WITHDRAWAL if profile.shape == "masa" else "",
    )


def chain_row(summary: "GateSummary", at_unix_s: float) -> ChainView:
    """What is told of reading the chain."""
    failure, newest = summary.last_failure, summary.newest
    return ChainView(
        summary.owners,
        summary.lookups_running,
        summary.lookups_waiting,
        None if newest is None else newest.block,
        "" if failure is None else failure.reason,
        None if failure is None else max(int(at_unix_s - failure.at_unix_s), 0),
    )


def stake_row(verdict: "Verdict", at_unix_s: float) -> StakeRow:
    """What is told of one node."""
    read_at_unix_s = verdict.read_at_unix_s
    return StakeRow(
        verdict.answer.value,
        verdict.reason,
        verdict.owner,
        None if verdict.stake_wei is None else str(verdict.stake_wei),
        None if verdict.minimum_wei is None else str(verdict.minimum_wei),
        verdict.nodes,
        verdict.block,
        None if read_at_unix_s is None else max(int(at_unix_s - read_at_unix_s), 0),
    )
