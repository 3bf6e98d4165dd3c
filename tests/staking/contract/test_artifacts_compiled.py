"""What is committed as compiled is what the compiler makes of the sources."""

import json
import shutil
from pathlib import Path
from typing import Any, Literal, get_args

import pytest

from masa_node.staking.contract.artifacts import artifact
from tools.compile_contracts import CONTRACTS, UndeclaredError, compile_contract, custom_errors, stale_contracts

Name = Literal["staking", "token"]
NAMES: tuple[Name, ...] = get_args(Name)


@pytest.mark.parametrize("name", NAMES)
def test_the_abi_and_the_code_are_what_the_source_compiles_to(name: Name) -> None:
    compiled = compile_contract(CONTRACTS / f"{name}.vy")
    shipped = artifact(name)
    assert json.loads(bytes(shipped.abi)) == compiled["abi"]
    assert shipped.bytecode.hex() == compiled["bytecode"].removeprefix("0x")
    assert (shipped.name, shipped.compiler) == (name, compiled["compiler"])


def test_the_files_are_up_to_date_to_the_letter() -> None:
    assert stale_contracts() == [], "run `python -m tools.compile_contracts`"


def test_a_changed_source_is_noticed(tmp_path: Path) -> None:
    for file in CONTRACTS.glob("staking.*"):
        shutil.copy(file, tmp_path)
    assert stale_contracts(tmp_path) == []
    source = tmp_path / "staking.vy"
    source.write_text(source.read_text("utf-8").replace("= 86400", "= 86399"), "utf-8")
    assert stale_contracts(tmp_path) == ["staking.json"]


def test_a_changed_comment_changes_no_code(tmp_path: Path) -> None:
    for file in CONTRACTS.glob("token.*"):
        shutil.copy(file, tmp_path)
    source = tmp_path / "token.vy"
    source.write_text(source.read_text("utf-8") + "\n# a remark\n", "utf-8")
    assert stale_contracts(tmp_path) == []


@pytest.mark.parametrize(
    "text",
    ['raw_revert(method_id("Undeclared()"))', "# error NeverUsed()", '# error Other(uint256 a)\nmethod_id("Other()")'],
)
def test_an_error_is_declared_just_as_it_is_reverted_with(text: str) -> None:
    with pytest.raises(UndeclaredError):
        custom_errors(text)


def test_there_is_nobody_in_the_contract_who_may_do_more_than_others() -> None:
    source = (CONTRACTS / "staking.vy").read_text("utf-8")
    for word in ("selfdestruct", "raw_call", "delegatecall", "create_", "__default__", "payable", "owner ==", "admin"):
        assert word not in source


def test_the_state_changes_by_these_functions_only() -> None:
    assert _functions("staking", ("nonpayable", "payable")) == {
        "stake(uint256)",
        "unbond(uint256)",
        "withdraw(uint256)",
        "revokeDelegations()",
    }
    assert _functions("token", ("nonpayable", "payable")) == {
        "transfer(address,uint256)",
        "transferFrom(address,address,uint256)",
        "approve(address,uint256)",
        "faucet()",
    }


def test_these_views_are_there() -> None:
    assert _functions("staking", ("view", "pure")) == {
        "stakes(address)",
        "minimumStake()",
        "masaToken()",
        "unbonding(address)",
        "unbondingPeriod()",
        "delegationEpoch(address)",
        "standing(address)",
    }


def _functions(name: Name, mutability: tuple[str, ...]) -> set[str]:
    entries: list[dict[str, Any]] = json.loads(bytes(artifact(name).abi))
    return {
        f"{entry['name']}({','.join(each['type'] for each in entry['inputs'])})"
        for entry in entries
        if entry["type"] == "function" and entry["stateMutability"] in mutability
    }
