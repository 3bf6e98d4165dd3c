"""A SQLite file on a thread of its own, so that no disk ever stops the event loop. What is in it, its user says.

Survives kill -9 at any moment (WAL, one transaction a job). A damaged file is put aside, a disk that cannot be written
costs what would have been kept: the node runs on in memory.
"""

import asyncio
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Self, TypeVar

import structlog

from masa_node.chat.errors import ConfigurationError, MasaError
from masa_node.storage.lock import is_held_by_another
from masa_node.storage.ownership import give_to_owner_of

APPLICATION_ID = 0x6D617361  # "masa": tells a file of ours from that of another program
BUSY_S = 5.0  # how long to wait for the other process (a command, or the node): its jobs take milliseconds
MAX_WAITING = 256  # jobs; beyond this the disk hangs, and more of them would only fill memory
CLOSE_S = 5.0  # for the last jobs and the checkpoint
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_IN_USE = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_AGAIN_S = 0.05
PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",  # what a person was told is done survives a power cut; there are few writes
    "PRAGMA foreign_keys=ON",
    "PRAGMA secure_delete=ON",  # a forgotten peer is not to be found in the free pages
    "PRAGMA trusted_schema=OFF",  # SQLite's advice for files that others may have written
    "PRAGMA cell_size_check=ON",
)

log = structlog.get_logger()
T = TypeVar("T")
Job = Callable[[sqlite3.Connection], T]
Migrations = tuple[str, ...]  # each the statements, ended by ";", that lead from one version to the next


class StoreFailed(MasaError):
    """A file in MASA_DIR, which the message names, cannot be read or written. See whether the disk is full."""

    code = "store_failed"


class Database:
    """One file, or memory; `is_kept` is False when memory stands in for a file that could not be opened."""

    def __init__(
        self, connection: sqlite3.Connection, thread: ThreadPoolExecutor | None, *, is_kept: bool = True
    ) -> None:
        self.connection = connection
        self.thread = thread
        self.is_kept = is_kept
        self._file: tuple[Path, Migrations] | None = None  # to be opened again
        self._slots = threading.BoundedSemaphore(MAX_WAITING)
        self._is_closed = False

    @classmethod
    async def open(cls, path: Path, migrations: Migrations) -> Self:
        """Open or make the file. Raises `ConfigurationError` when a newer version of the program wrote it."""
        thread = ThreadPoolExecutor(1, thread_name_prefix="masa-store")
        opening = thread.submit(_open_or_start_anew, path, migrations)
        try:
            return cls(await asyncio.wrap_future(opening), thread)
        except (OSError, sqlite3.Error, StoreFailed) as exc:
            log.warning("what is written here will not be saved", path=str(path), why=_words(exc))
            copying = thread.submit(_copy_in_memory, path, migrations)
            thread.shutdown(wait=False)
            try:
                database = cls(await asyncio.wrap_future(copying), None, is_kept=False)
            except asyncio.CancelledError:
                copying.add_done_callback(_close_opened)
                raise
            database._file = (path, migrations)
            return database
        except BaseException as exc:
            if isinstance(exc, asyncio.CancelledError):
                thread.submit(_close_opened, opening)
            thread.shutdown(wait=False)
            raise

    @classmethod
    def in_memory(cls, migrations: Migrations) -> Self:
        """Without a file or a thread: jobs run at once, on virtual time too."""
        return cls(_migrated(_connect(":memory:"), migrations), None)

    async def reopen(self) -> bool:
        """Try once more to open the file that memory stands in for; True when it is open now, and holds what it held.

        What was written in memory meanwhile is not carried over. Raises `ConfigurationError` as `open`.
        """
        if self._file is None or self._is_closed:
            return False
        thread = ThreadPoolExecutor(1, thread_name_prefix="masa-store")
        opening = thread.submit(_open_or_start_anew, *self._file)
        try:
            opened = await asyncio.wrap_future(opening)
        except (OSError, sqlite3.Error, StoreFailed):
            thread.shutdown(wait=False)
            return False
        except BaseException:
            thread.submit(_close_opened, opening)
            thread.shutdown(wait=False)
            raise
        memory, self.connection, self.thread = self.connection, opened, thread
        memory.close()
        self._file, self.is_kept = None, True
        return True

    async def read(self, job: Job[T]) -> T:
        """Run one SELECT. Raises `StoreFailed`."""
        return await self._run(_translated, job)

    async def write(self, job: Job[T]) -> T:
        """Run this in one transaction. When cancelled it may still be carried out, whole.

        Raises `StoreFailed`; then nothing of it is written.
        """
        return await self._run(_in_transaction, job)

    async def close(self) -> None:
        """Carry out what waits, then close the file. Bounded by CLOSE_S; when cancelled it is done anyway."""
        if self._is_closed:
            return
        self._is_closed = True
        if self.thread is None:
            self.connection.close()
            return
        closing = self.thread.submit(self.connection.close)
        self.thread.shutdown(wait=False)
        try:
            async with asyncio.timeout(CLOSE_S):
                await asyncio.shield(asyncio.wrap_future(closing))
        except TimeoutError:
            log.warning("the disk does not answer", after_s=CLOSE_S)

    async def _run(self, run: Callable[[sqlite3.Connection, Job[T]], T], job: Job[T]) -> T:
        if self._is_closed:
            raise StoreFailed("The store is closed.")
        if self.thread is None:
            return run(self.connection, job)
        if not self._slots.acquire(blocking=False):
            raise StoreFailed(f"The disk is stuck: {MAX_WAITING} jobs wait for it.")
        future = self.thread.submit(run, self.connection, job)
        future.add_done_callback(lambda _: self._slots.release())
        return await asyncio.wrap_future(future)


@contextmanager
def reading(path: Path, migrations: Migrations) -> Generator[sqlite3.Connection | None]:
    """The file of a program that may be running, only to be read: nothing is made, mended or put aside. Blocking.

    None where there is no file, or nothing in it yet. Raises `StoreFailed`; `ConfigurationError` when a newer version
    of the program wrote it.
    """
    if not path.exists():
        yield None
        return
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_S)) as connection:
            connection.text_factory = _text
            version = _version(connection, migrations)
            if 0 < version < len(migrations):
                raise StoreFailed(f"{path.name} in MASA_DIR is of an older form. Start the node, which updates it.")
            yield connection if version else None
    except (sqlite3.Error, _Damaged) as exc:
        raise StoreFailed(f"{path.name} in MASA_DIR cannot be read: {_words(exc)}.") from exc


class _Damaged(Exception):
    """The file is no database of this program, or a broken one."""


def _open_or_start_anew(path: Path, migrations: Migrations) -> sqlite3.Connection:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        return _open_in_turn(path, migrations)
    except _Damaged as exc:
        if is_held_by_another(path.parent):
            raise StoreFailed(f"{path} is damaged ({exc}), and a running node uses it. Restart that node.") from exc
        aside = _put_aside(path)
        log.warning("the store was damaged; started again", why=str(exc), old=str(aside))
        return _open_in_turn(path, migrations)


def _open_in_turn(path: Path, migrations: Migrations) -> sqlite3.Connection:
    """When two processes make the file at once, SQLite does not wait but tells one of them that it is locked."""
    until_s = time.monotonic() + BUSY_S
    while True:
        try:
            return _open(path, migrations)
        except sqlite3.OperationalError as exc:
            if _kind(exc) not in _IN_USE or time.monotonic() >= until_s:
                raise
        time.sleep(_AGAIN_S)


def _open(path: Path, migrations: Migrations) -> sqlite3.Connection:
    _make_private(path)
    connection = _connect(str(path))
    try:
        _version(connection, migrations)  # before anything is changed in a file of another program or version
        for pragma in PRAGMAS:
            connection.execute(pragma)
        _check(connection)
        return _migrated(connection, migrations)
    except sqlite3.DatabaseError as exc:
        connection.close()
        if _kind(exc) in _DAMAGED:
            raise _Damaged(str(exc)) from exc
        raise
    except BaseException:
        connection.close()
        raise


def _check(connection: sqlite3.Connection) -> None:
    (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()  # of a full book: some 20 ms
    if found != "ok":
        raise _Damaged(found)


def _connect(where: str) -> sqlite3.Connection:
    # Other threads may use one that is in memory: it is made in one and used in another, never in both at once.
    connection = sqlite3.connect(where, timeout=BUSY_S, isolation_level=None, check_same_thread=where != ":memory:")
    connection.text_factory = _text
    return connection


def _text(stored: bytes) -> str:
    """Text that is not UTF-8 is no reason not to read the other rows; the reader of a text checks it."""
    return stored.decode(errors="replace")


def _make_private(path: Path) -> None:
    """Let no other user read it. (No second handle on a file that is open: closing it would end SQLite's locks.)"""
    with suppress(FileExistsError):
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        give_to_owner_of(path.parent, file)
        os.close(file)
    if path.stat().st_mode & 0o077:
        path.chmod(0o600)


def _version(connection: sqlite3.Connection, migrations: Migrations) -> int:
    """The form it has: how many of the migrations were made.

    The mark is read last: another process that makes the file just now writes all three at once, so that whoever has
    seen tables then sees the mark.
    """
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (mark,) = connection.execute("PRAGMA application_id").fetchone()
    if mark != APPLICATION_ID and (version or tables):
        raise _Damaged("it was made by another program")
    if version > len(migrations):
        raise ConfigurationError(
            f"MASA_DIR: its {_name_of(connection)} was written by a newer masa-node (form {version}; this one knows "
            f"{len(migrations)}). Update masa-node, or move that file away: what is in it is then not known here."
        )
    return int(version)


def _migrated(connection: sqlite3.Connection, migrations: Migrations) -> sqlite3.Connection:
    """Bring the tables up to date, all in one transaction. What is up to date is not written to. Closed if it fails."""
    try:
        return _brought_up_to_date(connection, migrations)
    except BaseException:
        connection.close()
        raise


def _brought_up_to_date(connection: sqlite3.Connection, migrations: Migrations) -> sqlite3.Connection:
    if _version(connection, migrations) == len(migrations):
        return connection
    connection.execute("BEGIN IMMEDIATE")
    for statements in migrations[_version(connection, migrations) :]:  # another process may have been first
        for statement in statements.split(";"):  # `executescript` would end the transaction
            connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {len(migrations)}")
    connection.execute("COMMIT")
    return connection


def _copy_in_memory(path: Path, migrations: Migrations) -> sqlite3.Connection:
    """What can still be read of a file that cannot be written; else an empty one."""
    connection = _connect(":memory:")
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True)) as old:
        old.backup(connection)
    try:
        return _migrated(connection, migrations)
    except (sqlite3.Error, _Damaged):
        return _migrated(_connect(":memory:"), migrations)


def _close_opened(opening: Future[sqlite3.Connection]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


def _put_aside(path: Path) -> Path:
    """One damaged file is kept for whoever wants to look into it, with its log."""
    aside = path.with_name(f"{path.name}.damaged")
    for suffix in ("", "-wal", "-shm"):
        old = path.with_name(path.name + suffix)
        with suppress(FileNotFoundError):
            aside.with_name(aside.name + suffix).unlink()
        with suppress(FileNotFoundError):
            old.rename(aside.with_name(aside.name + suffix))
    return aside


def _in_transaction(connection: sqlite3.Connection, job: Job[T]) -> T:
    def whole(connection: sqlite3.Connection) -> T:
        connection.execute("BEGIN IMMEDIATE")
        try:
            result = job(connection)
            connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):  # a full disk may have rolled back already
                connection.execute("ROLLBACK")
            raise
        return result

    return _translated(connection, whole)


def _translated(connection: sqlite3.Connection, job: Job[T]) -> T:
    try:
        return job(connection)
    except sqlite3.Error as exc:
        raise StoreFailed(f"{_name_of(connection)} in MASA_DIR failed: {_words(exc)}.") from exc


def _name_of(connection: sqlite3.Connection) -> str:
    """The file's name; of one in memory, that it is there."""
    with suppress(sqlite3.Error):
        (_, _, path) = connection.execute("PRAGMA database_list").fetchone()
        return Path(path).name if path else "memory"
    return "a file"


def _kind(exc: sqlite3.Error) -> int:
    return exc.sqlite_errorcode & 0xFF  # the other bytes only say more of it


def _words(exc: Exception) -> str:
    if isinstance(exc, OSError):
        return exc.strerror or type(exc).__name__
    return str(exc)
