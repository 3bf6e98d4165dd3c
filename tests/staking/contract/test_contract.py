"""The staking contract on a real chain: what it lets its owners do, and that it lets nobody do anything else.

Covers: `artifacts`.
"""

from collections.abc import Callable
from typing import Any

import pytest
from eth_abi.abi import decode
from web3.contract import Contract
from web3.exceptions import ContractCustomError, Web3Exception
from web3.types import TxReceipt

from masa_node.staking.ethereum.abi import call_data, selector
from masa_node.staking.ethereum.crypto import parse_address
from tests.staking.anvil_chain import DAY_S, MASA, MINIMUM_WEI, AnvilChain, Json

UNBONDING_S = 2 * DAY_S
NOTHING = (0, 0)


class Staking:
    """A chain with the token, the contract and an owner who has 10 000 MASA and approved all of them."""

    def __init__(self, chain: AnvilChain) -> None:
        self.chain = chain
        self.token = chain.deploy_token()
        self.contract = chain.deploy_staking(self.token.address, unbonding_s=UNBONDING_S)
        self.owner, self.other = chain.accounts[1], chain.accounts[2]
        for each in (self.owner, self.other):
            chain.give_tokens(self.token, each, 10_000 * MASA)
            chain.transact(self.token.functions.approve(self.contract.address, 10_000 * MASA), each)

    def do(self, name: str, *arguments: object, by: str | None = None) -> TxReceipt:
        return self.chain.transact(self.contract.get_function_by_name(name)(*arguments), by or self.owner)

    def ask(self, name: str, *arguments: object) -> Json:
        answer = self.chain.call(self.contract, name, *arguments)
        return tuple(answer) if isinstance(answer, list) else answer

    def balance(self, of: str) -> int:
        balance: int = self.chain.call(self.token, "balanceOf", of)
        return balance


@pytest.fixture
def staking(chain: AnvilChain) -> Staking:
    return Staking(chain)


# ---- how it is made ----


def test_it_says_what_it_was_made_with(staking: Staking) -> None:
    assert staking.ask("masaToken") == staking.token.address
    assert staking.ask("minimumStake") == MINIMUM_WEI
    assert staking.ask("unbondingPeriod") == UNBONDING_S


@pytest.mark.parametrize("period_s", [0, 1, DAY_S - 1])
def test_no_unbonding_period_is_shorter_than_a_day(chain: AnvilChain, period_s: int) -> None:
    token = chain.deploy_token()
    _refused(
        "UnbondingTooShort(uint256,uint256)",
        lambda: chain.deploy_staking(token.address, unbonding_s=period_s),
        period_s,
        DAY_S,
    )


@pytest.mark.parametrize("period_s", [365 * DAY_S + 1, 2**256 - 1])
def test_no_unbonding_period_is_longer_than_a_year(chain: AnvilChain, period_s: int) -> None:
    token = chain.deploy_token()
    _refused(
        "UnbondingTooLong(uint256,uint256)",
        lambda: chain.deploy_staking(token.address, unbonding_s=period_s),
        period_s,
        365 * DAY_S,
    )


def test_a_minimum_of_nothing_is_none(chain: AnvilChain) -> None:
    token = chain.deploy_token()
    _refused("NothingToDo()", lambda: chain.deploy_staking(token.address, minimum_wei=0))


def test_a_day_is_long_enough(chain: AnvilChain) -> None:
    assert chain.call(chain.deploy_staking(chain.deploy_token().address, unbonding_s=DAY_S), "unbondingPeriod") == DAY_S


# ---- staking ----


def test_a_stake_moves_the_tokens_and_is_told(staking: Staking) -> None:
    receipt = staking.do("stake", MINIMUM_WEI)
    assert staking.ask("stakes", staking.owner) == MINIMUM_WEI
    assert staking.balance(staking.contract.address) == MINIMUM_WEI
    assert staking.balance(staking.owner) == 9_000 * MASA
    assert staking.chain.events(staking.contract, receipt) == [
        ("Staked", {"owner": staking.owner, "amount": MINIMUM_WEI})
    ]


def test_stakes_add_up_and_each_owner_has_his_own(staking: Staking) -> None:
    staking.do("stake", MINIMUM_WEI)
    staking.do("stake", 2 * MINIMUM_WEI)
    staking.do("stake", MINIMUM_WEI + 1, by=staking.other)
    assert staking.ask("stakes", staking.owner) == 3 * MINIMUM_WEI
    assert staking.ask("stakes", staking.other) == MINIMUM_WEI + 1


def test_the_minimum_holds_for_each_call_not_for_the_sum(staking: Staking) -> None:
    for _ in range(2):
        _refused(
            "BelowMinimum(uint256,uint256)",
            lambda: staking.do("stake", MINIMUM_WEI - 1),
            MINIMUM_WEI - 1,
            MINIMUM_WEI,
        )
        staking.do("stake", MINIMUM_WEI)


@pytest.mark.parametrize("name", ["stake", "unbond", "withdraw"])
def test_nothing_is_no_amount(staking: Staking, name: str) -> None:
    staking.do("stake", MINIMUM_WEI)
    _refused("NothingToDo()", lambda: staking.do(name, 0))


def test_nobody_stakes_what_he_does_not_have_or_did_not_approve(staking: Staking) -> None:
    with pytest.raises(Web3Exception, match="allowance is too low"):
        staking.do("stake", 20_000 * MASA)
    staking.chain.transact(staking.token.functions.approve(staking.contract.address, 20_000 * MASA), staking.owner)
    with pytest.raises(Web3Exception, match="balance is too low"):
        staking.do("stake", 20_000 * MASA)
    assert staking.ask("stakes", staking.owner) == 0


# ---- unbonding and withdrawing ----


def test_what_is_unbonding_no_longer_counts_as_stake(staking: Staking) -> None:
    staking.do("stake", 3 * MINIMUM_WEI)
    receipt = staking.do("unbond", MINIMUM_WEI)
    until = _timestamp(staking.chain, receipt) + UNBONDING_S
    assert staking.ask("stakes", staking.owner) == 2 * MINIMUM_WEI
    assert staking.ask("unbonding", staking.owner) == (MINIMUM_WEI, until)
    assert staking.chain.events(staking.contract, receipt) == [
        ("Unbonding", {"owner": staking.owner, "amount": MINIMUM_WEI, "until": until})
    ]
    assert staking.balance(staking.owner) == 7_000 * MASA


def test_another_unbonding_adds_to_the_amount_and_waits_again(staking: Staking) -> None:
    staking.do("stake", 3 * MINIMUM_WEI)
    staking.do("unbond", MINIMUM_WEI)
    staking.chain.advance(UNBONDING_S - 10)
    until = _timestamp(staking.chain, staking.do("unbond", 5)) + UNBONDING_S
    assert staking.ask("unbonding", staking.owner) == (MINIMUM_WEI + 5, until)
    staking.chain.advance(60)
    _refused("StillUnbonding(uint256)", lambda: staking.do("withdraw", MINIMUM_WEI), until)


def test_nobody_unbonds_more_than_he_staked(staking: Staking) -> None:
    staking.do("stake", MINIMUM_WEI, by=staking.other)
    _refused("NotEnoughStaked(uint256,uint256)", lambda: staking.do("unbond", 1), 1, 0)
    staking.do("stake", MINIMUM_WEI)
    staking.do("unbond", 1)
    _refused(
        "NotEnoughStaked(uint256,uint256)", lambda: staking.do("unbond", MINIMUM_WEI), MINIMUM_WEI, MINIMUM_WEI - 1
    )


def test_nothing_is_withdrawn_before_its_time_and_all_of_it_then(staking: Staking) -> None:
    staking.do("stake", MINIMUM_WEI)
    until = _timestamp(staking.chain, staking.do("unbond", MINIMUM_WEI)) + UNBONDING_S
    _refused("StillUnbonding(uint256)", lambda: staking.do("withdraw", MINIMUM_WEI), until)

    _mine_at(staking.chain, until - 1)
    assert _withdrawing_at_the_head(staking) == "0x" + call_data("StillUnbonding(uint256)", until).hex()
    _mine_at(staking.chain, until)
    assert _withdrawing_at_the_head(staking) == "0x"

    receipt = staking.do("withdraw", MINIMUM_WEI)
    assert staking.chain.events(staking.contract, receipt) == [
        ("Withdrawn", {"owner": staking.owner, "amount": MINIMUM_WEI})
    ]
    assert staking.balance(staking.owner) == 10_000 * MASA
    assert staking.ask("unbonding", staking.owner) == NOTHING


def test_it_can_be_withdrawn_in_parts(staking: Staking) -> None:
    staking.do("stake", MINIMUM_WEI)
    until = _timestamp(staking.chain, staking.do("unbond", MINIMUM_WEI)) + UNBONDING_S
    staking.chain.advance(UNBONDING_S)
    staking.do("withdraw", MINIMUM_WEI - 7)
    assert staking.ask("unbonding", staking.owner) == (7, until)
    _refused("NotEnoughUnbonded(uint256,uint256)", lambda: staking.do("withdraw", 8), 8, 7)
    staking.do("withdraw", 7)
    assert staking.balance(staking.owner) == 10_000 * MASA


def test_a_stake_that_is_not_unbonding_stays_where_it_is(staking: Staking) -> None:
    staking.do("stake", MINIMUM_WEI)
    staking.chain.advance(10 * UNBONDING_S)
    _refused("NotEnoughUnbonded(uint256,uint256)", lambda: staking.do("withdraw", 1), 1, 0)


def test_what_others_are_unbonding_is_theirs(staking: Staking) -> None:
    staking.do("stake", MINIMUM_WEI, by=staking.other)
    staking.do("unbond", MINIMUM_WEI, by=staking.other)
    staking.chain.advance(UNBONDING_S)
    _refused("NotEnoughUnbonded(uint256,uint256)", lambda: staking.do("withdraw", 1), 1, 0)
    staking.do("withdraw", MINIMUM_WEI, by=staking.other)


# ---- delegations ----


def test_an_owner_ends_his_own_delegations_and_nobody_elses(staking: Staking) -> None:
    assert staking.ask("delegationEpoch", staking.owner) == 0
    receipt = staking.do("revokeDelegations")
    assert staking.chain.events(staking.contract, receipt) == [
        ("DelegationsRevoked", {"owner": staking.owner, "epoch": 1})
    ]
    staking.do("revokeDelegations")
    assert staking.ask("delegationEpoch", staking.owner) == 2
    assert staking.ask("delegationEpoch", staking.other) == 0


# ---- standing ----


def test_standing_is_what_the_single_views_say_and_the_head(staking: Staking) -> None:
    staking.do("stake", 3 * MINIMUM_WEI)
    staking.do("unbond", 5)
    staking.do("revokeDelegations")
    number, at = staking.chain.head()
    assert staking.ask("standing", staking.owner) == (3 * MINIMUM_WEI - 5, MINIMUM_WEI, 1, number, at)
    staking.chain.advance(100)
    number, at = staking.chain.head()
    assert staking.ask("standing", staking.other) == (0, MINIMUM_WEI, 0, number, at)


def test_standing_is_five_words(staking: Staking) -> None:
    data = "0x" + call_data("standing(address)", parse_address(staking.owner)).hex()
    answer = staking.chain.rpc("eth_call", {"to": staking.contract.address, "data": data}, "latest")
    assert len(bytes.fromhex(answer[2:])) == 5 * 32


# ---- tokens that are not as they should be ----


def test_a_token_that_returns_nothing_can_be_staked(chain: AnvilChain) -> None:
    token = chain.deploy_source("silent_token")
    contract, owner = chain.deploy_staking(token.address), chain.accounts[1]
    chain.transact(token.functions.mint(owner, MINIMUM_WEI), owner)
    chain.transact(contract.functions.stake(MINIMUM_WEI), owner)
    chain.transact(contract.functions.unbond(MINIMUM_WEI), owner)
    chain.advance(DAY_S)
    chain.transact(contract.functions.withdraw(MINIMUM_WEI), owner)
    assert chain.call(token, "balanceOf", owner) == MINIMUM_WEI


REFUSES, TAKES_A_FEE, CALLS_BACK = 1, 2, 3


@pytest.mark.parametrize("oddity", [REFUSES, TAKES_A_FEE])
def test_a_stake_counts_only_when_all_of_it_came(chain: AnvilChain, oddity: int) -> None:
    token, contract, owner = _with_odd_token(chain)
    chain.transact(token.functions.be(oddity, b""), owner)
    _refused("TransferFailed()", lambda: chain.transact(contract.functions.stake(MINIMUM_WEI), owner))
    assert chain.call(contract, "stakes", owner) == 0


def test_a_withdrawal_that_the_token_refuses_changes_nothing(chain: AnvilChain) -> None:
    token, contract, owner = _with_odd_token(chain)
    chain.transact(contract.functions.stake(MINIMUM_WEI), owner)
    chain.transact(contract.functions.unbond(MINIMUM_WEI), owner)
    chain.advance(DAY_S)
    chain.transact(token.functions.be(REFUSES, b""), owner)
    _refused("TransferFailed()", lambda: chain.transact(contract.functions.withdraw(MINIMUM_WEI), owner))
    assert chain.call(contract, "unbonding", owner)[0] == MINIMUM_WEI


BACK_INTO = {
    "stake": call_data("stake(uint256)", MINIMUM_WEI),
    "unbond": call_data("unbond(uint256)", 1),
    "withdraw": call_data("withdraw(uint256)", 1),
}


@pytest.mark.parametrize("into", BACK_INTO)
@pytest.mark.parametrize("during", ["stake", "withdraw"])
def test_a_hostile_token_cannot_come_back_in_while_it_is_called(chain: AnvilChain, during: str, into: str) -> None:
    token, contract, owner = _with_odd_token(chain)
    _stakes_and_unbonds_as(chain, token, contract)  # so that each call back would succeed, were it let in
    chain.transact(contract.functions.stake(2 * MINIMUM_WEI), owner)
    chain.transact(contract.functions.unbond(MINIMUM_WEI), owner)
    chain.advance(DAY_S)
    before = _book(chain, contract, token, owner)

    chain.transact(token.functions.be(CALLS_BACK, BACK_INTO[into]), owner)
    with pytest.raises(Web3Exception):
        chain.transact(contract.get_function_by_name(during)(MINIMUM_WEI), owner)
    assert _book(chain, contract, token, owner) == before

    harmless = call_data("standing(address)", parse_address(owner))
    chain.transact(token.functions.be(CALLS_BACK, harmless), owner)
    chain.transact(contract.get_function_by_name(during)(MINIMUM_WEI), owner)
    assert _book(chain, contract, token, owner) != before


def test_the_contract_takes_no_ether(staking: Staking) -> None:
    for data in ("0x", "0x" + selector("revokeDelegations()").hex()):
        sent = {"from": staking.owner, "to": staking.contract.address, "value": "0x1", "data": data}
        assert "revert" in staking.chain.answer("eth_estimateGas", sent)["error"]["message"]


# ---- what the tests above say ----


def _refused(error: str, call: Callable[[], object], *told: int) -> None:
    """It reverts with this custom error and these figures."""
    with pytest.raises(ContractCustomError) as refusal:
        call()
    data = bytes.fromhex(str(refusal.value.data)[2:])
    assert data[:4] == selector(error)
    assert decode(["uint256"] * len(told), data[4:]) == told
    assert len(data) == 4 + 32 * len(told)


def _mine_at(chain: AnvilChain, at_unix_s: int) -> None:
    chain.rpc("evm_setNextBlockTimestamp", at_unix_s)
    chain.rpc("evm_mine")


def _withdrawing_at_the_head(staking: Staking) -> str:
    """What a withdrawal of the minimum answers in the latest block, or reverts with."""
    data = "0x" + call_data("withdraw(uint256)", MINIMUM_WEI).hex()
    asked = {"from": staking.owner, "to": staking.contract.address, "data": data}
    answer = staking.chain.answer("eth_call", asked, "latest")
    said: str = answer["error"]["data"] if "error" in answer else answer["result"]
    return said


def _timestamp(chain: AnvilChain, receipt: TxReceipt) -> int:
    block: Any = chain.web3.eth.get_block(receipt["blockNumber"])
    timestamp: int = block["timestamp"]
    return timestamp


def _with_odd_token(chain: AnvilChain) -> tuple[Contract, Contract, str]:
    """The token, the contract, and an owner with plenty."""
    token, owner = chain.deploy_source("odd_token"), chain.accounts[1]
    chain.transact(token.functions.mint(owner, 10 * MINIMUM_WEI), owner)
    return token, chain.deploy_staking(token.address), owner


def _stakes_and_unbonds_as(chain: AnvilChain, token: Contract, contract: Contract) -> None:
    """The token itself becomes an owner with a stake and an amount that is unbonding."""
    chain.transact(token.functions.mint(token.address, 10 * MINIMUM_WEI), chain.deployer)
    for data in (call_data("stake(uint256)", 2 * MINIMUM_WEI), call_data("unbond(uint256)", MINIMUM_WEI)):
        chain.transact(token.functions.forward(contract.address, data), chain.deployer)


def _book(chain: AnvilChain, contract: Contract, token: Contract, owner: str) -> list[object]:
    """All that could be moved."""
    return [chain.call(contract, name, who) for name in ("stakes", "unbonding") for who in (owner, token.address)] + [
        chain.call(token, "balanceOf", who) for who in (owner, token.address, contract.address)
    ]
