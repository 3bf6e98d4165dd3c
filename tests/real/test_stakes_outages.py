"""A contract of the older Masa shape: nothing is used once it is no longer fresh, so an outage of the chain shows."""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal
from calling import answered
from meeting import attempts, bootnode, sharers_of, wait_until
from node_process import Node
from staked import (
    FRESH_S,
    MODEL,
    NOT_STAKED,
    STAKED,
    UNKNOWN,
    Keys,
    LocalChain,
    Trickle,
    a_stream,
    is_answered,
    last_failure,
    noticed,
    own_stake,
    stake_of,
)
from talker import TALKER, Talker

from masa_node.devnet.anvil import DEV_CHAIN_ID
from masa_node.node.views import INSTANT_WITHDRAWAL
from masa_node.staking.contract.profile import Profile, Shape, write_profile
from masa_node.staking.ethereum.crypto import parse_address
from tests.fakes.llm_server import Step
from tests.staking.anvil_chain import MINIMUM_WEI
from tests.staking.rpc_server import RpcServer, dies_in_the_middle, huge, hung, raw, truth

STREAM = {"stream": True}
MAX_HEAD_AGE_S = 5.0
FAR_BLOCK = 1_000_000  # later than any that anvil makes


class Pair:
    """Ada asks, bob serves the demo and a talker; both are staked in the old contract.

    Their second RPC server obeys the test.
    """

    def __init__(self, local: LocalChain, second: RpcServer, folder: Path, running: contextlib.ExitStack) -> None:
        self.local, self.second, self.chain = local, second, local.chain
        token = self.chain.deploy_token()
        self.contract = self.chain.deploy_source("masa_shaped", token.address, MINIMUM_WEI)
        self._folder = folder
        contract = parse_address(self.contract.address)
        profile = Profile("old", DEV_CHAIN_ID, (), contract, Shape.MASA, fresh_s=FRESH_S, max_head_age_s=MAX_HEAD_AGE_S)
        write_profile(profile, folder / "old.toml")
        self.owners = {name: self.chain.new_account() for name in ("ada", "bob")}
        self.talker = running.enter_context(Talker())
        self.keys = {name: self._keys(name) for name in self.owners}
        self.ada = running.enter_context(self._node("ada", OPEN_NETWORK="1"))
        served = {"DEMO": "1", "LLM_CHAT_URL": self.talker.chat_url}
        self.bob = running.enter_context(self._node("bob", BOOTNODES=bootnode(self.ada), **served))
        self.wait_until_known()

    def wait_until_known(self) -> None:
        """Until ada knows that bob serves."""
        wait_until(lambda: bool(sharers_of(self.ada, MODEL)) and bool(sharers_of(self.ada, TALKER)))

    def bobs(self) -> dict[str, Any]:
        """What ada makes of bob."""
        return stake_of(self.ada, self.keys["bob"])

    @contextlib.contextmanager
    def second_does(self, step: Step) -> Iterator[None]:
        """Within the block the second RPC server does so."""
        self.second.mode = step
        try:
            yield
        finally:
            self.second.mode = raw(b"", 503)

    def _keys(self, name: str) -> Keys:
        (self._folder / name).mkdir()
        keys = Keys(self._folder / name / "masa")
        self.chain.stake(self.contract, self.owners[name].address)
        keys.sign(self.owners[name], self.contract)
        return keys

    def _node(self, name: str, **settings: str) -> Node:
        given = {
            "NETWORK": "on",
            "FIND_LOCAL": "0",
            "LOG_LEVEL": "debug",
            "DEMO_PIECES_PER_S": "15",
            "RPC_URL": f"{self.local.rpc_url},{self.second.rpc_url}",
            "STAKE_NETWORK": str(self._folder / "old.toml"),
            "STAKE_PROVIDERS": "require",
            "STAKE_CALLERS": "require",
        }
        return Node(self._folder / name, given | settings, "/healthz")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Shared: a test leaves both staked, and the chain well."""
    server = RpcServer(mode=raw(b"", 503))
    with contextlib.ExitStack() as running:
        local = running.enter_context(LocalChain())
        portal = running.enter_context(start_blocking_portal())
        running.enter_context(portal.wrap_async_context_manager(server))
        made = Pair(local, server, tmp_path_factory.mktemp("pair"), running)
        noticed(made.bobs, STAKED, 20)
        yield made


@pytest.fixture(autouse=True)
def _well(pair: Pair) -> None:
    """Each test begins with both staked."""
    noticed(pair.bobs, STAKED, 20)
    noticed(lambda: own_stake(pair.ada), STAKED, 20)
    noticed(lambda: stake_of(pair.bob, pair.keys["ada"]), STAKED, 20)


def refused(node: Node) -> tuple[int, Any]:
    """Status and error of one chat that nobody was asked for."""
    with answered(node, MODEL, STREAM) as answer:
        assert attempts(answer.headers.get("X-Masa-Attempts", "")) == {}
        return answer.status, json.loads(answer.read())["error"]


def test_a_contract_without_unbonding_is_warned_of(pair: Pair) -> None:
    assert pair.ada.get("/api/v1/stake")["network"]["warning"] == INSTANT_WITHDRAWAL
    status = pair.ada.command("stake", "status")
    assert status.returncode == 0, status.stderr
    assert "can be withdrawn at once" in " ".join((status.stdout + status.stderr).split())


def test_a_withdrawal_ends_it_and_a_deposit_begins_it_again(pair: Pair) -> None:
    owner = pair.owners["bob"].address
    with Trickle(pair.ada) as trickle:
        trickle.wait_for("whole")
        pair.chain.transact(pair.contract.functions.withdraw(MINIMUM_WEI), owner)
        told = noticed(pair.bobs, NOT_STAKED)
        assert "has no stake at block" in told["reason"]
        trickle.wait_for("403 no_staked_peer")
        pair.chain.stake(pair.contract, owner)
        noticed(pair.bobs, STAKED)
        trickle.wait_for("whole")
    # So soon is a reading no longer fresh here that it may end while a request looks at it.
    assert set(trickle.became) - {"503 stake_unknown"} == {"whole", "403 no_staked_peer"}


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("killed", "nothing listens there (connection refused)"),
        ("held", "no answer within 1 s"),
        ("replaced", f"chain {DEV_CHAIN_ID + 1}"),
        ("lagging", "s old"),
    ],
)
def test_an_outage_makes_stakes_unknown_and_what_runs_ends_in_peace(pair: Pair, how: str, why: str) -> None:
    with a_stream(pair.ada, pair.talker) as stream, getattr(pair.local, how)():
        noticed(pair.bobs, UNKNOWN, 20)
        wait_until(lambda: why in pair.bobs()["reason"])
        wait_until(lambda: why in last_failure(pair.ada))
        told = noticed(pair.bobs, UNKNOWN)
        assert (told["stake_wei"], told["block"], told["age_s"]) == (None, None, None)
        noticed(lambda: own_stake(pair.ada), UNKNOWN)
        status, error = refused(pair.ada)
        assert (status, error["code"]) == (503, "stake_unknown")
        assert why in error["message"]
        assert stream.is_running  # through all of that
    assert stream.became == "whole"
    noticed(pair.bobs, STAKED)
    noticed(lambda: own_stake(pair.ada), STAKED)
    noticed(lambda: stake_of(pair.bob, pair.keys["ada"]), STAKED)
    wait_until(lambda: is_answered(pair.ada))


def _tells(pair: Pair, number: int, chain_id: int = DEV_CHAIN_ID, age_s: int = 1) -> Step:
    """Everybody has a stake, on this chain, at this block."""
    facts = pair.second.facts
    facts.chain_id, facts.number, facts.unix_s = chain_id, number, int(time.time()) - age_s
    return truth


def test_a_server_that_lies_about_the_past_or_of_another_chain_is_not_believed(pair: Pair) -> None:
    with pair.local.killed():
        for number, chain_id, age_s, why in (
            (FAR_BLOCK, 1, 1, "chain 1"),
            (1, DEV_CHAIN_ID, 1, "the RPC server answers for block 1, block"),
            (FAR_BLOCK, DEV_CHAIN_ID, 600, "old"),
        ):
            with pair.second_does(_tells(pair, number, chain_id, age_s)):
                wait_until(lambda why=why: why in pair.bobs()["reason"])
                told = noticed(pair.bobs, UNKNOWN)
                assert pair.second.SECRET not in told["reason"]
                assert refused(pair.ada)[1]["code"] == "stake_unknown"


def test_a_server_that_talks_nonsense_leaves_it_unknown_with_the_reason(pair: Pair) -> None:
    _tells(pair, FAR_BLOCK)
    with pair.local.killed():
        for step, why in (
            (hung, "no answer within 1 s"),
            (dies_in_the_middle, "broke in the middle"),
            (huge, "larger than 256 KiB"),
            (raw(b"<html>"), "sent something that is not JSON-RPC"),
            (raw(b'{"jsonrpc":"2.0"}', 500), "500"),
        ):
            with pair.second_does(step):
                wait_until(lambda why=why: why in pair.bobs()["reason"].partition(f"{pair.second.url}: ")[2])
                assert noticed(pair.bobs, UNKNOWN)["stake_wei"] is None


def test_a_restart_during_an_outage_knows_nothing_and_says_so(pair: Pair) -> None:
    with pair.local.killed():
        pair.ada.stop()
        pair.ada.start()
        pair.wait_until_known()
        noticed(pair.bobs, UNKNOWN)
        wait_until(lambda: "connection refused" in pair.bobs()["reason"])
        status, error = refused(pair.ada)
        assert (status, error["code"]) == (503, "stake_unknown")
    noticed(pair.bobs, STAKED)


def test_with_several_servers_the_next_one_is_used(pair: Pair) -> None:
    """Last: it tells of a block so high that anvil's are in the past after it."""
    with pair.local.killed(), pair.second_does(_tells(pair, FAR_BLOCK)):
        told = noticed(lambda: pair.bobs() if pair.bobs().get("block") == FAR_BLOCK else {}, STAKED)
        assert told["stake_wei"] == str(1500 * 10**18)
        wait_until(lambda: is_answered(pair.ada))
