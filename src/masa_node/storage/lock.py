"""One node a MASA_DIR: two would share an identity. Also how a command knows whether a node runs, and where."""

import errno
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

from masa_node.chat.errors import ConfigurationError
from masa_node.storage.ownership import give_to_owner_of

if sys.platform != "win32":
    import fcntl

FILE_NAME = "node.lock"
ALONE_FILE_NAME = "alone.lock"  # of a node on no network, which leaves `node.lock` to commands; it holds its URL
WAIT_S = 1.0  # commands look, or work on the store, for some milliseconds
_AGAIN_S = 0.05
_MAX_PID_BYTES = 20
_MAX_URL_BYTES = 200

log = structlog.get_logger()


class DirectoryInUse(ConfigurationError):
    """Another node uses this MASA_DIR. Stop it, or give this one a MASA_DIR of its own."""

    code = "directory_in_use"

    def __init__(self, masa_dir: Path, pid: int | None) -> None:
        who = f"another node (pid {pid})" if pid else "another node"
        super().__init__(f"{who} uses this MASA_DIR ({masa_dir}). Stop it, or set MASA_DIR to a folder of its own.")
        self.pid = pid


class NodeLock:
    """Held by a running node, and by a command while it works on the store itself. Ends with the process, however.

    It is a `flock` of MASA_DIR/node.lock, which holds the pid and stays where it is. Where the platform or the file
    system has no `flock` (Windows, some network file systems) nothing is guarded, and a warning says so.
    """

    def __init__(self, file: int) -> None:
        self._file = file

    @classmethod
    def take(cls, masa_dir: Path, wait_s: float = WAIT_S, name: str = FILE_NAME, says: str = "") -> Self:
        """Take it; makes MASA_DIR if need be. Blocks for up to `wait_s`: call it before the loop or in a thread.

        `says` is written into the file instead of the pid. Raises `DirectoryInUse`; `ConfigurationError` when the file
        cannot be made.
        """
        file = _open(masa_dir, name)
        try:
            _wait_for(file, masa_dir, time.monotonic() + wait_s)
            with suppress(OSError):  # a full disk: then the next one is told of "another node", without its pid
                os.ftruncate(file, 0)
                os.write(file, (says or str(os.getpid())).encode())
        except BaseException:
            os.close(file)
            raise
        return cls(file)

    @classmethod
    def take_if_free(cls, masa_dir: Path) -> Self | None:
        """Take it at once, or None while another holds it. Raises `ConfigurationError` as `take`."""
        try:
            return cls.take(masa_dir, wait_s=0.0)
        except DirectoryInUse:
            return None

    def release(self) -> None:
        """Let others have it. Idempotent."""
        file, self._file = self._file, -1
        if file >= 0:
            with suppress(OSError):  # a pid in a file that nobody holds means nothing
                os.ftruncate(file, 0)
            os.close(file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def is_held(masa_dir: Path) -> bool:
    """Does anybody hold the lock of this folder, this process too? Raises `ConfigurationError` as `take`."""
    return _held(masa_dir) is not None


def is_held_by_another(masa_dir: Path) -> bool:
    """Does another process hold the lock of this folder? Raises `ConfigurationError` as `take`."""
    found = _held(masa_dir)
    return found is not None and found.pid != os.getpid()


def url_of_node_alone(masa_dir: Path) -> str:
    """Where a node of this folder that is on no network serves; "" if there is none. Makes no file.

    Only the folder's owner can hold the lock, so what listens there is theirs: it may be given their key.
    """
    with suppress(ConfigurationError, OSError, UnicodeDecodeError):
        path = masa_dir / ALONE_FILE_NAME
        if path.exists() and _held(masa_dir, ALONE_FILE_NAME) is not None:
            return path.read_bytes()[:_MAX_URL_BYTES].decode("ascii")
    return ""


def _held(masa_dir: Path, name: str = FILE_NAME) -> DirectoryInUse | None:
    """By whom, if at all. Two that look at the same time do not take each other for a node."""
    file = _open(masa_dir, name)
    try:
        return None if _lock(file, is_shared=True) else DirectoryInUse(masa_dir, _pid_in(file))
    finally:
        os.close(file)


def _open(masa_dir: Path, name: str) -> int:
    path = masa_dir / name
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    try:
        masa_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError):
            file = os.open(path, flags | os.O_EXCL, 0o600)
            give_to_owner_of(masa_dir, file)
            return file
        return os.open(path, flags, 0o600)
    except OSError as exc:
        raise ConfigurationError(f"MASA_DIR: {path} cannot be opened: {exc.strerror}.") from exc


def _wait_for(file: int, masa_dir: Path, until_s: float) -> None:
    while not _lock(file):
        if time.monotonic() >= until_s:
            raise DirectoryInUse(masa_dir, _pid_in(file))
        time.sleep(_AGAIN_S)


def _lock(file: int, *, is_shared: bool = False) -> bool:
    if sys.platform == "win32":
        log.warning("nothing keeps a second node from this MASA_DIR", why="this platform has no flock")
        return True
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as exc:
        if exc.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        log.warning("nothing keeps a second node from this MASA_DIR", why=exc.strerror)
    return True


def _pid_in(file: int) -> int | None:
    os.lseek(file, 0, os.SEEK_SET)
    text = os.read(file, _MAX_PID_BYTES).strip()
    return int(text) if text.isdigit() else None
