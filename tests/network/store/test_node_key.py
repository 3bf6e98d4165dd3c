import multiprocessing
import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from masa_node.chat.errors import ConfigurationError
from masa_node.network.store import node_key
from masa_node.network.store.node_key import KEY_FILE, SECRET_BYTES, load_secret


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_first_run_makes_a_key_that_only_its_owner_may_read(tmp_path: Path) -> None:
    masa_dir = tmp_path / "new" / "masa"
    secret = load_secret(masa_dir)
    assert len(secret) == SECRET_BYTES
    assert mode(masa_dir / KEY_FILE) == 0o600
    assert mode(masa_dir) == 0o700
    assert [path.name for path in masa_dir.iterdir()] == [KEY_FILE]


def test_later_runs_read_the_same_key(tmp_path: Path) -> None:
    assert load_secret(tmp_path) == load_secret(tmp_path)


def test_two_nodes_have_different_keys(tmp_path: Path) -> None:
    assert load_secret(tmp_path / "a") != load_secret(tmp_path / "b")


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_the_umask_decides_nothing(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        load_secret(tmp_path)
    finally:
        os.umask(before)
    assert mode(tmp_path / KEY_FILE) == 0o600


@pytest.mark.parametrize("loose", [0o604, 0o640, 0o666, 0o610, 0o601])
def test_a_key_that_others_may_touch_is_refused_and_the_error_says_what_to_do(tmp_path: Path, loose: int) -> None:
    load_secret(tmp_path)
    path = tmp_path / KEY_FILE
    path.chmod(loose)
    with pytest.raises(ConfigurationError, match=f"chmod 600 {path}"):
        load_secret(tmp_path)


def test_a_key_that_its_owner_made_read_only_is_fine(tmp_path: Path) -> None:
    secret = load_secret(tmp_path)
    (tmp_path / KEY_FILE).chmod(0o400)
    assert load_secret(tmp_path) == secret


@pytest.mark.parametrize("size", [0, SECRET_BYTES - 1, SECRET_BYTES + 1, 4096])
def test_a_key_of_a_wrong_size_is_refused_and_left_alone(tmp_path: Path, size: int) -> None:
    path = tmp_path / KEY_FILE
    path.write_bytes(b"k" * size)
    path.chmod(0o600)
    with pytest.raises(ConfigurationError, match="32 bytes"):
        load_secret(tmp_path)
    assert path.read_bytes() == b"k" * size


def test_a_symbolic_link_is_refused_also_one_that_leads_nowhere(tmp_path: Path) -> None:
    load_secret(tmp_path / "real")
    for number, target in enumerate((tmp_path / "real" / KEY_FILE, tmp_path / "missing")):
        masa_dir = tmp_path / str(number)
        masa_dir.mkdir()
        (masa_dir / KEY_FILE).symlink_to(target)
        with pytest.raises(ConfigurationError, match="symbolic link"):
            load_secret(masa_dir)
    assert not (tmp_path / "missing").exists()


def make_folder(path: Path) -> None:
    path.mkdir(mode=0o700)


def make_pipe(path: Path) -> None:
    os.mkfifo(path, 0o600)


@pytest.mark.parametrize("make", [make_folder, make_pipe])
def test_what_is_no_file_is_refused_and_does_not_hold_the_start_up(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / KEY_FILE)
    with pytest.raises(ConfigurationError):
        load_secret(tmp_path)


def test_a_key_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_secret(tmp_path)
    somebody_else = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: somebody_else)
    with pytest.raises(ConfigurationError, match="another user"):
        load_secret(tmp_path)


def test_a_folder_that_cannot_be_made_is_told_of_as_masa_dir(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="MASA_DIR"):
        load_secret(tmp_path / "file" / "masa")


def test_starters_in_one_process_all_get_the_one_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as threads:
        found = set(threads.map(load_secret, [tmp_path / "masa"] * 64))
    assert len(found) == 1


def test_starting_processes_all_get_the_one_key(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as processes:
        found = set(processes.map(load_secret, [tmp_path / "masa"] * 12, chunksize=1))
    assert len(found) == 1
    assert found == {load_secret(tmp_path / "masa")}


@pytest.mark.parametrize("call", ["fsync", "link"])
def test_a_crash_while_it_is_made_leaves_no_half_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    class Crash(BaseException):
        pass

    def crash(*args: object) -> None:
        raise Crash

    with monkeypatch.context() as patched:
        patched.setattr(node_key.os, call, crash)
        with pytest.raises(Crash):
            load_secret(tmp_path)
    assert not (tmp_path / KEY_FILE).exists()
    assert len(load_secret(tmp_path)) == SECRET_BYTES


def test_the_key_is_on_the_disk_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    for name in ("fsync", "link"):
        real = getattr(os, name)
        monkeypatch.setattr(node_key.os, name, lambda *args, name=name, real=real: (calls.append(name), real(*args))[1])
    load_secret(tmp_path)
    assert calls == ["fsync", "link", "fsync"]  # the second one is the folder's


def test_an_error_never_shows_the_key(tmp_path: Path) -> None:
    path = tmp_path / KEY_FILE
    path.write_bytes(b"very secret, not 32 bytes")
    path.chmod(0o600)
    with pytest.raises(ConfigurationError) as caught:
        load_secret(tmp_path)
    assert "secret" not in str(caught.value).replace("secret key", "")
