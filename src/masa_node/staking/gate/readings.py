"""From the answers of an RPC server to a `Reading`, or to a reason why there is none. Pure.

Nothing is folded: whatever is not a complete, plausible answer of the right chain is `ChainUnknown`.
"""

import msgspec

from masa_node.chat.errors import ChainUnknown
from masa_node.dialects.fields import UNREADABLE
from masa_node.staking.contract.profile import BlockTag, Profile, Shape
from masa_node.staking.ethereum.abi import WORD, call_data, selector, uints
from masa_node.staking.ethereum.crypto import Address
from masa_node.staking.ethereum.json_rpc import RpcCall, RpcError, RpcReply, data, quantity
from masa_node.staking.gate.values import Reading

# As a delegation's: the clock of this machine may be wrong by so much, and a chain's is right to seconds.
MAX_AHEAD_S = 300
MAX_AMOUNT_WEI = 1 << 200  # no token has so many; what is above is garbage that was read as a number
MAX_EPOCH = (1 << 64) - 1  # the contract's own type
MAX_BLOCK = 1 << 63
MAX_UNIX_S = 253_402_300_799  # the end of the year 9999: time that can still be shown
# Any peer may name a contract of its own as owner. A Safe takes 10 000 gas a signature, a passkey verifier 400 000.
MAX_SIGNATURE_GAS = 5_000_000
MAX_UNBONDING_S = 100 * 366 * 86_400  # a hundred years

MAGIC = selector("isValidSignature(bytes32,bytes)").ljust(WORD, b"\0")  # ERC-1271: 0x1626ba7e

_UNBONDING = "0x" + call_data("unbondingPeriod()").hex()
_MINIMUM = "0x" + call_data("minimumStake()").hex()


class Head(msgspec.Struct, frozen=True):
    """The block at the profile's tag."""

    number: int
    at_unix_s: int


class _Block(msgspec.Struct):
    number: msgspec.Raw
    timestamp: msgspec.Raw


_BLOCK = msgspec.json.Decoder(_Block)


def read_calls(profile: Profile, owner: Address) -> tuple[RpcCall, ...]:
    """The one batch that reads an owner's stake."""
    to, tag = profile.contract, profile.block_tag
    if profile.shape is Shape.MASA_NODE:
        payloads = ("0x" + call_data("standing(address)", owner).hex(), _UNBONDING)
    else:
        payloads = ("0x" + call_data("stakes(address)", owner).hex(), _MINIMUM)
    return (*_where_and_when(profile), *(_eth_call(to, payload, tag) for payload in payloads))


def reading_of(replies: tuple[RpcReply, ...], profile: Profile, owner: Address, at_unix_s: float) -> Reading:
    """What the answers to `read_calls` say. `at_unix_s` is this node's clock. Raises `ChainUnknown`."""
    head = _head(replies, profile, at_unix_s)
    if profile.shape is Shape.MASA:
        return _masa_reading(replies, profile, owner, (head, at_unix_s))
    stake, minimum, epoch, block, block_unix_s = _words(replies[2], "standing(address)", 5, profile)
    (unbonding_s,) = _words(replies[3], "unbondingPeriod()", 1, profile)
    _check_amounts(stake, minimum)
    if epoch > MAX_EPOCH or unbonding_s > MAX_UNBONDING_S or block > MAX_BLOCK:
        raise _absurd(profile)
    _check_agreement(head, Head(block, block_unix_s), profile)
    _check_age(Head(block, block_unix_s), profile, at_unix_s)
    return Reading(owner, stake, minimum, epoch, block, block_unix_s, unbonding_s, at_unix_s)


def signature_calls(profile: Profile, owner: Address, digest: bytes, signature: bytes) -> tuple[RpcCall, ...]:
    """The one batch that asks a contract whether it signed this digest (ERC-1271).

    With it goes a call that is never refused: a server that refuses both has carried out neither.
    """
    payload = "0x" + call_data("isValidSignature(bytes32,bytes)", digest, tail=signature).hex()
    call = {"to": owner, "data": payload, "gas": hex(MAX_SIGNATURE_GAS)}
    control = _eth_call(profile.contract, _MINIMUM, profile.block_tag)
    return (*_where_and_when(profile), RpcCall("eth_call", (call, profile.block_tag.value)), control)


def is_accepted(replies: tuple[RpcReply, ...], profile: Profile, at_unix_s: float) -> bool:
    """Do the answers to `signature_calls` say that it did? Everything but ERC-1271's exact word, at the right chain
    and a fresh block, is a no; a revert and an owner without code are. Raises `ChainUnknown`.
    """
    _head(replies, profile, at_unix_s)
    reply = replies[2]
    if isinstance(reply, RpcError):
        if not reply.may_be_revert:
            raise _not_carried_out(reply)
        _words(replies[3], "minimumStake()", 1, profile)
        return False
    try:
        return data(reply) == MAGIC
    except ValueError as exc:
        raise ChainUnknown("its answer to a call is not JSON-RPC. Is it an RPC server?") from exc


def _where_and_when(profile: Profile) -> tuple[RpcCall, RpcCall]:
    return RpcCall("eth_chainId"), RpcCall("eth_getBlockByNumber", (profile.block_tag.value, False))


def _eth_call(to: Address, payload: str, tag: BlockTag) -> RpcCall:
    return RpcCall("eth_call", ({"to": to, "data": payload}, tag.value))


def _masa_reading(replies: tuple[RpcReply, ...], profile: Profile, owner: Address, seen: tuple[Head, float]) -> Reading:
    head, at_unix_s = seen
    (stake,) = _words(replies[2], "stakes(address)", 1, profile)
    (minimum,) = _words(replies[3], "minimumStake()", 1, profile)
    _check_amounts(stake, minimum)
    return Reading(owner, stake, minimum, 0, head.number, head.at_unix_s, 0, at_unix_s)


# ---- which chain, and when ----


def _head(replies: tuple[RpcReply, ...], profile: Profile, at_unix_s: float) -> Head:
    chain_id = _chain_id(replies[0])
    if chain_id != profile.chain_id:
        raise ChainUnknown(
            f"it is on chain {chain_id}, the profile says {profile.chain_id}. Correct RPC_URL, or use another profile."
        )
    head = _block(replies[1], profile.block_tag)
    _check_age(head, profile, at_unix_s)
    return head


def _chain_id(reply: RpcReply) -> int:
    try:
        return quantity(reply)
    except RpcError as exc:
        raise ChainUnknown(f"it does not say which chain it is on, but answered {exc}.") from exc
    except ValueError as exc:
        raise ChainUnknown("its chain id is not a number. Is it an RPC server?") from exc


def _block(reply: RpcReply, tag: BlockTag) -> Head:
    if isinstance(reply, RpcError):
        raise ChainUnknown(f'it answered {reply} when asked for its "{tag}" block. {_no_block(tag)}')
    if bytes(reply) == b"null":
        raise ChainUnknown(f'it has no "{tag}" block. {_no_block(tag)}')
    try:
        block = _BLOCK.decode(reply)
        head = Head(quantity(block.number), quantity(block.timestamp))
    except (*UNREADABLE, ValueError) as exc:
        raise ChainUnknown("its newest block has no number and time. Is it an RPC server?") from exc
    if head.number > MAX_BLOCK or head.at_unix_s > MAX_UNIX_S:
        raise ChainUnknown("its newest block has an impossible number or time. Ask another RPC.")
    return head


def _no_block(tag: BlockTag) -> str:
    if tag is BlockTag.LATEST:
        return "It may still be syncing; ask another RPC."
    return 'Ask another RPC, or set block_tag = "latest" in the profile.'


def _check_age(head: Head, profile: Profile, at_unix_s: float) -> None:
    limit_s = profile.max_head_age_s
    if limit_s is None:
        return
    age_s = at_unix_s - head.at_unix_s
    if age_s > limit_s:
        raise ChainUnknown(
            f'its "{profile.block_tag}" block {head.number} is {age_s:.0f} s old, {limit_s:g} are allowed. It lags, '
            "or the chain stands still: ask another RPC, or raise max_head_age_s in the profile."
        )
    if age_s < -MAX_AHEAD_S:
        raise ChainUnknown(f"its block {head.number} is {-age_s:.0f} s in the future. Is this machine's clock right?")


def _check_agreement(head: Head, contract_head: Head, profile: Profile) -> None:
    """The head and the contract's own word on its block come from the same batch, but maybe not from one server.

    Times are compared and not numbers: on some second-layer chains a contract is told the number of the first layer.
    """
    limit_s = profile.max_head_age_s
    apart_s = abs(head.at_unix_s - contract_head.at_unix_s)
    if limit_s is not None and apart_s > limit_s:
        raise ChainUnknown(
            f"it says that block {head.number} is its newest, and its contract that it is {contract_head.number}, "
            f"{apart_s} s apart. It contradicts itself; ask another RPC."
        )


# ---- what the contract says ----


def _words(reply: RpcReply, function: str, count: int, profile: Profile) -> tuple[int, ...]:
    """Exactly `count` words."""
    where = f"{profile.contract} on chain {profile.chain_id}"
    if isinstance(reply, RpcError):
        if not reply.may_be_revert:
            raise _not_carried_out(reply)
        raise ChainUnknown(
            f"{function} of the contract {where} answered {reply}. Either it is not a staking contract of the shape "
            f'"{profile.shape}": correct the profile; or the server does not hold that block: ask another RPC.'
        )
    try:
        answer = data(reply)
    except ValueError as exc:
        raise ChainUnknown("its answer to a call is not JSON-RPC. Is it an RPC server?") from exc
    if not answer:
        raise ChainUnknown(f"there is no contract at {where}, or none with {function}{_as_of(profile.block_tag)}.")
    if len(answer) != count * WORD:
        raise ChainUnknown(
            f"{function} of the contract {where} gave {len(answer)} bytes instead of {count * WORD}. Is it a staking "
            f'contract of the shape "{profile.shape}"? Correct the profile.'
        )
    return uints(answer, count)


def _as_of(tag: BlockTag) -> str:
    if tag is BlockTag.LATEST:
        return ". Correct the profile"
    return f", at the newest block that is {tag}. If it is new, wait for that block; else correct the profile"


def _not_carried_out(error: RpcError) -> ChainUnknown:
    return ChainUnknown(f"it did not carry out a call, but answered {error}. Ask another RPC.")


def _check_amounts(*amounts_wei: int) -> None:
    if max(amounts_wei) > MAX_AMOUNT_WEI:
        raise ChainUnknown("the contract reports an amount that no token has. Is it a staking contract?")


def _absurd(profile: Profile) -> ChainUnknown:
    return ChainUnknown(
        f"the contract {profile.contract} reports an impossible epoch, unbonding period or block. Is it a staking "
        "contract?"
    )
