"""What root's commands make in a user's MASA_DIR is that user's, so that the node can read it."""

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from masa_node.accounts import key_file
from masa_node.accounts.key_file import change_keys
from masa_node.network.store import store
from masa_node.storage import lock
from masa_node.storage.lock import NodeLock

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="files there have no such owner")


async def _open_store(folder: Path) -> None:
    await (await store.Store.open(folder)).close()


MAKERS: dict[str, Callable[[Path], object]] = {
    lock.FILE_NAME: lambda folder: NodeLock.take(folder).release(),
    key_file.FILE_NAME: lambda folder: change_keys(folder, lambda keys: (None, keys)),
    store.FILE_NAME: lambda folder: asyncio.run(_open_store(folder)),
}


class Given:
    """What was given to whom, by inode: only root may give anything to another."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, user: int) -> None:
        self.to: dict[int, tuple[int, int]] = {}
        monkeypatch.setattr(os, "geteuid", lambda: user)
        monkeypatch.setattr(os, "fchown", self._fchown)

    def _fchown(self, file: int, user: int, group: int) -> None:
        self.to[os.fstat(file).st_ino] = (user, group)


@pytest.mark.parametrize("name", MAKERS)
def test_a_file_that_root_makes_is_the_folders_owners(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    given = Given(monkeypatch, user=0)
    MAKERS[name](tmp_path)
    folder = tmp_path.stat()
    assert given.to[(tmp_path / name).stat().st_ino] == (folder.st_uid, folder.st_gid)


@pytest.mark.parametrize("name", [lock.FILE_NAME, store.FILE_NAME])
def test_a_file_that_was_there_is_left_to_whom_it_belongs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The folder's owner may have put a link there, to a file of root's."""
    (tmp_path / name).touch()
    given = Given(monkeypatch, user=0)
    MAKERS[name](tmp_path)
    assert (tmp_path / name).stat().st_ino not in given.to


def test_others_give_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = Given(monkeypatch, user=1000)
    for make in MAKERS.values():
        make(tmp_path)
    assert given.to == {}


def test_where_nothing_can_be_given_it_is_made_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Given(monkeypatch, user=0)

    def refuse(*_: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "fchown", refuse)
    for name, make in MAKERS.items():
        make(tmp_path)
        assert (tmp_path / name).exists()
