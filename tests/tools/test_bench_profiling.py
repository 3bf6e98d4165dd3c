"""`make profile` says where a request's CPU time goes."""

import ctypes
import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.profiling.sampler import Sampler
from bench.profiling.stages import LOOP, REST, STAGES, Stack, by_function, by_stage, short, stage_of
from tests.docs.pages import ROOT
from tests.lacking import lacking

SRC = "/home/me/node/src/masa_node/"
SITE = "/home/me/.venv/lib/python3.11/site-packages/"
STDLIB = "/usr/lib/python3.11/"
RUNNER = (f"{STDLIB}asyncio/runners.py", "Runner.run")


def stack(*files: str, at_entry: bool = False, count: int = 1) -> Stack:
    return Stack(count, at_entry, [*((file, "f") for file in files), RUNNER])


@pytest.mark.parametrize(
    ("file", "stage"),
    [
        (f"{SRC}api/http1/protocol.py", "HTTP server"),
        (f"{SITE}uvicorn/protocols/utils.py", "HTTP server"),
        (f"{SRC}api/chat.py", "api"),
        (f"{SRC}routing/racing/race.py", "routing"),
        (f"{SRC}dialects/bodies/peek.py", "dialects"),
        (f"{SRC}upstreams/http/client.py", "upstream client"),
        (f"{SRC}network/links/mux.py", "peers"),
        (f"{SRC}telemetry/request_record.py", "log line"),
        (f"{SRC}telemetry/families.py", "metrics"),
        (f"{STDLIB}asyncio/timeouts.py", "timeouts and task groups"),
        (f"{STDLIB}asyncio/base_events.py", LOOP),
        (f"{SITE}uvloop/__init__.py", LOOP),
        (f"{SRC}version.py", REST),
    ],
)
def test_a_frame_belongs_to_the_stage_of_its_package(file: str, stage: str) -> None:
    assert stage_of(stack(file)) == stage


def test_what_belongs_to_none_is_the_callers() -> None:
    assert stage_of(stack(f"{STDLIB}json/encoder.py", f"{SITE}msgspec/x.py", f"{SRC}api/chat.py")) == "api"


def test_the_loops_own_time_is_not_that_of_what_it_calls_next() -> None:
    server = f"{SRC}api/http1/protocol.py"
    assert stage_of(stack(server, at_entry=True)) == LOOP
    assert stage_of(stack(server, f"{SITE}httptools/x.py", at_entry=True)) == LOOP  # C: it has no frame that is known
    assert stage_of(stack(server, server, at_entry=True)) == "HTTP server"


def test_every_sample_is_in_one_stage_and_every_function_outside_the_loop_is_named() -> None:
    stacks = [stack(f"{SRC}api/chat.py", count=3), stack(f"{STDLIB}selectors.py", count=2)]
    assert by_stage(stacks) == dict.fromkeys(STAGES, 0) | {"api": 3, LOOP: 2}
    assert by_function(stacks) == {"masa_node/api/chat.py: f": 3}


def test_a_file_is_shown_from_its_package_on() -> None:
    files = (f"{SRC}api/chat.py", f"{SITE}uvicorn/a.py", f"{STDLIB}asyncio/b.py", "/usr/lib/python3/dist-packages/c.py")
    assert [short(file) for file in files] == ["masa_node/api/chat.py", "uvicorn/a.py", "asyncio/b.py", "c.py"]


@pytest.fixture
def sampler(tmp_path: Path) -> Iterator[Sampler]:
    made = Sampler(tmp_path / "stacks.json")
    before = signal.signal(signal.SIGPROF, made.sample)
    yield made
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.signal(signal.SIGPROF, before)


def test_a_signal_in_c_that_no_python_called_is_seen_at_the_entry_of_what_comes_next(
    sampler: Sampler, tmp_path: Path
) -> None:
    interrupt = ctypes.CDLL(None)["raise"]

    def called_by_c(_: object) -> int:
        return 1

    def calls_c() -> None:
        interrupt(signal.SIGPROF)

    sampler.start()
    signal.setitimer(signal.ITIMER_PROF, 0)  # only ours
    list(map(called_by_c, map(interrupt, [signal.SIGPROF])))
    calls_c()
    sampler.stop()
    seen = json.loads((tmp_path / "stacks.json").read_text())
    found = {frames[0][1].rpartition(".")[2]: told["at_entry"] for told in seen["stacks"] if (frames := told["frames"])}
    assert found == {"called_by_c": True, "calls_c": False}


def test_the_whole_command_on_a_real_node() -> None:
    if shutil.which("cc") is None:
        lacking("no C compiler")
    command = [sys.executable, "-m", "bench.profiling", "--seconds", "0.5", "--python", sys.executable]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    shares = {
        name.strip(): float(share)
        for name, share in re.findall(r"^(\S.*?) +([\d.]+)% +[\d.]+$", done.stdout, re.MULTILINE)
    }
    assert list(shares) == [*STAGES, "all"]
    assert sum(shares[stage] for stage in STAGES) == pytest.approx(100, abs=1)
    assert shares["HTTP server"] + shares["api"] + shares["routing"] + shares["upstream client"] > 30
    assert shares["peers"] == 0
