"""Runs the node as `masa-node up` does, and notes what it is at while it uses CPU.

    python sampler.py FILE up

SIGUSR1 begins, SIGUSR2 ends and writes FILE. In between the kernel sends SIGPROF for each millisecond of CPU time, or
for each of its own ticks (often 4 ms). Nothing is traced, so nothing is slower between two samples.

Python runs a signal's handler between two instructions. Time in C counts for the call that Python made of it, which
is right; but C that no Python called, which is the loop and the kernel's work for it, counts for the first instruction
of what the loop calls next. `at_entry` tells those samples apart.
"""

from __future__ import annotations

import dis
import json
import os
import runpy
import signal
import sys
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType

INTERVAL_S = 0.001


class Sampler:
    """Counts stacks while it is on. Python calls the handlers in the main thread alone."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._stacks: Counter[tuple[int, tuple[CodeType, ...]]] = Counter()
        self._began = os.times()

    def start(self, *_: object) -> None:
        """Begin, from nothing."""
        self._stacks.clear()
        self._began = os.times()
        signal.setitimer(signal.ITIMER_PROF, INTERVAL_S, INTERVAL_S)

    def stop(self, *_: object) -> None:
        """End, and write what was seen; the file is whole as soon as it is there."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        now, began = os.times(), self._began
        stacks = [_told(at, codes, count) for (at, codes), count in self._stacks.items()]
        seen = {"user_s": now.user - began.user, "system_s": now.system - began.system, "stacks": stacks}
        unfinished = self._out.with_suffix(".part")
        unfinished.write_text(json.dumps(seen))
        unfinished.replace(self._out)

    def sample(self, _number: int, frame: FrameType | None) -> None:
        """The kernel says that it is time."""
        at, codes = frame.f_lasti if frame is not None else 0, []
        while frame is not None:
            codes.append(frame.f_code)
            frame = frame.f_back
        self._stacks[at, tuple(codes)] += 1


def _told(at: int, codes: tuple[CodeType, ...], count: int) -> dict[str, object]:
    frames = [(code.co_filename, code.co_qualname) for code in codes]
    return {"count": count, "at_entry": bool(codes) and at <= _entry(codes[0]), "frames": frames}


def _entry(code: CodeType) -> int:
    """Where Python looks for signals when a function begins."""
    return next((step.offset for step in dis.get_instructions(code) if step.opname == "RESUME"), 0)


def main() -> None:
    """See the module."""
    sampler = Sampler(Path(sys.argv[1]))
    signal.signal(signal.SIGUSR1, sampler.start)
    signal.signal(signal.SIGUSR2, sampler.stop)
    signal.signal(signal.SIGPROF, sampler.sample)
    sys.argv[:] = ["masa-node", *sys.argv[2:]]
    del sys.path[0]  # this folder: the node has to find what it would find
    runpy.run_module("masa_node", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
