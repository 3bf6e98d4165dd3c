"""A small network inside this machine: a bridge with a namespace at each port, cuts, and all packets that pass.

Linux only, and only for root. No pytest here.
"""

import contextlib
import ctypes
import http.client
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol, Self, TypeVar

from node_process import Node

NAMESPACES = Path("/run/netns")
CLONE_NEWNET = 0x40000000
ETH_P_ALL = 3
SO_RCVBUFFORCE = 33
CAPTURE_BYTES = 64 * 1024 * 1024
MAX_PACKET_BYTES = 65_536
IP_S = 10.0
LISTENS, UNCONNECTED = "0A", "07"  # states in /proc/net/tcp and udp

T = TypeVar("T")


def what_is_missing() -> str:
    """Which program the tester has to install; "" if none, or if namespaces cannot be had with it either."""
    return "network namespaces need iproute2" if _is_root() and shutil.which("ip") is None else ""


def why_not() -> str:
    """Why this machine, with all programs, gives no namespaces; "" if it does."""
    if not _is_root():
        return "network namespaces need root"
    name = f"masa-try-{os.getpid()}"
    try:
        ip("netns", "add", name)
        try:
            ip("-n", name, "link", "add", "br0", "type", "bridge")
            ip("-n", name, "link", "add", "one", "type", "veth", "peer", "name", "two")
        finally:
            ip("netns", "del", name)
    except (OSError, subprocess.SubprocessError) as exc:
        return f"this kernel gives no network namespaces: {exc}"
    return ""


def _is_root() -> bool:
    return os.name == "posix" and hasattr(os, "geteuid") and os.geteuid() == 0


class Lan:
    """A context manager. Each of `slots` is a namespace with one interface, `10.77.0.<number>`."""

    def __init__(self, places: tuple[str, ...]) -> None:
        self._prefix = f"masa-{os.getpid()}-"
        self._hub = f"{self._prefix}hub"
        self._places = places

    def __enter__(self) -> Self:
        try:
            self._make()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for name in (self._hub, *map(self.namespace, self._places)):
            with contextlib.suppress(subprocess.SubprocessError):
                ip("netns", "del", name)

    def namespace(self, place: str) -> str:
        """Its name, as `ip netns exec` wants it."""
        return f"{self._prefix}{place}"

    def address(self, place: str) -> str:
        """The IPv4 address there."""
        return f"10.77.0.{self._places.index(place) + 1}"

    def run(self, place: str, call: Callable[[], T]) -> T:
        """Call it in a thread that is in this namespace; sockets that it makes stay there."""
        return inside(self.namespace(place), call)

    def cut(self, place: str) -> None:
        """No packet goes to this place or comes from it any more."""
        ip("-n", self._hub, "link", "set", f"to-{place}", "down")

    def mend(self, place: str) -> None:
        """The end of `cut`."""
        ip("-n", self._hub, "link", "set", f"to-{place}", "up")

    @contextlib.contextmanager
    def captured(self) -> Generator[Callable[[], bytes]]:
        """Record every packet at the hub from now on. Call what is given for all of them, one after the other."""
        with inside(self._hub, _packet_socket) as packets:
            yield lambda: _drained(packets)

    def _make(self) -> None:
        ip("netns", "add", self._hub)
        ip("-n", self._hub, "link", "add", "br0", "type", "bridge")
        ip("-n", self._hub, "link", "set", "br0", "up")
        for place in self._places:
            name = self.namespace(place)
            ip("netns", "add", name)
            ip("-n", self._hub, "link", "add", f"to-{place}", "type", "veth", "peer", "name", "eth0", "netns", name)
            ip("-n", self._hub, "link", "set", f"to-{place}", "master", "br0", "up")
            ip("-n", name, "address", "add", f"{self.address(place)}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                ip("-n", name, "link", "set", device, "up")


class Places(Protocol):
    """Namespaces by what they stand for."""

    def namespace(self, place: str) -> str:
        """Its name."""
        ...

    def run(self, place: str, call: Callable[[], T]) -> T:
        """Call it there."""
        ...


class NodeThere(Node):
    """A node in a namespace: its endpoint is open on the loopback there, its peers are met over the bridge."""

    def __init__(self, directory: Path, settings: Mapping[str, str], lan: Places, place: str) -> None:
        own = {"NETWORK": "on", "FIND_LOCAL": "0", "PEER_HOST": "0.0.0.0"}  # noqa: S104 - as a node has it by default
        super().__init__(directory, own | dict(settings), "/healthz")
        self.before = ("ip", "netns", "exec", lan.namespace(place))
        self._lan = lan
        self._place = place

    def connection(self, timeout_s: float = 30.0) -> http.client.HTTPConnection:
        """As of any node."""
        connection = super().connection(timeout_s)
        self._lan.run(self._place, connection.connect)
        return connection


def open_endpoints(pid: int) -> set[tuple[str, str]]:
    """Every socket of the process that takes what comes: protocol and `address:port`, both as /proc writes them."""
    inodes = _socket_inodes(pid)
    endpoints: set[tuple[str, str]] = set()
    for protocol, state in (("tcp", LISTENS), ("tcp6", LISTENS), ("udp", UNCONNECTED), ("udp6", UNCONNECTED)):
        rows = [line.split() for line in Path(f"/proc/{pid}/net/{protocol}").read_text().splitlines()[1:]]
        endpoints |= {(protocol, row[1]) for row in rows if row[3] == state and row[9] in inodes}
    return endpoints


def _socket_inodes(pid: int) -> set[str]:
    found: set[str] = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            found.add(str(descriptor.readlink()).removeprefix("socket:[").removesuffix("]"))
    return found


def ip(*arguments: str) -> None:
    """Run `ip`. Raises `subprocess.SubprocessError`."""
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True, timeout=IP_S)


def inside(namespace: str, call: Callable[[], T]) -> T:
    """Call it in a thread that is in this namespace."""

    def enter_and_call() -> T:
        libc = ctypes.CDLL(None, use_errno=True)
        with (NAMESPACES / namespace).open("rb") as file:
            if libc.setns(file.fileno(), CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), f"setns {namespace}")
        return call()

    with ThreadPoolExecutor(1) as thread:  # of its own: it never comes back from there
        return thread.submit(enter_and_call).result()


def _packet_socket() -> socket.socket:
    packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    packets.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, CAPTURE_BYTES)
    packets.settimeout(0)
    return packets


def _drained(packets: socket.socket) -> bytes:
    found: list[bytes] = []
    with contextlib.suppress(BlockingIOError):
        while True:
            found.append(packets.recv(MAX_PACKET_BYTES))
    return b"\0".join(found)
