import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from masa_node.chat.errors import ConfigurationError
from masa_node.devnet.folder import CHANGEABLE, MARK, DevnetFolder
from masa_node.network.store.node_key import KEY_FILE, load_secret
from masa_node.storage.lock import NodeLock
from tests.processes import running

HOLD_LOCK = "import sys; from pathlib import Path; from masa_node.storage.lock import NodeLock; "
HOLD_LOCK += "lock = NodeLock.take(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"


def made(path: Path) -> Path:
    """A folder as a devnet leaves it."""
    with DevnetFolder(path) as folder:
        folder.clear()
        for name in ("a", "b", "c"):
            load_secret(folder.home(name))
            folder.write(folder.home(name) / "network.sqlite3", b"old")
            folder.write(folder.keystore(name), b"{}")
            folder.write_start(name, {"MASA_DIR": str(folder.home(name))})
        folder.write(folder.profile, b"")
    return path


def files(path: Path) -> dict[str, str]:
    return {str(file.relative_to(path)): file.read_text("latin-1") for file in path.rglob("*") if file.is_file()}


def test_a_new_folder_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    made(tmp_path / "deep" / "devnet")
    for path in (tmp_path / "deep" / "devnet").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    made(tmp_path)
    assert (tmp_path / MARK).is_file()


def test_a_folder_with_anything_else_in_it_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(ConfigurationError, match=r"no devnet made, so it is left alone\. Name a new folder with --dir"):
        DevnetFolder(tmp_path).__enter__()
    assert files(tmp_path) == {"letter.txt": "dear"}


def test_the_folder_of_a_real_node_is_refused_and_its_key_stays(tmp_path: Path) -> None:
    secret = load_secret(tmp_path)
    with pytest.raises(ConfigurationError):
        DevnetFolder(tmp_path).__enter__()
    assert load_secret(tmp_path) == secret
    assert set(files(tmp_path)) == {KEY_FILE}


def test_a_mark_with_other_words_is_no_mark(tmp_path: Path) -> None:
    (tmp_path / MARK).write_text("mine")
    with pytest.raises(ConfigurationError):
        DevnetFolder(tmp_path).__enter__()


@pytest.mark.parametrize("mark", [None, "", "Made by `masa-node dev"])
def test_what_a_full_disk_cut_short_is_taken_up_again(tmp_path: Path, mark: str | None) -> None:
    (tmp_path / "node.lock").write_text("")
    if mark is not None:
        (tmp_path / MARK).write_text(mark)
    made(tmp_path)


def test_a_key_beside_half_a_mark_is_left_alone(tmp_path: Path) -> None:
    load_secret(tmp_path)
    (tmp_path / MARK).write_text("")
    with pytest.raises(ConfigurationError):
        DevnetFolder(tmp_path).__enter__()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a place where nobody may write, also not root")
def test_a_folder_that_cannot_be_made_is_told_with_what_to_name_instead() -> None:
    with pytest.raises(ConfigurationError, match=r"^/proc/.* cannot be used: .*\. Name another folder with --dir"):
        DevnetFolder(Path("/proc/devnet")).__enter__()


def test_a_mark_that_is_a_link_is_no_mark(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / MARK).symlink_to(made(tmp_path / "devnet") / MARK)
    with pytest.raises(ConfigurationError):
        DevnetFolder(tmp_path / "mine").__enter__()


def test_a_file_in_place_of_the_folder_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"file cannot be used: Not a directory"):
        DevnetFolder(tmp_path / "file").__enter__()


def test_what_the_last_devnet_made_is_removed_and_nothing_else(tmp_path: Path) -> None:
    path = made(tmp_path / "devnet")
    mine = {"notes.txt": "1", "node-a/notes.txt": "2", "node-d/node.key": "3", "owner-d.json": "4"}
    for name, text in mine.items():
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_text(text)
    with DevnetFolder(path) as folder:
        folder.clear()
    locks = {"node.lock", "node-a/node.lock", "node-b/node.lock", "node-c/node.lock"}
    assert set(files(path)) - locks - {MARK} == set(mine)
    assert {name: files(path)[name] for name in mine} == mine


def test_keys_are_fresh_after_it(tmp_path: Path) -> None:
    path = made(tmp_path / "devnet")
    before = load_secret(path / "node-a")
    made(path)
    assert load_secret(path / "node-a") != before


def test_a_link_in_place_of_a_file_is_replaced_and_what_it_points_to_stays(tmp_path: Path) -> None:
    path = made(tmp_path / "devnet")
    mine = tmp_path / "mine.toml"
    mine.write_text("mine")
    (path / "devnet.toml").unlink()
    (path / "devnet.toml").symlink_to(mine)
    made(path)
    assert mine.read_text() == "mine"
    assert not (path / "devnet.toml").is_symlink()


def test_a_link_in_place_of_a_nodes_folder_is_refused_and_nothing_is_removed(tmp_path: Path) -> None:
    path, mine = made(tmp_path / "devnet"), tmp_path / "mine"
    for file in (path / "node-b").iterdir():
        file.unlink()
    (path / "node-b").rmdir()
    secret = load_secret(mine)
    (path / "node-b").symlink_to(mine)
    before = files(path)
    with DevnetFolder(path) as folder, pytest.raises(ConfigurationError, match="node-b is a link"):
        folder.clear()
    assert load_secret(mine) == secret
    assert files(path) == {**before, "node.lock": files(path)["node.lock"]}


def test_a_second_devnet_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    path = made(tmp_path / "devnet")
    command = [sys.executable, "-c", HOLD_LOCK, str(path)]
    with running(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        expected = rf"Another devnet \(pid {other.pid}\) runs in {path}\. Stop it"
        with pytest.raises(ConfigurationError, match=expected):
            DevnetFolder(path).__enter__()
        other.communicate("")


def test_a_node_that_still_runs_keeps_its_keys(tmp_path: Path) -> None:
    path = made(tmp_path / "devnet")
    before = files(path)
    with NodeLock.take(path / "node-c"), DevnetFolder(path) as folder:
        with pytest.raises(ConfigurationError, match=rf"Node c of the last devnet still runs \(pid {os.getpid()}\)"):
            folder.clear()
        assert set(files(path)) == set(before)


def test_it_may_be_used_again_after_a_failure(tmp_path: Path) -> None:
    path = made(tmp_path / "devnet")
    (path / MARK).unlink()
    (path / MARK).mkdir()
    with pytest.raises(ConfigurationError):
        DevnetFolder(path).__enter__()
    (path / MARK).rmdir()
    made_by = made(tmp_path / "other") / MARK
    (path / MARK).write_text(made_by.read_text())
    made(path)


# ---- the scripts ----


def script_settings(script: Path, cwd: Path, **environ: str) -> dict[str, str]:
    """The settings of the node as its script gives them."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "PYTHONPATH")}
    done = subprocess.run(
        [script, "settings", "--json"], cwd=cwd, env={**kept, **environ}, capture_output=True, text=True, check=True
    )
    return {row["name"]: row["value"] for row in json.loads(done.stdout)}


def script_of(tmp_path: Path, **values: str) -> Path:
    with DevnetFolder(tmp_path / "it's a devnet") as folder:
        folder.clear()
        load_secret(folder.home("a"))
        folder.write_start("a", {"MASA_DIR": str(folder.home("a")), **values})
        return folder.start("a")


def test_the_script_sets_what_it_was_given_also_with_spaces_and_quotes(tmp_path: Path) -> None:
    script = script_of(tmp_path, NODE_NAME='it\'s "a" $HOME', STAKE_CALLERS="require")
    found = script_settings(script, tmp_path)
    assert found["MASA_DIR"] == str(script.with_name("node-a"))
    assert found["NODE_NAME"] == 'it\'s "a" $HOME'
    assert found["STAKE_CALLERS"] == "require"


def test_settings_of_the_shell_and_of_a_dotenv_are_not_the_nodes(tmp_path: Path) -> None:
    script = script_of(tmp_path, PORT="8081")
    (tmp_path / ".env").write_text("LLM_CHAT_URL=http://localhost:1\nPRIVACY=local\n")
    (tmp_path / "masa.toml").write_text("this is no TOML")
    found = script_settings(
        script, tmp_path, OPENAI_API_KEY="sk-1", PORT="9", MASA_DIR="/elsewhere", RPC_URL="http://x"
    )
    assert found["MASA_DIR"] == str(script.with_name("node-a"))
    assert found["PORT"] == "8081"
    assert (found["LLM_CHAT_URL"], found["OPENAI_API_KEY"], found["PRIVACY"], found["RPC_URL"]) == ("", "", "any", "")


def test_only_what_is_to_be_tried_can_be_set_otherwise(tmp_path: Path) -> None:
    script = script_of(tmp_path, STAKE_CALLERS="require", DEMO="1")
    found = script_settings(script, tmp_path, STAKE_CALLERS="prefer", DEMO="0", LOG_LEVEL="debug")
    assert (found["STAKE_CALLERS"], found["DEMO"], found["LOG_LEVEL"]) == ("prefer", "false", "debug")
    assert set(CHANGEABLE) == {"DEMO", "LOG_LEVEL", "STAKE_CALLERS", "STAKE_PROVIDERS"}


def test_files_in_the_folder_where_a_script_is_started_are_not_taken_for_modules(tmp_path: Path) -> None:
    script = script_of(tmp_path)
    (tmp_path / "json.py").write_text("raise SystemExit('not this one')")
    assert script_settings(script, tmp_path)["MASA_DIR"] == str(script.with_name("node-a"))
