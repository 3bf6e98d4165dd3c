"""The gateways that the node is compared with: where each comes from, and how it is started."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from string import Template

from bench.machine.environment import NotInstallable, environment
from bench.plan import Plan
from bench.processes import Process
from bench.subjects import CHAT, READY_S, Launcher, Subject, SubjectError, free_port, plain_environment

HERE = Path(__file__).resolve().parent
SETTINGS, LOCKS = HERE / "settings", HERE / "locks"


@dataclass(frozen=True, slots=True)
class Gateway:
    """One of them. `program` is in its environment, or on the machine if it has no lock. `says_where` listens at a port
    of its own choice; for the rest see `Subject`.
    """

    name: str
    written_in: str
    program: str
    needs: str  # what to install where it has no lock
    path: str = CHAT
    prefix: str = ""
    is_rewriting: bool = False
    says_where: bool = False
    has_few_streams: bool = False  # a thousand of them are not at their end half a minute after the others'

    @property
    def lock(self) -> Path | None:
        """What its environment is made of; None for a program of the system."""
        file = LOCKS / f"{self.name}.txt"
        return file if file.is_file() else None

    def version(self, program: Path) -> str:
        """Of what is installed."""
        if self.lock is not None:
            pinned = re.search(rf"^{re.escape(self.name)}==(\S+)", self.lock.read_text(), re.MULTILINE)
            return pinned[1] if pinned else "unknown"
        done = subprocess.run([str(program), "-v"], capture_output=True, text=True, check=False)
        found = re.search(r"\d+\.\d+\.\d+", done.stdout + done.stderr)
        return found[0] if found else "unknown"


GATEWAYS = (
    Gateway("nginx", "C", "nginx", "apt install nginx-light"),
    Gateway("haproxy", "C", "haproxy", "apt install haproxy"),
    Gateway("vllm-router", "Rust", "vllm-router", ""),
    Gateway("sglang-router", "Rust", "sglang-router", ""),
    Gateway(
        "tensorzero",
        "Rust",
        "python",
        "",
        path="/openai/v1/chat/completions",
        prefix="tensorzero::model_name::",
        is_rewriting=True,
        says_where=True,
    ),
    Gateway("litellm", "Python", "litellm", "", is_rewriting=True, has_few_streams=True),
)


def install(gateway: Gateway, python: str, cache: Path) -> Path:
    """Its program, installed now if it is not; raises NotInstallable."""
    if gateway.lock is not None:
        return environment(python, cache / gateway.name, gateway.lock) / gateway.program
    found = shutil.which(gateway.program) or shutil.which(gateway.program, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise NotInstallable(f"not installed; on Debian or Ubuntu: {gateway.needs}")
    return Path(found)


def start(gateway: Gateway, program: Path, launcher: Launcher, plan: Plan) -> Subject:
    """It, on the core of the process under test, in front of the mock; raises SubjectError."""
    folder = Path(tempfile.mkdtemp(prefix=f"{gateway.name}-", dir=launcher.work))
    port = free_port()
    filled_in = {
        "folder": str(folder),
        "settings": str(SETTINGS),
        "port": str(port),
        "other_port": str(free_port()),
        "llm_port": str(launcher.mock_port),
    }
    for file in sorted(SETTINGS.glob(f"{gateway.name}.*")):
        text = file.read_text()
        each = SETTINGS / f"{gateway.name}-model{file.suffix}"
        if each.is_file():
            text += "".join(Template(each.read_text()).safe_substitute(filled_in, model=m) for m in plan.models())
        (folder / file.name).write_text(Template(text).substitute(filled_in))
    arguments = (folder / f"{gateway.name}.args").read_text().splitlines()
    env = plain_environment(folder) | {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "PYTHONPATH": ""}
    process = Process([str(program), *arguments], launcher.core, folder / "output.log", env)
    if gateway.says_where:
        port = _told_port(folder / "url", gateway.name, process)
    return Subject(
        gateway.name,
        port,
        process,
        path=gateway.path,
        prefix=gateway.prefix,
        is_rewriting=gateway.is_rewriting,
    )


def launches(found: dict[Gateway, Path], launcher: Launcher, plan: Plan) -> dict[str, Callable[[], Subject]]:
    """How each is started; nginx as it always is here."""
    started: dict[str, Callable[[], Subject]] = {}
    for gateway, program in found.items():
        if gateway.name == "nginx":
            started["nginx"] = launcher.nginx
        else:
            started[gateway.name] = lambda of=gateway, at=program: start(of, at, launcher, plan)
    return {"direct": launcher.direct, **started, "masa": launcher.masa}


def _told_port(file: Path, name: str, process: Process) -> int:
    until_s = time.monotonic() + READY_S
    while not file.is_file():
        if not process.is_alive() or time.monotonic() > until_s:
            process.stop()
            raise SubjectError(f"{name} does not say where it listens:\n{process.last_output()}")
        time.sleep(0.01)
    return int(re.findall(r":(\d+)", file.read_text())[0])
