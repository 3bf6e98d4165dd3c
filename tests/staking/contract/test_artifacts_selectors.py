"""The numbers that calls, errors and events go by on the chain: fixed, and the hash of their signatures, as in web3."""

import json
from typing import Any, Literal

import pytest
from web3 import Web3

from masa_node.staking.contract.artifacts import artifact
from masa_node.staking.ethereum.abi import selector
from masa_node.staking.ethereum.crypto import keccak256

Name = Literal["staking", "token"]

# As the contracts on Sepolia and the ERCs have them.
KNOWN = {
    "stakes(address)": "16934fc4",
    "minimumStake()": "ec5ffac2",
    "stake(uint256)": "a694fc3a",
    "approve(address,uint256)": "095ea7b3",
    "faucet()": "de5f72fd",
    "isValidSignature(bytes32,bytes)": "1626ba7e",
}

# All that the contracts go by: who calls them without an ABI, as this node does, relies on it.
CALLS = {
    "staking": {
        "stakes(address)": "16934fc4",
        "minimumStake()": "ec5ffac2",
        "masaToken()": "ebda4396",
        "stake(uint256)": "a694fc3a",
        "unbond(uint256)": "27de9e32",
        "withdraw(uint256)": "2e1a7d4d",
        "unbonding(address)": "ced4cd2e",
        "unbondingPeriod()": "6cf6d675",
        "delegationEpoch(address)": "85d8ea30",
        "revokeDelegations()": "d1feed02",
        "standing(address)": "58616803",
    },
    "token": {
        "transfer(address,uint256)": "a9059cbb",
        "transferFrom(address,address,uint256)": "23b872dd",
        "approve(address,uint256)": "095ea7b3",
        "allowance(address,address)": "dd62ed3e",
        "balanceOf(address)": "70a08231",
        "totalSupply()": "18160ddd",
        "name()": "06fdde03",
        "symbol()": "95d89b41",
        "decimals()": "313ce567",
        "faucet()": "de5f72fd",
    },
}
ERRORS = {
    "staking": {
        "BelowMinimum(uint256,uint256)": "bd49034f",
        "NotEnoughStaked(uint256,uint256)": "b8d46343",
        "NotEnoughUnbonded(uint256,uint256)": "c8eb7811",
        "NothingToDo()": "5c52a868",
        "StillUnbonding(uint256)": "dd9c8943",
        "TransferFailed()": "90b8ec18",
        "UnbondingTooLong(uint256,uint256)": "2dcc1c85",
        "UnbondingTooShort(uint256,uint256)": "a24be0c0",
    },
    "token": {},
}
TOPICS = {
    "staking": {
        "Staked(address,uint256)": "9e71bc8eea02a63969f509818f2dafb9254532904319f9dbda79b67bd34a5f3d",
        "Unbonding(address,uint256,uint256)": "45b24a049a76413ae1b9b3fc8db3ca5392ea5add045249356c44ba15f3864d45",
        "Withdrawn(address,uint256)": "7084f5476618d8e60b11ef0d7d3f06914655adb8793e28ff7f018d4c76d505d5",
        "DelegationsRevoked(address,uint64)": "9c1aca1460879ee5a260a6c1473f62d2570f25c32fc49d8a05ff94dea3c1bc04",
    },
    "token": {
        "Transfer(address,address,uint256)": "ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef",
        "Approval(address,address,uint256)": "8c5be1e5ebec7d5bd14f71427d1e84f3dd0314c0f7b2291e5b200ac8c7c3b925",
    },
}


@pytest.mark.parametrize(("signature", "digits"), KNOWN.items())
def test_a_selector_is_the_one_that_deployed_contracts_have(signature: str, digits: str) -> None:
    assert selector(signature).hex() == digits
    assert Web3.keccak(text=signature)[:4].hex() == digits


@pytest.mark.parametrize("name", ["staking", "token"])
def test_the_functions_of_the_abi_go_by_these_selectors(name: Name) -> None:
    signatures = _signatures(name, "function")
    assert {each: selector(each).hex() for each in signatures} == CALLS[name]
    assert {each: Web3.keccak(text=each)[:4].hex() for each in signatures} == CALLS[name]


@pytest.mark.parametrize("name", ["staking", "token"])
def test_the_errors_of_the_abi_go_by_these_selectors(name: Name) -> None:
    assert {each: selector(each).hex() for each in _signatures(name, "error")} == ERRORS[name]


@pytest.mark.parametrize("name", ["staking", "token"])
def test_the_events_of_the_abi_go_by_these_topics(name: Name) -> None:
    assert {each: keccak256(each.encode()).hex() for each in _signatures(name, "event")} == TOPICS[name]


@pytest.mark.parametrize("name", ["staking", "token"])
def test_the_compiled_code_knows_each_selector_and_topic(name: Name) -> None:
    code = artifact(name).bytecode.hex()
    for digits in [*CALLS[name].values(), *ERRORS[name].values(), *TOPICS[name].values()]:
        assert digits.lstrip("0") in code  # the compiler pushes a number without its leading zeros


def test_only_the_owner_of_an_event_can_be_searched_for() -> None:
    for entry in _entries("staking"):
        if entry["type"] == "event":
            assert [each["name"] for each in entry["inputs"] if each["indexed"]] == ["owner"]


def test_the_abi_names_what_an_error_and_an_event_tell() -> None:
    told = {
        entry["name"]: [each["name"] for each in entry["inputs"]]
        for entry in _entries("staking")
        if entry["type"] in ("error", "event")
    }
    assert told == {
        "BelowMinimum": ["given", "minimum"],
        "NotEnoughStaked": ["wanted", "staked"],
        "NotEnoughUnbonded": ["wanted", "unbonded"],
        "NothingToDo": [],
        "StillUnbonding": ["until"],
        "TransferFailed": [],
        "UnbondingTooLong": ["given", "most"],
        "UnbondingTooShort": ["given", "least"],
        "Staked": ["owner", "amount"],
        "Unbonding": ["owner", "amount", "until"],
        "Withdrawn": ["owner", "amount"],
        "DelegationsRevoked": ["owner", "epoch"],
    }


def _entries(name: Name) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads(bytes(artifact(name).abi))
    return entries


def _signatures(name: Name, kind: str) -> list[str]:
    return [
        f"{entry['name']}({','.join(each['type'] for each in entry['inputs'])})"
        for entry in _entries(name)
        if entry["type"] == kind
    ]
