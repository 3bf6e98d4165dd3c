"""One node a folder; a command sees whether one runs."""

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from masa_node.chat.errors import ConfigurationError
from masa_node.storage.lock import (
    ALONE_FILE_NAME,
    FILE_NAME,
    DirectoryInUse,
    NodeLock,
    is_held,
    is_held_by_another,
    url_of_node_alone,
)
from tests.processes import running

HOLDER = """
import sys, time
from pathlib import Path
from masa_node.storage.lock import NodeLock
lock = NodeLock.take(Path(sys.argv[1]))
print("taken", flush=True)
time.sleep(60)
"""


@pytest.fixture
def masa_dir(tmp_path: Path) -> Path:
    return tmp_path / "new" / "masa"


def test_a_second_node_is_told_who_uses_the_folder(masa_dir: Path) -> None:
    with NodeLock.take(masa_dir), pytest.raises(DirectoryInUse) as caught:
        NodeLock.take(masa_dir, wait_s=0.0)
    assert f"another node (pid {os.getpid()}) uses this MASA_DIR" in caught.value.message
    assert caught.value.pid == os.getpid()


def test_the_next_one_gets_it_when_it_is_released(masa_dir: Path) -> None:
    lock = NodeLock.take(masa_dir)
    assert NodeLock.take_if_free(masa_dir) is None
    lock.release()
    lock.release()
    again = NodeLock.take_if_free(masa_dir)
    assert again is not None
    again.release()


def test_the_folder_and_the_file_are_for_their_owner_only(masa_dir: Path) -> None:
    with NodeLock.take(masa_dir):
        assert masa_dir.stat().st_mode & 0o777 == 0o700
        assert (masa_dir / FILE_NAME).stat().st_mode & 0o777 == 0o600


def test_a_node_waits_for_a_command_that_holds_it_for_a_moment(masa_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = NodeLock.take(masa_dir)
    monkeypatch.setattr("masa_node.storage.lock.time.sleep", lambda seconds: command.release())
    NodeLock.take(masa_dir).release()


@pytest.mark.parametrize("pid", [b"", b"x" * 100, b"\xff", b"-1"])
def test_a_folder_in_use_is_told_of_whatever_stands_in_the_file(masa_dir: Path, pid: bytes) -> None:
    with NodeLock.take(masa_dir):
        (masa_dir / FILE_NAME).write_bytes(pid)
        with pytest.raises(DirectoryInUse, match="another node uses this MASA_DIR"):
            NodeLock.take(masa_dir, wait_s=0.0)


def test_a_killed_node_holds_nothing(masa_dir: Path) -> None:
    with running([sys.executable, "-c", HOLDER, str(masa_dir)], stdout=subprocess.PIPE) as node:
        assert node.stdout is not None
        assert node.stdout.readline() == b"taken\n"
        assert is_held_by_another(masa_dir)
        with pytest.raises(DirectoryInUse) as caught:
            NodeLock.take(masa_dir, wait_s=0.0)
        assert caught.value.pid == node.pid
        node.send_signal(signal.SIGKILL)
        node.wait()
        assert not is_held_by_another(masa_dir)
        NodeLock.take(masa_dir, wait_s=0.0).release()


def test_what_this_process_holds_is_not_held_by_another(masa_dir: Path) -> None:
    assert not is_held_by_another(masa_dir)
    with NodeLock.take(masa_dir):
        assert not is_held_by_another(masa_dir)


def test_a_folder_that_cannot_be_made_is_a_wrong_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="MASA_DIR"):
        NodeLock.take(tmp_path / "file" / "masa")


def test_the_lock_follows_no_link(masa_dir: Path, tmp_path: Path) -> None:
    masa_dir.mkdir(parents=True)
    (tmp_path / "precious").write_text("kept")
    (masa_dir / FILE_NAME).symlink_to(tmp_path / "precious")
    with pytest.raises(ConfigurationError):
        NodeLock.take(masa_dir)
    assert (tmp_path / "precious").read_text() == "kept"


def test_a_lock_of_this_process_is_held_too(tmp_path: Path) -> None:
    assert not is_held(tmp_path)
    with NodeLock.take(tmp_path):
        assert (is_held(tmp_path), is_held_by_another(tmp_path)) == (True, False)
    assert not is_held(tmp_path)


@pytest.mark.parametrize("name", [FILE_NAME, ALONE_FILE_NAME])
def test_two_that_look_at_the_same_time_take_each_other_for_no_node(tmp_path: Path, name: str) -> None:
    for each in (FILE_NAME, ALONE_FILE_NAME):
        (tmp_path / each).write_text("http://127.0.0.1:8080")
    with (tmp_path / name).open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_SH)  # as one that looks
        assert (is_held(tmp_path), is_held_by_another(tmp_path), url_of_node_alone(tmp_path)) == (False, False, "")


def test_a_look_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("123")
    assert not is_held(tmp_path)
    assert (tmp_path / FILE_NAME).read_text() == "123"


def test_a_node_alone_says_where_it_serves_while_it_holds_its_lock(masa_dir: Path) -> None:
    url = "http://127.0.0.1:8080"
    assert url_of_node_alone(masa_dir) == ""
    assert not masa_dir.exists()
    lock = NodeLock.take(masa_dir, name=ALONE_FILE_NAME, says=url)
    assert url_of_node_alone(masa_dir) == url
    assert not is_held(masa_dir)
    lock.release()
    (masa_dir / ALONE_FILE_NAME).write_text(url)
    assert url_of_node_alone(masa_dir) == "", "what stands there after a crash is no longer true"


def test_what_nobody_can_read_is_no_url(masa_dir: Path) -> None:
    with NodeLock.take(masa_dir, name=ALONE_FILE_NAME):
        (masa_dir / ALONE_FILE_NAME).write_bytes(b"\xff")
        assert url_of_node_alone(masa_dir) == ""
