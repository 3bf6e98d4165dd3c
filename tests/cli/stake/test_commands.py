"""Covers: `confirm`, `context`, `delegate`, `keystore`, `output`, `send`, `status`."""

import asyncio
import contextlib
import json
import os
import pty
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount
from web3.contract import Contract

from masa_node.cli import main as cli
from masa_node.network.store.store import Store
from masa_node.staking.contract.profile import Profile, Shape, write_profile
from masa_node.staking.delegation import Domain, SignedDelegation, check, decode, digest
from masa_node.staking.ethereum.crypto import parse_address
from masa_node.telemetry import log
from tests import processes
from tests.cli import owned_node
from tests.staking.anvil_chain import DAY_S, MINIMUM_WEI, AnvilChain, chain

__all__ = ["chain"]

PASSPHRASE = "a wallet's passphrase"
WALLET_A = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"  # EIP-55's own example


class Ran(msgspec.Struct, frozen=True):
    code: int
    out: str
    err: str


class Owner:
    """Gives commands as a person does, on the node of one MASA_DIR."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.masa_dir = folder / "masa"
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def run(self, *arguments: str) -> Ran:
        self._monkeypatch.setattr(sys, "argv", ["masa-node", *arguments])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        out, err = self._capsys.readouterr()
        return Ran(caught.value.code if isinstance(caught.value.code, int) else 0, out, err)

    def stake(self, *arguments: str) -> str:
        ran = self.run("stake", *arguments)
        assert ran.code == 0, ran.err
        return ran.out + ran.err

    def json(self, *arguments: str) -> Any:  # noqa: ANN401 - what a command wrote
        ran = self.run("stake", *arguments, "--json")
        assert ran.code == 0, ran.err
        return json.loads(ran.out)

    def fails(self, *arguments: str, code: int = 1) -> str:
        ran = self.run("stake", *arguments)
        assert ran.code == code, (ran.out, ran.err)
        assert "Traceback" not in ran.err
        return ran.err

    def kept(self, name: str) -> bytes | None:
        async def look() -> bytes | None:
            store = await Store.open(self.masa_dir)
            try:
                return await store.value(name)
            finally:
                await store.close()

        return asyncio.run(look())

    def delegation(self) -> SignedDelegation:
        return decode(self.kept("delegation") or b"")


@pytest.fixture
def owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Owner:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MASA_DIR", str(tmp_path / "masa"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(log, "configure", lambda *_: None)  # it would keep this test's stderr
    return Owner(tmp_path, monkeypatch, capsys)


class OnChain(msgspec.Struct, frozen=True):
    """A wallet with twice the minimum in tokens, its keystore, and the contracts that the settings name."""

    chain: AnvilChain
    token: Contract
    staking: Contract
    wallet: LocalAccount
    keystore: str
    profile: Profile

    @property
    def domain(self) -> Domain:
        return Domain(self.profile.chain_id, self.profile.contract)

    @property
    def head_unix_s(self) -> int:
        return self.chain.head()[1]


def on_chain(
    owner: Owner, chain: AnvilChain, monkeypatch: pytest.MonkeyPatch, shape: Shape = Shape.MASA_NODE
) -> OnChain:
    token = chain.deploy_token()
    if shape is Shape.MASA:
        staking = chain.deploy_source("masa_shaped", token.address, MINIMUM_WEI)
    else:
        staking = chain.deploy_staking(token.address)
    wallet = chain.new_account()
    chain.give_tokens(token, wallet.address, 2 * MINIMUM_WEI)
    keystore = owner.folder / "wallet.json"
    keystore.write_text(json.dumps(Account.encrypt(wallet.key, PASSPHRASE, kdf="pbkdf2", iterations=2)))
    profile = Profile("local", chain.web3.eth.chain_id, (chain.url,), parse_address(staking.address), shape)
    write_profile(profile, owner.folder / "local.toml")
    monkeypatch.setenv("STAKE_NETWORK", str(owner.folder / "local.toml"))
    monkeypatch.setenv("MASA_KEYSTORE_PASSPHRASE", PASSPHRASE)
    chain.rpc("evm_mine")
    return OnChain(chain, token, staking, wallet, str(keystore), profile)


@pytest.fixture
def ready(owner: Owner, chain: AnvilChain, monkeypatch: pytest.MonkeyPatch) -> OnChain:
    return on_chain(owner, chain, monkeypatch)


@pytest.fixture
def masa_shaped(owner: Owner, chain: AnvilChain, monkeypatch: pytest.MonkeyPatch) -> OnChain:
    return on_chain(owner, chain, monkeypatch, Shape.MASA)


# ---- the whole life ----


def test_a_stake_s_whole_life_by_commands(owner: Owner, ready: OnChain) -> None:
    key = ("--keystore", ready.keystore)
    assert owner.json("status")["own"]["verdict"] == "not staked"

    said = owner.stake("delegate", *key)
    assert "0 MASA, and 1000 MASA are needed" in said
    signed = owner.delegation()
    check(signed, owner.json("status")["node_id"], ready.domain, time.time())
    assert owner.json("status")["own"]["verdict"] == "not staked"

    said = owner.stake("deposit", "min", *key, "--yes")
    assert "approve: the staking contract may take 1000 MASA of yours, this once" in said
    assert "stake: 1000 MASA become your stake" in said
    assert ready.chain.call(ready.staking, "stakes", ready.wallet.address) == MINIMUM_WEI
    assert ready.chain.call(ready.token, "allowance", ready.wallet.address, ready.staking.address) == 0
    status = owner.json("status")
    assert status["own"]["verdict"] == "staked"
    assert status["account"]["stake_wei"] == str(MINIMUM_WEI)
    assert status["account"]["tokens_wei"] == str(MINIMUM_WEI)
    assert status["account"]["block"] == ready.chain.head()[0]

    owner.stake("unbond", "all", *key, "--yes")
    status = owner.json("status")
    assert status["own"]["verdict"] == "not staked"
    assert status["account"]["unbonding_wei"] == str(MINIMUM_WEI)
    assert abs(status["account"]["unbonding_until_unix_s"] - ready.head_unix_s - DAY_S) <= 1

    said = owner.fails("withdraw", *key, "--yes")
    assert "still unbonding. It can be withdrawn from 2" in said
    ready.chain.advance(DAY_S)
    sent = owner.json("withdraw", *key, "--yes")["transactions"]
    assert [each["words"].split(":")[0] for each in sent] == ["withdraw"]
    assert ready.chain.call(ready.token, "balanceOf", ready.wallet.address) == 2 * MINIMUM_WEI

    said = owner.stake("revoke", *key, "--yes")
    assert "all delegations of epoch 0 or earlier end, on every node" in said
    assert "masa-node stake delegate" in said
    assert ready.chain.call(ready.staking, "delegationEpoch", ready.wallet.address) == 1


def test_a_revoked_delegation_shows_in_the_status_and_a_new_one_heals_it(owner: Owner, ready: OnChain) -> None:
    key = ("--keystore", ready.keystore)
    ready.chain.stake(ready.staking, ready.wallet.address)
    owner.stake("delegate", *key)
    assert owner.json("status")["own"]["verdict"] == "staked"
    owner.stake("revoke", *key, "--yes")
    own = owner.json("status")["own"]
    assert own["verdict"] == "not staked"
    assert "revoked" in own["reason"]
    owner.stake("delegate", *key)
    assert owner.delegation().delegation.epoch == 1
    assert owner.json("status")["own"]["verdict"] == "staked"


def test_a_contract_of_masa_s_shape_is_staked_and_left_at_once(owner: Owner, masa_shaped: OnChain) -> None:
    ready, key = masa_shaped, ("--keystore", masa_shaped.keystore)
    owner.stake("delegate", *key)
    owner.stake("deposit", "1500", *key, "--yes")
    status = owner.json("status")
    assert status["own"]["verdict"] == "staked"
    assert "borrowed for a block" in status["network"]["warning"]
    assert "borrowed for a block" in owner.stake("status")
    assert "withdrawn at once" in owner.fails("unbond", "all", *key, "--yes")
    assert "90 days" in owner.fails("revoke", *key, "--yes")
    said = owner.stake("withdraw", "all", *key, "--yes")
    assert "1500 MASA come back to your wallet, and leave your stake at once" in said
    assert ready.chain.call(ready.token, "balanceOf", ready.wallet.address) == 2 * MINIMUM_WEI


# ---- status ----


def test_without_a_chain_the_status_says_that_stakes_are_not_checked(owner: Owner) -> None:
    assert "staking: off - stakes are not checked" in owner.stake("status")
    status = owner.json("status")
    assert status["staking"] == "off - stakes are not checked"
    assert status["network"] is None


def test_policies_that_are_off_are_said_so_though_a_chain_is_set(
    owner: Owner, ready: OnChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAKE_PROVIDERS", "off")
    monkeypatch.setenv("STAKE_CALLERS", "off")
    assert "staking: off - stakes are not checked" in owner.stake("status")
    monkeypatch.setenv("STAKE_CALLERS", "require")
    assert "staking: on - providers: off, callers: require" in owner.stake("status")


def test_a_chain_that_does_not_answer_makes_the_verdict_unknown_and_the_command_still_ends_well(
    owner: Owner, ready: OnChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready.chain.stake(ready.staking, ready.wallet.address)
    owner.stake("delegate", "--keystore", ready.keystore)
    monkeypatch.setenv("RPC_URL", "http://127.0.0.1:1/a-secret-key")
    status = owner.json("status")
    assert status["own"]["verdict"] == "unknown"
    assert status["account"] is None
    assert "refused" in status["account_why"]
    assert status["rpc"] == ["http://127.0.0.1:1"]
    assert "a-secret-key" not in json.dumps(status) + owner.stake("status")


def test_any_owner_s_stake_can_be_looked_up(owner: Owner, ready: OnChain) -> None:
    ready.chain.stake(ready.staking, ready.chain.accounts[3])
    status = owner.json("status", "--owner", ready.chain.accounts[3])
    assert status["account"]["stake_wei"] == str(MINIMUM_WEI)
    assert status["own"]["verdict"] == "not staked"


def test_the_running_node_s_counts_of_peers_are_shown(owner: Owner) -> None:
    answer = {"staking": "on", "peers": {"staked": 2, "not staked": 1, "unknown": 0, "allowed": 0}, "new": 1}
    with endpoint(answer) as url, running(owner, url):
        assert owner.json("status")["peers"] == answer["peers"]
        assert "2 staked, 1 not staked" in owner.stake("status")


def test_a_running_node_that_does_not_tell_is_no_error(owner: Owner) -> None:
    with endpoint("no object") as url, running(owner, url):
        status = owner.json("status")
        assert status["peers"] is None
        assert "does not say" in status["peers_why"]


def test_nothing_is_cut_off_on_a_narrow_terminal(owner: Owner, ready: OnChain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    owner.stake("delegate", "--keystore", ready.keystore)
    shown = owner.stake("status")
    assert "…" not in shown
    lines = [line[12:].strip() for line in shown.splitlines()]  # the column beside the names
    for whole in (ready.wallet.address, ready.profile.contract, owner.delegation().delegation.node_key.hex()):
        assert whole in "".join(lines)


def test_times_are_told_in_the_zone_in_which_the_contract_s_refusals_tell_them(
    owner: Owner, ready: OnChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = ("--keystore", ready.keystore)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        owner.stake("delegate", *key)
        owner.stake("deposit", "min", *key, "--yes")
        owner.stake("unbond", "all", *key, "--yes")
        refusal = owner.fails("withdraw", *key, "--yes")
        until = refusal.partition("from ")[2].partition(" on")[0]
        assert until.endswith(" UTC")
        assert f"to be withdrawn from {until} on" in owner.stake("status")
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_delegation_that_ends_soon_is_told_with_the_command_that_renews_it(owner: Owner, ready: OnChain) -> None:
    renew = "Sign the next one: masa-node stake delegate"
    owner.stake("delegate", "--keystore", ready.keystore)
    assert renew not in owner.stake("status")
    owner.stake("delegate", "--keystore", ready.keystore, "--days", "2")
    assert renew in owner.stake("status")


def test_a_draft_that_waits_is_told_though_a_delegation_is_in_force(owner: Owner, ready: OnChain) -> None:
    owner.stake("delegate", "--keystore", ready.keystore)
    assert "waits for its signature" not in owner.stake("status")
    owner.stake("delegate", "--owner", ready.wallet.address)
    assert "waits for its signature" in owner.stake("status")


def test_a_draft_that_waits_does_not_hide_that_the_delegation_ends_soon(owner: Owner, ready: OnChain) -> None:
    owner.stake("delegate", "--keystore", ready.keystore, "--days", "2")
    owner.stake("delegate", "--owner", ready.wallet.address)
    shown = owner.stake("status")
    assert "waits for its signature" in shown
    assert "Sign the next one: masa-node stake delegate" in shown


def test_while_the_chain_cannot_be_read_the_verdict_is_what_the_running_node_still_holds(
    owner: Owner, ready: OnChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready.chain.stake(ready.staking, ready.wallet.address)
    owner.stake("delegate", "--keystore", ready.keystore)
    reason = "its owner's 1000 MASA cover 1 node; it is read again"
    held = {**owner.json("status")["own"], "reason": reason, "age_s": 540}
    monkeypatch.setenv("RPC_URL", "http://127.0.0.1:1")
    with endpoint({"own": held, "peers": {}}) as url, running(owner, url):
        status = owner.json("status")
    assert status["own"] == held
    assert "refused" in status["account_why"]
    with endpoint({"own": {**held, "owner": WALLET_A}, "peers": {}}) as url, running(owner, url):
        assert owner.json("status")["own"]["verdict"] == "unknown"


def test_one_stake_for_two_nodes_is_not_called_enough_when_the_running_node_knows_both(
    owner: Owner, ready: OnChain
) -> None:
    ready.chain.stake(ready.staking, ready.wallet.address)
    owner.stake("delegate", "--keystore", ready.keystore)
    own = owner.json("status")["own"]
    assert (own["verdict"], own["nodes"]) == ("staked", 1)
    seen = {**own, "verdict": "not staked", "reason": "1000 MASA cover 1 node, 2 nodes are seen", "nodes": 2}
    with endpoint({"own": seen, "peers": {}}) as url, running(owner, url):
        assert owner.json("status")["own"] == seen
    with endpoint({"own": {**seen, "owner": WALLET_A}, "peers": {}}) as url, running(owner, url):
        assert owner.json("status")["own"]["verdict"] == "staked"


# ---- delegate ----


def test_a_delegation_is_signed_elsewhere_and_finished_later(owner: Owner, ready: OnChain) -> None:
    made = owner.json("delegate", "--owner", ready.wallet.address, "--days", "7")
    assert owner.kept("delegation") is None
    signature = ready.wallet.sign_typed_data(full_message=made["typed_data"]).signature.to_0x_hex()
    assert made["next"] == "masa-node stake delegate --signature 0x..."
    assert "waits for its signature" in owner.stake("status")
    done = owner.json("delegate", "--signature", signature)
    signed = owner.delegation()
    assert done["owner"] == signed.delegation.owner == ready.wallet.address
    assert signed.delegation.not_after_unix_s - signed.delegation.not_before_unix_s == 7 * DAY_S
    check(signed, done["node_id"], ready.domain, time.time())
    assert "No delegation waits" in owner.fails("delegate", "--signature", signature, code=2)


def test_without_a_terminal_the_typed_data_is_all_that_goes_to_stdout(owner: Owner, ready: OnChain) -> None:
    ran = owner.run("stake", "delegate", "--owner", ready.wallet.address)
    assert json.loads(ran.out)["primaryType"] == "NodeDelegation"
    assert "--signature" in ran.err


@pytest.mark.parametrize("how", ["of another wallet", "cut", "no hex"])
def test_a_wrong_signature_is_refused_and_the_draft_stays(owner: Owner, ready: OnChain, how: str) -> None:
    made = owner.json("delegate", "--owner", ready.wallet.address)
    right = ready.wallet.sign_typed_data(full_message=made["typed_data"]).signature.to_0x_hex()
    other = Account.create().sign_typed_data(full_message=made["typed_data"]).signature.to_0x_hex()
    given = {"of another wallet": other, "cut": right[:-2], "no hex": "0xnothing"}[how]
    owner.fails("delegate", "--signature", given, code=2 if how == "no hex" else 1)
    assert owner.kept("delegation") is None
    owner.stake("delegate", "--signature", right)


def test_a_delegation_made_before_a_revocation_is_not_taken(owner: Owner, ready: OnChain) -> None:
    made = owner.json("delegate", "--owner", ready.wallet.address)
    signature = ready.wallet.sign_typed_data(full_message=made["typed_data"]).signature.to_0x_hex()
    ready.chain.transact(ready.staking.functions.revokeDelegations(), ready.wallet.address)
    assert "revoked since" in owner.fails("delegate", "--signature", signature)
    assert owner.kept("delegation") is None


def test_a_forgotten_delegation_is_shown_no_more(owner: Owner, ready: OnChain) -> None:
    assert "shows no delegation" in owner.stake("forget")
    owner.stake("delegate", "--keystore", ready.keystore)
    assert owner.json("forget") == {"owner": ready.wallet.address}
    assert owner.kept("delegation") == b""
    assert owner.json("status")["delegation"] is None


def test_a_safe_delegates_by_its_own_rules(owner: Owner, ready: OnChain) -> None:
    safe = ready.chain.deploy_source("safe_owner", ready.wallet.address)
    assert "--contract-owner" in owner.fails("delegate", "--owner", safe.address, code=2)
    made = owner.json("delegate", "--owner", safe.address, "--contract-owner")
    wrong = Account.create().sign_typed_data(full_message=made["typed_data"]).signature.to_0x_hex()
    assert "does not take this" in owner.fails("delegate", "--signature", wrong)
    right = ready.wallet.sign_typed_data(full_message=made["typed_data"]).signature.to_0x_hex()
    owner.stake("delegate", "--signature", right)
    assert owner.delegation().is_contract
    assert "no contract" in owner.fails("delegate", "--owner", ready.wallet.address, "--contract-owner", code=2)


@pytest.mark.parametrize("arguments", [["--owner", WALLET_A[:-1] + "D"], ["--owner", "me"], [], ["--days", "91"]])
def test_what_does_not_fit_is_told_before_anything_is_made(owner: Owner, ready: OnChain, arguments: list[str]) -> None:
    owner.fails("delegate", *arguments, code=2)
    assert owner.kept("delegation_draft") is None


def test_the_next_delegation_needs_no_owner_to_be_named(owner: Owner, ready: OnChain) -> None:
    owner.stake("delegate", "--keystore", ready.keystore)
    assert owner.json("delegate")["owner"] == ready.wallet.address


def test_what_is_signed_is_said_in_words(owner: Owner, ready: OnChain) -> None:
    ran = owner.run("stake", "delegate", "--owner", ready.wallet.address)
    node = json.loads(ran.out)["message"]["nodeKey"].removeprefix("0x")
    assert f"Node {node} acts for this wallet's stake in {ready.profile.contract} on chain" in ran.err
    assert "moves no tokens" in ran.err
    assert f'params: ["{ready.wallet.address}", JSON.stringify(DATA)]' in ran.err


@pytest.mark.parametrize(("times", "words"), [(1, "has revoked once."), (2, "has revoked 2 times.")])
def test_how_often_the_owner_has_revoked_is_said_to_him(owner: Owner, ready: OnChain, times: int, words: str) -> None:
    for _ in range(times):
        owner.stake("revoke", "--keystore", ready.keystore, "--yes")
    ran = owner.run("stake", "delegate", "--owner", ready.wallet.address)
    assert words in ran.err


def test_a_safe_that_keeps_its_signatures_on_the_chain_gives_an_empty_one(owner: Owner, ready: OnChain) -> None:
    safe = ready.chain.deploy_source("safe_owner", ready.wallet.address)
    owner.stake("delegate", "--owner", safe.address, "--contract-owner")
    assert "does not take this" in owner.fails("delegate", "--signature", "0x")
    draft = decode(owner.kept("delegation_draft") or b"")
    ready.chain.transact(safe.functions.approve(digest(draft.delegation)), ready.wallet.address)
    owner.stake("delegate", "--signature", "0x")
    assert owner.delegation().signature == b""


def test_an_empty_signature_of_a_wallet_is_none(owner: Owner, ready: OnChain) -> None:
    owner.stake("delegate", "--owner", ready.wallet.address)
    assert "not a signature" in owner.fails("delegate", "--signature", "0x", code=2)


def test_a_signature_and_a_keystore_are_not_taken_together(owner: Owner, ready: OnChain) -> None:
    owner.stake("delegate", "--owner", ready.wallet.address)
    said = owner.fails("delegate", "--signature", "0x00", "--keystore", ready.keystore, code=2)
    assert "Leave one of them out" in said


# ---- transactions without a key ----


def test_without_a_keystore_the_transactions_are_printed_for_any_wallet(owner: Owner, ready: OnChain) -> None:
    made = owner.json("deposit", "min", "--owner", ready.wallet.address)
    assert [each["words"].split(":")[0] for each in made["unsigned"]] == ["approve", "stake"]
    for each in made["unsigned"]:  # any wallet sends them
        assert each["chain_id"] == ready.profile.chain_id
        fields = {name: each[name] for name in ("to", "data", "value")}
        sent = ready.chain.rpc("eth_sendTransaction", {"from": ready.wallet.address, **fields})
        ready.chain.web3.eth.wait_for_transaction_receipt(sent, poll_latency=0.01)
    assert ready.chain.call(ready.staking, "stakes", ready.wallet.address) == MINIMUM_WEI
    said = owner.stake("unbond", "all", "--owner", ready.wallet.address)
    assert "Nothing was sent" in said
    assert f"to: {ready.staking.address}" in said


def test_nobody_needs_to_be_named_where_the_amount_is(owner: Owner, ready: OnChain) -> None:
    made = owner.json("deposit", "2000")
    assert made["owner"] is None
    assert [each["words"].split(":")[0] for each in made["unsigned"]] == ["approve", "stake"]
    assert "--owner" in owner.fails("unbond", "all")


def test_an_allowance_that_is_there_needs_no_approval(owner: Owner, ready: OnChain) -> None:
    ready.chain.transact(ready.token.functions.approve(ready.staking.address, MINIMUM_WEI), ready.wallet.address)
    made = owner.json("deposit", "min", "--owner", ready.wallet.address)
    assert [each["words"].split(":")[0] for each in made["unsigned"]] == ["stake"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["deposit", "999.5"], "1000 MASA or more"),
        (["deposit", "2000.000000000000000001"], "has 2000 MASA"),
        (["deposit", "0"], "nothing"),
        (["deposit", "1e9"], "not an amount"),
        (["unbond", "1"], "0 MASA are staked"),
        (["unbond", "all"], "Nothing is staked"),
        (["withdraw"], "Nothing is unbonding"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_signed(
    owner: Owner, ready: OnChain, arguments: list[str], words: str
) -> None:
    before = ready.chain.head()
    assert words in owner.fails(*arguments, "--keystore", ready.keystore, "--yes")
    assert ready.chain.head() == before


# ---- transactions with a key ----


def test_without_a_terminal_nothing_is_signed_unless_yes(owner: Owner, ready: OnChain) -> None:
    assert "--yes" in owner.fails("deposit", "min", "--keystore", ready.keystore, code=2)
    assert ready.chain.call(ready.token, "allowance", ready.wallet.address, ready.staking.address) == 0


def test_a_wrong_passphrase_sends_nothing(owner: Owner, ready: OnChain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASA_KEYSTORE_PASSPHRASE", "wrong")
    assert "passphrase" in owner.fails("deposit", "min", "--keystore", ready.keystore, "--yes")
    monkeypatch.delenv("MASA_KEYSTORE_PASSPHRASE")
    assert "MASA_KEYSTORE_PASSPHRASE" in owner.fails("deposit", "min", "--keystore", ready.keystore, "--yes", code=2)
    assert ready.chain.web3.eth.get_transaction_count(ready.wallet.address) == 0


def test_another_s_keystore_is_not_taken_for_the_owner_s(owner: Owner, ready: OnChain) -> None:
    said = owner.fails("revoke", "--keystore", ready.keystore, "--owner", WALLET_A, "--yes", code=2)
    assert ready.wallet.address in said


def test_a_wallet_that_cannot_pay_the_fee_is_told(owner: Owner, ready: OnChain) -> None:
    ready.chain.rpc("anvil_setBalance", ready.wallet.address, "0x1")
    said = owner.fails("deposit", "min", "--keystore", ready.keystore, "--yes")
    assert "0.000000000000000001 coins" in said


def test_a_fee_beyond_reason_is_not_paid_unasked(owner: Owner, ready: OnChain) -> None:
    ready.chain.rpc("anvil_setNextBlockBaseFeePerGas", hex(10**13))
    ready.chain.rpc("evm_mine")
    assert "0.1 coins is the limit" in owner.fails("revoke", "--keystore", ready.keystore, "--yes", code=2)
    assert ready.chain.call(ready.staking, "delegationEpoch", ready.wallet.address) == 0


def test_neither_the_key_nor_the_passphrase_is_ever_printed(owner: Owner, ready: OnChain) -> None:
    said = owner.stake("delegate", "--keystore", ready.keystore)
    said += owner.stake("deposit", "min", "--keystore", ready.keystore, "--yes")
    assert PASSPHRASE not in said
    assert ready.wallet.key.hex() not in said


def test_without_a_chain_every_command_but_status_says_what_to_set(owner: Owner) -> None:
    for arguments in (["deposit", "min"], ["unbond", "1"], ["withdraw"], ["revoke"], ["delegate", "--owner", WALLET_A]):
        assert "STAKE_NETWORK" in owner.fails(*arguments, code=2)


def test_a_chain_of_another_id_is_told(owner: Owner, ready: OnChain) -> None:
    write_profile(msgspec.structs.replace(ready.profile, chain_id=1), owner.folder / "local.toml")
    assert f"chain {ready.profile.chain_id}" in owner.fails("deposit", "min", "--owner", ready.wallet.address)
    assert f"chain {ready.profile.chain_id}" in owner.fails("delegate", "--owner", ready.wallet.address)


@pytest.mark.parametrize("command", ["deposit", "unbond", "withdraw", "revoke", "delegate"])
def test_the_help_names_the_extra_that_keystores_need(owner: Owner, command: str) -> None:
    assert "`stake` extra" in owner.stake(command, "--help")


# ---- on a terminal ----


def test_a_person_is_shown_what_is_signed_and_asked_and_his_passphrase_is_not_echoed(
    owner: Owner, ready: OnChain
) -> None:
    with terminal("stake", "deposit", "min", "--keystore", ready.keystore) as typed:
        typed.until("Sign and send it?")
        typed.type("y")
        typed.until("wallet.json: ")  # the space comes when nothing is echoed any more
        typed.type(PASSPHRASE)
        typed.until("Transaction 2 of 2")
        typed.until("Sign and send it?")
        typed.type("y")
        typed.until("Done.")
    assert PASSPHRASE not in typed.shown
    assert "stake: 1000 MASA become your stake" in typed.shown
    assert ready.chain.call(ready.staking, "stakes", ready.wallet.address) == MINIMUM_WEI


def test_a_person_who_says_no_sends_nothing(owner: Owner, ready: OnChain) -> None:
    with terminal("stake", "revoke", "--keystore", ready.keystore) as typed:
        typed.until("Sign and send it?")
        typed.type("n")
        typed.until("Nothing was sent.")
    assert ready.chain.call(ready.staking, "delegationEpoch", ready.wallet.address) == 0


def test_a_person_pastes_the_signature_where_he_is_asked(owner: Owner, ready: OnChain) -> None:
    with terminal("stake", "delegate", "--owner", ready.wallet.address) as typed:
        typed.until("Signature (0x...)")
        text = typed.shown.replace("\r\n", "\n")
        data = json.loads(text[text.index("\n{") : text.index("\n}") + 2])
        typed.type(ready.wallet.sign_typed_data(full_message=data).signature.to_0x_hex())
        typed.until("This node acts for the stake of")
    assert owner.delegation().delegation.owner == ready.wallet.address


def test_who_leaves_a_question_is_told_that_nothing_was_sent(owner: Owner, ready: OnChain) -> None:
    with terminal("stake", "revoke", "--keystore", ready.keystore) as typed:
        typed.until("Sign and send it?")
        typed.interrupt_until("Nothing was sent.")
    assert ready.chain.call(ready.staking, "delegationEpoch", ready.wallet.address) == 0


def test_who_leaves_while_it_is_waited_for_is_told_that_it_goes_on(owner: Owner, ready: OnChain) -> None:
    ready.chain.rpc("evm_setAutomine", False)  # noqa: FBT003 - as anvil has it
    with terminal("stake", "revoke", "--keystore", ready.keystore) as typed:
        typed.until("Sign and send it?")
        typed.type("y")
        typed.until("wallet.json: ")
        typed.type(PASSPHRASE)
        typed.until("sent: 0x")
        typed.interrupt_until("It goes on without this command.")
    ready.chain.rpc("evm_mine")
    assert ready.chain.call(ready.staking, "delegationEpoch", ready.wallet.address) == 1


def test_a_person_sees_what_a_keystore_signs_before_the_passphrase_is_asked(owner: Owner, ready: OnChain) -> None:
    with terminal("stake", "delegate", "--keystore", ready.keystore) as typed:
        typed.until("acts for this wallet's stake")
        typed.until("wallet.json: ")
        typed.interrupt_until("Nothing was signed.")
    assert owner.kept("delegation") is None


class Terminal:
    """The command's own terminal."""

    def __init__(self, file: int, process: subprocess.Popen[bytes]) -> None:
        self._file = file
        self._process = process
        self._seen = 0
        self.shown = ""

    def until(self, words: str) -> None:
        assert self._is_shown_within(60, words), self.shown

    def type(self, words: str) -> None:
        os.write(self._file, words.encode() + b"\n")

    def interrupt_until(self, words: str) -> None:
        """As a terminal does for Ctrl-C. Python loses one that comes just before it begins to read: then once more."""
        self._process.send_signal(signal.SIGINT)
        if not self._is_shown_within(10, words):
            self._process.send_signal(signal.SIGINT)
            self.until(words)

    def _is_shown_within(self, seconds: float, words: str) -> bool:
        until_s = time.monotonic() + seconds
        while words not in self.shown[self._seen :]:
            readable, _, _ = select.select([self._file], [], [], max(0.0, until_s - time.monotonic()))
            if not readable:
                return False
            with contextlib.suppress(OSError):  # the other end is gone
                self.shown += os.read(self._file, 65536).decode()
                continue
            pytest.fail(f"it ended before {words!r}:\n{self.shown}")
        self._seen += self.shown[self._seen :].index(words) + len(words)
        return True


@contextlib.contextmanager
def terminal(*arguments: str) -> Generator[Terminal]:
    ours, theirs = pty.openpty()
    environ = {**os.environ, "TERM": "xterm", "NO_COLOR": "1"}
    environ.pop("MASA_KEYSTORE_PASSPHRASE")
    command = [sys.executable, "-m", "masa_node", *arguments]
    streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
    # A session of its own: `getpass` would ask on the terminal of whoever runs the tests.
    with processes.running(command, **streams, env=environ, start_new_session=True) as process:
        os.close(theirs)
        try:
            yield Terminal(ours, process)
        finally:
            process.kill()
            os.close(ours)


@contextlib.contextmanager
def running(owner: Owner, url: str) -> Generator[None]:
    """A stand-in of a node runs with the owner's MASA_DIR, and serves at this URL."""

    async def keep() -> None:
        store = await Store.open(owner.masa_dir)
        try:
            assert await store.set_value("url", url.encode())
        finally:
            await store.close()

    asyncio.run(keep())
    command = [sys.executable, owned_node.__file__, str(owner.masa_dir), "silence"]
    with processes.running(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"runs\n"
            yield
        finally:
            process.kill()


@contextlib.contextmanager
def endpoint(body: object) -> Generator[str]:
    """An HTTP server that answers so to `GET /api/v1/stake`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = json.dumps(body).encode()
            self.send_response(200 if self.path == "/api/v1/stake" else 404)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{cast('int', server.server_address[1])}"
        finally:
            server.shutdown()
            thread.join()
