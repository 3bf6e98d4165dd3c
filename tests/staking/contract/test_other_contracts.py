"""The token of local chains, and the contracts that only tests have: they do what the tests take for granted.

Covers: `artifacts`.
"""

import pytest
from web3.exceptions import Web3Exception

from masa_node.staking.ethereum.abi import call_data
from masa_node.staking.ethereum.crypto import parse_address
from tests.staking.anvil_chain import MASA, MINIMUM_WEI, AnvilChain

# ---- the token of local chains ----


def test_the_faucet_gives_a_thousand_tokens_to_whoever_asks(chain: AnvilChain) -> None:
    token, anybody = chain.deploy_token(supply_wei=5), chain.accounts[3]
    chain.transact(token.functions.faucet(), anybody)
    chain.transact(token.functions.faucet(), anybody)
    assert chain.call(token, "balanceOf", anybody) == 2 * 1000 * MASA
    assert chain.call(token, "totalSupply") == 2 * 1000 * MASA + 5
    assert chain.call(token, "balanceOf", chain.deployer) == 5


def test_the_token_is_an_erc20(chain: AnvilChain) -> None:
    token, (owner, spender, receiver) = chain.deploy_token(), chain.accounts[:3]
    assert [chain.call(token, each) for each in ("name", "symbol", "decimals")] == ["Masa", "MASA", 18]
    approved = chain.transact(token.functions.approve(spender, 10), owner)
    assert chain.events(token, approved) == [("Approval", {"owner": owner, "spender": spender, "value": 10})]
    moved = chain.transact(token.functions.transferFrom(owner, receiver, 4), spender)
    assert chain.events(token, moved) == [("Transfer", {"sender": owner, "receiver": receiver, "value": 4})]
    assert chain.call(token, "allowance", owner, spender) == 6
    assert chain.call(token, "balanceOf", receiver) == 4
    with pytest.raises(Web3Exception, match="balance is too low"):
        chain.transact(token.functions.transfer(owner, 5), receiver)
    with pytest.raises(Web3Exception, match="allowance is too low"):
        chain.transact(token.functions.transferFrom(owner, receiver, 7), spender)
    with pytest.raises(Web3Exception, match="nobody is the receiver"):
        chain.transact(token.functions.transfer("0x" + 40 * "0", 1), owner)


# ---- the contracts that only tests have ----


def test_a_masa_shaped_stake_is_withdrawn_at_once(chain: AnvilChain) -> None:
    token, owner = chain.deploy_token(), chain.accounts[1]
    contract = chain.deploy_source("masa_shaped", token.address, MINIMUM_WEI)
    staked = chain.stake(contract, owner)
    assert chain.call(contract, "stakes", owner) == MINIMUM_WEI
    assert chain.events(contract, staked) == [("Staked", {"owner": owner, "amount": MINIMUM_WEI})]
    chain.transact(contract.functions.withdraw(MINIMUM_WEI), owner)
    assert chain.call(token, "balanceOf", owner) == MINIMUM_WEI


def test_a_contract_can_be_an_owner(chain: AnvilChain) -> None:
    token, contract = chain.deploy_both()
    keeper = chain.new_account()
    safe = chain.deploy_source("safe_owner", keeper.address)
    chain.give_tokens(token, safe.address, MINIMUM_WEI)
    for target, data in (
        (token, call_data("approve(address,uint256)", parse_address(contract.address), MINIMUM_WEI)),
        (contract, call_data("stake(uint256)", MINIMUM_WEI)),
    ):
        chain.transact(safe.functions.execute(target.address, data), keeper.address)
    assert chain.call(contract, "stakes", safe.address) == MINIMUM_WEI


def test_a_contracts_signature_is_its_keepers_or_what_he_approved(chain: AnvilChain) -> None:
    keeper, stranger = chain.new_account(), chain.new_account()
    safe = chain.deploy_source("safe_owner", keeper.address)
    digest, valid = b"d" * 32, bytes.fromhex("1626ba7e")
    signed = bytes(keeper.unsafe_sign_hash(digest).signature)
    forged = bytes(stranger.unsafe_sign_hash(digest).signature)
    assert chain.call(safe, "isValidSignature", digest, signed) == valid
    for wrong in (forged, b"", signed[:-1], bytes(65)):
        assert chain.call(safe, "isValidSignature", digest, wrong) == b"\xff" * 4
    chain.transact(safe.functions.approve(digest), keeper.address)
    assert chain.call(safe, "isValidSignature", digest, b"") == valid


@pytest.mark.parametrize("reverts", [False, True])
def test_a_liar_says_whatever_it_is_told_to(chain: AnvilChain, reverts: bool) -> None:  # noqa: FBT001
    liar = chain.deploy_source("liar", b"\x01" * 33, reverts)
    asked = {"to": liar.address, "data": "0x58616803"}
    answer = chain.answer("eth_call", asked, "latest")
    assert (answer["error"]["data"] if reverts else answer["result"]) == "0x" + "01" * 33
