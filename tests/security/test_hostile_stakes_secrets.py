"""A stake gives no right at the HTTP side, and the URLs of RPC servers, which hold keys, are nowhere to be seen.

In the original Masa node a staked node needed no API key.
"""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from masa_node.network.store.node_key import load_secret
from masa_node.network.store.store import Store
from masa_node.network.transport.iroh.keys import IrohKeys
from masa_node.staking.contract.profile import write_profile
from masa_node.staking.delegation import Delegation, Domain, SignedDelegation, digest, encode
from masa_node.staking.ethereum.crypto import address_of_secret, sign
from masa_node.staking.gate.evaluator import UNDER_WAY
from tests.api.raw_http import ask_once, chat, get, post
from tests.api.serving import ServingNode
from tests.fakes.http_bytes import whole
from tests.fakes.llm_server import Line, Step
from tests.node.test_stake_policy import NOT_BEFORE, PROFILE
from tests.staking.delegations import Owner, node
from tests.staking.rpc_server import Facts, RpcServer, dies_before, hung, raw, truth

SECRET = b"\x66" * 32  # of the owner
KEY = "callers-key-77e0"
OFTEN = {f"masa_node.node.{module}.LOOK_EVERY_S": 0.1 for module in ("peering.network", "stake_policy")}
ENDPOINTS = ("/api/v1/node", "/api/v1/peers", "/api/v1/stake", "/api/v1/races", "/v1/models")


async def _quotes_its_key(line: Line) -> None:
    """As servers do that do not know a key."""
    body = {"jsonrpc": "2.0", "id": 1, "error": {"code": -32000, "message": f"bad key {RpcServer.SECRET}"}}
    await line.write(whole(json.dumps(body).encode(), status=401))


MODES: dict[str, Step] = {
    "quotes its key": _quotes_its_key,
    "hung": hung,
    "dies": dies_before,
    "html": raw(b"<html>"),
    "truth": truth,
}


async def test_a_stake_opens_no_endpoint(tmp_path: Path) -> None:
    owner, stranger = Owner("staked"), node(7)
    write_profile(PROFILE, tmp_path / "net.toml")
    settings = {
        "API_KEY": KEY,
        "STAKE_NETWORK": str(tmp_path / "net.toml"),
        "STAKE_CALLERS": "require",
        "STAKE_ALLOW": stranger,
    }
    word = owner.delegates(stranger).hex()
    claims = [f"Authorization: Bearer {stranger}", f"Authorization: Bearer {word}", f"X-Masa-Node: {stranger}"]
    claims += [f"X-Masa-Delegation: {word}", "X-Masa-Staked: true", f"Authorization: {owner.address}"]
    with ServingNode(tmp_path, settings) as serving:
        for claim in claims:
            for path in ENDPOINTS:
                assert (await ask_once(serving.port, get(path.encode(), f"{claim}\r\n".encode()))).status == 401
            assert (await ask_once(serving.port, post(chat(), f"{claim}\r\n".encode()))).status == 401
        good = f"Authorization: Bearer {KEY}\r\n".encode()
        assert (await ask_once(serving.port, get(b"/api/v1/stake", good))).status == 200


@pytest.mark.parametrize("mode", ["quotes its key", "hung", "dies", "html", "truth"])
async def test_no_rpc_url_is_in_logs_errors_answers_metrics_or_files(
    tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    facts = Facts(chain_id=PROFILE.chain_id, unix_s=int(time.time()))
    await keep_delegation(tmp_path / "masa")
    write_profile(msgspec.structs.replace(PROFILE, rpc_urls=(), fresh_s=1.0), tmp_path / "net.toml")
    async with RpcServer(facts, MODES[mode]) as rpc:
        with ServingNode(tmp_path, settings_with(rpc, tmp_path), OFTEN) as serving:
            own = await own_stake(serving)
            told = [(await ask_once(serving.port, get(path.encode()))).body for path in (*ENDPOINTS, "/metrics")]
            told.append((await ask_once(serving.port, post(chat()))).body)
    written = b"\n".join([*told, *everything_in(tmp_path), serving.printed.encode()])
    assert (own["verdict"] == "staked") is (mode == "truth")
    assert (f"{rpc.url}: " in own["reason"]) is (mode != "truth")  # the server is named
    assert b"masa_requests_total" in written
    assert RpcServer.SECRET.encode() not in written


async def keep_delegation(masa_dir: Path) -> None:
    """As `masa-node stake delegate` does, for the key that the node there is going to have."""
    key = bytes.fromhex(IrohKeys(load_secret(masa_dir)).node_id)
    domain = Domain(PROFILE.chain_id, PROFILE.contract)
    delegation = Delegation(address_of_secret(SECRET), key, 3, NOT_BEFORE, NOT_BEFORE + 86_400, domain)
    store = await Store.open(masa_dir)
    assert await store.set_value("delegation", encode(SignedDelegation(delegation, sign(digest(delegation), SECRET))))
    await store.close()


def settings_with(rpc: RpcServer, folder: Path) -> dict[str, str]:
    """A node that needs a stake, and two URLs with a key in every place where one can be."""
    location = rpc.url.removeprefix("http://")
    return {
        "DEMO": "",
        "NETWORK": "on",
        "PEER_HOST": "127.0.0.1",
        "FIND_LOCAL": "0",
        "STAKE_NETWORK": str(folder / "net.toml"),
        "STAKE_PROVIDERS": "require",
        "RPC_URL": f"http://user:{rpc.SECRET}@{location}/v3/{rpc.SECRET}?key={rpc.SECRET},{rpc.rpc_url}",
    }


async def own_stake(serving: ServingNode) -> dict[str, Any]:
    """What the node tells of its own, once it has asked the chain."""
    async with asyncio.timeout(20):
        while True:
            own: dict[str, Any] = json.loads((await ask_once(serving.port, get(b"/api/v1/stake"))).body)["own"]
            if own["owner"] is not None and own["reason"] not in (UNDER_WAY, "not looked up yet"):
                return own
            await asyncio.sleep(0.05)


def everything_in(folder: Path) -> list[bytes]:
    """The log and all that is kept."""
    return [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
