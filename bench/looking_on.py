"""What pages that look on cost: the node's CPU time at 1 000 requests a second, without and with 16 subscribers.

    python -m bench.looking_on

Rounds take turns in one run. CPU time is that of the node's process, from /proc, for one answer.
"""

from __future__ import annotations

import argparse
import contextlib
import selectors
import socket
import statistics
import sys
import threading
from collections.abc import Iterator, Sequence

from bench import build
from bench.bed import bed
from bench.machine.interpreter import python_for_the_node
from bench.measurements import wait_ready
from bench.plan import CONNECTIONS, QUICK, WHOLE, Load
from bench.runner import Run, run_load

SUBSCRIBERS = 16
RATE = 1_000
ASKED = b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n"
READ_BYTES = 65_536
LOOK_EVERY_S = 0.1


class Onlookers:
    """So many streams of events, read to nowhere by one thread. `got_bytes` is what came."""

    def __init__(self, port: int, count: int) -> None:
        self.got_bytes = 0
        self._sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]
        self._is_over = False
        self._thread = threading.Thread(target=self._read)

    def start(self) -> None:
        """They ask, and read until `stop`."""
        for each in self._sockets:
            each.sendall(ASKED)
        self._thread.start()

    def stop(self) -> None:
        """They leave."""
        self._is_over = True
        self._thread.join()
        for each in self._sockets:
            each.close()

    def _read(self) -> None:
        with selectors.DefaultSelector() as selector:
            for each in self._sockets:
                selector.register(each, selectors.EVENT_READ)
            while not self._is_over:
                for key, _ in selector.select(LOOK_EVERY_S):
                    got = len(key.fileobj.recv(READ_BYTES))  # type: ignore[union-attr] - a socket
                    self.got_bytes += got
                    if not got:
                        selector.unregister(key.fileobj)


@contextlib.contextmanager
def _onlookers(port: int, count: int) -> Iterator[Onlookers]:
    found = Onlookers(port, count)
    found.start()
    try:
        yield found
    finally:
        found.stop()


def measure(python: str, rounds: int, seconds: float) -> list[tuple[Run, Run, int]]:
    """Of each round: the run without subscribers, that with them, and the bytes that these got."""
    binaries = build.compile_all(build.CACHE)
    load = Load(WHOLE, CONNECTIONS, seconds, rate=RATE)
    found: list[tuple[Run, Run, int]] = []
    with bed(QUICK, binaries, python, lambda launcher: {"masa": launcher.masa}) as bench:
        subject = bench.launches["masa"]()
        bench.running["masa"] = subject
        wait_ready(subject)
        run_load(binaries.load, subject, load)
        for _ in range(rounds):
            alone = run_load(binaries.load, subject, load)
            with _onlookers(subject.port, SUBSCRIBERS) as onlookers:
                found.append((alone, run_load(binaries.load, subject, load), onlookers.got_bytes))
    return found


def told(found: Sequence[tuple[Run, Run, int]]) -> str:
    """A line a round, and the medians."""
    lines = ["us alone  us looked on at    more  KiB to each"]
    more = [watched.cpu_us_per_answer / alone.cpu_us_per_answer - 1 for alone, watched, _ in found]
    for (alone, watched, got_bytes), each in zip(found, more, strict=True):
        to_each = got_bytes / SUBSCRIBERS / 1024
        lines.append(f"{alone.cpu_us_per_answer:8.0f} {watched.cpu_us_per_answer:17.0f} {each:+7.1%} {to_each:12.0f}")
    return "\n".join([*lines, f"median: {statistics.median(more):+.1%} at {RATE} requests a second"])


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.looking_on", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--python", default="", help="the Python that runs the node")
    asked = parser.parse_args()
    print(told(measure(asked.python or python_for_the_node(build.CACHE), asked.rounds, asked.seconds)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
