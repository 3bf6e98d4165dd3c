"""Ports where no server answers."""

import contextlib
import secrets
import socket
from collections.abc import Iterator

FIRST_PORT = 20_000
PORTS = 10_000  # tests/real takes those above; Linux gives ports from 32768 to those who ask for any, others 49152


def closed_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A port on which nothing listens, and that the system gives to nobody that asks for any: it is below those."""
    while True:
        port = FIRST_PORT + secrets.randbelow(PORTS)
        with socket.socket(socket.AF_INET, kind) as sock, contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port


@contextlib.contextmanager
def full_backlog() -> Iterator[int]:
    """A port whose queue of connections is full, so that a further one is neither taken nor refused."""
    with contextlib.ExitStack() as sockets:
        listener = sockets.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        for _ in range(4):
            caller = sockets.enter_context(socket.socket())
            caller.setblocking(False)  # noqa: FBT003 - the only way to say it
            caller.connect_ex(("127.0.0.1", port))
        yield port
