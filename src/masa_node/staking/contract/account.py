"""What the chain holds of one owner: stake, unbonding, tokens, and what the contract may take of them."""

from collections.abc import Sequence

import msgspec

from masa_node.chat.errors import ChainUnknown
from masa_node.dialects.fields import UNREADABLE
from masa_node.staking.contract.profile import Profile, Shape
from masa_node.staking.contract.transactions import MakesCalls, call, check_chain_id, hex_of
from masa_node.staking.ethereum.abi import address_in, call_data, uints
from masa_node.staking.ethereum.crypto import Address
from masa_node.staking.ethereum.json_rpc import RpcCall, RpcError, RpcReply

MAX_ANSWER_CHARS = 2 + 2 * 32 * 8  # a few words

_TERMS = (call_data("masaToken()"), call_data("minimumStake()"))


class Account(msgspec.Struct, frozen=True):
    """One owner at the head of the chain. Amounts are in the token's smallest unit.

    `unbonding_wei` may be withdrawn from `unbonding_until_unix_s` on; both are 0 where nothing is unbonded, and where
    the contract knows no unbonding.
    """

    owner: Address
    token: Address
    stake_wei: int
    minimum_wei: int
    unbonding_wei: int
    unbonding_until_unix_s: int
    tokens_wei: int
    allowance_wei: int
    epoch: int


class Terms(msgspec.Struct, frozen=True):
    """What holds for everybody: the token, and the least that a deposit may be."""

    token: Address
    minimum_wei: int


async def read_terms(rpc: MakesCalls, profile: Profile) -> Terms:
    """In one request. Raises `ChainUnknown`."""
    return _terms(await _answers(rpc, profile, _TERMS), profile)


async def read_account(rpc: MakesCalls, profile: Profile, owner: Address) -> Account:
    """In two requests, for only the contract knows the token. Raises `ChainUnknown`."""
    asked = [*_TERMS, call_data("stakes(address)", owner)]
    if profile.shape is Shape.MASA_NODE:
        asked += [call_data("unbonding(address)", owner), call_data("delegationEpoch(address)", owner)]
    answers = await _answers(rpc, profile, asked)
    terms = _terms(answers, profile)
    (stake,) = _words(answers[2], 1, profile)
    unbonding, until, epoch = 0, 0, 0
    if profile.shape is Shape.MASA_NODE:
        unbonding, until = _words(answers[3], 2, profile)
        (epoch,) = _words(answers[4], 1, profile)
    of_token = [
        call_data("balanceOf(address)", owner),
        call_data("allowance(address,address)", owner, profile.contract),
    ]
    tokens, allowance = (
        _words(answer, 1, profile)[0] for answer in await _answers(rpc, profile, of_token, terms.token)
    )
    return Account(owner, terms.token, stake, terms.minimum_wei, unbonding, until, tokens, allowance, epoch)


async def has_code(rpc: MakesCalls, address: Address) -> bool:
    """Is it a contract? An account that only lends itself code (EIP-7702) still signs with its key. `ChainUnknown`."""
    try:
        code = await call(rpc, "eth_getCode", [address, "latest"])
    except RpcError as exc:
        raise ChainUnknown(f"The chain's server does not answer eth_getCode: {exc.message}") from exc
    return isinstance(code, str) and code not in ("", "0x") and not code.lower().startswith("0xef0100")


async def _answers(rpc: MakesCalls, profile: Profile, asked: Sequence[bytes], at: Address | None = None) -> list[bytes]:
    """What the contract, or the one at `at`, answers to each of these, on this profile's chain."""
    to = at or profile.contract
    calls = [RpcCall("eth_call", ({"to": to, "data": hex_of(data)}, "latest")) for data in asked]
    chain_id, *replies = await rpc.batch((RpcCall("eth_chainId"), *calls))
    check_chain_id(chain_id, profile)
    return [_bytes(reply, profile) for reply in replies]


def _bytes(reply: RpcReply, profile: Profile) -> bytes:
    try:
        answer = msgspec.json.decode(reply, type=str) if not isinstance(reply, RpcError) else ""
        if not answer.startswith("0x") or len(answer) > MAX_ANSWER_CHARS:
            raise _no_such_contract(profile)
        return bytes.fromhex(answer[2:])
    except (*UNREADABLE, ValueError) as exc:
        raise _no_such_contract(profile) from exc


def _terms(answers: Sequence[bytes], profile: Profile) -> Terms:
    try:
        return Terms(address_in(answers[0]), _words(answers[1], 1, profile)[0])
    except ValueError as exc:
        raise _no_such_contract(profile) from exc


def _words(answer: bytes, count: int, profile: Profile) -> tuple[int, ...]:
    try:
        return uints(answer, count)
    except ValueError as exc:
        raise _no_such_contract(profile) from exc


def _no_such_contract(profile: Profile) -> ChainUnknown:
    return ChainUnknown(
        f"At {profile.contract} on chain {profile.chain_id} is no staking contract of the shape "
        f"{profile.shape.value!r}, or its token is none. Correct STAKE_CONTRACT, or the profile's contract and shape."
    )
