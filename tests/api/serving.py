"""The node as a process of its own, started by its own command; everything it writes is kept."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

SOURCES = Path(__file__).resolve().parents[2] / "src"
START_S = 20.0  # a machine under load
STOP_S = 15.0  # GRACE_S and some
# an LLM server of the tester's is not to be found
NOBODY_ELSE = {"masa_node.upstreams.local_discovery.KNOWN_PORTS": ()}

# The `masa-node` command, with some of its constants (and its limit of descriptors) changed before anything runs.
_COMMAND = """
import importlib, json, os, resource, sys
if limit := int(os.environ.pop("TEST_DESCRIPTORS")):
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
for place, value in json.loads(os.environ.pop("TEST_CONSTANTS")).items():
    module, _, name = place.rpartition(".")
    assert hasattr(importlib.import_module(module), name), place
    setattr(sys.modules[module], name, value)
sys.argv = ["masa-node", "up", "--json"]
from masa_node.cli.main import main
main()
"""


class ServingNode:
    """A context manager: a node that listens, with the demo model unless `DEMO` is set to nothing.

    At its end it must have stopped in good order, and must never have shown a stack trace.
    """

    def __init__(
        self,
        directory: Path,
        settings: Mapping[str, str],
        constants: Mapping[str, object] | None = None,
        *,
        descriptors: int = 0,
    ) -> None:
        self.address = ""
        self.printed = ""
        self.may_show_traces = False
        self._log = directory / "node.log"
        self._lines: list[dict[str, object]] = []
        self._read_bytes = 0  # of the log: these lines
        self._directory = directory
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "PYTHONPATH": str(SOURCES),
            "PORT": "0",
            "MASA_DIR": str(directory / "masa"),
            "DEMO": "1",
            "DEMO_PIECES_PER_S": "10000",
            "LOG_LEVEL": "debug",
            "LOG_FORMAT": "json",
            "TEST_DESCRIPTORS": str(descriptors),
            "TEST_CONSTANTS": json.dumps({**NOBODY_ELSE, **(constants or {})}),
        } | dict(settings)

    def __enter__(self) -> Self:
        self._lines, self._read_bytes = [], 0
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _COMMAND],
                env=self._environment,
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        try:
            self._wait_until_settled()
        except BaseException:
            self.process.kill()
            self.process.communicate()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        code = self.stop()
        log = self.log
        assert self.may_show_traces or "Traceback" not in log, log[log.index("Traceback") :][:4000]
        assert code == 0 or kind is not None, f"exit code {code}\n{log[-4000:]}"

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    @property
    def masa_dir(self) -> Path:
        """Where it keeps its files."""
        return Path(self._environment["MASA_DIR"])

    @property
    def log(self) -> str:
        """What it has written to stderr so far."""
        return self._log.read_text(errors="replace")

    @property
    def lines(self) -> list[dict[str, object]]:
        """Its log, read line by line; each once, as some tests look many times a second at what many have filled."""
        with self._log.open("rb") as log:
            log.seek(self._read_bytes)
            whole = log.read().rpartition(b"\n")[0]
        if whole:
            self._lines += [json.loads(line) for line in whole.decode(errors="replace").splitlines()]
            self._read_bytes += len(whole) + 1
        return [*self._lines]

    def requests_logged(self, count: int = 1) -> list[dict[str, object]]:
        """The lines about requests; waits until there are `count`."""
        give_up_at_s = time.monotonic() + START_S
        while len(found := [line for line in self.lines if line["event"] == "request"]) < count:
            assert time.monotonic() < give_up_at_s, f"{found}"
            time.sleep(0.005)
        return found

    def rss_bytes(self) -> int:
        """Its resident memory now (Linux)."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS"))

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it politely and give its exit code. Kills it when it does not end."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        if self.process.stdout is not None and not self.process.stdout.closed:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.printed += self.process.communicate(timeout=STOP_S)[0]
            self.process.kill()
            self.process.communicate()
        return self.process.returncode

    def _wait_until_settled(self) -> None:
        """Two lines: where it listens, and that each LLM server was asked once what it serves."""
        assert self.process.stdout is not None
        for _ in range(2):
            line = self.process.stdout.readline()
            assert line, f"the node did not start:\n{self.log}"
            self.printed += line
            self.address = json.loads(line)["address"]
