"""The node as a process, started as its user starts it. No pytest here."""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

PROJECT = Path(__file__).resolve().parents[2]
START_S = 20.0  # a machine under load
STOP_S = 10.0
COMMAND_S = 30.0  # the longest that a command waits for a running node is 15 s
# Nothing else of the tester's environment reaches the node: a key or URL in it would change what is tested.
ENVIRONMENT_KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV")


class Node:
    """One node with its own folder, off every network unless the settings say otherwise.

    A context manager; `url` is known once it listens. It counts as ready when `ready_path` answers 200.
    """

    def __init__(self, directory: Path, settings: Mapping[str, str], ready_path: str = "/readyz") -> None:
        self.url = ""
        self.listening: dict[str, object] = {}
        self.log = directory / "node.log"
        self.masa_dir = directory / "masa"
        self.before: tuple[str, ...] = ()  # of the command: what runs it elsewhere
        self._ready_path = ready_path
        self._directory = directory
        self._stdout: list[str] = []
        self._first_line = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        kept = {name: os.environ[name] for name in ENVIRONMENT_KEPT if name in os.environ}
        paths = (os.environ.get("PYTHONPATH"), str(PROJECT / "src"))
        own = {"PORT": "0", "MASA_DIR": str(self.masa_dir), "LOG_FORMAT": "json", "NETWORK": "off"}
        own["PEER_HOST"] = "127.0.0.1"
        self.environment = kept | {"PYTHONPATH": os.pathsep.join(filter(None, paths))} | own | dict(settings)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start the process and wait until it is ready. Raises RuntimeError with its log when it is not."""
        self._stdout = []
        self._first_line.clear()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self.before, sys.executable, "-m", "masa_node", "up", "--json"],
                env=self.environment,
                cwd=self._directory,  # no .env or masa.toml lies here but the test's own
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self._reader = threading.Thread(target=self._collect_stdout, args=(self._process,))
        self._reader.start()
        try:
            self._wait_until_listening()
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> int | None:
        """End the process politely (SIGTERM) and give its exit code; None when it was not running."""
        if self._process is None or self._reader is None:
            return None
        self._process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_S)
        return self.kill()

    def kill(self) -> int | None:
        """End the process as a crash would (SIGKILL) and give its exit code; None when it was not running."""
        if self._process is None or self._reader is None:
            return None
        self._process.kill()
        code = self._process.wait()
        self._reader.join()
        self._process = None
        return code

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None
        return self._process.pid

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `masa-node` beside the node, as its owner does: with the node's settings and the port that it has."""
        port = self.url.rpartition(":")[2] or "0"
        return subprocess.run(
            [*self.before, sys.executable, "-m", "masa_node", *arguments],
            env=self.environment | {"PORT": port},
            cwd=self._directory,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )

    @property
    def stdout_lines(self) -> tuple[str, ...]:
        """What it has printed so far."""
        return tuple(self._stdout)

    def status_of(self, path: str) -> int:
        """GET a path and give the status; 0 when nobody answers."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self._get(path)[0]
        return 0

    def get(self, path: str) -> Any:  # noqa: ANN401 - any JSON value
        """GET a path that answers with JSON."""
        status, body = self._get(path)
        if status != 200:
            raise RuntimeError(f"{path} answered {status}: {body[:500]!r}")
        return json.loads(body)

    def connection(self, timeout_s: float = 30.0) -> http.client.HTTPConnection:
        """A way to speak with it over HTTP. Close it."""
        return http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=timeout_s)

    def _get(self, path: str) -> tuple[int, bytes]:
        with contextlib.closing(self.connection(5.0)) as connection:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()

    def _collect_stdout(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                self._stdout.append(line)
                self._first_line.set()
        self._first_line.set()

    def _wait_until_listening(self) -> None:
        self._first_line.wait(START_S)
        try:
            self.listening = json.loads(self._stdout[0])
            self.url = str(self.listening["address"])
        except (IndexError, KeyError, ValueError) as exc:
            raise RuntimeError(self._account("the node did not say where it listens")) from exc

    def _wait_until_ready(self) -> None:
        give_up_at_s = time.monotonic() + START_S
        while (status := self.status_of(self._ready_path)) != 200:
            if time.monotonic() > give_up_at_s:
                raise RuntimeError(self._account(f"{self._ready_path} is {status} after {START_S} s"))
            time.sleep(0.02)

    def _account(self, what: str) -> str:
        return f"{what}\nstdout: {self._stdout}\nlog:\n{self.log.read_text(errors='replace')[-4000:]}"
