"""Who gets a core first, where other programs want it too: `--nice` and `--realtime`."""

from __future__ import annotations

import argparse
import os

# Above every program that asks for no such priority. The kernel leaves those a twentieth of each second.
_FIRST = os.sched_param(1)


def add_options(parser: argparse.ArgumentParser) -> None:
    """What `apply` reads."""
    parser.add_argument("--nice", type=int, default=0, help="priority of everything in the run; below 0 needs root")
    parser.add_argument(
        "--realtime", action="store_true", help="everything in the run goes before all other programs; needs root"
    )


def apply(arguments: argparse.Namespace) -> None:
    """For this process and all that it starts from here on. Raises PermissionError, which says what to do."""
    try:
        os.nice(arguments.nice)
        if arguments.realtime:
            os.sched_setscheduler(0, os.SCHED_RR, _FIRST)
    except PermissionError:
        raise PermissionError("--realtime, and --nice below 0, are for root. Run it as root, or without.") from None


def is_realtime() -> bool:
    """Was it asked for `--realtime`?"""
    return os.sched_getscheduler(0) == os.SCHED_RR
