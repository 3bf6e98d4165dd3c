import msgspec
import pytest
from eth_abi.abi import decode
from eth_utils import function_signature_to_4byte_selector as selector_of

from masa_node.staking.contract import calls as plans
from masa_node.staking.contract.account import Account, Terms
from masa_node.staking.contract.calls import NotPossible
from masa_node.staking.contract.profile import Profile, Shape
from masa_node.staking.contract.reverts import BadAmount
from masa_node.staking.ethereum.crypto import parse_address

MASA = 10**18
TOKEN, CONTRACT, OWNER = (parse_address("0x" + two * 20) for two in ("70", "c0", "5e"))
PROFILE = Profile("local", 31337, (), CONTRACT)
MASA_SHAPED = msgspec.structs.replace(PROFILE, shape=Shape.MASA)
ACCOUNT = Account(OWNER, TOKEN, 1500 * MASA, 1000 * MASA, 200 * MASA, 1_800_000_000, 3000 * MASA, 0, 4)
TERMS = Terms(TOKEN, 1000 * MASA)


def test_a_deposit_approves_exactly_its_amount_first() -> None:
    approve, stake = plans.deposit("1200.5", ACCOUNT, PROFILE)
    assert (approve.to, stake.to) == (TOKEN, CONTRACT)
    assert approve.data[:4] == selector_of("approve(address,uint256)")
    assert decode(["address", "uint256"], approve.data[4:]) == (CONTRACT.lower(), 1_200_500 * MASA // 1000)
    assert stake.data[:4] == selector_of("stake(uint256)")
    assert decode(["uint256"], stake.data[4:]) == (1_200_500 * MASA // 1000,)
    assert "1200.5 MASA" in approve.words
    assert "1200.5 MASA" in stake.words


@pytest.mark.parametrize(("allowed", "calls"), [(999, 2), (1000, 1), (5000, 1)])
def test_an_allowance_that_is_enough_is_used(allowed: int, calls: int) -> None:
    account = msgspec.structs.replace(ACCOUNT, allowance_wei=allowed * MASA)
    assert len(plans.deposit("min", account, PROFILE)) == calls


def test_the_least_deposit_is_the_contract_s_minimum_also_for_who_has_staked() -> None:
    for known in (ACCOUNT, TERMS):
        assert decode(["uint256"], plans.deposit("min", known, PROFILE)[-1].data[4:]) == (1000 * MASA,)


def test_all_is_what_is_staked_and_what_is_unbonding() -> None:
    (unbond,) = plans.unbond("all", ACCOUNT, PROFILE)
    assert unbond.data == selector_of("unbond(uint256)") + (1500 * MASA).to_bytes(32)
    assert "; 0 MASA stay staked" in unbond.words
    assert "it begins again for the 200 MASA that are unbonding now" in unbond.words
    (withdraw,) = plans.withdraw("all", ACCOUNT, PROFILE)
    assert withdraw.data == selector_of("withdraw(uint256)") + (200 * MASA).to_bytes(32)
    assert "possible from 2027-01-15" in withdraw.words
    (instant,) = plans.withdraw("all", ACCOUNT, MASA_SHAPED)
    assert instant.data == selector_of("withdraw(uint256)") + (1500 * MASA).to_bytes(32)


def test_a_revocation_names_the_epochs_that_end() -> None:
    (contract_call,) = plans.revoke(ACCOUNT, PROFILE)
    assert contract_call.data == selector_of("revokeDelegations()")
    assert "epoch 4 or earlier" in contract_call.words
    assert "all delegations so far" in plans.revoke(TERMS, PROFILE)[0].words


def test_what_the_contract_would_refuse_is_refused_before() -> None:
    for work in (
        lambda: plans.deposit("999", ACCOUNT, PROFILE),
        lambda: plans.deposit("3001", ACCOUNT, PROFILE),
        lambda: plans.deposit("0", msgspec.structs.replace(ACCOUNT, minimum_wei=0), PROFILE),
        lambda: plans.unbond("1501", ACCOUNT, PROFILE),
        lambda: plans.unbond("0", ACCOUNT, PROFILE),
        lambda: plans.unbond("all", TERMS, PROFILE),
        lambda: plans.unbond("1", ACCOUNT, MASA_SHAPED),
        lambda: plans.withdraw("201", ACCOUNT, PROFILE),
        lambda: plans.withdraw("all", msgspec.structs.replace(ACCOUNT, unbonding_wei=0), PROFILE),
        lambda: plans.revoke(ACCOUNT, MASA_SHAPED),
    ):
        with pytest.raises(NotPossible):
            work()


@pytest.mark.parametrize("text", ["", "-1", "1e3", "ALL", "max", "1,000", "0x10", "nan", "1" * 90])
def test_an_amount_is_digits(text: str) -> None:
    for work in (plans.deposit, plans.unbond, plans.withdraw):
        with pytest.raises(BadAmount):
            work(text, ACCOUNT, PROFILE)
