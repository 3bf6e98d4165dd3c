"""The file under the store: whose it is, of which form, damaged, out of reach; and the thread that works on it."""

import asyncio
import os
import shutil
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from masa_node.chat.errors import ConfigurationError
from masa_node.network.links.peer_book import MembershipLevel, PeerRecord
from masa_node.network.store.store import FILE_NAME, MIGRATIONS, Store
from masa_node.network.transport.interfaces import NodeId
from masa_node.storage import database as database_module
from masa_node.storage.database import MAX_WAITING, Database, StoreFailed, reading
from masa_node.storage.lock import NodeLock

A = PeerRecord(NodeId("a" * 64), MembershipLevel.LISTED)
FIRST = "CREATE TABLE things (name TEXT)"
SECOND = "ALTER TABLE things ADD COLUMN size INTEGER NOT NULL DEFAULT 7; CREATE TABLE more (name TEXT)"


async def written(masa_dir: Path) -> Path:
    store = await Store.open(masa_dir)
    await store.save([A], [])
    await store.close()
    return masa_dir / FILE_NAME


async def remembered(masa_dir: Path) -> list[PeerRecord]:
    store = await Store.open(masa_dir)
    records = await store.load()
    await store.close()
    return records


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


async def test_the_folder_and_the_files_are_for_their_owner_only(tmp_path: Path) -> None:
    masa_dir = tmp_path / "new" / "masa"
    store = await Store.open(masa_dir)
    await store.save([A], [])
    assert mode(masa_dir) == 0o700
    assert {path.name: mode(path) for path in masa_dir.iterdir()} == {
        FILE_NAME: 0o600,
        f"{FILE_NAME}-wal": 0o600,
        f"{FILE_NAME}-shm": 0o600,
    }
    await store.close()


async def test_a_file_that_others_may_read_is_closed_to_them(tmp_path: Path) -> None:
    path = await written(tmp_path)
    path.chmod(0o666)
    assert await remembered(tmp_path) == [A]
    assert mode(path) == 0o600


# ---- forms ----


async def test_an_older_form_is_brought_up_to_date_with_what_is_in_it(tmp_path: Path) -> None:
    old = await Database.open(tmp_path / "db", (FIRST,))
    await old.write(lambda connection: connection.execute("INSERT INTO things VALUES ('kept')"))
    await old.close()
    new = await Database.open(tmp_path / "db", (FIRST, SECOND))
    assert await new.read(lambda connection: connection.execute("SELECT * FROM things").fetchall()) == [("kept", 7)]
    assert await new.read(lambda connection: connection.execute("PRAGMA user_version").fetchone()) == (2,)
    await new.close()


async def test_a_form_of_a_newer_version_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    newer = await Database.open(tmp_path / FILE_NAME, (*MIGRATIONS, FIRST))
    await newer.close()
    before = (tmp_path / FILE_NAME).read_bytes()
    with pytest.raises(ConfigurationError, match="newer masa-node"):
        await Store.open(tmp_path)
    assert (tmp_path / FILE_NAME).read_bytes() == before


async def test_a_step_to_a_newer_form_that_fails_leaves_the_older_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_memory, connect = list[sqlite3.Connection](), database_module._connect

    def connecting(where: str) -> sqlite3.Connection:
        connection = connect(where)
        in_memory.extend([connection] if where == ":memory:" else [])
        return connection

    monkeypatch.setattr(database_module, "_connect", connecting)
    await (await Database.open(tmp_path / "db", (FIRST,))).close()
    with capture_logs(), pytest.raises(sqlite3.OperationalError, match="nonsense"):
        await Database.open(tmp_path / "db", (FIRST, "CREATE TABLE half (name TEXT); CREATE nonsense"))
    again = await Database.open(tmp_path / "db", (FIRST,))
    tables = await again.read(lambda connection: connection.execute("SELECT name FROM sqlite_master").fetchall())
    assert (again.is_kept, tables) == (True, [("things",)])
    await again.close()
    assert len(in_memory) == 2
    for connection in in_memory:  # none is left open
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            connection.execute("SELECT 1")


async def test_two_processes_that_make_the_file_at_once_make_it_once(tmp_path: Path) -> None:
    for attempt in range(20):
        path = tmp_path / f"{attempt}"
        first, second = await asyncio.gather(*(Database.open(path, (FIRST, SECOND)) for _ in range(2)))
        assert first.is_kept
        assert second.is_kept
        await first.close()
        await second.close()


class MadeMeanwhile:
    """A connection to a new file; another process makes its tables after the first `reads`."""

    def __init__(self, path: Path, reads: int) -> None:
        self.connection = sqlite3.connect(path)
        self._path = path
        self._reads = reads

    def execute(self, sql: str) -> sqlite3.Cursor:
        if self._reads == 0:
            with closing(sqlite3.connect(self._path, isolation_level=None)) as other:
                database_module._migrated(other, (FIRST,))
        self._reads -= 1
        return self.connection.execute(sql)


@pytest.mark.parametrize("reads", [0, 1, 2])
def test_a_file_that_another_process_makes_just_now_is_not_taken_for_a_damaged_one(tmp_path: Path, reads: int) -> None:
    new = MadeMeanwhile(tmp_path / "db", reads)
    with closing(new.connection):
        assert database_module._version(new, (FIRST,)) in (0, 1)  # type: ignore[arg-type]


# ---- damage ----


def overwrite(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def no_database(path: Path) -> None:
    path.write_bytes(os.urandom(20_000))


def damaged_head(path: Path) -> None:
    overwrite(path, 0, b"garbage")


def damaged_page(path: Path) -> None:
    overwrite(path, 4096, b"\xff" * 4096)


def cut(path: Path) -> None:
    os.truncate(path, 5_000)


def of_another_program(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("CREATE TABLE peers (something TEXT)")


@pytest.mark.parametrize("damage", [no_database, damaged_head, damaged_page, cut, of_another_program])
async def test_a_damaged_file_is_put_aside_and_the_node_starts_again(tmp_path: Path, damage: object) -> None:
    path = await written(tmp_path)
    damage(path)  # type: ignore[operator]
    damaged = path.read_bytes()
    with capture_logs() as lines:
        store = await Store.open(tmp_path)
    assert [line["log_level"] for line in lines] == ["warning"]
    assert lines[0]["old"] == str(tmp_path / f"{FILE_NAME}.damaged")
    assert (tmp_path / f"{FILE_NAME}.damaged").read_bytes() == damaged
    assert store.is_kept
    assert await store.load() == []
    assert await store.save([A], [])
    await store.close()
    assert await remembered(tmp_path) == [A]


async def test_one_damaged_file_is_kept_not_all_there_ever_were(tmp_path: Path) -> None:
    for _ in range(3):
        no_database(await written(tmp_path))
    with capture_logs():
        await remembered(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [FILE_NAME, f"{FILE_NAME}.damaged", "node.lock"]  # noqa: ASYNC240


async def test_a_command_does_not_put_the_file_of_a_running_node_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = await written(tmp_path)
    no_database(path)
    with NodeLock.take(tmp_path), capture_logs() as lines:
        monkeypatch.setattr("masa_node.storage.lock.os.getpid", lambda: 1)
        store = await Store.open(tmp_path)
    assert not store.is_kept
    assert "Restart that node" in lines[0]["why"]
    await store.close()
    assert not (tmp_path / f"{FILE_NAME}.damaged").exists()


async def test_damage_that_shows_later_does_not_end_the_node(tmp_path: Path) -> None:
    store = await Store.open(tmp_path)
    await store.save([PeerRecord(NodeId(f"{number:064x}"), MembershipLevel.HEARD) for number in range(2_000)], [])
    await store.close()
    path = tmp_path / FILE_NAME
    store = await Store.open(tmp_path)
    await store.database.read(lambda connection: connection.execute("PRAGMA shrink_memory").fetchall())
    overwrite(path, 8 * 4096, b"\xff" * (path.stat().st_size - 8 * 4096))
    with capture_logs() as lines:
        await store.load()
        await store.save([A], [])
        await store.value("name")
    assert len(lines) == 1
    await store.close()


# ---- out of reach ----


async def test_a_file_that_cannot_be_written_is_read_and_the_node_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await written(tmp_path)
    monkeypatch.setattr(database_module, "PRAGMAS", ("PRAGMA query_only=ON", "CREATE TABLE x (y)"))
    with capture_logs() as lines:
        store = await Store.open(tmp_path)
    assert [line["log_level"] for line in lines] == ["warning"]
    assert not store.is_kept
    assert await store.load() == [A]
    await store.close()


async def test_a_folder_that_cannot_be_made_does_not_end_the_node(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with capture_logs() as lines:
        store = await Store.open(tmp_path / "file" / "masa")
    assert [line["log_level"] for line in lines] == ["warning"]
    assert await store.load() == []
    await store.close()


async def test_a_file_that_vanishes_does_not_end_the_node(tmp_path: Path) -> None:
    masa_dir = tmp_path / "masa"
    store = await Store.open(masa_dir)
    shutil.rmtree(masa_dir)
    with capture_logs():
        await store.save([A], [])
        await store.load()
    await store.close()


async def test_a_file_that_another_process_holds_is_waited_for_and_then_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "BUSY_S", 0.01)
    store = await Store.open(tmp_path)
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as other, capture_logs() as lines:
        other.execute("BEGIN IMMEDIATE")
        assert not await store.save([A], [])
    assert "locked" in lines[0]["why"]
    assert await store.save([], [])
    assert await store.load() == [A]
    await store.close()


# ---- the thread ----


class StuckDisk:
    """A job that does not end until it is let go."""

    def __init__(self) -> None:
        self.is_stuck = threading.Event()
        self.may_go_on = threading.Event()

    def __call__(self, connection: sqlite3.Connection) -> None:
        self.is_stuck.set()
        self.may_go_on.wait(30)
        connection.execute("INSERT INTO things VALUES ('late')")


@pytest.fixture
def stuck() -> StuckDisk:
    return StuckDisk()


async def names(path: Path) -> list[str]:
    database = await Database.open(path, (FIRST,))
    rows = await database.read(lambda connection: connection.execute("SELECT name FROM things").fetchall())
    await database.close()
    return [row[0] for row in rows]


async def test_a_stuck_disk_does_not_stop_the_loop_and_fills_no_memory(tmp_path: Path, stuck: StuckDisk) -> None:
    database = await Database.open(tmp_path / "db", (FIRST,))
    async with asyncio.TaskGroup() as group:
        group.create_task(database.write(stuck))
        await asyncio.to_thread(stuck.is_stuck.wait, 30)
        waiting = [group.create_task(database.read(lambda _: None)) for _ in range(MAX_WAITING - 1)]
        await asyncio.sleep(0)
        with pytest.raises(StoreFailed, match="stuck"):
            await database.read(lambda _: None)
        assert not any(task.done() for task in waiting)
        stuck.may_go_on.set()
    await database.read(lambda _: None)
    await database.close()


async def test_a_cancelled_write_is_whole_and_the_next_ones_go_on(tmp_path: Path, stuck: StuckDisk) -> None:
    database = await Database.open(tmp_path / "db", (FIRST,))
    writing = asyncio.ensure_future(database.write(stuck))
    await asyncio.to_thread(stuck.is_stuck.wait, 30)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    stuck.may_go_on.set()
    await database.read(lambda _: None)
    await database.close()
    assert await names(tmp_path / "db") == ["late"]


async def test_a_job_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    def fail(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO things VALUES ('half')")
        raise KeyError("half way")

    database = await Database.open(tmp_path / "db", (FIRST,))
    with pytest.raises(KeyError):
        await database.write(fail)
    await database.write(lambda connection: connection.execute("INSERT INTO things VALUES ('whole')"))
    await database.close()
    assert await names(tmp_path / "db") == ["whole"]


async def test_what_a_job_has_read_stays_true_until_it_has_written(tmp_path: Path) -> None:
    def job(connection: sqlite3.Connection) -> None:
        assert connection.execute("SELECT * FROM things").fetchall() == []
        other = sqlite3.connect(tmp_path / "db", timeout=0)
        with closing(other), pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("INSERT INTO things VALUES ('other')")
        connection.execute("INSERT INTO things VALUES ('own')")

    database = await Database.open(tmp_path / "db", (FIRST,))
    await database.write(job)
    await database.close()
    assert await names(tmp_path / "db") == ["own"]


async def test_closing_waits_for_what_was_begun_even_when_it_is_cancelled(tmp_path: Path, stuck: StuckDisk) -> None:
    database = await Database.open(tmp_path / "db", (FIRST,))
    writing = asyncio.ensure_future(database.write(stuck))
    await asyncio.to_thread(stuck.is_stuck.wait, 30)
    closing_it = asyncio.ensure_future(database.close())
    await asyncio.sleep(0)
    closing_it.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing_it
    with pytest.raises(StoreFailed, match="closed"):
        await database.read(lambda _: None)
    stuck.may_go_on.set()
    await writing
    for thread in threading.enumerate():
        if thread.name.startswith("masa-store"):
            await asyncio.to_thread(thread.join, 30)
    assert not (tmp_path / "db-wal").exists()  # who closes the file last puts all into one
    assert await names(tmp_path / "db") == ["late"]


async def test_closing_does_not_wait_for_ever(
    tmp_path: Path, stuck: StuckDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "CLOSE_S", 0.01)
    database = await Database.open(tmp_path / "db", (FIRST,))
    writing = asyncio.ensure_future(database.write(stuck))
    await asyncio.to_thread(stuck.is_stuck.wait, 30)
    with capture_logs() as lines:
        await database.close()
    assert [line["event"] for line in lines] == ["the disk does not answer"]
    stuck.may_go_on.set()
    await writing


async def test_opening_can_be_cancelled_and_leaves_no_file_open(
    tmp_path: Path, stuck: StuckDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[sqlite3.Connection] = []

    def slow(path: Path, migrations: tuple[str, ...]) -> sqlite3.Connection:
        stuck.is_stuck.set()
        stuck.may_go_on.wait(30)
        opened.append(sqlite3.connect(path, check_same_thread=False))
        return opened[0]

    monkeypatch.setattr(database_module, "_open", slow)
    opening = asyncio.ensure_future(Database.open(tmp_path / "db", (FIRST,)))
    await asyncio.to_thread(stuck.is_stuck.wait, 30)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    stuck.may_go_on.set()
    for thread in threading.enumerate():
        if thread.name.startswith("masa-store"):
            await asyncio.to_thread(thread.join, 30)
    assert not any(thread.name.startswith("masa-store") for thread in threading.enumerate())
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        opened[0].execute("SELECT 1")


# ---- only read ----


async def test_a_file_that_is_only_read_is_seen_while_it_is_written_and_stays_as_it_is(tmp_path: Path) -> None:
    database = await Database.open(tmp_path / "db", (FIRST,))
    await database.write(lambda connection: connection.execute("INSERT INTO things VALUES ('new')"))
    with reading(tmp_path / "db", (FIRST,)) as connection:
        assert connection is not None
        assert connection.execute("SELECT name FROM things").fetchall() == [("new",)]
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            connection.execute("INSERT INTO things VALUES ('other')")
    await database.close()


def test_of_a_file_that_is_not_there_or_empty_nothing_is_read_and_none_is_made(tmp_path: Path) -> None:
    with reading(tmp_path / "db", (FIRST,)) as connection:
        assert connection is None
    assert not (tmp_path / "db").exists()
    (tmp_path / "db").touch()
    with reading(tmp_path / "db", (FIRST,)) as connection:
        assert connection is None


async def test_a_file_of_another_form_is_not_read(tmp_path: Path) -> None:
    await (await Database.open(tmp_path / "db", (FIRST, SECOND))).close()
    with pytest.raises(ConfigurationError, match="newer"), reading(tmp_path / "db", (FIRST,)):
        pass
    with pytest.raises(StoreFailed, match="older"), reading(tmp_path / "db", (FIRST, SECOND, SECOND)):
        pass


async def test_a_store_in_memory_needs_no_thread() -> None:
    before = threading.active_count()
    store = Store.in_memory()
    assert await store.save([A], [])
    assert await store.load() == [A]
    assert threading.active_count() <= before
    await store.close()
    await store.close()


async def test_a_store_can_be_opened_while_an_error_is_dealt_with(tmp_path: Path) -> None:
    """The error is its caller's: the thread of the store has no part in it."""
    try:
        int("no number")
    except ValueError:
        store = await Store.open(tmp_path)
        assert await store.set_value("url", b"x")
        await store.close()
