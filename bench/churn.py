"""Thousands of requests while the nodes that serve them are killed and started again: how each of them ended.

    python -m bench.churn --requests 10000

One node without an LLM, and four that share the built-in model with it. Twice a second or so one of the four is killed,
or started again; the first one is left alone. Every second request is a stream. It exits with 1 if a request
ended otherwise than whole, in a true error, or in a stream that tells of its end; or if one did not end.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import http.client
import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from bench.processes import Process
from bench.subjects import ON_LOOPBACK, free_port, plain_environment
from tests.endings import ERROR, TRUE, WHOLE, Ending, ask

AT_ONCE = 64
PEERS = 4
PIECES_PER_S = "12"  # an answer takes a second or two, so that kills hit many in the middle
UP_WITHIN_S = 30.0
ENDS_WITHIN_S = 90.0  # LLM_TIMEOUT, and what each try may take after it
SHORTEST_S, LONGEST_S = 0.2, 1.0  # from one kill or start to the next
HANGS = Ending("no end")
MANY = {"MAX_CONCURRENT": "4000", "MAX_PEER_JOBS": "2000", "PEER_RATE": "1000000", "LOG_LEVEL": "error"}


class ChurnedNode:
    """A node with a folder and a port that it keeps, whatever becomes of its process."""

    def __init__(self, folder: Path, core: int, python: str, settings: dict[str, str]) -> None:
        folder.mkdir()
        self.port = free_port()
        self._folder, self._core, self._python = folder, core, python
        own = {"PORT": str(self.port), "MASA_DIR": str(folder / "masa"), "FIND_LOCAL": "0"}
        self._env = plain_environment(folder) | ON_LOOPBACK | MANY | own | settings
        self._process: Process | None = None

    @property
    def is_running(self) -> bool:
        """Was it started last, and not killed?"""
        return self._process is not None

    def start(self) -> None:
        """Its process; `wait` for it."""
        argv = [self._python, "-m", "masa_node", "up"]
        self._process = Process(argv, self._core, self._folder / "output.log", self._env)

    def kill(self) -> None:
        """As a power cut would."""
        if self._process is not None:
            os.kill(self._process.pid, signal.SIGKILL)
            self._process.stop()
            self._process = None

    async def wait(self) -> str:
        """Until it answers; its entry for BOOTNODES."""
        async with asyncio.timeout(UP_WITHIN_S):
            while True:
                about = await asyncio.to_thread(_about, self.port)
                if about.get("addresses"):
                    return f"{about['node_id']}@{about['addresses'][0]}"
                await asyncio.sleep(0.05)


def _about(port: int) -> dict[str, list[str]]:
    """What the node there tells of itself; nothing while it does not."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/api/v1/node")
        found: dict[str, list[str]] = json.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException, ValueError):
        return {}
    else:
        return found
    finally:
        connection.close()


class Churn:
    """Asks until `requests` have ended, and kills and starts meanwhile."""

    def __init__(self, asking: ChurnedNode, serving: list[ChurnedNode], requests: int) -> None:
        self._asking, self._serving, self._left = asking, serving, requests
        self._rng = random.Random(7)  # the same kills in every run, if not at the same requests
        self.endings: collections.Counter[str] = collections.Counter()
        self.longest_s = 0.0
        self.kills = 0

    async def run(self) -> None:
        """Until all have ended."""
        async with asyncio.TaskGroup() as group:
            killing = group.create_task(self._kill_and_start())
            callers = [group.create_task(self._ask()) for _ in range(AT_ONCE)]
            await asyncio.wait(callers)
            killing.cancel()

    async def _ask(self) -> None:
        while self._left > 0:
            self._left -= 1
            began_s = time.monotonic()
            try:
                async with asyncio.timeout(ENDS_WITHIN_S):
                    ended = await ask("127.0.0.1", self._asking.port, asyncio.Semaphore(0) if self._left % 2 else None)
            except TimeoutError:
                ended = HANGS
            self.endings[ended] += 1
            self.longest_s = max(self.longest_s, time.monotonic() - began_s)
            if ended == ERROR:  # a caller that is told so does not ask at once again
                await asyncio.sleep(self._rng.uniform(0.0, 0.2))

    async def _kill_and_start(self) -> None:
        while True:
            await asyncio.sleep(self._rng.uniform(SHORTEST_S, LONGEST_S))
            node = self._rng.choice(self._serving[1:])
            if node.is_running:
                await asyncio.to_thread(node.kill)
                self.kills += 1
            else:
                await asyncio.to_thread(node.start)


async def _churn(requests: int, python: str) -> int:
    """Exit code."""
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="masa-churn-") as work:
        asking = ChurnedNode(Path(work) / "asking", cores[0], python, {})
        nodes = [asking]
        try:
            asking.start()
            known = {"BOOTNODES": await asking.wait(), "DEMO": "1", "DEMO_PIECES_PER_S": PIECES_PER_S}
            nodes += [ChurnedNode(Path(work) / f"serving{n}", cores[-1], python, known) for n in range(PEERS)]
            for node in nodes[1:]:
                node.start()
                await node.wait()
            churn = Churn(asking, nodes[1:], requests)
            await churn.run()
        finally:
            for node in nodes:
                await asyncio.to_thread(node.kill)
    return _report(churn)


def _report(churn: Churn) -> int:
    for ending, times in churn.endings.most_common():
        print(f"{times:>8}  {ending}")
    wrong = sum(times for ending, times in churn.endings.items() if ending not in TRUE and ending != HANGS)
    hangs = churn.endings[HANGS]
    print(f"{churn.kills} kills; the longest took {churn.longest_s:.1f} s")
    print(f"wrong endings: {wrong}; without an end: {hangs}")
    return int(wrong > 0 or hangs > 0 or not churn.endings[WHOLE])


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.churn", description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--python", default=sys.executable, help="the Python that runs the nodes")
    asked = parser.parse_args()
    return asyncio.run(_churn(asked.requests, asked.python))


if __name__ == "__main__":
    sys.exit(main())
