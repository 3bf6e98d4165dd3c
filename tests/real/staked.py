"""A chain that can be killed and held, owners, and nodes with their word. No pytest here."""

import asyncio
import contextlib
import http.client
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, Self

import openai
import requests
from calling import answered
from eth_account.signers.local import LocalAccount
from meeting import peer_row, wait_until
from node_process import Node
from talker import TALKER, Talker
from web3.contract import Contract

from masa_node.devnet.anvil import DEV_CHAIN_ID
from masa_node.network.store.node_key import load_secret
from masa_node.network.store.store import Store
from masa_node.network.transport.iroh.keys import IrohKeys
from masa_node.staking.delegation import Delegation, Domain, SignedDelegation, digest, encode
from masa_node.staking.ethereum.crypto import parse_address
from tests.staking.anvil_chain import AnvilChain, program

MODEL = "masa-demo"
FRESH_S = 1.0  # of the profiles: a change on the chain is to be seen within this
NOTICED_WITHIN_S = FRESH_S + 2 + 3  # and 2 s, says the issue; 3 s for a machine under load
STAKED, NOT_STAKED, UNKNOWN = "staked", "not staked", "unknown"
RPC_KEY = "k3y-0f-its-0wner"  # in every RPC URL; never to be seen
_SDK_TIMEOUT_S = 30.0
_LOOPBACK = "127.0.0.1"


class LocalChain:
    """An anvil on a port that stays the same however often it is killed and started again."""

    def __init__(self) -> None:
        self._program = str(program())
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy is on the way to loopback
        self._process: subprocess.Popen[bytes] | None = None
        self._state = ""
        self.port = _free_port()
        self.start()
        self.chain = AnvilChain(f"http://127.0.0.1:{self.port}", self._session)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._session.close()

    @property
    def rpc_url(self) -> str:
        """For a node."""
        return f"http://127.0.0.1:{self.port}/?apikey={RPC_KEY}"

    def start(self, chain_id: int = DEV_CHAIN_ID) -> None:
        """On the port that it had; an empty chain with a block a second."""
        command = [self._program, "--host", "127.0.0.1", "--port", str(self.port), "--chain-id", str(chain_id)]
        command += ["--block-time", "1", "--mixed-mining", "--prune-history", "1000"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        wait_until(self._listens)

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None
        with contextlib.closing(socket.socket()) as connection:
            return connection.connect_ex((_LOOPBACK, self.port)) == 0

    def kill(self) -> None:
        """As a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def hold(self) -> None:
        """It keeps its connections and takes new ones, and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """The end of `hold`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    @contextlib.contextmanager
    def killed(self) -> Generator[None]:
        """Within the block nothing listens; then it is back as it was."""
        self._state = self.chain.rpc("anvil_dumpState")
        self.kill()
        try:
            yield
        finally:
            self.kill()
            self.start()
            self.chain.rpc("anvil_loadState", self._state)
            self.chain.rpc("anvil_autoImpersonateAccount", True)  # noqa: FBT003 - JSON-RPC has no names

    @contextlib.contextmanager
    def held(self) -> Generator[None]:
        """Within the block it answers nothing."""
        self.hold()
        try:
            yield
        finally:
            self.go_on()

    @contextlib.contextmanager
    def replaced(self) -> Generator[None]:
        """Within the block another chain is at this port."""
        with self.killed():
            self.start(chain_id=DEV_CHAIN_ID + 1)
            yield

    @contextlib.contextmanager
    def lagging(self) -> Generator[None]:
        """Within the block it makes no blocks."""
        self.chain.rpc("anvil_setIntervalMining", 0)
        try:
            yield
        finally:
            self.chain.rpc("anvil_setIntervalMining", 1)
            self.chain.rpc("evm_mine")


def _free_port() -> int:
    with contextlib.closing(socket.socket()) as connection:
        connection.bind((_LOOPBACK, 0))
        port: int = connection.getsockname()[1]
        return port


class Keys:
    """A node's folder, and what its owner signs for the key in it."""

    def __init__(self, masa_dir: Path) -> None:
        self.masa_dir = masa_dir
        self.node_id = IrohKeys(load_secret(masa_dir)).node_id

    def delegation(self, owner: str, contract: str, epoch: int = 0) -> Delegation:
        """In force from now on."""
        now_unix_s = int(time.time())
        times = now_unix_s, now_unix_s + 3600
        domain = Domain(DEV_CHAIN_ID, parse_address(contract))
        return Delegation(parse_address(owner), bytes.fromhex(self.node_id), epoch, *times, domain)

    def sign(self, owner: LocalAccount, contract: Contract, epoch: int = 0) -> None:
        """Have the owner sign one, and keep it where the node shows it from, also while that runs."""
        delegation = self.delegation(owner.address, contract.address, epoch)
        signature = bytes(owner.unsafe_sign_hash(digest(delegation)).signature)
        asyncio.run(_keep(self.masa_dir, encode(SignedDelegation(delegation, signature))))


async def _keep(masa_dir: Path, delegation: bytes) -> None:
    store = await Store.open(masa_dir)
    try:
        assert await store.set_value("delegation", delegation)
    finally:
        await store.close()


def stake_of(node: Node, peer: Keys) -> dict[str, Any]:
    """What the node tells of this peer's stake."""
    found: dict[str, Any] = peer_row(node, peer.node_id).get("stake") or {}
    return found


def own_stake(node: Node) -> dict[str, Any]:
    """What the node tells of its own."""
    found: dict[str, Any] = node.get("/api/v1/stake")["own"]
    return found


def last_failure(node: Node) -> str:
    """What went wrong last when it read the chain."""
    return str(node.get("/api/v1/stake")["chain"]["failure"])


def noticed(verdict: Callable[[], dict[str, Any]], wanted: str, within_s: float = NOTICED_WITHIN_S) -> dict[str, Any]:
    """The verdict as soon as it is that. Raises TimeoutError with the last one."""
    try:
        wait_until(lambda: verdict().get("verdict") == wanted, within_s)
    except TimeoutError as exc:
        raise TimeoutError(f"not {wanted} after {within_s} s: {verdict()}") from exc
    return verdict()


def peers_asked(node: Node) -> float:
    """How many requests of peers have reached this node, by its metrics."""
    with contextlib.closing(node.connection()) as connection:
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("masa_peer_requests_total{"))


class Trickle:
    """Streams, one after the other, by the OpenAI SDK, while the block runs. `became` says what of each, in order."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._is_over = threading.Event()
        self.became: list[str] = []

    def __enter__(self) -> Self:
        self._threads = [threading.Thread(target=self._run) for _ in range(2)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, outcome: str) -> None:
        """Until another one becomes this."""
        before = self.became.count(outcome)
        wait_until(lambda: self.became.count(outcome) > before)

    def _run(self) -> None:
        url = f"{self._node.url}/v1"
        with openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=_SDK_TIMEOUT_S) as client:
            while not self._is_over.is_set():
                self.became.append(streamed(client))
                time.sleep(0.02)  # as somebody who thinks a little; a refusal takes a millisecond


class Stream:
    """One streamed answer, as it comes. `became` is `whole` or `cut`, once it has ended."""

    def __init__(self, answer: http.client.HTTPResponse) -> None:
        self.became = ""
        self._answer = answer
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    @property
    def is_running(self) -> bool:
        """Has it not ended yet?"""
        return self._thread.is_alive()

    def wait(self) -> None:
        """Until it has."""
        self._thread.join()

    def _read(self) -> None:
        with contextlib.suppress(http.client.HTTPException, OSError):
            self.became = "whole" if self._answer.read().endswith(b"data: [DONE]\n\n") else "cut"
        self.became = self.became or "cut"


@contextlib.contextmanager
def a_stream(node: Node, talker: Talker) -> Generator[Stream]:
    """One that has begun before the block does, goes on as long as it lasts, and has ended after it."""
    with contextlib.ExitStack() as stack:
        began: list[http.client.HTTPResponse] = []

        def begins() -> bool:
            began.append(stack.enter_context(answered(node, TALKER, {"stream": True})))
            return began[-1].status == 200

        wait_until(begins)
        stream = Stream(began[-1])
        try:
            yield stream
        finally:
            talker.be_told()
            stream.wait()


def is_answered(node: Node) -> bool:
    """Does a chat get a whole answer now?"""
    with answered(node, MODEL, {"stream": True}) as answer:
        return answer.status == 200 and answer.read().endswith(b"data: [DONE]\n\n")


def streamed(client: openai.OpenAI) -> str:
    """`whole`, `cut`, or the status and code of the refusal."""
    try:
        pieces = list(
            client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "hello"}], stream=True)
        )
    except openai.APIStatusError as exc:
        body: Any = exc.body
        return f"{exc.status_code} {body['code']}"
    except openai.APIError as exc:
        return f"cut: {exc!r}"
    ends = [choice.finish_reason for piece in pieces for choice in piece.choices if choice.finish_reason]
    return "whole" if ends == ["stop"] else f"cut: {ends}"
