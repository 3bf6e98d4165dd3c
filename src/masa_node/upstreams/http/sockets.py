"""Closing a socket while the event loop takes it over."""

import contextlib
import os
import socket
from collections.abc import Generator


@contextlib.contextmanager
def handed_over(sock: socket.socket) -> Generator[None, None, None]:
    """Closes the socket if the block, which hands it to the event loop, fails; but never a second time.

    When a connection breaks while uvloop takes it over, uvloop closes the file descriptor, and the socket object does
    not hear of it. Closing that object, or dropping it, would close whatever has got the same number since.
    """
    inode = _inode(sock)
    try:
        yield
    except BaseException:
        if _inode(sock) == inode:
            sock.close()
        raise
    finally:
        if _inode(sock) != inode:
            sock.detach()


def _inode(sock: socket.socket) -> int | None:
    try:
        return os.fstat(sock.fileno()).st_ino
    except OSError:  # not open; or Windows, where there is no uvloop either
        return None
