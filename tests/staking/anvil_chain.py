"""A real chain for tests: a fresh anvil for each test (0.1 s), web3 to look at it, and the contracts to put on it.

    from tests.staking.anvil_chain import chain  # noqa: F401 - a fixture

    def test_something(chain: AnvilChain) -> None:
        token, staking = chain.deploy_both()
        chain.stake(staking, owner, chain.minimum_wei)

Without anvil such a test is skipped, and says how to get it; where MASA_REAL_REQUIRED is set, it fails.
"""

import contextlib
import functools
import json
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, TypeAlias, cast

import pytest
import requests
import vyper
from anyio.from_thread import start_blocking_portal
from eth_account import Account
from eth_account.signers.local import LocalAccount
from web3 import HTTPProvider, Web3
from web3.contract import Contract
from web3.logs import DISCARD
from web3.types import TxReceipt

from masa_node.chat.errors import ConfigurationError
from masa_node.devnet.anvil import DEV_CHAIN_ID, Anvil, find_anvil
from masa_node.staking.contract.artifacts import artifact
from tests.lacking import lacking

PROJECT = Path(__file__).resolve().parents[2]
INSTALLED = PROJECT / ".cache" / "anvil"  # by tools/get_anvil.sh
TEST_CONTRACTS = Path(__file__).resolve().parent / "contracts"

MASA = 10**18
MINIMUM_WEI = 1000 * MASA
DAY_S = 86_400
_RPC_TIMEOUT_S = 10.0

Json: TypeAlias = Any
Call: TypeAlias = Any  # what web3 makes of `contract.functions.name(...)`

# With all of these given web3 asks the chain for none of them, which would be five requests a transaction.
_NO_QUESTIONS = {"from": "0x" + 40 * "0", "nonce": 0, "chainId": 0, "gas": 0, "gasPrice": 0, "value": 0}


class AnvilChain:
    """One running chain. Addresses are checksummed texts. Anybody can send transactions: anvil needs no signature."""

    minimum_wei = MINIMUM_WEI

    def __init__(self, url: str, session: requests.Session) -> None:
        self.url = url
        self.web3 = Web3(HTTPProvider(url, request_kwargs={"timeout": _RPC_TIMEOUT_S}, session=session))
        self.rpc("anvil_autoImpersonateAccount", True)  # noqa: FBT003 - JSON-RPC has no names
        self.accounts: list[str] = list(self.web3.eth.accounts)
        self.deployer = self.accounts[0]

    def rpc(self, method: str, *params: object) -> Json:
        """The result of any JSON-RPC method; anvil has many of its own. Raises `AssertionError` for an error."""
        answer = self.answer(method, *params)
        assert "error" not in answer, answer
        return answer["result"]

    def answer(self, method: str, *params: object) -> Json:
        """The same as it came, with `result` or `error`."""
        return self.web3.provider.make_request(method, list(params))  # type: ignore[arg-type]

    # ---- contracts ----

    def deploy(self, abi: Json, bytecode: bytes | str, *arguments: object) -> Contract:
        """The contract on the chain, with `.functions` and `.events`."""
        made = self.web3.eth.contract(abi=abi, bytecode=bytecode)
        receipt = self.transact(made.constructor(*arguments), self.deployer)
        return cast("Contract", self.web3.eth.contract(address=receipt["contractAddress"], abi=abi))

    def deploy_source(self, name: str, *arguments: object) -> Contract:
        """One of tests/staking/contracts/."""
        compiled = _compiled(name)
        return self.deploy(compiled["abi"], compiled["bytecode"], *arguments)

    def deploy_token(self, supply_wei: int = 1_000_000 * MASA) -> Contract:
        """All of the supply is the deployer's."""
        made = artifact("token")
        return self.deploy(json.loads(bytes(made.abi)), made.bytecode, "Masa", "MASA", supply_wei)

    def deploy_staking(self, token: str, minimum_wei: int = MINIMUM_WEI, unbonding_s: int = DAY_S) -> Contract:
        """Our staking contract."""
        made = artifact("staking")
        return self.deploy(json.loads(bytes(made.abi)), made.bytecode, token, minimum_wei, unbonding_s)

    def deploy_both(self) -> tuple[Contract, Contract]:
        """The token and our staking contract."""
        token = self.deploy_token()
        return token, self.deploy_staking(token.address)

    # ---- transactions ----

    def transact(self, call: Call, sender: str) -> TxReceipt:
        """Carry out `contract.functions.name(...)` for the sender. Raises web3's errors when it reverts."""
        built = call.build_transaction(_NO_QUESTIONS)
        sent: Json = {"from": sender, "data": built["data"]}
        if built["to"]:  # nothing, where a contract is made
            sent["to"] = built["to"]
        sent["gas"] = hex(self.web3.eth.estimate_gas(sent) * 2)  # asked first, as a node mines what reverts, too
        sent_hash = self.rpc("eth_sendTransaction", sent)
        return self.web3.eth.wait_for_transaction_receipt(sent_hash, timeout=_RPC_TIMEOUT_S, poll_latency=0.01)

    def call(self, contract: Contract, name: str, *arguments: object) -> Json:
        """What a view answers now."""
        return contract.get_function_by_name(name)(*arguments).call()

    def events(self, contract: Contract, receipt: TxReceipt) -> list[tuple[str, dict[str, object]]]:
        """Name and arguments of what this contract told in a transaction, in order."""
        told: list[Json] = [
            each
            for event in cast("list[Json]", contract.events)
            for each in event().process_receipt(receipt, errors=DISCARD)
            if each["address"] == contract.address
        ]
        return [(each["event"], dict(each["args"])) for each in sorted(told, key=lambda each: each["logIndex"])]

    def new_account(self, ether: int = 10) -> LocalAccount:
        """A fresh account with a key of its own."""
        account: LocalAccount = Account.create()
        self.rpc("anvil_setBalance", account.address, hex(ether * 10**18))
        return account

    def give_tokens(self, token: Contract, owner: str, amount_wei: int) -> None:
        """From the deployer's."""
        self.transact(token.functions.transfer(owner, amount_wei), self.deployer)

    def stake(self, staking: Contract, owner: str, amount_wei: int = MINIMUM_WEI) -> TxReceipt:
        """Give the owner the tokens, approve them and stake them; ours and the Masa-shaped contract alike."""
        abi = json.loads(bytes(artifact("token").abi))
        token = cast("Contract", self.web3.eth.contract(address=self.call(staking, "masaToken"), abi=abi))
        self.give_tokens(token, owner, amount_wei)
        self.transact(token.functions.approve(staking.address, amount_wei), owner)
        return self.transact(staking.functions.stake(amount_wei), owner)

    # ---- time ----

    def advance(self, seconds: int) -> None:
        """Let time pass on the chain, and mine a block then."""
        self.rpc("evm_increaseTime", seconds)
        self.rpc("evm_mine")

    def head(self) -> tuple[int, int]:
        """Number and timestamp of the latest block."""
        block: Json = self.web3.eth.get_block("latest")
        return block["number"], block["timestamp"]


@pytest.fixture
def chain() -> Iterator[AnvilChain]:
    """A chain of this test's own, with blocks only where there are transactions."""
    with running_chain() as running:
        yield running


@pytest.fixture(scope="session")
def anvil_program() -> Path:
    """Where anvil is; skips the test where it is nowhere."""
    return program()


@contextlib.contextmanager
def running_chain(chain_id: int = DEV_CHAIN_ID, block_time_s: int | None = None) -> Generator[AnvilChain]:
    """The same with a choice."""
    with anvil_url(Anvil(program(), chain_id, block_time_s)) as url, requests.Session() as session:
        session.trust_env = False  # no proxy is on the way to loopback
        yield AnvilChain(url, session)


@contextlib.contextmanager
def anvil_url(anvil: Anvil) -> Generator[str]:
    """Keep it running in a thread, as its output has to be read also while a test awaits nothing."""
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(anvil) as running:
        yield running.url


def program() -> Path:
    """Where anvil is. Skips the test where it is nowhere, or fails it where all tests are required."""
    try:
        return find_anvil(os.environ, INSTALLED)
    except ConfigurationError as exc:
        lacking(f"{exc.message} In this project `make test` does, or tools/get_anvil.sh .cache/anvil")


@functools.cache
def _compiled(name: str) -> Json:
    text = (TEST_CONTRACTS / f"{name}.vy").read_text("utf-8")
    return vyper.compile_code(text, output_formats=["abi", "bytecode"])
