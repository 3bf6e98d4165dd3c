"""Anvil as a child: found or said where to get it, taken for nothing else's, and gone when its parent is."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path

import pytest
from web3.types import TxReceipt

from masa_node.chat.errors import ConfigurationError
from masa_node.devnet import anvil as module
from masa_node.devnet.anvil import HOW_TO_GET_IT, Anvil, find_anvil
from tests.lacking import REQUIRED
from tests.processes import running
from tests.staking.anvil_chain import PROJECT, AnvilChain, anvil_url, program, running_chain

WITHIN_S = 20.0  # a loaded machine; it takes milliseconds


# ---- where it is ----


def test_what_anvil_names_comes_first_then_the_path_then_node_modules(tmp_path: Path) -> None:
    named, on_path = _script(tmp_path / "named" / "mine"), _script(tmp_path / "path" / "anvil")
    installed = _script(tmp_path / "project" / "node_modules" / ".bin" / "anvil")
    below = tmp_path / "project" / "a" / "b"
    path = {"PATH": str(on_path.parent)}
    assert find_anvil({**path, "ANVIL": str(named)}, below) == named
    assert find_anvil({**path, "ANVIL": ""}, below) == on_path
    assert find_anvil({"PATH": str(tmp_path)}, below) == installed
    assert find_anvil({"PATH": f"{tmp_path}:{named.parent}", "ANVIL": "mine"}, below) == named


def test_without_one_it_is_said_in_one_line_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as absent:
        find_anvil({"PATH": str(tmp_path)}, tmp_path)
    assert HOW_TO_GET_IT in absent.value.message
    assert "\n" not in absent.value.message


@pytest.mark.parametrize("named", ["/no/such/anvil", "no-such-anvil", "not-executable"])
def test_a_wrong_name_is_an_error_and_no_reason_to_take_another(tmp_path: Path, named: str) -> None:
    (tmp_path / "not-executable").write_text("", "utf-8")
    _script(tmp_path / "anvil")
    with pytest.raises(ConfigurationError, match="not a program that can be run") as wrong:
        find_anvil({"PATH": str(tmp_path), "ANVIL": named}, tmp_path)
    assert repr(named) in wrong.value.message


def test_npms_script_is_passed_over_for_the_program_that_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = tmp_path / "node_modules" / "@foundry-rs"
    launcher = _script(packages / "anvil" / "bin.mjs")
    for platform in ("linux-amd64", "darwin-arm64"):
        _script(packages / f"anvil-{platform}" / "bin" / "anvil")
    (tmp_path / "node_modules" / ".bin").mkdir()
    (tmp_path / "node_modules" / ".bin" / "anvil").symlink_to(launcher)
    for system, machine, folder in (("Linux", "x86_64", "linux-amd64"), ("Darwin", "arm64", "darwin-arm64")):
        monkeypatch.setattr("platform.system", lambda system=system: system)
        monkeypatch.setattr("platform.machine", lambda machine=machine: machine)
        assert find_anvil({"PATH": ""}, tmp_path) == packages / f"anvil-{folder}" / "bin" / "anvil"
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    assert find_anvil({"PATH": ""}, tmp_path).name == "anvil"


def test_the_one_that_is_fetched_is_pinned_by_hash_and_from_no_named_registry() -> None:
    lock = json.loads((PROJECT / "tools" / "anvil" / "package-lock.json").read_text("utf-8"))
    packages = {name: each for name, each in lock["packages"].items() if name}
    assert packages
    for package in packages.values():
        assert package["integrity"].startswith("sha512-")
        assert "resolved" not in package


def test_a_test_that_needs_a_chain_is_skipped_without_one_but_fails_where_all_are_required(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANVIL", str(tmp_path / "none"))
    monkeypatch.delenv(REQUIRED, raising=False)
    with pytest.raises(pytest.skip.Exception, match="get_anvil"):
        program()
    monkeypatch.setenv(REQUIRED, "1")
    with pytest.raises(pytest.fail.Exception, match="get_anvil"):
        program()


# ---- the real one ----


def test_it_has_the_chain_id_that_was_asked_for_and_a_port_of_its_own() -> None:
    with running_chain(chain_id=4242) as one, running_chain(chain_id=4243) as other:
        assert [each.web3.eth.chain_id for each in (one, other)] == [4242, 4243]
        assert one.url != other.url


def test_a_transaction_is_mined_at_once_though_blocks_come_by_the_clock() -> None:
    with running_chain(block_time_s=3600) as chain:
        receipt = _send_one_wei(chain)
        assert receipt["blockNumber"] == chain.head()[0] == 1


def test_the_head_stays_young_without_transactions() -> None:
    with running_chain(block_time_s=1) as chain:
        assert _until(lambda: chain.head()[0] > 0)


def test_what_is_64_blocks_back_can_be_read() -> None:
    with running_chain() as chain:
        _send_one_wei(chain)
        chain.rpc("anvil_mine", "0x80")
        assert int(chain.rpc("eth_getBalance", chain.accounts[1], "finalized"), 16) == 10_000 * 10**18 + 1


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="listening sockets are read from Linux's /proc")
def test_it_listens_on_loopback_only() -> None:
    with anvil_url(Anvil(program())) as url:
        port = f":{_port(url):04X}"
        lines = [*_lines("/proc/net/tcp"), *_lines("/proc/net/tcp6")]
        assert [line[1] for line in lines if line[1].endswith(port) and line[3] == "0A"] == ["0100007F" + port]


async def test_it_is_gone_when_the_block_ends_however_it_ends() -> None:
    chain = Anvil(program())
    with contextlib.suppress(ZeroDivisionError):
        async with chain:
            assert _answers(chain.url)
            raise ZeroDivisionError
    assert _until(lambda: not _answers(chain.url))
    await chain.ended()


def test_it_is_gone_after_a_kill_of_its_parent() -> None:
    with _parent() as parent:
        assert parent.stdout is not None
        url = parent.stdout.readline().strip()
        assert _answers(url)
        parent.send_signal(signal.SIGKILL)
        assert _until(lambda: not _answers(url))


def test_what_is_typed_at_the_terminal_does_not_reach_it() -> None:
    with _parent() as parent:
        assert parent.stdout is not None
        url = parent.stdout.readline().strip()
        os.killpg(parent.pid, signal.SIGINT)  # to the parent's whole group, as Ctrl-C is
        assert parent.stdout.readline() == "interrupted, and it still answers\n"
        assert _until(lambda: not _answers(url))


# ---- with programs that do what anvil does not ----


async def test_the_port_is_read_also_when_the_line_comes_in_pieces(tmp_path: Path) -> None:
    says = (
        'printf "banner\\nListening on 127."; sleep 0.1; printf "0.0.1:12"; sleep 0.1; printf "345\\n"; exec sleep 60'
    )
    async with Anvil(_script(tmp_path / "anvil", says)) as chain:
        assert chain.url == "http://127.0.0.1:12345"


async def test_a_line_that_only_looks_like_it_is_not_taken(tmp_path: Path) -> None:
    lines = ("not Listening on 127.0.0.1:1", "Listening on 0.0.0.0:2", "Listening on 127.0.0.1:3")
    says = "".join(f'echo "{line}"; ' for line in lines) + "exec sleep 60"
    async with Anvil(_script(tmp_path / "anvil", says)) as chain:
        assert chain.url == "http://127.0.0.1:3"


async def test_much_output_does_not_stop_it(tmp_path: Path) -> None:
    done = tmp_path / "done"
    says = f'echo "Listening on 127.0.0.1:1"; head -c 3000000 /dev/zero; touch "{done}"; exec sleep 60'
    async with Anvil(_script(tmp_path / "anvil", says)):
        async with asyncio.timeout(WITHIN_S):
            while not done.exists():  # noqa: ASYNC110 - another process makes it
                await asyncio.sleep(0.01)


async def test_one_that_ends_at_once_is_reported_with_its_last_words(tmp_path: Path) -> None:
    says = 'echo "error: unexpected argument" >&2; exit 2'
    with pytest.raises(ConfigurationError, match="ended at once: error: unexpected argument"):
        async with Anvil(_script(tmp_path / "anvil", says)):
            pytest.fail("it counts as ready")


async def test_one_that_cannot_be_run_is_reported(tmp_path: Path) -> None:
    (tmp_path / "anvil").write_text("", "utf-8")
    with pytest.raises(ConfigurationError, match="ended at once"):
        async with Anvil(tmp_path / "anvil"):
            pytest.fail("it counts as ready")


async def test_one_that_never_gets_ready_is_given_up_and_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "START_WITHIN_S", 0.3)
    script = _script(tmp_path / "anvil", f'echo $$ > "{tmp_path}/pid"; exec sleep 60')
    with pytest.raises(ConfigurationError, match="not ready within"):
        async with Anvil(script):
            pytest.fail("it counts as ready")
    assert _until(lambda: _is_gone(tmp_path / "pid"))


async def test_cancelled_while_it_starts_it_is_ended(tmp_path: Path) -> None:
    chain = Anvil(_script(tmp_path / "anvil", f'echo $$ > "{tmp_path}/pid"; exec sleep 60'))
    starting = asyncio.ensure_future(chain.__aenter__())
    async with asyncio.timeout(WITHIN_S):
        while not (tmp_path / "pid").exists():  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(0.01)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert _until(lambda: _is_gone(tmp_path / "pid"))


async def test_cancelled_while_it_is_being_ended_it_ends_anyway(tmp_path: Path) -> None:
    says = f'echo $$ > "{tmp_path}/pid"; echo "Listening on 127.0.0.1:1"; exec sleep 60'
    chain = await Anvil(_script(tmp_path / "anvil", says)).__aenter__()
    ending = asyncio.ensure_future(chain.__aexit__(None, None, None))
    await asyncio.sleep(0)
    ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
    assert _until(lambda: _is_gone(tmp_path / "pid"))
    await chain.ended()


async def test_that_it_ended_by_itself_is_told(tmp_path: Path) -> None:
    says = 'echo "Listening on 127.0.0.1:1"; sleep 0.2'
    async with Anvil(_script(tmp_path / "anvil", says)) as chain, asyncio.timeout(WITHIN_S):
        await chain.ended()
        await chain.ended()


async def test_what_it_started_ends_with_it(tmp_path: Path) -> None:
    says = f'sleep 60 & echo $! > "{tmp_path}/pid"; echo "Listening on 127.0.0.1:1"; wait'
    async with Anvil(_script(tmp_path / "anvil", says)):
        assert not _is_gone(tmp_path / "pid")
    assert _until(lambda: _is_gone(tmp_path / "pid"))


async def test_many_in_a_row_leave_no_descriptor_open(tmp_path: Path) -> None:
    script = _script(tmp_path / "anvil", 'echo "Listening on 127.0.0.1:1"; exec sleep 60')
    async with Anvil(script):
        pass
    before = _next_descriptor()
    for _ in range(5):
        async with Anvil(script):
            pass
    assert _next_descriptor() <= before


# ---- what the tests above say ----

_PARENT = """
import asyncio, sys
from pathlib import Path
from masa_node.devnet.anvil import Anvil

async def main():
    async with Anvil(Path(sys.argv[1])) as chain:
        print(chain.url, flush=True)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            _, writer = await asyncio.open_connection("127.0.0.1", int(chain.url.rpartition(":")[2]))
            writer.close()
            print("interrupted, and it still answers", flush=True)
            raise

asyncio.run(main())
"""


def _parent() -> "contextlib.AbstractContextManager[subprocess.Popen[str]]":
    """A process that has an anvil, says where, and waits."""
    environment = {**os.environ, "PYTHONPATH": str(PROJECT / "src")}
    return running(
        [sys.executable, "-c", _PARENT, str(program())],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
        start_new_session=True,
    )


def _send_one_wei(chain: AnvilChain) -> TxReceipt:
    sent = {"from": chain.deployer, "to": chain.accounts[1], "value": "0x1"}
    return chain.web3.eth.wait_for_transaction_receipt(chain.rpc("eth_sendTransaction", sent), poll_latency=0.01)


def _script(path: Path, says: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{says}\n", "utf-8")
    path.chmod(0o755)
    return path


def _until(is_so: Callable[[], bool]) -> bool:
    """What another process brings about cannot be awaited."""
    until_s = time.monotonic() + WITHIN_S
    while not is_so():
        if time.monotonic() > until_s:
            return False
        time.sleep(0.01)
    return True


def _port(url: str) -> int:
    port = urllib.parse.urlsplit(url).port
    assert port is not None
    return port


def _answers(url: str) -> bool:
    try:
        socket.create_connection(("127.0.0.1", _port(url)), timeout=WITHIN_S).close()
    except ConnectionError:
        return False
    return True


def _is_gone(file: Path) -> bool:
    """The process whose id is in the file: not there, or dead and not yet noticed by whoever inherited it."""
    process = int(file.read_text("utf-8"))
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    state = Path(f"/proc/{process}/stat")
    return state.exists() and state.read_text("utf-8").rpartition(")")[2].split()[0] == "Z"


def _lines(file: str) -> list[list[str]]:
    return [line.split() for line in Path(file).read_text("utf-8").splitlines()[1:]]


def _next_descriptor() -> int:
    descriptor = os.dup(0)
    os.close(descriptor)
    return descriptor
