"""From sampled stacks to the share of each stage of a request."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

LOOP = "loop, and the kernel's work for it"
REST = "the rest"

# The first that the file of a frame begins with. What stands in none (the standard library, msgspec, httptools) belongs
# to whoever called it.
_FILES = (
    ("HTTP server", ("masa_node/api/http1/", "uvicorn/", "h11/")),
    ("api", ("masa_node/api/", "masa_node/node/", "starlette/")),
    ("routing", ("masa_node/routing/",)),
    ("dialects", ("masa_node/dialects/", "masa_node/chat/")),
    ("upstream client", ("masa_node/upstreams/",)),
    ("peers", ("masa_node/network/", "masa_node/staking/", "iroh/")),
    (
        "log line",
        (
            "masa_node/telemetry/log.",
            "masa_node/telemetry/request_line.",
            "masa_node/telemetry/request_record.",
            "structlog/",
        ),
    ),
    ("metrics", ("masa_node/telemetry/", "prometheus_client/")),
    ("timeouts and task groups", tuple(f"asyncio/{name}." for name in ("timeouts", "taskgroups", "tasks", "locks"))),
    (LOOP, ("asyncio/", "uvloop/", "selectors.")),
    (REST, ("masa_node/",)),
)
STAGES = tuple(stage for stage, _ in _FILES)
_ROOT = re.compile(r"^.*?/(?:site-packages|dist-packages|lib/python3\.\d+|src)/(?!(?:.*/)?(?:site|dist)-packages/)")


@dataclass(frozen=True, slots=True)
class Stack:
    """What was seen `count` times. `frames` are (file, function), the innermost first; for `at_entry` see `sampler`."""

    count: int
    at_entry: bool
    frames: Sequence[tuple[str, str]]


def short(file: str) -> str:
    """A file from its package on."""
    return _ROOT.sub("", file)


def stage_of(stack: Stack) -> str:
    """Which stage was at work: that of the innermost frame that belongs to one."""
    stages = [stage for file, _ in stack.frames if (stage := _stage_of_file(short(file))) is not None]
    has_no_caller = _stage_of_file(short(stack.frames[1][0])) in (LOOP, None) if len(stack.frames) > 1 else True
    if stack.at_entry and has_no_caller:
        return LOOP
    return stages[0] if stages else REST


def by_stage(stacks: Iterable[Stack]) -> dict[str, int]:
    """The samples of each stage, all stages in their order."""
    counted = Counter(dict.fromkeys(STAGES, 0))
    for stack in stacks:
        counted[stage_of(stack)] += stack.count
    return dict(counted)


def by_function(stacks: Iterable[Stack]) -> Counter[str]:
    """The samples of each innermost function outside the loop."""
    counted: Counter[str] = Counter()
    for stack in stacks:
        if stage_of(stack) != LOOP:
            file, function = stack.frames[0]
            counted[f"{short(file)}: {function}"] += stack.count
    return counted


def _stage_of_file(file: str) -> str | None:
    return next((stage for stage, beginnings in _FILES if file.startswith(beginnings)), None)
