"""Puts our token and staking contract on a local chain, and gives owners tokens and a stake.

Real transactions on a real EVM. The chain's own accounts pay; it sends for the owners without their keys, which only
a chain made for development does (https://getfoundry.sh/anvil/reference).
"""

import asyncio
from collections.abc import Sequence

import msgspec

from masa_node.chat.errors import ChainUnknown
from masa_node.staking.contract.artifacts import artifact
from masa_node.staking.contract.profile import BlockTag, Profile, Shape
from masa_node.staking.contract.transactions import (
    ContractCall,
    Draft,
    MakesCalls,
    call,
    hex_of,
    prepare,
    quantity,
    wait_for_receipt,
)
from masa_node.staking.ethereum.abi import WORD, call_data, word
from masa_node.staking.ethereum.crypto import Address, parse_address

TOKEN_NAME, SYMBOL, DECIMALS = "Masa", "MASA", 18
MINIMUM_WEI = 1_000 * 10**DECIMALS  # as on Sepolia; what one call of the token's faucet gives
UNBONDING_S = 86_400  # the least that the contract takes
DRIPS = 2  # a stake, and as much to try with
FRESH_S = 5.0  # a change must show soon
MAX_HEAD_AGE_S = 30.0  # there is a block a second
RECEIPT_WITHIN_S = 10.0  # they are mined at once; a loaded machine takes longer

_SUPPLY_WEI = 1_000_000 * 10**DECIMALS
_COINS_WEI = 10 * 10**18  # for fees
_LOOK_EVERY_S = 0.005


class FundedOwner(msgspec.Struct, frozen=True):
    """An owner that is given tokens, and a stake if it is to have one."""

    address: Address
    is_staked: bool


class Deployed(msgspec.Struct, frozen=True):
    """What is on the chain now."""

    token: Address
    profile: Profile


async def deploy(rpc: MakesCalls, url: str, name: str, owners: Sequence[FundedOwner]) -> Deployed:
    """Deploy both contracts, on the chain at this URL, and give the owners what they are to have.

    Raises `ChainUnknown`, `RpcError`, `TransactionRefused`, `TransactionFailed`, `TransactionLost`.
    """
    payer = await _first_account(rpc)
    token = await _create(rpc, payer, artifact("token").bytecode + _token_arguments())
    arguments = word(token) + word(MINIMUM_WEI) + word(UNBONDING_S)
    contract = await _create(rpc, payer, artifact("staking").bytecode + arguments)
    chain_id = quantity(await call(rpc, "eth_chainId", []))
    profile = Profile(
        name=name,
        chain_id=chain_id,
        rpc_urls=(url,),
        contract=contract,
        shape=Shape.MASA_NODE,
        block_tag=BlockTag.LATEST,  # nothing is ever reorganised here
        max_head_age_s=MAX_HEAD_AGE_S,
        fresh_s=FRESH_S,
        symbol=SYMBOL,
        decimals=DECIMALS,
    )
    deployed = Deployed(token, profile)
    for owner in owners:
        await call(rpc, "eth_sendTransaction", [{"from": payer, "to": owner.address, "value": hex(_COINS_WEI)}])
    for owner in owners:
        await _endow(rpc, deployed, owner)
    return deployed


async def _endow(rpc: MakesCalls, deployed: Deployed, owner: FundedOwner) -> None:
    token, contract = deployed.token, deployed.profile.contract
    contract_calls = [ContractCall(token, call_data("faucet()"), "take tokens")] * DRIPS
    if owner.is_staked:
        contract_calls.append(
            ContractCall(token, call_data("approve(address,uint256)", contract, MINIMUM_WEI), "let them be taken")
        )
        contract_calls.append(ContractCall(contract, call_data("stake(uint256)", MINIMUM_WEI), "stake"))
    await call(rpc, "anvil_impersonateAccount", [owner.address])
    try:
        for contract_call in contract_calls:
            draft = await prepare(rpc, deployed.profile, owner.address, contract_call)
            sent_hash = await _send(rpc, _fields(draft, owner.address))
            await _mined(rpc, sent_hash)
            await wait_for_receipt(rpc, deployed.profile, owner.address, draft, sent_hash)
    finally:
        await call(rpc, "anvil_stopImpersonatingAccount", [owner.address])


async def _first_account(rpc: MakesCalls) -> Address:
    try:
        return parse_address(msgspec.convert(await call(rpc, "eth_accounts", []), list[str])[0])
    except (msgspec.ValidationError, IndexError, ValueError) as exc:
        raise ChainUnknown("The local chain has no accounts of its own. Is it anvil?") from exc


async def _create(rpc: MakesCalls, payer: Address, code: bytes) -> Address:
    """The address of a new contract."""
    receipt = await _mined(rpc, await _send(rpc, {"from": payer, "data": hex_of(code)}))
    match receipt:
        case {"status": "0x1", "contractAddress": str(address)}:
            return parse_address(address)
        case _:
            raise ChainUnknown("The local chain did not take a contract. Is this anvil too old for it?")


async def _send(rpc: MakesCalls, fields: dict[str, object]) -> str:
    sent_hash = await call(rpc, "eth_sendTransaction", [fields])
    if not isinstance(sent_hash, str):
        raise ChainUnknown("The local chain gives no transaction's hash. Is it anvil?")
    return sent_hash


async def _mined(rpc: MakesCalls, sent_hash: str) -> object:
    """The receipt, which is not there for a moment. Raises `ChainUnknown`."""
    try:
        async with asyncio.timeout(RECEIPT_WITHIN_S):
            while (receipt := await call(rpc, "eth_getTransactionReceipt", [sent_hash])) is None:  # noqa: ASYNC110
                await asyncio.sleep(_LOOK_EVERY_S)
            return receipt
    except TimeoutError as exc:
        raise ChainUnknown(f"The local chain mined nothing within {RECEIPT_WITHIN_S:.0f} s.") from exc


def _fields(draft: Draft, sender: Address) -> dict[str, object]:
    return {
        "from": sender,
        "to": draft.to,
        "data": hex_of(draft.data),
        "gas": hex(draft.gas),
        "nonce": hex(draft.nonce),
        "maxFeePerGas": hex(draft.max_fee),
        "maxPriorityFeePerGas": hex(draft.priority_fee or 0),
    }


def _token_arguments() -> bytes:
    """Of the token's constructor: two short texts and its supply. The texts stand behind the three words."""
    texts = [word(len(text)) + text.encode().ljust(WORD, b"\0") for text in (TOKEN_NAME, SYMBOL)]
    return word(3 * WORD) + word(3 * WORD + len(texts[0])) + word(_SUPPLY_WEI) + b"".join(texts)
