"""A place in which the commands of the documentation can be typed: two linked nodes and a chain, on this machine.

The nodes are those of `masa-node devnet`: `here`, whose owner types, and `friend`. What stands for something of the
reader's own in a page (`masa1-...`, `ID`, `0x...`, the usual address) is filled in.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from masa_node.upstreams.embedded.model import runtime_is_installed
from tests.docs.pages import ROOT
from tests.lacking import lacking

START_S = 30.0
COMMAND_S = 90.0
BIN = Path(sys.executable).parent
USUAL_ADDRESS = "http://127.0.0.1:8080"

# Commands that run until they are stopped: they have to say that they are ready, and to end well.
FOREGROUND = re.compile(r"^(make demo|masa-node (up|demo|devnet)|uvx .* masa-node up)\b")
# This very run, or minutes of work: that make knows them, and everything they stand on, is what is seen.
RESOLVED_ONLY = re.compile(r"^make (test|lint|format|bench|profile|lock|upgrade|clean|langchain|agents)\b")
# An error in any format, whole or in a stream. (A race of the journal has a field of that name.)
ERROR = re.compile(r'^(data: )?\{"(error"|type": ?"error")', re.MULTILINE)
# GNU make 4.3 where the program has ended before make itself hears of Ctrl+C. Its exit code is 2 then.
MAKE_CAME_LATE = "make: *** wait: No child processes."
# What is right to be refused in this world, and in which words.
REFUSED = {
    "masa-node stake withdraw all": "Nothing is unbonding",
    "masa-node doctor": "only nodes on this machine can reach this one",
}


class World:
    """See the module. A context manager."""

    def __init__(self, folder: Path, anvil: str) -> None:
        self._folder = folder
        self._scratch = folder / "here"
        self._scratch.mkdir()
        (self._scratch / "dist").mkdir()
        self._programs = folder / "programs"
        self._environ = {
            "PATH": f"{self._programs}:{BIN}:{os.environ['PATH']}",
            "HOME": str(self._scratch),
            "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache")),  # the model, fetched once
            "ANVIL": anvil,
            "NO_COLOR": "1",
            "DEMO_PIECES_PER_S": "10000",
            "PYTHON": sys.executable,
        }
        self._stack = contextlib.ExitStack()
        self._keys_dir = ""

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            _write_installers(self._programs)
            devnet = stack.enter_context(
                _running(["masa-node", "devnet", "--json"], self._environment("chain"), self._folder)
            )
            told = json.loads(devnet.first_line())
            self._here, self._friend = told["nodes"][:2]
            for node in (self._friend, self._here):
                stack.enter_context(_running(["masa-node", "up", "--json"], self._of(node), self._scratch)).first_line()
            _wait_for_peers(f"{self._here['url']}/api/v1/peers")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def type(self, block: str) -> None:
        """Give the commands of a block, one after the other; each must do what the page says it does.

        Keys are made in a folder of the block's own: of the node that all blocks ask, nobody has one.
        """
        self._keys_dir = tempfile.mkdtemp(dir=self._folder)
        for line in commands_of(block):
            if "--llm" in line and not runtime_is_installed():
                lacking("no wheel of xllamacpp is installed")
            command = self._filled_in(line)
            if FOREGROUND.match(line):
                self._start_and_stop(command)
            elif RESOLVED_ONLY.match(line):
                self._give(f"{command} --dry-run", line)
            else:
                self._give(command, line)

    def run_python(self, program: str) -> str:
        """What a program of the reader's prints."""
        program = program.replace(USUAL_ADDRESS, self._here["url"])
        command = [sys.executable, "-c", program]
        done = subprocess.run(
            command,
            env=self._environ,
            cwd=self._scratch,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _environment(self, name: str) -> dict[str, str]:
        return {
            **self._environ,
            "MASA_DIR": str(self._folder / name),
            "PORT": "0",
            "FIND_LOCAL": "0",
            "PEER_HOST": "127.0.0.1",
        }

    def _of(self, node: Mapping[str, Any]) -> dict[str, str]:
        return {**self._environ, **node["settings"], "DEMO": "1"}

    def _filled_in(self, line: str) -> str:
        line = line.replace(USUAL_ADDRESS, self._here["url"]).replace("0x...", self._here["owner"])
        if "masa1-..." in line:
            link = subprocess.run(
                ["masa-node", "invite"],
                env=self._of(self._friend),
                cwd=self._scratch,
                capture_output=True,
                text=True,
                check=True,
            ).stdout.strip()
            line = line.replace("masa1-...", link)
        line = re.sub(r"\bID\b", self._friend["node_id"], line)
        if line.startswith("make "):  # which says nothing itself: the first line is the program's
            line += f" VENV={sys.prefix} -C {ROOT} --no-print-directory"
        return line

    def _give(self, command: str, line: str) -> None:
        # A wheel that `make dist` built lies in the checkout; a page's reader stands there.
        folder = ROOT if line.startswith(("pipx ", "uvx ", "export PATH")) else self._scratch
        done = subprocess.run(
            ["bash", "-ec", command],
            env=self._of(self._here) | ({"MASA_DIR": self._keys_dir} if line.startswith("masa-node keys") else {}),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )
        words = done.stdout + done.stderr
        assert "Traceback" not in words, words
        if line in REFUSED:
            assert REFUSED[line] in words, words
        else:
            assert done.returncode == 0, f"{command}\n{words}"
            if command.startswith("curl "):
                assert not ERROR.search(done.stdout), done.stdout

    def _start_and_stop(self, command: str) -> None:
        with _running(["bash", "-ec", f"exec {command}"], self._environment("alone"), ROOT) as process:
            process.first_line()


def commands_of(block: str) -> list[str]:
    """The lines to be typed, without what is said beside them."""
    joined = block.replace("\\\n", " ")
    lines = (re.sub(r"\s+#\s.*$", "", line).strip() for line in joined.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


class _Process:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._lines: list[str] = []
        self._said = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.append(line)
            if line.strip():
                self._said.set()
        self._said.set()

    def first_line(self) -> str:
        """The first thing that it says; waits for it."""
        assert self._said.wait(START_S), "it says nothing"
        said = [line for line in self._lines if line.strip()]
        assert said, f"it ended with {self._process.wait()}"
        return said[0]


@contextlib.contextmanager
def _running(command: list[str], environ: Mapping[str, str], folder: Path) -> Iterator[_Process]:
    """A process that is stopped as a person stops it, and has to end well."""
    log = folder / "log" if os.access(folder, os.W_OK) and folder != ROOT else Path(environ["HOME"]) / "log"
    with (
        log.open("ab") as errors,
        subprocess.Popen(
            command,
            env=environ,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield _Process(process)
            assert process.poll() is None, f"{command} ended by itself"
            os.killpg(process.pid, signal.SIGINT)
            ended, told = process.wait(START_S), log.read_text()[-3000:]
            assert ended in (0, 130, -signal.SIGINT) or MAKE_CAME_LATE in told, told
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def _wait_for_peers(url: str) -> None:
    give_up_at_s = time.monotonic() + START_S
    while True:
        with urllib.request.urlopen(url, timeout=START_S) as answer:  # noqa: S310 - the node's own
            if any(peer["connected"] for peer in json.load(answer)["peers"]):
                return
        assert time.monotonic() < give_up_at_s, "the two nodes do not link"
        time.sleep(0.05)


def _write_installers(folder: Path) -> None:
    """Stand-ins for pipx and uvx: they install the wheel as those do, but take what it needs from this environment."""
    folder.mkdir()
    for name in ("pipx", "uvx"):
        program = (Path(__file__).parent / "stand_in_installer.py").read_text()
        (folder / name).write_text(f"#!{sys.executable}\n{program}")
        (folder / name).chmod(0o755)
