"""Ports where no server answers."""

import contextlib
import socket
from collections.abc import Iterator


def closed_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


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
