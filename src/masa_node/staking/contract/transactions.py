"""A transaction's way: estimated, sent once signed, waited for. Over JSON-RPC; signing it is another module's matter.

EIP-1559 where the chain has a base fee, else a gas price. A server is not believed: what it answers is bounded, and
the transaction's hash is our own.
"""

import asyncio
from collections.abc import Sequence
from typing import Protocol, cast

import msgspec

from masa_node.chat.errors import ChainUnknown, MasaError
from masa_node.dialects.fields import UNREADABLE
from masa_node.staking.contract.profile import Profile
from masa_node.staking.contract.reverts import describe_revert as words_of_revert
from masa_node.staking.ethereum.crypto import Address, keccak256
from masa_node.staking.ethereum.json_rpc import RpcCall, RpcError, RpcReply, number_in

GAS_MARGIN_PERCENT = 125  # another transaction before it in the block may make storage writes dearer
BASE_FEES = 2  # EIP-1559: a base fee grows by an eighth a block, so that this holds for six full blocks
USUAL_TIP_WEI = 1_000_000_000  # where a server does not tell one (eth_maxPriorityFeePerGas is no standard): 1 gwei
MAX_GAS = 5_000_000  # these calls take a tenth of a million
WAIT_S = 180.0  # a dozen blocks of Ethereum
LOOK_FIRST_S = 0.05  # a local chain mines at once
LOOK_MOST_S = 2.0
MISSING_LOOKS = 5  # servers behind one URL do not know everything at the same moment


class MakesCalls(Protocol):
    """Makes JSON-RPC calls: `Rpc` does."""

    async def batch(self, calls: Sequence[RpcCall]) -> tuple[RpcReply, ...]:
        """A result or a server's error for each. Raises `ChainUnknown` without an answer."""
        ...


class ContractCall(msgspec.Struct, frozen=True):
    """A call of a contract that is to be made, in words too. It sends no coins."""

    to: Address
    data: bytes
    words: str


class Draft(msgspec.Struct, frozen=True):
    """A transaction, ready to be signed. `priority_fee` None: an older one, for which `max_fee` is the gas price.

    Fees are in wei for each unit of gas.
    """

    to: Address
    data: bytes
    value: int
    gas: int
    max_fee: int
    priority_fee: int | None
    nonce: int
    chain_id: int

    @property
    def cost_wei(self) -> int:
        """The most that it can cost, in the chain's own coin."""
        return self.value + self.gas * self.max_fee


class Receipt(msgspec.Struct, frozen=True):
    """A transaction that was carried out. `fee_wei` is 0 where the server does not say the price."""

    hash: str
    block: int
    gas_used: int
    fee_wei: int


class TransactionRefused(MasaError):
    """The contract or the chain's server refuses it, so it was not sent. The message says why."""

    code = "transaction_refused"


class CannotPay(TransactionRefused):
    """The wallet has too few of the chain's own coins for the fee. Send some there."""

    code = "cannot_pay"


class TransactionFailed(MasaError):
    """It was carried out and failed: its fee is spent, all else is as it was. The message says why."""

    code = "transaction_failed"


class TransactionLost(MasaError):
    """It is not known what became of it. Look its hash up before you send another."""

    code = "transaction_lost"


async def call(rpc: MakesCalls, method: str, params: Sequence[object]) -> object:
    """The result of one call. Raises `RpcError` for an error that the server answered, `ChainUnknown`."""
    (reply,) = await rpc.batch((RpcCall(method, tuple(params)),))
    if isinstance(reply, RpcError):
        raise reply
    try:
        return msgspec.json.decode(reply)
    except UNREADABLE as exc:
        raise ChainUnknown(f"The chain's server answers {method} with something that is not JSON.") from exc


async def prepare(rpc: MakesCalls, profile: Profile, sender: Address, contract_call: ContractCall) -> Draft:
    """Estimate it as the next transaction of `sender`. Nothing is sent.

    Raises `TransactionRefused` with the contract's reason in words, `CannotPay`, `ChainUnknown`.
    """
    await check_chain(rpc, profile)
    gas = await _estimated(rpc, profile, sender, contract_call)
    max_fee, priority_fee = await _fees(rpc)
    nonce = quantity(await _required(rpc, "eth_getTransactionCount", [sender, "pending"]))
    draft = Draft(contract_call.to, contract_call.data, 0, gas, max_fee, priority_fee, nonce, profile.chain_id)
    coins = quantity(await _required(rpc, "eth_getBalance", [sender, "latest"]))
    if coins < draft.cost_wei:
        raise CannotPay(
            f"{sender} cannot pay the fee: it may be up to {coins_in_words(draft.cost_wei)}, and there are "
            f"{coins_in_words(coins)}. Send some coins of chain {profile.chain_id} there."
        )
    return draft


async def send(rpc: MakesCalls, signed: bytes) -> str:
    """Send it; its hash. Raises `TransactionRefused`; `TransactionLost` when nobody knows whether it arrived."""
    sent_hash = hex_of(keccak256(signed))
    try:
        await call(rpc, "eth_sendRawTransaction", [hex_of(signed)])
    except RpcError as exc:
        if not await _is_known(rpc, sent_hash):  # servers call one that they have already an error
            raise TransactionRefused(f"The chain's server does not take it: {exc.message}") from exc
    except ChainUnknown as exc:
        if not await _is_known(rpc, sent_hash):
            raise TransactionLost(
                f"It is not known whether transaction {sent_hash} was sent: {exc.message} Look it up before you try "
                "again."
            ) from exc
    return sent_hash


async def wait_for_receipt(rpc: MakesCalls, profile: Profile, sender: Address, draft: Draft, sent_hash: str) -> Receipt:
    """What became of it, waited for WAIT_S at most. Servers that do not answer are asked again until then.

    Raises `TransactionFailed` with the contract's reason, `TransactionLost` when it was replaced, dropped, or takes
    longer. Cancelling it changes nothing on the chain.
    """
    loop = asyncio.get_running_loop()
    until_s, pause_s, missing = loop.time() + WAIT_S, LOOK_FIRST_S, 0
    while True:
        receipt = _members(await _quietly(rpc, "eth_getTransactionReceipt", [sent_hash]))
        if receipt.get("blockNumber") is not None:  # some servers tell of pending ones
            return await _judged(rpc, profile, sender, draft, _read_receipt(receipt, sent_hash))
        missing = missing + 1 if await _is_gone(rpc, sender, draft, sent_hash) else 0
        if missing >= MISSING_LOOKS:
            raise TransactionLost(
                f"Transaction {sent_hash} was replaced by another one of {sender} with the number {draft.nonce}. See "
                "your wallet."
            )
        if loop.time() >= until_s:
            raise TransactionLost(await _why_so_long(rpc, sent_hash))
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, LOOK_MOST_S)


async def check_chain(rpc: MakesCalls, profile: Profile) -> None:
    """Raises `ChainUnknown` when this is another chain than the profile's."""
    (reply,) = await rpc.batch((RpcCall("eth_chainId"),))
    check_chain_id(reply, profile)


def check_chain_id(reply: RpcReply, profile: Profile) -> None:
    """Raises `ChainUnknown` when this answer to eth_chainId is another chain's than the profile's."""
    try:
        chain_id = number_in(msgspec.json.decode(reply)) if not isinstance(reply, RpcError) else None
    except (*UNREADABLE, ValueError):
        chain_id = None
    if chain_id is None:
        raise ChainUnknown(
            "The chain's server does not say which chain it is on (eth_chainId). Ask another: set RPC_URL."
        )
    if chain_id != profile.chain_id:
        raise ChainUnknown(
            f"RPC_URL leads to chain {chain_id}, and the stakes of {profile.name} are on chain {profile.chain_id}. "
            "Correct RPC_URL or STAKE_NETWORK."
        )


def quantity(value: object) -> int:
    """A number as JSON-RPC writes it (`0x1a`). Raises `ChainUnknown` for anything else."""
    try:
        return number_in(value)
    except ValueError as exc:
        raise ChainUnknown(
            "The chain's server answers something that is not a number. Name another one in RPC_URL."
        ) from exc


def hex_of(data: bytes) -> str:
    """Bytes as JSON-RPC writes them."""
    return "0x" + data.hex()


def coins_in_words(wei: int) -> str:
    """An amount of the chain's own coin, exact: every chain like Ethereum counts it in 10^-18."""
    whole, rest = divmod(wei, 10**18)
    decimals = f"{rest:018}".rstrip("0")
    return f"{whole}.{decimals} coins" if decimals else f"{whole} coins"


async def _estimated(rpc: MakesCalls, profile: Profile, sender: Address, contract_call: ContractCall) -> int:
    """With a margin. The contract is asked first: servers tell an estimate's revert in many ways, a call's in one."""
    asked: dict[str, object] = {"from": sender, "to": contract_call.to, "data": hex_of(contract_call.data)}
    try:
        await call(rpc, "eth_call", [asked, "latest"])
        gas = quantity(await call(rpc, "eth_estimateGas", [asked])) * GAS_MARGIN_PERCENT // 100
    except RpcError as exc:
        raise TransactionRefused(_refusal(exc, profile)) from exc
    if gas > MAX_GAS:
        raise ChainUnknown(f"The chain's server says that this takes {gas} gas, which is impossible. Name another one.")
    return gas


def _refusal(exc: RpcError, profile: Profile) -> str:
    return words_of_revert(exc.data, profile) if exc.data else f"The chain's server refuses it: {exc.message}"


async def _fees(rpc: MakesCalls) -> tuple[int, int | None]:
    """The most to pay for a unit of gas, and how much of it beyond the base fee; None without a base fee."""
    base = _members(await _required(rpc, "eth_getBlockByNumber", ["latest", False])).get("baseFeePerGas")
    if base is None:
        return quantity(await _required(rpc, "eth_gasPrice", [])), None
    try:
        tip = quantity(await call(rpc, "eth_maxPriorityFeePerGas", []))
    except RpcError:
        tip = USUAL_TIP_WEI
    return BASE_FEES * quantity(base) + tip, tip


async def _required(rpc: MakesCalls, method: str, params: list[object]) -> object:
    """A call that no contract can refuse."""
    try:
        return await call(rpc, method, params)
    except RpcError as exc:
        raise ChainUnknown(f"The chain's server does not answer {method}: {exc.message}") from exc


async def _quietly(rpc: MakesCalls, method: str, params: list[object]) -> object:
    """None where there is no answer."""
    try:
        return await call(rpc, method, params)
    except (RpcError, ChainUnknown):
        return None


def _members(found: object) -> dict[str, object]:
    """Those of a JSON object; none of anything else."""
    return cast("dict[str, object]", found) if isinstance(found, dict) else {}


async def _is_known(rpc: MakesCalls, sent_hash: str) -> bool:
    return bool(_members(await _quietly(rpc, "eth_getTransactionByHash", [sent_hash])))


async def _is_gone(rpc: MakesCalls, sender: Address, draft: Draft, sent_hash: str) -> bool:
    """Has another transaction its number?"""
    if await _is_known(rpc, sent_hash):
        return False
    count = await _quietly(rpc, "eth_getTransactionCount", [sender, "latest"])
    try:
        return count is not None and quantity(count) > draft.nonce
    except ChainUnknown:
        return False


async def _why_so_long(rpc: MakesCalls, sent_hash: str) -> str:
    if await _is_known(rpc, sent_hash):
        return (
            f"Transaction {sent_hash} is not in a block after {WAIT_S:.0f} s. It may still be: look it up, or speed it "
            "up in your wallet, before you send another."
        )
    return (
        f"Transaction {sent_hash} is not known to the chain's server after {WAIT_S:.0f} s: it was dropped, or the "
        "server does not answer. Look it up before you send another."
    )


class _Fields(msgspec.Struct):
    """What is used of a receipt."""

    transactionHash: str  # noqa: N815 - as it is on the wire
    blockNumber: str  # noqa: N815
    gasUsed: str = "0x0"  # noqa: N815
    effectiveGasPrice: str = "0x0"  # noqa: N815
    status: str = "0x1"  # chains before Byzantium had none


class _Done(msgspec.Struct, frozen=True):
    receipt: Receipt
    is_good: bool


def _read_receipt(found: object, sent_hash: str) -> _Done:
    try:
        fields = msgspec.convert(found, _Fields)
    except msgspec.ValidationError as exc:
        raise ChainUnknown(f"The chain's server gives no receipt for {sent_hash} that reads: {exc}.") from exc
    if fields.transactionHash.lower() != sent_hash:
        raise ChainUnknown(f"The chain's server gives the receipt of another transaction than {sent_hash}.")
    used = quantity(fields.gasUsed)
    receipt = Receipt(sent_hash, quantity(fields.blockNumber), used, used * quantity(fields.effectiveGasPrice))
    return _Done(receipt, quantity(fields.status) == 1)


async def _judged(rpc: MakesCalls, profile: Profile, sender: Address, draft: Draft, done: _Done) -> Receipt:
    """The receipt; of one that failed, the reason: the same call is made again upon the state after its block."""
    if done.is_good:
        return done.receipt
    asked: dict[str, object] = {"from": sender, "to": draft.to, "data": hex_of(draft.data), "gas": hex(draft.gas)}
    why = "the contract does not say why; more gas may be needed."
    try:
        await call(rpc, "eth_call", [asked, hex(done.receipt.block)])
    except RpcError as exc:
        why = _refusal(exc, profile)
    except ChainUnknown:
        pass
    raise TransactionFailed(f"Transaction {done.receipt.hash} failed in block {done.receipt.block}: {why}")
