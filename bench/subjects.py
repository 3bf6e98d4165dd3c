"""What is measured: nothing in between, nginx, one node, and two nodes with a peer hop between them."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.plan import WHOLE
from bench.processes import Process, Tree

READY_S = 90.0  # LiteLLM takes some of it on a busy machine
CHAT = "/v1/chat/completions"
POLL_S = 0.003
PROJECT = Path(__file__).resolve().parent.parent

NGINX_MISSING = "nginx is not installed, so its column is left out. On Debian or Ubuntu: apt install nginx-light"
NGINX_CONF = """
daemon off; {user}
worker_processes 1;
pid nginx.pid;
error_log stderr warn;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy;
    fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    keepalive_requests 1000000000;
    upstream mock {{ server 127.0.0.1:{upstream}; keepalive 2048; keepalive_requests 1000000000; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://mock;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
        }}
    }}
}}
"""


# Any number of requests of the one peer at a time; on loopback nobody else is let in by OPEN_NETWORK.
ON_LOOPBACK = {
    "NETWORK": "on",
    "OPEN_NETWORK": "1",
    "PEER_HOST": "127.0.0.1",
    "MAX_PEER_JOBS": "2048",  # the streams of one load are still ending when the next begins
    "PEER_RATE": "1000000000",
}


class SubjectError(Exception):
    """The process under test did not start, or has ended."""


@dataclass(frozen=True, slots=True)
class Subject:
    """One thing under test: where it listens, its process (None: the mock itself), and a second one behind that.

    `port_behind` is where that one listens; 0: there is none.
    `load_core` is where the load generator runs; None: where this program does. `path` and `prefix` are those of its
    URL and of its models' names, where they differ. One that `is_rewriting` answers in words of its own.
    """

    name: str
    port: int
    process: Process | None
    behind: Process | None = None
    port_behind: int = 0
    load_core: int | None = None
    path: str = CHAT
    prefix: str = ""
    is_rewriting: bool = False

    def tree(self) -> Tree:
        """Its process and what that has started, now."""
        return Tree(self.process.pid if self.process else None)

    def tree_behind(self) -> Tree:
        """The same of the process behind."""
        return Tree(self.behind.pid if self.behind else None)

    def load_arguments(self) -> list[str]:
        """How the load generator has to ask it, and to read it."""
        return [f"port={self.port}", f"path={self.path}", f"prefix={self.prefix}", f"loose={int(self.is_rewriting)}"]

    def answers_a_chat(self) -> bool:
        """Whether a chat request is answered in full by the mock's model behind it."""
        body = json.dumps({"model": self.prefix + WHOLE, "messages": [{"role": "user", "content": "hi"}]})
        status, answer = _request(self.port, "POST", self.path, body)
        return status == 200 and b'"chat.completion"' in answer

    def is_ready(self) -> bool:
        """Whether the node says that it is ready."""
        return _request(self.port, "GET", "/readyz")[0] == 200

    def stop(self) -> None:
        """End its processes."""
        for process in (self.process, self.behind):
            if process:
                process.stop()


Launch = Callable[[], Subject]


@dataclass(frozen=True, slots=True)
class Launcher:
    """Starts subjects on one core in front of one mock; each start has a fresh folder under ``work``."""

    work: Path
    core: int
    core_behind: int  # for a second process of one subject
    has_third_core: bool  # is that one neither the first process' nor the mock's?
    mock_port: int
    python: str
    node: tuple[str, ...] = ("-m", "masa_node")  # what that Python is given before `up`
    settings: tuple[tuple[str, str], ...] = ()  # of every node, besides those that it needs

    def direct(self) -> Subject:
        """The load goes straight to the mock."""
        return Subject("direct", self.mock_port, None)

    def nginx(self) -> Subject:
        """One nginx worker that does nothing but pass on; raises FileNotFoundError without nginx."""
        program = nginx_path()
        if program is None:
            raise FileNotFoundError(NGINX_MISSING)
        folder, port = self._folder("nginx"), free_port()
        user = "user root root;" if os.geteuid() == 0 else ""  # else the worker may not enter our folder
        conf = folder / "nginx.conf"
        conf.write_text(NGINX_CONF.format(user=user, upstream=self.mock_port, port=port))
        argv = [program, "-p", str(folder), "-c", str(conf), "-e", "stderr"]
        return Subject("nginx", port, Process(argv, self.core, folder / "output.log"))

    def masa(self) -> Subject:
        """The node as a user starts it, with the mock as its only LLM, and off the network."""
        port = free_port()
        llm = f"http://127.0.0.1:{self.mock_port}"
        return Subject("masa", port, self._node("masa", self.core, port, {"LLM_CHAT_URL": llm, "NETWORK": "off"}))

    def hop(self) -> Subject:
        """A node without an LLM, and a peer of it that has the mock; raises SubjectError if that peer does not come up.

        The node under test has a core of its own, and its peer a third one. On a machine of two cores, the peer shares
        one with the mock, and the load generator runs beside the node under test: otherwise one core would do it all.
        """
        port, port_behind = free_port(), free_port()
        llm = f"http://127.0.0.1:{self.mock_port}"
        behind = self._node("serving", self.core_behind, port_behind, {"LLM_CHAT_URL": llm, **ON_LOOPBACK})
        try:
            bootnode = _bootnode(Subject("the serving node", port_behind, behind))
        except BaseException:
            behind.stop()
            raise
        asking = self._node("asking", self.core, port, {"FIND_LOCAL": "0", "BOOTNODES": bootnode, **ON_LOOPBACK})
        return Subject("hop", port, asking, behind, port_behind, None if self.has_third_core else self.core)

    def _node(self, name: str, core: int, port: int, more: dict[str, str]) -> Process:
        folder = self._folder(name)
        env = plain_environment(folder) | {
            "PORT": str(port),
            "MAX_CONCURRENT": "4096",
            "MASA_DIR": str(folder / "masa"),
            **dict(self.settings),
            **more,
        }
        return Process([self.python, *self.node, "up"], core, folder / "output.log", env)

    def _folder(self, name: str) -> Path:
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.work))


def nginx_path() -> str | None:
    """Where nginx is, also when /usr/sbin is not in PATH."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(subject: Subject, is_ready: Callable[[], bool]) -> None:
    """Poll until it is so; raises SubjectError if the process ends or READY_S pass."""
    until_s = time.monotonic() + READY_S
    while not is_ready():
        if subject.process and not subject.process.is_alive():
            raise SubjectError(f"{subject.name} ended before it was ready:\n{subject.process.last_output()}")
        if time.monotonic() > until_s:
            output = subject.process.last_output() if subject.process else ""
            raise SubjectError(f"{subject.name} was not ready within {READY_S:.0f} s:\n{output}")
        time.sleep(POLL_S)


def _bootnode(subject: Subject) -> str:
    """How peers find this node, once it is on the network; raises SubjectError."""
    found: list[str] = []

    def knows_itself() -> bool:
        status, answer = _request(subject.port, "GET", "/api/v1/node")
        about = json.loads(answer) if status == 200 else {}
        found.extend(f"{about['node_id']}@{address}" for address in about.get("addresses", ()))
        return bool(found)

    wait_until(subject, knows_itself)
    return found[0]


def _request(port: int, method: str, path: str, body: str | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


def plain_environment(home: Path) -> dict[str, str]:
    """Nothing of the caller's settings (keys, boot nodes, proxies): only what Python needs and this tree's source."""
    paths = [str(PROJECT / "src"), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "PYTHONPATH": os.pathsep.join(str(Path(path).resolve()) for path in paths if path),
    }
