"""A real llama.cpp server as a process, and the models it serves. No pytest here."""

import contextlib
import hashlib
import http.client
import inspect
import json
import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import make_chain_gguf as chain

START_S = 20.0  # a machine under load; an idle one takes 0.3 s
STOP_S = 5.0
LOG_TAIL_BYTES = 2000
SLOT_POLL_S = 0.01
# Below Linux' range for outgoing connections, above those of tests/fakes: nobody takes one while a server restarts.
PORTS = (30_000, 32_000)

LOCAL, REMOTE, STATE = 1, 2, 3  # columns of /proc/net/tcp
ESTABLISHED = "01"

THINKING = ("<think>", "Let me think.", "</think>", "The answer", " is 42.")
TOOL_CALL = (
    "<tool_call>",
    '\n{"name": "get_weather", "arguments": ',
    '{"city": ',
    '"Tokyo"',
    "}}\n",
    "</tool_call>",
)

Program = tuple[str, ...]  # the command that takes llama-server's options


@dataclass(frozen=True, slots=True)
class Model:
    """A model with a known answer, and the server settings that suit it."""

    speech: chain.Speech
    shape: chain.Shape
    server_options: tuple[str, ...] = ("--parallel", "4", "--ctx-size", "16384")  # 4096 tokens a slot: counts to 2000

    def write_into(self, directory: Path) -> Path:
        """Make the model's file unless it is there; its name changes with whatever decides its content."""
        recipe = repr((self.speech.starts, self.speech.follows, self.speech.vocabulary.texts, self.shape))
        digest = hashlib.sha256((recipe + inspect.getsource(chain)).encode()).hexdigest()[:12]
        path = directory / f"{self.shape.name}-{digest}.gguf"
        if not path.exists():
            directory.mkdir(parents=True, exist_ok=True)
            chain.write_model(path, self.speech, self.shape)
        return path


def models() -> dict[str, Model]:
    """Give all models of these tests by name."""
    return {
        "count": Model(chain.counting(2000), chain.Shape("count")),
        "endless": Model(
            chain.looping([" la"]),
            chain.Shape("endless"),
            ("--parallel", "4", "--ctx-size", "16384", "--context-shift"),  # forgets the old, so it goes on for ever
        ),
        "utf8": Model(chain.spelling("é🙂日"), chain.Shape("utf8")),
        "think": Model(chain.reciting(THINKING), chain.Shape("think", chain.TEMPLATES["thinking"])),
        "tool": Model(chain.reciting(TOOL_CALL), chain.Shape("tool", chain.TEMPLATES["tools"])),
        "babble": Model(chain.babbling([" ba", " be", " bi", " bo", " bu"], 0.05), chain.Shape("babble")),
        "slow": Model(  # about 20 ms a token, 4 ms a token of the prompt
            chain.looping([" la"]),
            chain.Shape("slow", dim=1024, ff=8192, layers=4),
            ("--parallel", "1", "--ctx-size", "4096", "--batch-size", "32"),  # it looks up only between two batches
        ),
    }


def free_port() -> int:
    """Find a port of 127.0.0.1 where nobody listens."""
    while True:
        port = random.randint(*PORTS)  # noqa: S311 - a port is no secret
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class LlamaServer:
    """One llama.cpp server with one model. A context manager; it can be killed and started again on the same port."""

    def __init__(self, program: Program, name: str, model: Path, options: tuple[str, ...], log: Path) -> None:
        self.name = name
        self.log = log
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._command = [*program, "--model", str(model), "--alias", name, "--port", str(self.port), "--threads", "1"]
        self._command += ["--no-cache-prompt"]  # or usage differs between two equal requests
        self._command += options

    @property
    def address(self) -> str:
        """Host and port, as an error message should name them."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The server's base URL."""
        return f"http://{self.address}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start the process and wait until the model is loaded. Raises RuntimeError with the log's end if it is not."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        give_up_at_s = time.monotonic() + START_S
        while not self._is_healthy():
            if self._process.poll() is not None or time.monotonic() > give_up_at_s:
                self.stop()
                tail = self.log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")
                raise RuntimeError(f"llama-server with {self.name} did not start:\n{tail}")
            time.sleep(0.02)

    def stop(self) -> None:
        """End the process, politely first. It is gone afterwards."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_S)
        self.kill()

    def kill(self) -> None:
        """End the process as a crash would (SIGKILL), and wait until it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def busy_slots(self) -> int:
        """Count the slots that work on a prompt or an answer."""
        status, body = self._get("/slots")
        if status != 200:
            raise RuntimeError(f"/slots of {self.name} answered {status}")
        return sum(slot["is_processing"] for slot in json.loads(body))

    def seconds_until(self, busy_slots: int, within_s: float) -> float:
        """Wait until so many slots are busy and say how long it took. Raises TimeoutError after `within_s`."""
        started_s = time.monotonic()
        while self.busy_slots() != busy_slots:
            if time.monotonic() - started_s > within_s:
                raise TimeoutError(
                    f"{self.name} has {self.busy_slots()} busy slots after {within_s} s, not {busy_slots}"
                )
            time.sleep(SLOT_POLL_S)
        return time.monotonic() - started_s

    def callers(self) -> set[str]:
        """Name the other ends of the connections that both sides hold open."""
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        here = f":{self.port:04X}"
        return {row[LOCAL] for row in rows if row[REMOTE].endswith(here) and row[STATE] == ESTABLISHED}

    def _is_healthy(self) -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self._get("/health")[0] == 200
        return False

    def _get(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        with contextlib.closing(connection):
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()


@contextlib.contextmanager
def serving(program: Program, name: str, model_dir: Path, log_dir: Path) -> Iterator[LlamaServer]:
    """Run a server with one of `models()` by name. It answers under any other name too."""
    model = models()[name]
    log = log_dir / f"llama-server-{name}.log"
    with LlamaServer(program, name, model.write_into(model_dir), model.server_options, log) as server:
        yield server
