"""An RPC server on a real socket that says what a test wants: the truth, lies, garbage, or nothing.

What it knows is in `facts`; how it tells is its `mode`, a step of `tests.fakes.llm_server`.
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from masa_node.staking.contract.profile import BlockTag, Profile, Shape
from masa_node.staking.ethereum.abi import selector, word
from masa_node.staking.ethereum.crypto import parse_address
from masa_node.staking.gate.readings import MAGIC
from tests.fakes.http_bytes import JSON, head, whole
from tests.fakes.llm_server import FakeLlm, Line, Step, close, reset, stall

CHAIN_ID = 11155111
NOW_UNIX_S = 1_800_000_000.0
MASA = 10**18
CONTRACT = parse_address("0x" + "c0" * 20)
OWNER = parse_address("0x" + "0a" * 20)

METHOD_NOT_FOUND = {"code": -32601, "message": "the method does not exist"}
REVERTED = {"code": 3, "message": "execution reverted", "data": "0x"}

Json = Any
Retelling = Callable[[list[Json]], Json]


@dataclass
class Facts:
    """What is so on the chain. `calls`: the answer by selector; `errors`: what is said instead, by method."""

    chain_id: int = CHAIN_ID
    number: int = 7_000_000
    unix_s: int = int(NOW_UNIX_S) - 12
    calls: dict[bytes, bytes] = field(default_factory=dict)
    errors: dict[str, Json] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.calls = self.truths() | self.calls

    def truths(self) -> dict[bytes, bytes]:
        """Of an owner with 1500 MASA where 1000 are needed."""
        return {
            selector("standing(address)"): words(1500 * MASA, 1000 * MASA, 3, self.number, self.unix_s),
            selector("unbondingPeriod()"): words(604_800),
            selector("stakes(address)"): words(1500 * MASA),
            selector("minimumStake()"): words(1000 * MASA),
            selector("isValidSignature(bytes32,bytes)"): MAGIC,
        }

    def answer(self, question: Json) -> Json:
        """The whole answer to one call."""
        told = {"jsonrpc": "2.0", "id": question["id"]}
        error = self.errors.get(question["method"])
        return told | ({"error": error} if error else {"result": self._result(question)})

    def _result(self, question: Json) -> Json:
        match question["method"]:
            case "eth_chainId":
                return hex(self.chain_id)
            case "eth_getBlockByNumber":
                return {"number": hex(self.number), "timestamp": hex(self.unix_s), "transactions": ["0x" + "00" * 32]}
            case "eth_call":
                asked = bytes.fromhex(question["params"][0]["data"][2:])
                return "0x" + self.calls.get(asked[:4], b"").hex()
            case _:
                return "0x1"


class RpcServer(FakeLlm):
    """Serves POST / by `mode` for ever. Its URL has a key in it, which must never be seen."""

    SECRET = "k3y-0f-its-0wner"

    def __init__(self, facts: Facts | None = None, mode: Step | None = None) -> None:
        super().__init__()
        self.facts = facts or Facts()
        self.mode = mode or truth
        self.answer(f"/v3/{self.SECRET}", (self._play,))

    @property
    def rpc_url(self) -> str:
        return f"{self.url}/v3/{self.SECRET}"

    async def _play(self, line: Line) -> None:
        await self.mode(line)

    @property
    def bodies(self) -> list[Json]:
        return [json.loads(got.body) for got in self.requests]


def profile(*urls: str, **changes: Json) -> Profile:
    given: dict[str, Any] = {"name": "sepolia", "chain_id": CHAIN_ID, "rpc_urls": urls, "contract": CONTRACT}
    return Profile(**(given | changes))


def words(*numbers: int) -> bytes:
    return b"".join(map(word, numbers))


def masa_shape(*urls: str) -> Profile:
    return profile(*urls, shape=Shape.MASA)


def at_tag(tag: BlockTag, *urls: str) -> Profile:
    return profile(*urls, block_tag=tag)


# ---- modes: how it tells ----


def questions_of(line: Line) -> list[Json]:
    """The calls of the request that just came."""
    asked = json.loads(line.server.requests[-1].body)
    return asked if isinstance(asked, list) else [asked]


def is_batch(line: Line) -> bool:
    return line.server.requests[-1].body.startswith(b"[")


def _answers(line: Line) -> list[Json]:
    assert isinstance(line.server, RpcServer)
    return [line.server.facts.answer(question) for question in questions_of(line)]


async def truth(line: Line) -> None:
    answers = _answers(line)
    await line.write(whole(json.dumps(answers if is_batch(line) else answers[0]).encode()))


def retold(change: Retelling, status: int = 200) -> Step:
    """The true answers, changed by this function."""
    return lambda line: line.write(whole(json.dumps(change(_answers(line))).encode(), status=status))


def raw(body: bytes, status: int = 200, content_type: str = JSON) -> Step:
    return lambda line: line.write(whole(body, status=status, content_type=content_type))


def only_single(refusal: Step) -> Step:
    """Tells the truth to single calls; batches get this."""

    async def step(line: Line) -> None:
        await (refusal if is_batch(line) else truth)(line)

    return step


async def hung(line: Line) -> None:
    await stall(line)


async def drip(line: Line) -> None:
    """A true answer, so slowly that it never ends in time."""
    body = json.dumps(_answers(line)).encode()
    await line.write(head(200, [("Content-Length", str(len(body)))]))
    for at in range(len(body)):
        await line.write(body[at : at + 1])
        await asyncio.sleep(0.01)


async def dies_before(line: Line) -> None:
    await reset(line)


async def dies_in_the_middle(line: Line) -> None:
    answer = whole(json.dumps(_answers(line)).encode())
    await line.write(answer[: len(answer) - 20])
    await close(line)


async def huge(line: Line) -> None:
    answers = _answers(line)
    answers[1]["result"]["transactions"] = ["0x" + "00" * 32] * 10_000
    await line.write(whole(json.dumps(answers).encode()))
