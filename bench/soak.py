"""Hundreds of thousands of requests that end in every way, and what two nodes hold in memory meanwhile.

    python -m bench.soak --requests 200000

One node has an LLM server of moods, the other only that node for a peer; each is asked in turn. Answers are whole,
streamed, cut, refused, broken, late and never; some callers leave in the middle. Prints the memory of both as it goes.
It exits with 1 if one of them holds more at the end than after the first tenth, but for MAX_GROWTH_MB.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import json
import os
import random
import sys
import tempfile
from pathlib import Path

from bench.subjects import CHAT, Launcher, Subject, wait_until
from tests.fakes.moody_llm import ANSWERS, MoodyLlm

AT_ONCE = 24
MAX_GROWTH_MB = 2.0  # what an allocator moves without anything being kept
SAMPLES = 20
ENDLESS = frozenset({"silent", "working", "endless"})  # end with a time limit, or because the caller goes
ENDLESS_SHARE = 0.01
LEAVING_SHARE = 0.05  # of the callers of a stream, in the middle
WELL_SHARE = 0.6
LEAVES_AFTER_S = 0.01
LOOK_EVERY_S = 0.1
# Short limits, so that the moods that never end do; no peer and no server may be left out for what it did before.
SETTINGS = (("LLM_TIMEOUT", "1"), ("LLM_IDLE_TIMEOUT", "2"), ("LOG_LEVEL", "error"))


class Load:
    """Asks both nodes until `requests` have ended, and counts how."""

    def __init__(self, ports: tuple[int, ...], requests: int) -> None:
        self._ports = ports
        self._left = requests
        self._rng = random.Random(7)  # the same requests in every run
        self.ended = 0
        self.statuses: collections.Counter[str] = collections.Counter()

    async def run(self) -> None:
        """One of the callers that ask at once."""
        while self._left > 0:
            self._left -= 1
            body, leaves = self._next()
            port = self._rng.choice(self._ports)
            try:
                self.statuses[await _ask(port, body, leaves=leaves)] += 1
            except OSError as exc:
                self.statuses[type(exc).__name__] += 1
            self.ended += 1

    def _next(self) -> tuple[bytes, bool]:
        draw = self._rng.random()
        if draw < WELL_SHARE:
            model = "well"
        elif draw < WELL_SHARE + ENDLESS_SHARE:
            model = self._rng.choice(sorted(ENDLESS))
        else:
            model = self._rng.choice(sorted(ANSWERS.keys() - ENDLESS))
        streams = self._rng.random() < 0.5 or model in ENDLESS
        text = "x" * self._rng.choice((10, 1_000, 30_000))
        body = {"model": model, "stream": streams, "messages": [{"role": "user", "content": text}]}
        return json.dumps(body).encode(), model in ENDLESS or (streams and self._rng.random() < LEAVING_SHARE)


async def _ask(port: int, body: bytes, *, leaves: bool) -> str:
    """The status, and how the answer ended. Raises `OSError`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        head = f"POST {CHAT} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n"
        writer.write(f"{head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
        if leaves:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LEAVES_AFTER_S):
                    await reader.read()
            return "left"
        answer = await reader.read()
        return answer[9:12].decode() or "cut"
    finally:
        writer.transport.abort()


async def _soak(requests: int, python: str) -> int:
    """Exit code."""
    async with MoodyLlm() as llm:
        with tempfile.TemporaryDirectory(prefix="masa-soak-") as folder:
            cores = sorted(os.sched_getaffinity(0))
            launcher = Launcher(
                Path(folder),
                cores[-1],
                cores[0],
                has_third_core=False,
                mock_port=llm.port,
                python=python,
                settings=SETTINGS,
            )
            hop = await asyncio.to_thread(launcher.hop)
            try:
                await asyncio.to_thread(wait_until, hop, hop.is_ready)
                return await _watched(hop, requests)
            finally:
                hop.stop()


async def _watched(hop: Subject, requests: int) -> int:
    """Ask, and print what the nodes hold each time that another of SAMPLES has ended. Exit code."""
    load = Load((hop.port, hop.port_behind), requests)
    held: list[tuple[float, float]] = []
    print("ended      asking MB   own MB")
    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(load.run())
        while load.ended < requests:
            await asyncio.sleep(LOOK_EVERY_S)
            if load.ended * SAMPLES >= requests * (len(held) + 1):
                held.append((hop.tree().rss_mb(), hop.tree_behind().rss_mb()))
                print(f"{load.ended:<10} {held[-1][0]:>9.1f} {held[-1][1]:>8.1f}", flush=True)
    print(dict(load.statuses.most_common()))
    tenth = held[max(0, len(held) // 10 - 1)]
    growth = [end - begin for begin, end in zip(tenth, held[-1], strict=True)]
    print(f"more than after the first tenth: asking {growth[0]:+.1f} MB, own {growth[1]:+.1f} MB")
    return int(max(growth) > MAX_GROWTH_MB)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--requests", type=int, default=200_000)
    parser.add_argument("--python", default=sys.executable, help="the Python that runs the nodes")
    asked = parser.parse_args()
    return asyncio.run(_soak(asked.requests, asked.python))


if __name__ == "__main__":
    sys.exit(main())
