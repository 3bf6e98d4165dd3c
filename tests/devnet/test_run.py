"""`masa-node devnet` as a user has it: a process of its own with a real chain.

Covers: `deployment`, `nodes`.
"""

import asyncio
import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import requests
from eth_account import Account
from rich.console import Console
from web3 import HTTPProvider, Web3

from masa_node.cli.devnet import DevnetForPeople
from masa_node.devnet.nodes import DevnetNode
from masa_node.devnet.run import Devnet
from masa_node.network.links.invites import parse_bootnodes
from masa_node.network.store.node_key import load_secret
from masa_node.network.store.store import Store
from masa_node.network.transport.iroh.keys import IrohKeys
from masa_node.node.settings.environment import read_settings
from masa_node.node.settings.peers import read_peer_settings
from masa_node.node.settings.stake import StakeMode, read_stake_settings
from masa_node.staking.contract.artifacts import artifact
from masa_node.staking.contract.profile import Profile, Shape, load_profile
from masa_node.staking.delegation import BadDelegation, Domain, check, decode
from tests import processes

MASA = 10**18
PATIENCE_S = 60.0  # a loaded machine; it takes a second
LISTEN, ESTABLISHED_UDP = "0A", "07"

Json = Any


# ---- the process ----


def command(folder: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "masa_node", "devnet", "--dir", str(folder), *arguments]


def environ(anvil: Path, home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "PYTHONPATH")}
    return {**kept, "HOME": str(home), "ANVIL": str(anvil), "MASA_DIR": str(home / "masa")}


@contextlib.contextmanager
def running(anvil: Path, folder: Path) -> Generator[tuple[subprocess.Popen[str], Devnet]]:
    """One that is ready. It is killed at the end if the test did not end it."""
    with processes.running(
        command(folder, "--json"),
        cwd=folder.parent,
        env=environ(anvil, folder.parent),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, process.communicate()[1]
            yield process, msgspec.json.decode(line, type=Devnet)
        finally:
            process.kill()


def run_to_its_end(anvil: Path, folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """One that does not come to be ready."""
    return subprocess.run(
        command(folder, *arguments),
        cwd=folder.parent,
        env={**environ(anvil, folder.parent), **more},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


@pytest.fixture(scope="module")
def started(
    anvil_program: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[subprocess.Popen[str], Devnet]]:
    with running(anvil_program, tmp_path_factory.mktemp("home") / "devnet") as both:
        yield both


@pytest.fixture(scope="module")
def devnet(started: tuple[subprocess.Popen[str], Devnet]) -> Devnet:
    return started[1]


@contextlib.contextmanager
def reading(devnet: Devnet) -> Generator[Web3]:
    with requests.Session() as session:  # web3's own are never closed
        yield Web3(HTTPProvider(devnet.rpc_url, session=session))


@pytest.fixture(scope="module")
def web3(devnet: Devnet) -> Iterator[Web3]:
    with reading(devnet) as web3:
        yield web3


def until(is_so: Callable[[], bool]) -> None:
    """Of other processes, which tell nobody."""
    end_s = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < end_s, "it did not come to be"
        time.sleep(0.02)


def children(pid: int) -> list[int]:
    """Every process under this one (Linux)."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    found = [pid]
    for parent in found:
        found += [child for child, its_parent in parents.items() if its_parent == parent]
    return found[1:]


def is_alive(pid: int) -> bool:
    """One that was killed and not yet waited for is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def answers(url: str) -> bool:
    body = b'{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[]}'
    request = urllib.request.Request(url, body, {"content-type": "application/json"})  # noqa: S310 - our own URL
    try:
        with urllib.request.urlopen(request, timeout=5):  # noqa: S310
            return True
    except OSError:  # refused, or cut off while it ends
        return False


needs_proc = pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="looks at /proc, which only Linux has")


# ---- what is on the chain ----


def contract(web3: Web3, name: Json, address: str) -> Json:
    return web3.eth.contract(address=web3.to_checksum_address(address), abi=json.loads(bytes(artifact(name).abi)))


def test_two_owners_are_staked_on_the_chain_and_one_is_not(devnet: Devnet, web3: Web3) -> None:
    staking = contract(web3, "staking", devnet.contract).functions
    assert [staking.stakes(node.owner).call() for node in devnet.nodes] == [1000 * MASA, 1000 * MASA, 0]
    assert [node.is_staked for node in devnet.nodes] == [True, True, False]
    assert staking.standing(devnet.nodes[0].owner).call()[:3] == [1000 * MASA, 1000 * MASA, 0]


def test_each_owner_has_tokens_and_coins_to_try_with(devnet: Devnet, web3: Web3) -> None:
    token = contract(web3, "token", devnet.token).functions
    assert [token.balanceOf(node.owner).call() for node in devnet.nodes] == [1000 * MASA, 1000 * MASA, 2000 * MASA]
    assert all(web3.eth.get_balance(web3.to_checksum_address(node.owner)) > 9 * 10**18 for node in devnet.nodes)


def test_the_contract_is_ours_with_the_least_unbonding_period(devnet: Devnet, web3: Web3) -> None:
    staking = contract(web3, "staking", devnet.contract).functions
    assert staking.masaToken().call() == devnet.token
    assert staking.minimumStake().call() == 1000 * MASA
    assert staking.unbondingPeriod().call() == 86_400
    token = contract(web3, "token", devnet.token).functions
    assert (token.name().call(), token.symbol().call(), token.totalSupply().call()) == (
        "Masa",
        "MASA",
        1_006_000 * MASA,
    )


def test_stakes_came_by_transactions_of_the_owners_themselves(devnet: Devnet, web3: Web3) -> None:
    events = contract(web3, "staking", devnet.contract).events.Staked().get_logs(from_block=0)
    assert {event["args"][next(iter(event["args"]))] for event in events} == {node.owner for node in devnet.nodes[:2]}
    for event in events:
        transaction = web3.eth.get_transaction(event["transactionHash"])
        assert transaction["from"] in {node.owner for node in devnet.nodes}
        assert transaction["to"] == devnet.contract


def test_nobody_can_send_in_an_owners_name_without_his_key(devnet: Devnet, web3: Web3) -> None:
    owner = devnet.nodes[0].owner
    answer: Json = web3.provider.make_request("eth_sendTransaction", [{"from": owner, "to": owner}])  # type: ignore[arg-type]
    assert "error" in answer


def test_the_chain_goes_on_without_transactions(devnet: Devnet, web3: Web3) -> None:
    first = web3.eth.block_number
    until(lambda: web3.eth.block_number > first)
    assert abs(web3.eth.get_block("latest")["timestamp"] - time.time()) < 30


# ---- what is in the folder ----


def kept_delegation(node: DevnetNode) -> bytes | None:
    async def read() -> bytes | None:
        store = await Store.open(Path(node.masa_dir))
        try:
            return await store.value("delegation")
        finally:
            await store.close()

    return asyncio.run(read())


def test_the_delegations_hold_for_their_own_node_and_no_other(devnet: Devnet) -> None:
    domain = Domain(devnet.chain_id, devnet.contract)
    first, second, third = devnet.nodes
    for node in (first, second):
        signed = decode(kept_delegation(node) or b"")
        check(signed, node.node_id, domain, time.time())
        assert signed.delegation.owner == node.owner
        with pytest.raises(BadDelegation):
            check(signed, third.node_id, domain, time.time())
    assert kept_delegation(third) is None


def test_each_node_has_the_key_of_its_id(devnet: Devnet) -> None:
    for node in devnet.nodes:
        assert IrohKeys(load_secret(Path(node.masa_dir))).node_id == node.node_id


def test_the_profile_loads(devnet: Devnet) -> None:
    expected = Profile(
        name="devnet",
        chain_id=31_337,
        rpc_urls=(devnet.rpc_url,),
        contract=devnet.contract,
        shape=Shape.MASA_NODE,
        max_head_age_s=30.0,
        fresh_s=5.0,
    )
    assert load_profile(devnet.profile, Path("/nowhere")) == expected


def test_the_settings_of_each_node_are_read_as_they_are_meant(devnet: Devnet) -> None:
    for node in devnet.nodes:
        settings = read_settings(node.settings, dotenv=Path("/nowhere/.env"))
        stake = read_stake_settings(settings)
        assert stake.profile == load_profile(devnet.profile, Path("/nowhere"))
        assert (stake.providers, stake.callers) == (StakeMode.REQUIRE, StakeMode.REQUIRE)
        assert (settings.host, settings.peer_host, settings.network) == ("127.0.0.1", "127.0.0.1", "on")
        assert node.url == f"http://127.0.0.1:{settings.port}"
        assert settings.demo == node.has_llm
        read_peer_settings(settings)


def test_the_nodes_find_each_other_by_their_settings(devnet: Devnet) -> None:
    expected = {node.node_id: f"127.0.0.1:{node.settings['PEER_PORT']}" for node in devnet.nodes}
    assert len(set(expected.values())) == 3
    assert len({node.url for node in devnet.nodes}) == 3
    for node in devnet.nodes:
        found = {address.node_id: address.direct[0] for address in parse_bootnodes(node.settings["BOOTNODES"])}
        assert {**found, node.node_id: expected[node.node_id]} == expected
        assert node.node_id not in found


def test_each_owners_keystore_holds_his_key(devnet: Devnet) -> None:
    for node in devnet.nodes:
        key = Account.decrypt(json.loads(Path(node.keystore).read_text()), devnet.passphrase)
        assert Account.from_key(key).address == node.owner


@needs_proc
def test_everything_listens_on_loopback_only(started: tuple[subprocess.Popen[str], Devnet]) -> None:
    process, devnet = started
    inodes = _sockets_of((process.pid, *children(process.pid)))
    listening: list[str] = []
    for table, state in (("tcp", LISTEN), ("tcp6", LISTEN), ("udp", ESTABLISHED_UDP), ("udp6", ESTABLISHED_UDP)):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == state and fields[9] in inodes:
                listening.append(fields[1])
    port = int(devnet.rpc_url.rpartition(":")[2])
    assert listening == [f"0100007F:{port:04X}"]


def _sockets_of(pids: Iterable[int]) -> set[str]:
    """By the numbers that the kernel's tables have for them."""
    found: set[str] = set()
    for pid in pids:
        for file in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):  # closed since
                found.add(str(file.readlink()).removeprefix("socket:[").rstrip("]"))
    return found


# ---- its end ----


@needs_proc
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_the_chain_in_good_order(anvil_program: Path, tmp_path: Path, number: int) -> None:
    with running(anvil_program, tmp_path / "devnet") as (process, devnet):
        under = children(process.pid)
        assert under
        process.send_signal(number)
        assert process.wait(PATIENCE_S) == 0
        assert process.communicate() == ("", "")
        assert not any(is_alive(pid) for pid in under)
        assert not answers(devnet.rpc_url)
    assert Path(devnet.profile).is_file()


@needs_proc
def test_killed_it_leaves_no_chain_behind(anvil_program: Path, tmp_path: Path) -> None:
    with running(anvil_program, tmp_path / "devnet") as (process, devnet):
        under = children(process.pid)
        assert answers(devnet.rpc_url)
        process.kill()
        process.wait()
        until(lambda: not any(is_alive(pid) for pid in under))
        assert not answers(devnet.rpc_url)


@needs_proc
def test_when_the_chain_dies_it_ends_and_says_so(anvil_program: Path, tmp_path: Path) -> None:
    with running(anvil_program, tmp_path / "devnet") as (process, _):
        chain = [pid for pid in children(process.pid) if Path(f"/proc/{pid}/comm").read_text().strip() == "anvil"]
        assert len(chain) == 1
        os.kill(chain[0], signal.SIGKILL)
        said = process.communicate(timeout=PATIENCE_S)[1]
    assert process.returncode == 1
    assert said == "masa-node: The local chain ended by itself. Start the devnet again: it begins again.\n"


# ---- another start ----


def test_a_second_start_has_fresh_keys_and_leaves_what_others_put_there(anvil_program: Path, tmp_path: Path) -> None:
    folder = tmp_path / "devnet"
    with running(anvil_program, folder) as (process, first):
        (folder / "node-a" / "notes.txt").write_text("mine")
        process.send_signal(signal.SIGINT)
        process.wait(PATIENCE_S)
    with running(anvil_program, folder) as (_, second):
        assert not {node.node_id for node in first.nodes} & {node.node_id for node in second.nodes}
        assert not {node.owner for node in first.nodes} & {node.owner for node in second.nodes}
        check(
            decode(kept_delegation(second.nodes[0]) or b""),
            second.nodes[0].node_id,
            Domain(second.chain_id, second.contract),
            time.time(),
        )
        assert (folder / "node-a" / "notes.txt").read_text() == "mine"


def test_two_at_once_have_a_folder_each(anvil_program: Path, tmp_path: Path) -> None:
    with running(anvil_program, tmp_path / "one") as (process, first):
        done = run_to_its_end(anvil_program, tmp_path / "one")
        assert done.returncode == 2
        assert done.stderr.startswith(f"masa-node: Another devnet (pid {process.pid}) runs in {first.folder}.")
        with running(anvil_program, tmp_path / "two") as (_, second):
            assert second.rpc_url != first.rpc_url


def test_a_folder_of_somebody_else_is_refused_untouched(anvil_program: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "devnet.toml").write_text("mine")
    done = run_to_its_end(anvil_program, folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert "holds files that no devnet made" in done.stderr
    assert [file.name for file in folder.iterdir()] == ["devnet.toml"]
    assert (folder / "devnet.toml").read_text() == "mine"


def test_without_anvil_it_says_so_in_one_line_and_makes_nothing(tmp_path: Path) -> None:
    done = run_to_its_end(tmp_path / "no-such-anvil", tmp_path / "devnet")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "ANVIL" in done.stderr
    assert "npm install @foundry-rs/anvil" in done.stderr
    assert not (tmp_path / "devnet").exists()


def test_an_anvil_that_does_not_start_is_one_clear_line(tmp_path: Path) -> None:
    program = tmp_path / "anvil"
    program.write_text("#!/bin/sh\necho 'unknown option' >&2\nexit 3\n")
    program.chmod(0o700)
    done = run_to_its_end(program, tmp_path / "devnet")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "masa-node: anvil ended at once: unknown option\n"


# ---- for people ----


def test_people_read_the_warning_the_commands_and_what_remains(anvil_program: Path, tmp_path: Path) -> None:
    with processes.running(
        [sys.executable, "-m", "masa_node", "devnet"],
        cwd=tmp_path,
        env=environ(anvil_program, tmp_path),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            lines: list[str] = []
            while not lines or not lines[-1].startswith("Ctrl+C"):
                lines.append(process.stdout.readline())
                assert lines[-1], lines
            process.send_signal(signal.SIGINT)
            rest = process.communicate(timeout=PATIENCE_S)[0]
        finally:
            process.kill()
    text, folder = "".join(lines), tmp_path / "masa" / "devnet"
    assert "never use them on a real chain" in text
    for name in ("a", "b", "c"):
        assert f"  {folder / name} up\n" in text
    assert f"{folder / 'c'} stake deposit min --keystore {folder / 'owner-c.json'}\n" in text
    assert f"remain in {folder};" in rest
    assert process.returncode == 0


def test_addresses_and_commands_are_whole_on_a_narrow_terminal(devnet: Devnet) -> None:
    out = io.StringIO()
    DevnetForPeople(Console(file=out, width=40)).on_ready(devnet)
    table = out.getvalue().partition("Start the nodes")[0]
    for node in devnet.nodes:
        assert node.url in table
        assert f"{node.start} up\n" in out.getvalue()


# ---- the nodes ----


@contextlib.contextmanager
def node_up(node: DevnetNode, cwd: Path, **more: str) -> Generator[str]:
    """The printed command; its address once its models are known."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "PYTHONPATH")}
    with processes.running(
        [node.start, "up", "--json"], cwd=cwd, env={**kept, **more}, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            listening, settled = (json.loads(process.stdout.readline()) for _ in range(2))
            assert (listening["address"], settled["node_id"]) == (node.url, node.node_id)
            yield node.url
        finally:
            process.kill()


def fetched(url: str, body: object = None) -> tuple[int, dict[str, str], Json]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data)  # noqa: S310 - our own URL
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:  # noqa: S310
            return answer.status, dict(answer.headers), json.load(answer)
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, dict(exc.headers), json.load(exc)


REQUEST = {"model": "masa-demo", "messages": [{"role": "user", "content": "Hello"}]}


def given(node: DevnetNode, *words: str, devnet: Devnet) -> subprocess.CompletedProcess[str]:
    """A command to this node, with its owner's keystore, as it is suggested; without the questions."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "PYTHONPATH")}
    return subprocess.run(
        [node.start, "stake", *words, "--keystore", node.keystore],
        env={**kept, "MASA_KEYSTORE_PASSPHRASE": devnet.passphrase},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def test_the_third_owner_stakes_and_delegates_as_it_is_suggested(anvil_program: Path, tmp_path: Path) -> None:
    with running(anvil_program, tmp_path / "devnet") as (_, devnet), reading(devnet) as web3:
        unstaked = devnet.nodes[2]
        for words in (("deposit", "min", "--yes"), ("delegate",)):
            done = given(unstaked, *words, devnet=devnet)
            assert done.returncode == 0, (words, done.stdout, done.stderr)
        staking = contract(web3, "staking", devnet.contract).functions
        assert staking.stakes(unstaked.owner).call() == 1000 * MASA
        domain = Domain(devnet.chain_id, devnet.contract)
        check(decode(kept_delegation(unstaked) or b""), unstaked.node_id, domain, time.time())


def test_the_three_commands_make_a_network_in_which_only_the_staked_are_asked(
    anvil_program: Path, tmp_path: Path
) -> None:
    with contextlib.ExitStack() as stack:
        _, devnet = stack.enter_context(running(anvil_program, tmp_path / "devnet"))
        asking, serving, unstaked = devnet.nodes
        stack.enter_context(node_up(unstaked, tmp_path))
        url = stack.enter_context(node_up(asking, tmp_path))
        until(lambda: is_linked(url, unstaked))
        until(lambda: refusal_of(url) == (403, "no_staked_peer"))  # its models may be known a moment after the link
        stack.enter_context(node_up(serving, tmp_path))
        until(lambda: is_linked(url, serving))
        until(lambda: fetched(f"{url}/v1/chat/completions", REQUEST)[0] == 200)
        for _ in range(3):
            status, headers, _ = fetched(f"{url}/v1/chat/completions", REQUEST)
            assert (status, headers["x-masa-served-by"]) == (200, serving.node_id)


def refusal_of(url: str) -> tuple[int, str]:
    status, _, refusal = fetched(f"{url}/v1/chat/completions", REQUEST)
    return status, refusal["error"]["code"]


def is_linked(url: str, node: DevnetNode) -> bool:
    return any(peer["id"] == node.node_id and peer["connected"] for peer in fetched(f"{url}/api/v1/peers")[2]["peers"])
