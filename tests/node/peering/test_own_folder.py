"""MASA_DIR of a running node: waited for while another node has it, tried again while it cannot be used."""

import asyncio
import threading
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from masa_node.network.store.node_key import KEY_FILE
from masa_node.network.store.store import FILE_NAME, Store
from masa_node.node.peering import own_folder
from masa_node.node.peering.own_folder import OwnFolder
from masa_node.storage.lock import NodeLock
from tests.fakes.llm_server import until
from tests.fakes.raw_http import PATIENCE_S


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_folder, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(own_folder, "LONGEST_PAUSE_S", 0.01)


class Told:
    """What was told, and an event for the first of it."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.came = asyncio.Event()

    def __call__(self, why: str) -> None:
        self.words.append(why)
        self.came.set()


async def test_the_lock_is_taken_over_when_the_first_node_is_gone(tmp_path: Path) -> None:
    told = Told()
    first = NodeLock.take(tmp_path)
    with capture_logs() as lines:
        taking = asyncio.create_task(OwnFolder(tmp_path, told).lock())
        await told.came.wait()
        assert "uses this MASA_DIR" in told.words[0]
        assert "takes over when that one ends" in told.words[0]
        assert not taking.done()
        first.release()
        with await taking:
            assert NodeLock.take_if_free(tmp_path) is None
    events = [line["event"] for line in lines]
    assert events == ["no network", "MASA_DIR can be used now"]  # once, however often it was tried


async def test_a_free_folder_is_had_without_a_word(tmp_path: Path) -> None:
    told = Told()
    folder = OwnFolder(tmp_path, told)
    with capture_logs() as lines, await folder.lock():
        assert len(await folder.secret()) == 32
    assert (told.words, lines) == ([], [])


async def test_a_key_that_cannot_be_read_is_tried_again(tmp_path: Path) -> None:
    told = Told()
    (tmp_path / KEY_FILE).mkdir()
    reading = asyncio.create_task(OwnFolder(tmp_path, told).secret())
    await told.came.wait()
    assert told.words[0].endswith("It will be tried again.")
    (tmp_path / KEY_FILE).rmdir()
    assert len(await reading) == 32


async def test_waiting_for_the_lock_can_be_cancelled(tmp_path: Path) -> None:
    told = Told()
    with NodeLock.take(tmp_path):
        taking = asyncio.create_task(OwnFolder(tmp_path, told).lock())
        await told.came.wait()
        taking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await taking
    with NodeLock.take(tmp_path):
        pass


async def test_a_store_in_memory_is_opened_once_it_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / FILE_NAME).mkdir()
    folder = OwnFolder(tmp_path, Told())
    with capture_logs():
        store = await Store.open(tmp_path)
        assert not await folder.reopen(store)
        (tmp_path / FILE_NAME).rmdir()
        monkeypatch.setattr(folder, "_reopen_at_s", 0.0)
        assert await folder.reopen(store)
    assert store.is_kept
    assert not await folder.reopen(store)
    await store.close()


async def test_a_file_that_cannot_be_opened_is_not_tried_at_every_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_folder, "LONGEST_PAUSE_S", 1e6)
    (tmp_path / FILE_NAME).mkdir()
    folder = OwnFolder(tmp_path, Told())
    folder._pause_s = 1e6
    with capture_logs():
        store = await Store.open(tmp_path)
        assert not await folder.reopen(store)
    (tmp_path / FILE_NAME).rmdir()
    assert not await folder.reopen(store)
    await store.close()


async def test_a_lock_that_comes_when_nobody_waits_for_it_any_more_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_begun, may_go_on, is_taken = threading.Event(), threading.Event(), threading.Event()
    real = NodeLock.take

    def slow(masa_dir: Path, wait_s: float) -> NodeLock:
        has_begun.set()
        may_go_on.wait()
        lock = real(masa_dir, wait_s)
        is_taken.set()
        return lock

    monkeypatch.setattr(NodeLock, "take", slow)
    taking = asyncio.create_task(OwnFolder(tmp_path, Told()).lock())
    await asyncio.to_thread(has_begun.wait)
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking
    may_go_on.set()
    await asyncio.to_thread(is_taken.wait)
    monkeypatch.setattr(NodeLock, "take", real)
    await until(lambda: _is_free(tmp_path), PATIENCE_S)


def _is_free(masa_dir: Path) -> bool:
    lock = NodeLock.take_if_free(masa_dir)
    if lock is not None:
        lock.release()
    return lock is not None
