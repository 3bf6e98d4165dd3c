"""Covers: `account`."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

import msgspec
import pytest
from eth_account import Account
from eth_utils import keccak
from hypothesis import given
from hypothesis import strategies as st
from web3.contract import Contract

from masa_node.chat.errors import ChainUnknown, MasaError
from masa_node.node.chain_http import ChainHttp
from masa_node.staking.contract.account import read_account, read_terms
from masa_node.staking.contract.profile import Profile, Shape
from masa_node.staking.contract.transactions import (
    LOOK_MOST_S,
    WAIT_S,
    ContractCall,
    Draft,
    Receipt,
    TransactionFailed,
    TransactionLost,
    TransactionRefused,
    coins_in_words,
    prepare,
    quantity,
    send,
    wait_for_receipt,
)
from masa_node.staking.contract.wallet import Wallet
from masa_node.staking.ethereum.abi import Argument, call_data
from masa_node.staking.ethereum.crypto import Address, parse_address
from masa_node.staking.ethereum.json_rpc import RpcCall, RpcError, RpcReply
from masa_node.staking.ethereum.rpc import Rpc
from masa_node.upstreams.http.client import HttpClient
from tests.staking.anvil_chain import MASA, MINIMUM_WEI, AnvilChain
from tests.virtual_time import now_s, virtual_time

CONTRACT = parse_address("0x" + "c0" * 20)
SENDER = parse_address("0x" + "5e" * 20)
PROFILE = Profile("local", 31337, ("http://127.0.0.1:1",), CONTRACT)
CONTRACT_CALL = ContractCall(CONTRACT, call_data("stake(uint256)", MINIMUM_WEI), "stake")
DRAFT = Draft(CONTRACT, CONTRACT_CALL.data, 0, 60_000, 30, 1, 7, 31337)
HASH = "0x" + "ab" * 32
RECEIPT = {
    "transactionHash": HASH,
    "blockNumber": "0x10",
    "gasUsed": "0x5208",
    "effectiveGasPrice": "0x3",
    "status": "0x1",
}
BELOW = call_data("BelowMinimum(uint256,uint256)", 5 * MASA, 1000 * MASA)
GOOD: dict[str, Any] = {
    "eth_chainId": "0x7a69",
    "eth_call": "0x",
    "eth_estimateGas": hex(50_000),
    "eth_getBlockByNumber": {"baseFeePerGas": "0xa"},
    "eth_maxPriorityFeePerGas": "0x2",
    "eth_gasPrice": "0x9",
    "eth_getTransactionCount": "0x7",
    "eth_getBalance": hex(10**18),
    "eth_sendRawTransaction": HASH,
    "eth_getTransactionReceipt": RECEIPT,
    "eth_getTransactionByHash": {"hash": HASH},
}


class Server:
    """Answers each method with a value, an error that it raises, or the next of a tuple, whose last one stays."""

    def __init__(self, **answers: object) -> None:
        self.answers: dict[str, Any] = {**GOOD, **answers}
        self.asked: list[RpcCall] = []

    async def batch(self, calls: Sequence[RpcCall]) -> tuple[RpcReply, ...]:
        return tuple([await self._reply(call) for call in calls])

    async def _reply(self, call: RpcCall) -> RpcReply:
        self.asked.append(call)
        await asyncio.sleep(0)
        answer = self.answers[call.method]
        if isinstance(answer, tuple):
            self.answers[call.method] = answer[1:] or answer
            answer = answer[0]
        if isinstance(answer, ChainUnknown):
            raise answer
        return answer if isinstance(answer, RpcError) else msgspec.Raw(json.dumps(answer).encode())

    def count(self, method: str) -> int:
        return sum(call.method == method for call in self.asked)


async def prepared(**answers: object) -> Draft:
    return await prepare(Server(**answers), PROFILE, SENDER, CONTRACT_CALL)


async def waited(server: Server) -> Receipt:
    return await wait_for_receipt(server, PROFILE, SENDER, DRAFT, HASH)


async def why(work: Awaitable[object], kind: type[MasaError]) -> str:
    with pytest.raises(kind) as caught:
        await work
    return caught.value.message


# ---- made ready ----


async def test_a_draft_holds_six_blocks_of_rising_fees_and_a_margin_of_gas() -> None:
    assert await prepared() == Draft(CONTRACT, CONTRACT_CALL.data, 0, 62_500, 22, 2, 7, 31337)


async def test_a_chain_without_a_base_fee_gets_a_gas_price() -> None:
    draft = await prepared(eth_getBlockByNumber={})
    assert (draft.max_fee, draft.priority_fee) == (9, None)


async def test_a_server_that_knows_no_tip_gets_the_usual_one() -> None:
    draft = await prepared(eth_maxPriorityFeePerGas=RpcError("no such method", -32601))
    assert draft.priority_fee == 1_000_000_000


async def test_what_the_contract_refuses_is_told_in_words_before_it_is_paid_for() -> None:
    for method in ("eth_call", "eth_estimateGas"):
        said = await why(prepared(**{method: RpcError("execution reverted", 3, BELOW)}), TransactionRefused)
        assert "1000 MASA at least, 5 given" in said


async def test_a_refusal_without_data_has_the_server_s_words() -> None:
    assert "out of luck" in await why(prepared(eth_call=RpcError("out of luck", -32000)), TransactionRefused)


async def test_a_fee_that_cannot_be_paid_is_told() -> None:
    assert await prepared(eth_getBalance=hex(62_500 * 22))
    assert "cannot pay" in await why(prepared(eth_getBalance=hex(62_500 * 22 - 1)), TransactionRefused)


async def test_another_chain_is_told_before_anything_else_is_asked() -> None:
    server = Server(eth_chainId="0x1")
    assert "chain 1" in await why(prepare(server, PROFILE, SENDER, CONTRACT_CALL), ChainUnknown)
    assert [call.method for call in server.asked] == ["eth_chainId"]


@pytest.mark.parametrize(
    "method", [m for m in GOOD if m in ("eth_chainId", "eth_getTransactionCount", "eth_getBalance")]
)
async def test_a_server_s_error_where_none_can_be_leaves_it_unknown(method: str) -> None:
    assert method in await why(prepared(**{method: RpcError("broken", -32603)}), ChainUnknown)


async def test_absurd_gas_is_not_signed_for() -> None:
    await why(prepared(eth_estimateGas=hex(30_000_000)), ChainUnknown)


# ---- sent ----


async def test_what_is_sent_is_known_by_its_own_hash_and_not_by_the_server_s() -> None:
    raw = bytes(
        Account.create()
        .sign_transaction({"to": SENDER, "gas": 1, "gasPrice": 1, "nonce": 0, "value": 0, "chainId": 1})
        .raw_transaction
    )
    assert await send(Server(eth_sendRawTransaction="0x00"), raw) == "0x" + keccak(raw).hex()


async def test_a_transaction_that_the_server_has_already_is_sent() -> None:
    assert await send(Server(eth_sendRawTransaction=RpcError("already known", -32000)), b"raw")


async def test_a_transaction_that_is_not_taken_is_refused() -> None:
    server = Server(eth_sendRawTransaction=RpcError("nonce too low", -32000), eth_getTransactionByHash=None)
    assert "nonce too low" in await why(send(server, b"raw"), TransactionRefused)


async def test_silence_after_sending_is_no_refusal() -> None:
    silent = ChainUnknown("it hangs.")
    assert await send(Server(eth_sendRawTransaction=silent), b"raw")
    server = Server(eth_sendRawTransaction=silent, eth_getTransactionByHash=silent)
    assert "not known whether" in await why(send(server, b"raw"), TransactionLost)


# ---- waited for ----


@virtual_time
async def test_receipts_that_are_not_there_yet_are_waited_for() -> None:
    pending = {**RECEIPT, "blockNumber": None}
    server = Server(eth_getTransactionReceipt=(None, pending, ChainUnknown("gone"), RpcError("busy"), RECEIPT))
    assert await waited(server) == Receipt(HASH, 16, 21_000, 63_000)


@virtual_time
async def test_waiting_asks_less_and_less_often_and_ends() -> None:
    server = Server(eth_getTransactionReceipt=None)
    assert "is not in a block" in await why(waited(server), TransactionLost)
    assert WAIT_S <= now_s() <= WAIT_S + LOOK_MOST_S
    assert server.count("eth_getTransactionReceipt") < WAIT_S / LOOK_MOST_S + 10


@virtual_time
async def test_a_dropped_transaction_is_told() -> None:
    server = Server(eth_getTransactionReceipt=None, eth_getTransactionByHash=None)
    assert "dropped" in await why(waited(server), TransactionLost)


@virtual_time
async def test_a_replaced_transaction_is_told_at_once_but_not_on_one_server_s_word() -> None:
    gone: dict[str, Any] = {"eth_getTransactionByHash": None, "eth_getTransactionCount": "0x8"}
    server = Server(eth_getTransactionReceipt=None, **gone)
    assert "was replaced by another one" in await why(waited(server), TransactionLost)
    assert now_s() < 10
    late = Server(eth_getTransactionReceipt=(*[None] * 4, RECEIPT), **gone)
    assert (await waited(late)).block == 16


async def test_a_failed_transaction_tells_the_contract_s_reason() -> None:
    failed = {**RECEIPT, "status": "0x0"}
    server = Server(eth_getTransactionReceipt=failed, eth_call=RpcError("reverted", 3, BELOW))
    assert "1000 MASA at least" in await why(waited(server), TransactionFailed)
    for silent in (ChainUnknown("gone"), "0x"):
        said = await why(waited(Server(eth_getTransactionReceipt=failed, eth_call=silent)), TransactionFailed)
        assert "more gas" in said


@pytest.mark.parametrize(
    "receipt", [{**RECEIPT, "transactionHash": "0x00"}, {"blockNumber": "0x1"}, {**RECEIPT, "gasUsed": "many"}]
)
async def test_a_receipt_that_cannot_be_is_not_believed(receipt: object) -> None:
    await why(waited(Server(eth_getTransactionReceipt=receipt)), ChainUnknown)


@pytest.mark.parametrize("work", ["prepare", "send", "wait"])
async def test_it_can_be_cancelled_at_every_await(work: str) -> None:
    def start(server: Server) -> Coroutine[Any, Any, object]:
        return {
            "prepare": lambda: prepare(server, PROFILE, SENDER, CONTRACT_CALL),
            "send": lambda: send(server, b"raw"),
            "wait": lambda: waited(server),
        }[work]()

    failed = {**RECEIPT, "status": "0x0"}
    answers: dict[str, Any] = {"eth_getTransactionReceipt": (None, failed), "eth_call": "0x"}
    if work == "send":
        answers["eth_sendRawTransaction"] = RpcError("no")
    for turns in range(1, 20):
        task = asyncio.ensure_future(start(Server(**answers)))
        for _ in range(turns):
            await asyncio.sleep(0)
        if task.done():
            break
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 2**70) | st.text(max_size=8) | st.just("0x1") | st.just(HASH),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from([*RECEIPT, "baseFeePerGas"]), inner, max_size=4)
    ),
    max_leaves=6,
)


@given(answers=st.dictionaries(st.sampled_from(list(GOOD)), json_values))
def test_whatever_a_server_answers_only_our_own_errors_come_out(answers: dict[str, Any]) -> None:
    @virtual_time
    async def attempt() -> None:
        works: list[Callable[[Server], Awaitable[object]]] = [
            lambda server: prepare(server, PROFILE, SENDER, CONTRACT_CALL),
            lambda server: send(server, b"raw"),
            waited,
            lambda server: read_account(server, PROFILE, SENDER),
        ]
        for work in works:
            with contextlib.suppress(MasaError):
                await work(Server(**answers))

    attempt()


@pytest.mark.parametrize(
    "value", [None, 1, "", "0x", "1", "0x-1", "0x1_0", "0xg", "0x" + "f" * 65, {}, True, "0X1", "0x 1"]
)
def test_only_a_number_is_a_number(value: object) -> None:
    with pytest.raises(ChainUnknown):
        quantity(value)


@given(st.integers(0, 2**256 - 1))
def test_every_number_is_read_as_it_is(number: int) -> None:
    assert quantity(hex(number)) == number


def test_coins_are_shown_exactly() -> None:
    shown = [coins_in_words(wei) for wei in (0, 1, 10**17, 10**18, 1_500_000_000_000_000_000)]
    assert shown == ["0 coins", "0.000000000000000001 coins", "0.1 coins", "1 coins", "1.5 coins"]


# ---- on a real chain, with web3 and eth-account beside ----


class OnChain:
    """Our calls upon a real chain."""

    def __init__(self, chain: AnvilChain, http: HttpClient, shape: Shape = Shape.MASA_NODE) -> None:
        self.chain = chain
        self.token = chain.deploy_token()
        self.staking: Contract = (
            chain.deploy_staking(self.token.address)
            if shape is Shape.MASA_NODE
            else chain.deploy_source("masa_shaped", self.token.address, MINIMUM_WEI)
        )
        self.account = chain.new_account()
        self.owner: Address = parse_address(self.account.address)
        self.wallet = Wallet(self.account)
        contract = parse_address(self.staking.address)
        self.profile = Profile("local", chain.web3.eth.chain_id, (chain.url,), contract, shape)
        self.rpc = Rpc(ChainHttp(http), (chain.url,))

    async def prepare(self, signature: str, *arguments: Argument, to: str = "") -> Draft:
        contract_call = ContractCall(parse_address(to or self.staking.address), call_data(signature, *arguments), "it")
        return await prepare(self.rpc, self.profile, self.owner, contract_call)

    async def send(self, draft: Draft) -> Receipt:
        sent = await send(self.rpc, self.wallet.sign_transaction(draft))
        return await wait_for_receipt(self.rpc, self.profile, self.owner, draft, sent)


async def test_a_real_stake_is_what_web3_sees(chain: AnvilChain) -> None:
    async with HttpClient() as http:
        us = OnChain(chain, http)
        chain.give_tokens(us.token, us.owner, MINIMUM_WEI)
        approve = await us.prepare("approve(address,uint256)", us.profile.contract, MINIMUM_WEI, to=us.token.address)
        await us.send(approve)
        receipt = await us.send(await us.prepare("stake(uint256)", MINIMUM_WEI))
        theirs = chain.web3.eth.get_transaction_receipt(receipt.hash)  # type: ignore[arg-type]
        assert theirs["blockNumber"] == receipt.block
        assert theirs["gasUsed"] * theirs["effectiveGasPrice"] == receipt.fee_wei
        assert theirs["from"] == us.owner
        assert theirs["type"] == 2
        account = await read_account(us.rpc, us.profile, us.owner)
        assert account.stake_wei == chain.call(us.staking, "stakes", us.owner) == MINIMUM_WEI
        assert (account.tokens_wei, account.allowance_wei, account.epoch) == (0, 0, 0)


async def test_a_gas_price_transaction_is_taken_by_a_real_chain_too(chain: AnvilChain) -> None:
    async with HttpClient() as http:
        us = OnChain(chain, http)
        draft = msgspec.structs.replace(await us.prepare("revokeDelegations()"), priority_fee=None)
        receipt = await us.send(draft)
        assert chain.web3.eth.get_transaction(receipt.hash)["type"] == 0  # type: ignore[arg-type]


async def test_every_custom_error_of_the_contract_is_told_in_words(chain: AnvilChain) -> None:
    async with HttpClient() as http:
        us = OnChain(chain, http)
        chain.stake(us.staking, us.owner)
        chain.give_tokens(us.token, us.owner, 1)
        refusals = [
            ("stake(uint256)", 5 * MASA, "1000 MASA at least, 5 given"),
            ("stake(uint256)", 0, "zero"),
            ("unbond(uint256)", 1001 * MASA, "Only 1000 MASA are staked"),
            ("withdraw(uint256)", 1, "Only 0 MASA are unbonded"),
        ]
        for signature, amount, words in refusals:
            assert words in await why(us.prepare(signature, amount), TransactionRefused)
        await us.send(await us.prepare("unbond(uint256)", MINIMUM_WEI))
        assert "still unbonding" in await why(us.prepare("withdraw(uint256)", 1), TransactionRefused)


async def test_a_transaction_that_fails_in_its_block_tells_why(chain: AnvilChain) -> None:
    async with HttpClient() as http:
        us = OnChain(chain, http)
        good = await us.prepare("revokeDelegations()")
        bad = msgspec.structs.replace(good, data=call_data("unbond(uint256)", 5 * MASA), gas=200_000)
        said = await why(us.send(bad), TransactionFailed)
        assert "Only 0 MASA are staked; 5 were to be unbonded" in said


async def test_a_transaction_replaced_in_the_wallet_is_told(chain: AnvilChain) -> None:
    async with HttpClient() as http:
        us = OnChain(chain, http)
        draft = await us.prepare("revokeDelegations()")
        chain.rpc("evm_setAutomine", False)  # noqa: FBT003 - JSON-RPC has no names
        sent = await send(us.rpc, us.wallet.sign_transaction(draft))
        fee = 10 * draft.max_fee
        dearer = msgspec.structs.replace(draft, max_fee=fee, priority_fee=fee, to=us.owner, data=b"")
        await send(us.rpc, us.wallet.sign_transaction(dearer))
        chain.rpc("evm_mine")
        work = wait_for_receipt(us.rpc, us.profile, us.owner, draft, sent)
        assert "was replaced" in await why(work, TransactionLost)


async def test_a_masa_shaped_contract_has_an_account_without_unbonding(chain: AnvilChain) -> None:
    async with HttpClient() as http:
        us = OnChain(chain, http, Shape.MASA)
        chain.stake(us.staking, us.owner)
        account = await read_account(us.rpc, us.profile, us.owner)
        assert (account.stake_wei, account.minimum_wei) == (MINIMUM_WEI, MINIMUM_WEI)
        assert (account.unbonding_wei, account.unbonding_until_unix_s, account.epoch) == (0, 0, 0)


async def test_an_address_without_a_staking_contract_is_told(chain: AnvilChain) -> None:
    async with HttpClient() as http:
        us = OnChain(chain, http)
        for address in (us.owner, parse_address(us.token.address)):
            profile = msgspec.structs.replace(us.profile, contract=address)
            assert f"At {address} on chain 31337" in await why(read_terms(us.rpc, profile), ChainUnknown)
