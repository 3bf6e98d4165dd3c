"""What the chain holds of one owner: his stake, what he unbonds, his tokens and what the contract may take of them."""

import msgspec

from masa_node.staking.abi import address_in, call_data, uints
from masa_node.staking.addresses import Address
from masa_node.staking.profiles import Profile, Shape
from masa_node.staking.rpc_frames import RpcError
from masa_node.staking.transactions import Calls, call, check_chain, hex_of
from masa_node.staking.verdicts import ChainUnknown

MAX_ANSWER_CHARS = 2 + 2 * 32 * 8  # a few words


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


async def read_terms(calls: Calls, profile: Profile) -> Terms:
    """Raises `ChainUnknown`."""
    await check_chain(calls, profile)
    token = await _call(calls, profile, profile.contract, call_data("masaToken()"))
    minimum = await _words(calls, profile, call_data("minimumStake()"), 1)
    try:
        return Terms(address_in(token), minimum[0])
    except ValueError as exc:
        raise _no_such_contract(profile) from exc


async def read_account(calls: Calls, profile: Profile, owner: Address) -> Account:
    """Raises `ChainUnknown`."""
    terms = await read_terms(calls, profile)
    (stake,) = await _words(calls, profile, call_data("stakes(address)", owner), 1)
    unbonding, until, epoch = 0, 0, 0
    if profile.shape is Shape.MASA_NODE:
        unbonding, until = await _words(calls, profile, call_data("unbonding(address)", owner), 2)
        (epoch,) = await _words(calls, profile, call_data("delegationEpoch(address)", owner), 1)
    tokens = await _words(calls, profile, call_data("balanceOf(address)", owner), 1, terms.token)
    allowance_of = call_data("allowance(address,address)", owner, profile.contract)
    allowance = await _words(calls, profile, allowance_of, 1, terms.token)
    return Account(owner, terms.token, stake, terms.minimum_wei, unbonding, until, tokens[0], allowance[0], epoch)


async def has_code(calls: Calls, address: Address) -> bool:
    """Is it a contract? An account that only lends itself code (EIP-7702) still signs with its key. `ChainUnknown`."""
    try:
        code = await call(calls, "eth_getCode", [address, "latest"])
    except RpcError as exc:
        raise ChainUnknown(f"The chain's server does not answer eth_getCode: {exc.message}") from exc
    return isinstance(code, str) and code not in ("", "0x") and not code.lower().startswith("0xef0100")


async def _words(calls: Calls, profile: Profile, data: bytes, count: int, at: Address | None = None) -> tuple[int, ...]:
    answer = await _call(calls, profile, at or profile.contract, data)
    try:
        return uints(answer, count)
    except ValueError as exc:
        raise _no_such_contract(profile) from exc


async def _call(calls: Calls, profile: Profile, to: Address, data: bytes) -> bytes:
    asked: dict[str, object] = {"to": to, "data": hex_of(data)}
    try:
        answer = await call(calls, "eth_call", [asked, "latest"])
    except RpcError as exc:
        raise _no_such_contract(profile) from exc
    try:
        if not isinstance(answer, str) or not answer.startswith("0x") or len(answer) > MAX_ANSWER_CHARS:
            raise _no_such_contract(profile)
        return bytes.fromhex(answer[2:])
    except ValueError as exc:
        raise _no_such_contract(profile) from exc


def _no_such_contract(profile: Profile) -> ChainUnknown:
    return ChainUnknown(
        f"At {profile.contract} on chain {profile.chain_id} is no staking contract of the shape "
        f"{profile.shape.value!r}, or its token is none. Correct STAKE_CONTRACT, or the profile's contract and shape."
    )
