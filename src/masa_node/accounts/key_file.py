"""MASA_DIR/keys.json: the keys with names. Commands change it, and a running node looks at it once a second.

Only hashes are in it. A file that cannot be read is an error and never "no keys": that would let everybody in.
"""

import asyncio
import os
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TypeVar

import msgspec
import structlog

from masa_node.accounts.keys import KeyRing, NamedKey
from masa_node.chat.errors import ConfigurationError
from masa_node.storage.ownership import give_to_owner_of

if sys.platform != "win32":
    import fcntl

FILE_NAME = "keys.json"
LOOK_EVERY_S = 1.0
MAX_FILE_BYTES = 16 * 1024 * 1024  # all keys with every rule at its bound take less
_VERSION = 1

log = structlog.get_logger()
T = TypeVar("T")
Change = Callable[[list[NamedKey]], tuple[T, list[NamedKey]]]
Stamp = tuple[int, int, int]


class _File(msgspec.Struct, frozen=True):
    version: int
    keys: tuple[NamedKey, ...]


def read_keys(masa_dir: Path) -> tuple[NamedKey, ...] | None:
    """All that were made; None when none ever was. Blocking. Raises `ConfigurationError`."""
    path = masa_dir / FILE_NAME
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            data = file.read(MAX_FILE_BYTES + 1)
        found = msgspec.json.decode(data, type=_File)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as exc:
        raise ConfigurationError(f"{path}: the keys cannot be read: {exc.strerror}.") from exc
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise ConfigurationError(
            f"{path}: the keys cannot be read: {exc}. Put back a copy, or move the file away and make the keys again."
        ) from exc
    if found.version != _VERSION:
        raise ConfigurationError(f"{path} was written by a newer masa-node. Update masa-node.")
    return found.keys


def change_keys(masa_dir: Path, change: Change[T]) -> T:
    """Read, change and write them, one process at a time; the file is there whole, old or new. Blocking.

    `change` gets all keys, and gives its result and all keys. Raises `ConfigurationError`, and what it raises.
    """
    try:
        masa_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _alone(masa_dir):
            result, keys = change(list(read_keys(masa_dir) or ()))
            _write(masa_dir / FILE_NAME, keys)
    except OSError as exc:
        raise ConfigurationError(f"{masa_dir / FILE_NAME}: the keys cannot be written: {exc.strerror}.") from exc
    return result


class KeyWatch:
    """Keeps the node's keys those of the file. `run` it in a task."""

    def __init__(self, masa_dir: Path, ring: KeyRing) -> None:
        self._masa_dir = masa_dir
        self._ring = ring
        self._seen: Stamp | None = None
        self._why = ""

    def start(self) -> None:
        """The first reading, before any request is taken. Blocking. Raises `ConfigurationError`."""
        self._seen = _stamp(self._masa_dir / FILE_NAME)
        self._ring.replace(read_keys(self._masa_dir))

    async def run(self) -> None:
        """Until cancelled. A file that cannot be read changes nothing, and a warning says so."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                await self._look()
            except ConfigurationError as exc:
                if exc.message != self._why:
                    log.warning("the keys stay as they were", why=exc.message)
                self._why = exc.message

    async def _look(self) -> None:
        stamp = await asyncio.to_thread(_stamp, self._masa_dir / FILE_NAME)
        if stamp == self._seen:
            return
        self._ring.replace(await asyncio.to_thread(read_keys, self._masa_dir))
        self._seen, self._why = stamp, ""
        log.info("the keys have changed")


def _without_waiting(path: str, flags: int) -> int:
    """A pipe in the file's place would be waited for until somebody writes to it; so it is empty, which is an error."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _stamp(path: Path) -> Stamp | None:
    """Each writing makes a new file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


@contextmanager
def _alone(masa_dir: Path) -> Generator[None]:
    """No other command changes the keys meanwhile."""
    if sys.platform == "win32":
        yield
        return
    folder = os.open(masa_dir, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _write(path: Path, keys: Sequence[NamedKey]) -> None:
    data = msgspec.json.format(msgspec.json.encode(_File(_VERSION, tuple(keys))), indent=1)
    with NamedTemporaryFile(dir=path.parent, prefix=f"{path.name}.", delete=False) as file:  # mode 0600
        try:
            give_to_owner_of(path.parent, file.fileno())
            file.write(data + b"\n")
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
