"""Three nodes and a chain: which is asked and served for its stake, while stakes come and go."""

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest
from calling import answered
from eth_account.signers.local import LocalAccount
from meeting import attempts, bootnode, sharers_of, wait_until
from node_process import Node
from staked import (
    FRESH_S,
    MODEL,
    NOT_STAKED,
    RPC_KEY,
    STAKED,
    Keys,
    LocalChain,
    Trickle,
    a_stream,
    last_failure,
    noticed,
    own_stake,
    peers_asked,
    stake_of,
    streamed,
)
from talker import TALKER, Talker

from masa_node.staking.contract.profile import Profile, write_profile
from masa_node.staking.ethereum.crypto import parse_address
from tests.staking.anvil_chain import MINIMUM_WEI

STREAM = {"stream": True}
SLOW = "40"  # words a second: an answer takes half a second or so
PEERS_ASK = '"requester":"'  # in a log line of a request: null where it is not a peer's
DEAD_URL = f"http://127.0.0.1:1/v3/{RPC_KEY}"  # the first of every node's: the second one is used


@dataclass(frozen=True)
class Member:
    """A node, its folder, its owner."""

    node: Node
    keys: Keys
    owner: LocalAccount


class Market:
    """A chain with our contract; ada asks, bob and cleo serve the demo, bob a talker too; ada and bob are staked."""

    def __init__(self, local: LocalChain, folder: Path, running: contextlib.ExitStack) -> None:
        self.local = local
        self.chain = local.chain
        self.token, self.contract = self.chain.deploy_both()
        self._folder = folder
        self._running = running
        self.nodes: list[Node] = []
        self.talker = running.enter_context(Talker())
        profile = Profile("real", 31337, (), parse_address(self.contract.address), fresh_s=FRESH_S, max_head_age_s=30)
        write_profile(profile, folder / "real.toml")
        self.ada = self.member("ada", is_staked=True, OPEN_NETWORK="1")
        self.bob = self.member("bob", is_staked=True, DEMO="1", LLM_CHAT_URL=self.talker.chat_url)
        self.cleo = self.member("cleo", is_staked=False, DEMO="1")

    def member(self, name: str, *, is_staked: bool, **settings: str) -> Member:
        """A node that runs until all are stopped."""
        first = {"BOOTNODES": bootnode(self.nodes[0])} if self.nodes else {}
        owner = self.chain.new_account()
        location = self._folder / name
        location.mkdir()
        keys = Keys(location / "masa")
        if is_staked:
            self.chain.stake(self.contract, owner.address)
            keys.sign(owner, self.contract)
        given = {
            "NETWORK": "on",
            "FIND_LOCAL": "0",
            "LOG_LEVEL": "debug",
            "DEMO_PIECES_PER_S": SLOW,
            "RPC_URL": f"{DEAD_URL},{self.local.rpc_url}",
            "STAKE_NETWORK": str(self._folder / "real.toml"),
            "STAKE_PROVIDERS": "require",
            "STAKE_CALLERS": "require",
        }
        node = self._running.enter_context(Node(location, given | first | settings, "/healthz"))
        self.nodes.append(node)
        return Member(node, keys, owner)

    def wait_until_known(self, requester: Node) -> None:
        """Until it knows who serves the demo."""
        others = {self.bob.keys.node_id, self.cleo.keys.node_id}
        wait_until(lambda: sharers_of(requester, MODEL) >= others and bool(sharers_of(requester, TALKER)))


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    """Shared: a test leaves the three as they were."""
    folder = tmp_path_factory.mktemp("market")
    with LocalChain() as local, contextlib.ExitStack() as running:
        made = Market(local, folder, running)
        made.wait_until_known(made.ada.node)
        noticed(lambda: stake_of(made.ada.node, made.bob.keys), STAKED, 20)
        yield made


def refusal(node: Node) -> tuple[int, Any, dict[str, str]]:
    """Status, error and attempts of one chat."""
    with answered(node, MODEL, STREAM) as answer:
        body = answer.read()
        tried = attempts(answer.headers.get("X-Masa-Attempts", ""))
        return answer.status, json.loads(body)["error"], tried


# ---- who is asked, who is served ----


def test_under_require_the_unstaked_node_is_not_asked(market: Market) -> None:
    for _ in range(3):
        with answered(market.ada.node, MODEL, STREAM) as answer:
            assert answer.status == 200
            assert attempts(answer.headers["X-Masa-Attempts"]) == {market.bob.keys.node_id: "won"}
            assert answer.read().endswith(b"data: [DONE]\n\n")
    assert peers_asked(market.bob.node) >= 3
    assert peers_asked(market.cleo.node) == 0
    assert PEERS_ASK in market.bob.node.log.read_text()
    assert PEERS_ASK not in market.cleo.node.log.read_text()


def test_its_own_llm_serves_its_owner_anyway(market: Market) -> None:
    with answered(market.cleo.node, MODEL, STREAM) as answer:
        assert (answer.status, answer.headers["X-Masa-Served-By"]) == (200, "local")


def test_verdicts_are_told_with_amount_block_age_and_reason(market: Market) -> None:
    view = market.ada.node.get("/api/v1/stake")
    assert view["staking"] == "on - providers: require, callers: require (real, chain 31337)"
    assert (view["peers"]["staked"], view["peers"]["not staked"]) == (1, 1)
    assert (view["chain"]["failure"], view["network"]["warning"]) == ("", "")
    bob, cleo = (stake_of(market.ada.node, each.keys) for each in (market.bob, market.cleo))
    assert (bob["verdict"], bob["stake_wei"], bob["nodes"]) == (STAKED, str(MINIMUM_WEI), 1)
    assert bob["owner"].lower() == market.bob.owner.address.lower()
    assert 0 < bob["block"] <= market.chain.head()[0]
    assert bob["age_s"] <= FRESH_S + 3
    assert (cleo["verdict"], cleo["block"], cleo["age_s"]) == (NOT_STAKED, None, None)
    assert "it shows no delegation" in cleo["reason"]


def test_under_require_the_unstaked_caller_is_not_served(market: Market) -> None:
    dora = market.member("dora", is_staked=False, STAKE_PROVIDERS="off")
    market.wait_until_known(dora.node)
    served = peers_asked(market.bob.node)
    status, error, tried = refusal(dora.node)
    assert (status, error["code"]) == (403, "stake_demanded")
    assert "it shows no delegation" in error["message"]
    assert tried == dict.fromkeys((market.bob.keys.node_id, market.cleo.keys.node_id), "stake_demanded")
    assert peers_asked(market.bob.node) == served
    dora.node.stop()
    dora.node.environment["STAKE_PROVIDERS"] = "require"
    dora.node.start()
    market.wait_until_known(dora.node)
    status, error, tried = refusal(dora.node)
    assert (status, error["code"], tried) == (403, "stake_required", {})
    assert "masa-node stake deposit min" in error["message"]
    dora.node.stop()


# ---- stakes come and go while requests run ----


def test_a_stake_that_comes_and_goes_while_requests_run_cuts_none(market: Market) -> None:
    chain, contract, ada, bob = market.chain, market.contract, market.ada, market.bob
    with Trickle(ada.node) as trickle:
        trickle.wait_for("whole")
        chain.transact(contract.functions.unbond(MINIMUM_WEI), bob.owner.address)
        told = noticed(lambda: stake_of(ada.node, bob.keys), NOT_STAKED)
        assert "has no stake at block" in told["reason"]
        trickle.wait_for("403 no_staked_peer")
        chain.stake(contract, bob.owner.address)
        noticed(lambda: stake_of(ada.node, bob.keys), STAKED)
        trickle.wait_for("whole")
        chain.transact(contract.functions.revokeDelegations(), bob.owner.address)
        told = noticed(lambda: stake_of(ada.node, bob.keys), NOT_STAKED)
        assert "was revoked: it is of epoch 0, the owner's is 1 at block " in told["reason"]
        trickle.wait_for("403 no_staked_peer")
        bob.keys.sign(bob.owner, contract, epoch=1)
        noticed(lambda: stake_of(ada.node, bob.keys), STAKED)
        trickle.wait_for("whole")
    assert set(trickle.became) == {"whole", "403 no_staked_peer"}
    assert peers_asked(market.cleo.node) == 0


def test_the_requester_whose_stake_ends_is_told_so_and_served_again_with_the_next(market: Market) -> None:
    chain, contract, ada, bob = market.chain, market.contract, market.ada, market.bob
    with Trickle(ada.node) as trickle:
        trickle.wait_for("whole")
        chain.transact(contract.functions.unbond(MINIMUM_WEI), ada.owner.address)
        noticed(lambda: stake_of(bob.node, ada.keys), NOT_STAKED)
        noticed(lambda: own_stake(ada.node), NOT_STAKED)
        trickle.wait_for("403 stake_required")
        chain.stake(contract, ada.owner.address)
        noticed(lambda: stake_of(bob.node, ada.keys), STAKED)
        noticed(lambda: own_stake(ada.node), STAKED)
        trickle.wait_for("whole")
    assert set(trickle.became) <= {"whole", "403 stake_required", "403 stake_demanded"}  # bob may know it first


# ---- the chain goes away: what was read serves on ----


@pytest.mark.parametrize("how", ["killed", "held", "replaced"])
def test_an_outage_is_borne_on_what_was_read(market: Market, how: str) -> None:
    why = {"killed": "connection refused", "held": "no answer within 1 s", "replaced": "31338"}[how]
    with (
        a_stream(market.ada.node, market.talker) as stream,
        getattr(market.local, how)(),
        Trickle(market.ada.node) as trickle,
    ):
        wait_until(lambda: why in last_failure(market.ada.node))
        wait_until(lambda: why in stake_of(market.ada.node, market.bob.keys)["reason"])
        told = stake_of(market.ada.node, market.bob.keys)
        assert told["verdict"] == STAKED
        assert "the chain cannot be read now" in told["reason"]
        assert stream.is_running
        trickle.wait_for("whole")
    assert stream.became == "whole"
    assert set(trickle.became) == {"whole"}
    wait_until(lambda: "cannot be read" not in stake_of(market.ada.node, market.bob.keys)["reason"])
    assert stake_of(market.ada.node, market.bob.keys)["verdict"] == STAKED


def test_a_restart_during_an_outage_uses_what_was_kept(market: Market) -> None:
    ada, bob = market.ada.node, market.bob
    with market.local.killed():
        ada.stop()
        time.sleep(2 * FRESH_S)
        ada.start()
        market.wait_until_known(ada)
        told = noticed(lambda: stake_of(ada, bob.keys), STAKED)
        assert told["age_s"] >= 1
        noticed(lambda: own_stake(ada), STAKED)
        wait_until(lambda: "connection refused" in stake_of(ada, bob.keys)["reason"])
        with answered(ada, MODEL, STREAM) as answer:
            assert answer.status == 200
            assert answer.read().endswith(b"data: [DONE]\n\n")
    wait_until(lambda: "cannot be read" not in stake_of(ada, bob.keys)["reason"])
    told = stake_of(ada, bob.keys)
    assert (told["verdict"], told["age_s"] <= FRESH_S + 3) == (STAKED, True)


# ---- an owner that is a contract ----


def test_a_safe_deposits_delegates_and_revokes(market: Market) -> None:
    chain, contract, eve = market.chain, market.contract, market.member("eve", is_staked=False, DEMO="1")
    keeper = eve.owner
    safe = chain.deploy_source("safe_owner", keeper.address)
    chain.give_tokens(market.token, safe.address, MINIMUM_WEI)

    def execute(call: Any) -> None:  # noqa: ANN401 - web3's
        data = call.build_transaction({"from": safe.address, "gas": 0, "gasPrice": 0, "nonce": 0})["data"]
        chain.transact(safe.functions.execute(call.address, data), keeper.address)

    execute(market.token.functions.approve(contract.address, MINIMUM_WEI))
    plan = _command(eve, "delegate", "--owner", safe.address, "--contract-owner")
    signature = keeper.sign_typed_data(full_message=plan["typed_data"]).signature
    _command(eve, "delegate", "--signature", f"0x{bytes(signature).hex()}")
    told = noticed(lambda: stake_of(market.ada.node, eve.keys), NOT_STAKED)
    wait_until(lambda: "has no stake at block" in stake_of(market.ada.node, eve.keys)["reason"])
    execute(contract.functions.stake(MINIMUM_WEI))
    told = noticed(lambda: stake_of(market.ada.node, eve.keys), STAKED)
    assert told["owner"].lower() == safe.address.lower()
    execute(contract.functions.revokeDelegations())
    told = noticed(lambda: stake_of(market.ada.node, eve.keys), NOT_STAKED)
    assert "was revoked" in told["reason"]
    eve.node.stop()


def _command(member: Member, *arguments: str) -> Any:  # noqa: ANN401 - JSON
    ran = member.node.command("stake", *arguments, "--json")
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


# ---- prefer; what is left of secrets ----


def test_under_prefer_the_unstaked_node_comes_last(market: Market, openai_at: Any) -> None:  # noqa: ANN401 - a fixture
    ada, bob, cleo = market.ada.node, market.bob, market.cleo
    ada.stop()
    ada.environment["STAKE_PROVIDERS"] = "prefer"
    ada.start()
    market.wait_until_known(ada)
    noticed(lambda: stake_of(ada, bob.keys), STAKED)
    client: openai.OpenAI = openai_at(ada.url)
    assert [streamed(client) for _ in range(3)] == ["whole"] * 3
    assert peers_asked(cleo.node) == 0
    bob.node.kill()
    with answered(ada, MODEL, STREAM) as answer:
        assert answer.status == 200
        assert answer.headers["X-Masa-Served-By"] == cleo.keys.node_id
        assert answer.read().endswith(b"data: [DONE]\n\n")
    assert peers_asked(cleo.node) == 1


def test_no_rpc_url_is_seen_anywhere(market: Market) -> None:
    told = [json.dumps(market.ada.node.get(path)) for path in ("/api/v1/stake", "/api/v1/peers", "/api/v1/node")]
    with contextlib.closing(market.ada.node.connection()) as connection:
        connection.request("GET", "/metrics")
        told.append(connection.getresponse().read().decode())
    status = market.ada.node.command("stake", "status")
    told += [status.stdout, status.stderr, *(node.log.read_text() for node in market.nodes)]
    assert "http://127.0.0.1:1" in status.stdout  # the server is named, its key is not
    assert not [text for text in told if RPC_KEY in text]
    assert not [text for text in told if "Traceback" in text]
