"""From a delegation and a reading to a verdict, in words that say why and what to do. Pure."""

import msgspec

from masa_node.staking.delegation import Delegation
from masa_node.staking.gate.cache import ReadFailure
from masa_node.staking.gate.values import Reading, StakeAnswer, Verdict

_SHOWN_DECIMALS = 4


class Token(msgspec.Struct, frozen=True):
    """What amounts are written in."""

    symbol: str
    decimals: int


def judge(delegation: Delegation, reading: Reading, nodes: int, token: Token) -> Verdict:
    """What this reading means for a node with a valid delegation. `nodes` are the keys seen of its owner, it included.

    Too little stake refuses all of an owner's nodes: which was first is not to decide, as each node sees another order.
    """
    answer, reason = _judged(delegation, reading, nodes, token)
    return Verdict(
        answer,
        reason,
        owner=reading.owner,
        stake_wei=reading.stake_wei,
        minimum_wei=reading.minimum_wei,
        nodes=nodes,
        block=reading.block,
        read_at_unix_s=reading.read_at_unix_s,
    )


def aged(verdict: Verdict, failure: ReadFailure | None) -> Verdict:
    """The same on a reading that is no longer fresh, which the reason then says. How old it is, `read_at_unix_s` tells.

    A node that is refused is told the reason, so that names no RPC server of this node's owner.
    """
    if failure is None:
        why = "it is read again"
    elif verdict.answer is StakeAnswer.NOT_STAKED:
        why = "the chain cannot be read now"
    else:
        why = f"the chain cannot be read now: {failure.reason}"
    return msgspec.structs.replace(verdict, reason=f"{verdict.reason.rstrip('.')}; {why}")


def refused(reason: str) -> Verdict:
    """Not staked, and no chain needs to be asked to know."""
    return Verdict(StakeAnswer.NOT_STAKED, reason)


def unknown(reason: str, delegation: Delegation) -> Verdict:
    """Nothing usable is held of its owner."""
    return Verdict(StakeAnswer.UNKNOWN, reason, owner=delegation.owner)


def tokens(amount: int, token: Token) -> str:
    """An amount as people write it, rounded down: "1000 MASA"."""
    whole, rest = divmod(amount, 10**token.decimals)
    decimals = str(rest).rjust(token.decimals, "0")[:_SHOWN_DECIMALS].rstrip("0") if rest else ""
    return f"{whole}{'.' if decimals else ''}{decimals} {token.symbol}"


def _judged(delegation: Delegation, reading: Reading, nodes: int, token: Token) -> tuple[StakeAnswer, str]:
    minimum = tokens(reading.minimum_wei, token)
    stake = tokens(reading.stake_wei, token)
    if delegation.epoch < reading.epoch:
        return StakeAnswer.NOT_STAKED, (
            f"its delegation was revoked: it is of epoch {delegation.epoch}, the owner's is {reading.epoch} at block "
            f"{reading.block}, with {stake} staked. Have the owner sign a new one: masa-node stake delegate"
        )
    if reading.stake_wei == 0:
        return StakeAnswer.NOT_STAKED, (
            f"its owner {reading.owner} has no stake at block {reading.block}; {minimum} a node are needed: "
            "masa-node stake deposit"
        )
    if reading.stake_wei >= reading.minimum_wei * nodes:
        return StakeAnswer.STAKED, f"its owner's {stake} at block {reading.block} cover {_nodes(nodes)}"
    covered = reading.stake_wei // reading.minimum_wei
    return StakeAnswer.NOT_STAKED, (
        f"its owner's {stake} at block {reading.block} cover {_nodes(covered)}, {_nodes(nodes)} of this owner "
        f"{'is' if nodes == 1 else 'are'} seen; {minimum} a node are needed: masa-node stake deposit"
    )


def _nodes(count: int) -> str:
    return "no node" if count == 0 else "1 node" if count == 1 else f"{count} nodes"
