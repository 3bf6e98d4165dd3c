"""`masa-node keys`: a key is shown once, and what is kept of it is listed."""

import json
from pathlib import Path

import pytest

from masa_node.accounts.key_file import FILE_NAME, read_keys
from masa_node.accounts.keys import KeyRing, KeyRules
from masa_node.chat.errors import ConfigurationError
from masa_node.cli.keys import lasts_of
from masa_node.cli.main import main

FAR_UNIX_S = 1_700_000_000.0


@pytest.fixture(autouse=True)
def masa_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MASA_DIR", str(tmp_path / "masa"))
    monkeypatch.setenv("COLUMNS", "240")
    monkeypatch.delenv("API_KEY", raising=False)
    return tmp_path / "masa"


def keys(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr("sys.argv", ["masa-node", "keys", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_a_key_goes_to_stdout_alone_and_works(
    masa_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert keys("add", "alice", monkeypatch=monkeypatch) == 0
    written = capsys.readouterr()
    key = written.out.removesuffix("\n")
    found = KeyRing(read_keys(masa_dir)).find(key.encode(), FAR_UNIX_S)
    assert found is not None
    assert found.name == "alice"
    assert key not in written.err
    assert "asks every caller for a key, you too" in written.err


def test_of_a_second_key_and_beside_api_key_it_does_not_say_what_changes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keys("add", "alice", monkeypatch=monkeypatch)
    capsys.readouterr()
    keys("add", "bob", monkeypatch=monkeypatch)
    assert "you too" not in capsys.readouterr().err


def test_all_limits_are_kept_and_listed(
    masa_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--models", "llama*, qwen3", "--rpm", "60", "--tokens-per-day", "100000", "--concurrent", "2")
    keys("add", "alice", *options, "--privacy", "local", "--expires", "30d", "--admin", monkeypatch=monkeypatch)
    (key,) = read_keys(masa_dir) or ()
    assert key.rules == KeyRules(("llama*", "qwen3"), 60, 100_000, 2, "local", is_admin=True)
    assert key.expires_at_unix_s == key.made_at_unix_s + 30 * 86_400
    capsys.readouterr()
    keys("list", monkeypatch=monkeypatch)
    line = capsys.readouterr().out
    for words in ("alice", "in force", "llama*, qwen3", "60 requests a minute", "100,000 tokens a day", "2 at once"):
        assert words in line
    assert "privacy local" in line
    keys("list", "--json", monkeypatch=monkeypatch)
    (listed,) = json.loads(capsys.readouterr().out)
    assert (listed["name"], listed["state"], listed["rpm"]) == ("alice", "in force", 60)
    assert "hash" not in listed


def test_patterns_of_models_are_listed_as_they_were_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keys("add", "alice", "--models", "qwen[bold]x,[/red]*,a\x1b[31mb", monkeypatch=monkeypatch)
    capsys.readouterr()
    assert keys("list", monkeypatch=monkeypatch) == 0
    assert "qwen[bold]x, [/red]*, a?[31mb" in capsys.readouterr().out


def test_a_revoked_key_is_listed_as_such_and_is_no_key_any_more(
    masa_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keys("add", "alice", "--json", monkeypatch=monkeypatch)
    made = json.loads(capsys.readouterr().out)
    assert keys("revoke", "alice", monkeypatch=monkeypatch) == 0
    capsys.readouterr()
    keys("list", monkeypatch=monkeypatch)
    assert "revoked" in capsys.readouterr().out
    with pytest.raises(Exception, match="was revoked"):
        KeyRing(read_keys(masa_dir)).find(made["key"].encode(), FAR_UNIX_S)


@pytest.mark.parametrize(
    "arguments",
    [
        ("add", "a b"),
        ("add", "owner"),
        ("add", "x", "--expires", "soon"),
        ("revoke", "nobody"),
        ("add", "x", "--rpm", "0"),
    ],
)
def test_what_cannot_be_is_refused_and_makes_no_key(
    masa_dir: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    assert keys(*arguments, monkeypatch=monkeypatch) == 2
    assert not (masa_dir / FILE_NAME).exists()


def test_where_there_is_no_key_the_list_says_how_to_make_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keys("list", monkeypatch=monkeypatch)
    assert "masa-node keys add NAME" in capsys.readouterr().out
    keys("list", "--json", monkeypatch=monkeypatch)
    assert json.loads(capsys.readouterr().out) == []


def test_how_long_a_key_lasts() -> None:
    assert [lasts_of(text) for text in ("1m", "12H", " 30d ", "52w")] == [60, 43_200, 2_592_000, 31_449_600]
    for text in ("", "0d", "30", "30y", "999999w", "-1d"):
        with pytest.raises(ConfigurationError, match="--expires"):
            lasts_of(text)
