"""What is measured inside one Python process, without load generator and mock: races in virtual time,
leaks, stakes.
"""

from __future__ import annotations

import json
import subprocess

from bench.figures import RaceCell
from bench.measurements import Bench
from bench.subjects import PROJECT, plain_environment

WITHIN_S = 300.0


def measure_races(bench: Bench) -> None:
    """Each rule with 2, 10 and 50 peers, and with one of ten stalled: `bench/races.py`."""
    for line in _output(bench, "races", "--requests", str(bench.plan.races)):
        bench.figures.races.append(RaceCell(**json.loads(line)))


def measure_leaks(bench: Bench) -> None:
    """Races, then a count of what is left: `bench/leaks.py`."""
    bench.figures.leaks += _output(bench, "leaks", "--races", str(bench.plan.leak_races))


def measure_stakes(bench: Bench) -> None:
    """What a stake costs: `bench/stakes.py`."""
    bench.figures.stakes += _output(bench, "stakes")


def _output(bench: Bench, module: str, *arguments: str) -> list[str]:
    argv = [bench.python, "-m", f"bench.{module}", *arguments]
    env = plain_environment(PROJECT)
    try:
        done = subprocess.run(argv, env=env, cwd=PROJECT, timeout=WITHIN_S, capture_output=True, text=True, check=False)
    except subprocess.TimeoutExpired:
        bench.figures.failures.append(f"bench.{module} did not end within {WITHIN_S:.0f} s")
        return []
    if done.returncode != 0:
        bench.figures.failures.append(f"bench.{module}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout.splitlines()
