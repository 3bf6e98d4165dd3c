"""The file of the keys: whole or an error, for its owner only, and looked at by a running node."""

import asyncio
import os
import sys
import threading
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from masa_node.accounts import key_file
from masa_node.accounts.key_file import FILE_NAME, KeyWatch, change_keys, read_keys
from masa_node.accounts.keys import KeyRing, KeyRules, NamedKey, made_key, revoked_key
from masa_node.chat.errors import ConfigurationError, Unauthorized
from tests.fakes.llm_server import until

NOW = 1_800_000_000.0


def add(masa_dir: Path, name: str, rules: KeyRules | None = None) -> str:
    return change_keys(masa_dir, lambda keys: made_key(keys, name, rules or KeyRules(), NOW))


def revoke(masa_dir: Path, name: str) -> None:
    def change(keys: list[NamedKey]) -> tuple[None, list[NamedKey]]:
        return None, revoked_key(keys, name, NOW)

    change_keys(masa_dir, change)


def test_keys_come_back_as_they_were_made_and_the_file_holds_none_of_them(tmp_path: Path) -> None:
    masa_dir = tmp_path / "new" / "masa"
    rules = KeyRules(("llama*",), 3, 4, 5, "local", is_admin=True)
    text = add(masa_dir, "alice", rules)
    keys = read_keys(masa_dir)
    assert keys is not None
    assert [(key.name, key.rules) for key in keys] == [("alice", rules)]
    assert KeyRing(keys).find(text.encode(), NOW) == keys[0]
    assert text.rpartition("-")[2] not in (masa_dir / FILE_NAME).read_text()
    assert (masa_dir / FILE_NAME).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in masa_dir.iterdir()] == [FILE_NAME]


def test_where_no_key_was_made_there_is_none_and_no_file(tmp_path: Path) -> None:
    assert read_keys(tmp_path) is None
    assert read_keys(tmp_path / "none") is None
    (tmp_path / "file").touch()
    assert read_keys(tmp_path / "file") is None


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"version":1,"keys":[{"name":"x"}]}', b"\xff", b"[" * 100_000])
def test_a_file_that_cannot_be_read_is_an_error_and_stays(tmp_path: Path, data: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(data)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_keys(tmp_path)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        add(tmp_path, "alice")
    assert (tmp_path / FILE_NAME).read_bytes() == data


def test_a_file_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b'{"version":2,"keys":[]}')
    with pytest.raises(ConfigurationError, match="newer"):
        read_keys(tmp_path)


def test_a_file_that_is_a_folder_or_out_of_reach_is_an_error(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir()
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_keys(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="cannot be written"):
        add(tmp_path / "file", "alice")


@pytest.mark.skipif(sys.platform == "win32", reason="there are no named pipes")
def test_a_pipe_in_its_place_is_an_error_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / FILE_NAME)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_keys(tmp_path)


def test_a_writing_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add(tmp_path, "alice")
    before = (tmp_path / FILE_NAME).read_bytes()
    with monkeypatch.context() as full:
        full.setattr(key_file.os, "fsync", _full_disk)
        with pytest.raises(ConfigurationError, match="No space left"):
            add(tmp_path, "bob")
    assert (tmp_path / FILE_NAME).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def _full_disk(file: int) -> None:
    raise OSError(28, "No space left on device")


def test_commands_at_once_lose_no_key(tmp_path: Path) -> None:
    threads = [threading.Thread(target=add, args=(tmp_path, f"key{number}")) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(key.name for key in read_keys(tmp_path) or ()) == sorted(f"key{number}" for number in range(12))


# ---- a running node ----


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_file, "LOOK_EVERY_S", 0.001)


@pytest.mark.usefixtures("quick")
async def test_a_running_node_sees_what_commands_change(tmp_path: Path) -> None:
    ring = KeyRing()
    watch = KeyWatch(tmp_path, ring)
    watch.start()
    assert not ring.is_needed
    running = asyncio.ensure_future(watch.run())
    text = (await asyncio.to_thread(add, tmp_path, "alice")).encode()
    await until(lambda: ring.find(text, NOW) is not None, 20.0)
    assert ring.is_needed
    await asyncio.to_thread(revoke, tmp_path, "alice")

    def is_revoked() -> bool:
        try:
            return ring.find(text, NOW) is None
        except Unauthorized:
            return True

    await until(is_revoked, 20.0)
    running.cancel()


@pytest.mark.usefixtures("quick")
async def test_a_file_that_is_damaged_meanwhile_changes_nothing_and_is_reported_once(tmp_path: Path) -> None:
    text = add(tmp_path, "alice").encode()
    ring = KeyRing()
    watch = KeyWatch(tmp_path, ring)
    watch.start()
    with capture_logs() as lines:
        running = asyncio.ensure_future(watch.run())
        good = (tmp_path / FILE_NAME).read_bytes()
        (tmp_path / FILE_NAME).write_bytes(b"half a fi")
        await until(lambda: bool(lines), 20.0)
        assert ring.find(text, NOW) is not None
        await asyncio.sleep(0.05)
        assert [line["event"] for line in lines] == ["the keys stay as they were"]
        (tmp_path / "whole").write_bytes(good)
        (tmp_path / "whole").replace(tmp_path / FILE_NAME)  # at once, as the commands do it
        await until(lambda: len(lines) > 1, 20.0)
        running.cancel()
    assert lines[1]["event"] == "the keys have changed"


@pytest.mark.usefixtures("quick")
async def test_a_file_that_is_taken_away_ends_the_keys_and_lets_nobody_in(tmp_path: Path) -> None:
    text = add(tmp_path, "alice").encode()
    ring = KeyRing()
    watch = KeyWatch(tmp_path, ring)
    watch.start()
    running = asyncio.ensure_future(watch.run())
    (tmp_path / FILE_NAME).unlink()
    await until(lambda: ring.find(text, NOW) is None, 20.0)
    assert ring.is_needed
    running.cancel()


def test_a_node_does_not_start_with_keys_that_it_cannot_read(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"{}")
    with pytest.raises(ConfigurationError):
        KeyWatch(tmp_path, KeyRing()).start()
