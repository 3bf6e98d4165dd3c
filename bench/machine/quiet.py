"""Waiting until nobody else uses the machine, for ``--patient``."""

from __future__ import annotations

import os
import time

from bench.processes import Tree, machine_cpu_s

NOISY = 0.05  # more CPU of the machine than this used by others disturbs
LOOK_S = 0.3
QUIET_LOOKS = 3  # in a row
WAIT_S = 120.0  # then the run is done in the noise
TRIES = 4  # of a run that was disturbed


class ForeignCpu:
    """The share of all cores that programs outside this benchmark, or the host, use from here on."""

    def __init__(self) -> None:
        self._ours = Tree(os.getpid())
        self._cores = os.cpu_count() or 1
        self.restart()

    def restart(self) -> None:
        """Count from now."""
        self._since_s, self._foreign_s = time.monotonic(), self._now_s()

    def share(self) -> float:
        """The average since the start, between 0 and 1."""
        elapsed_s = time.monotonic() - self._since_s
        return max(0.0, (self._now_s() - self._foreign_s) / elapsed_s / self._cores)

    def _now_s(self) -> float:
        return machine_cpu_s() - self._ours.cpu_s()


def wait_for_quiet() -> bool:
    """Return when the machine is quiet; False if it was not within WAIT_S."""
    until_s = time.monotonic() + WAIT_S
    foreign = ForeignCpu()
    looks = 0
    while looks < QUIET_LOOKS and time.monotonic() < until_s:
        foreign.restart()
        time.sleep(LOOK_S)
        looks = looks + 1 if foreign.share() < NOISY else 0
    return looks == QUIET_LOOKS


def warn_of_noise(shares: list[float]) -> None:
    """Say so if other programs took part of the machine while it measured."""
    if shares and max(shares) > NOISY:
        average = sum(shares) / len(shares)
        print(f"!  other programs (or the host) used {average:.0%} of the CPU, in the worst run {max(shares):.0%}.")
        print("   Run it again on a quiet machine, with --patient, or as root with --realtime.")
