import os
from pathlib import Path

import pytest

from masa_node.chat.errors import ConfigurationError
from masa_node.node.settings.config_file import aliases_in_file, upstreams_in_file
from masa_node.node.settings.environment import Settings
from masa_node.upstreams.http.client import HttpClient
from masa_node.upstreams.spec import UpstreamKind
from masa_node.upstreams.upstream import Upstream


def written(folder: Path, text: str) -> Settings:
    path = folder / "masa.toml"
    path.write_text(text)
    return Settings(masa_config=str(path))


def test_without_a_file_there_are_no_servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert upstreams_in_file(Settings(masa_dir=str(tmp_path))) == []


def test_a_current_folder_that_shows_nothing_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `/root` to the user to whom `sudo -u` leads."""
    sees = Path.stat

    def stat(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        if not path.is_absolute():
            raise PermissionError(13, "Permission denied", str(path))
        return sees(path, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(Path, "stat", stat)
    monkeypatch.setattr(os, "access", lambda path, _: Path(path).is_absolute())
    (tmp_path / "masa.toml").write_text('[[upstream]]\nname="a"\nurl="http://a:1"\n')
    assert [spec.name for spec in upstreams_in_file(Settings(masa_dir=str(tmp_path)))] == ["a"]


def test_servers_come_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = '[[upstream]]\nname="b"\nurl="http://b:1"\n[[upstream]]\nname="a"\nurl="http://a:1"\nmodels=["x"]\n'
    first, second = upstreams_in_file(written(tmp_path, text))
    assert (first.name, first.kind, first.models) == ("b", UpstreamKind.AUTO, ())
    assert (second.name, second.models) == ("a", ("x",))


def test_the_file_may_come_from_an_editor_of_windows(tmp_path: Path) -> None:
    text = '\ufeff[[upstream]]\r\nname="a"\r\nurl="http://a:1"\r\n'
    assert [spec.name for spec in upstreams_in_file(written(tmp_path, text))] == ["a"]


def test_a_server_has_the_first_priority_unless_the_file_gives_another(tmp_path: Path) -> None:
    text = '[[upstream]]\nname="a"\nurl="http://a:1"\n[[upstream]]\nname="b"\nurl="http://b:1"\npriority=2\n'
    assert [spec.priority for spec in upstreams_in_file(written(tmp_path, text))] == [None, 2]


async def test_what_costs_money_goes_behind_what_does_not_unless_the_file_says_otherwise(tmp_path: Path) -> None:
    text = '[[upstream]]\nname="a"\nurl="http://a:1"\n'
    async with HttpClient() as http:
        for more, priority in (("", 0), ("hosted=true\n", 1), ("hosted=true\npriority=0\n", 0), ("priority=3\n", 3)):
            (spec,) = upstreams_in_file(written(tmp_path, text + more))
            assert Upstream(spec, http).priority == priority


def test_the_file_in_the_current_folder_comes_before_that_in_masa_dir(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, home = tmp_path / "here", tmp_path / "home"
    for folder in (here, home):
        folder.mkdir()
        (folder / "masa.toml").write_text(f'[[upstream]]\nname="{folder.name}"\nurl="http://a:1"\n')
    monkeypatch.chdir(here)
    assert [spec.name for spec in upstreams_in_file(Settings(masa_dir=str(home)))] == ["here"]
    (here / "masa.toml").unlink()
    assert [spec.name for spec in upstreams_in_file(Settings(masa_dir=str(home)))] == ["home"]


def test_a_key_may_come_from_an_environment_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = written(tmp_path, '[[upstream]]\nname="a"\nurl="http://a:1"\nkey_env="THE_KEY"\n')
    monkeypatch.setenv("THE_KEY", "k-123")
    [spec] = upstreams_in_file(settings)
    assert spec.key == "k-123"
    assert "k-123" not in repr(spec)
    monkeypatch.delenv("THE_KEY")
    with pytest.raises(ConfigurationError, match="THE_KEY"):
        upstreams_in_file(settings)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[upstream]]\n", "name"),
        ('[[upstream]]\nname="a"\nurl="http://a:1"\nmodell="x"\n', "modell"),
        ('[[upstreams]]\nname="a"\n', "upstreams"),
        ('[[upstream]]\nname="a"\nurl="http://a:1"\nkind="gemini"\n', "gemini"),
        ('[[upstream]]\nname="a"\nurl="http://a:1"\npriority=-1\n', "priority"),
        ('[[upstream]]\nname="a"\nurl="http://a:1"\npriority="high"\n', "priority"),
        ('[[upstream]]\nname="A B"\nurl="http://a:1"\n', "A B"),
        ('[[upstream]]\nname="a"\nurl="//a:1"\n', "is not a URL"),
        ('[[upstream]]\nname="a"\nurl="http://u:p@a:1"\nkey="k"\n', "user in the URL and a key"),
        ('[[upstream]]\nname="a"\nurl="http://a:1#x"\n', "fragment"),
        ('[[upstream]]\nname="a"\nurl="http://a:99999"\n', "not a URL"),
        ("[[upstream", "masa.toml"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        upstreams_in_file(written(tmp_path, text))
    assert words in caught.value.message
    assert "masa.toml" in caught.value.message


def test_a_file_that_is_named_and_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"not-there\.toml"):
        upstreams_in_file(Settings(masa_config=str(tmp_path / "not-there.toml")))


def test_a_hosted_kind_is_known_to_cost_money(tmp_path: Path) -> None:
    [spec] = upstreams_in_file(written(tmp_path, '[[upstream]]\nname="a"\nkind="anthropic"\nurl="https://a"\n'))
    assert spec.hosted


def test_aliases_stand_for_one_model_or_for_several_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = written(tmp_path, '[alias]\n"gpt-4o" = "llama3.2"\nsmart = ["a", "b"]\n"claude-*" = "smart"\n')
    aliases = aliases_in_file(settings)
    assert aliases.names == ("gpt-4o", "smart")
    assert [aliases.targets_of(name) for name in ("gpt-4o", "claude-x")] == [("llama3.2",), ("a", "b")]
    assert upstreams_in_file(settings) == []
    monkeypatch.chdir(tmp_path)
    (tmp_path / "masa.toml").unlink()
    assert aliases_in_file(Settings(masa_dir=str(tmp_path))).names == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('a = "b"\nb = "a"', "a > b > a"),
        ('a = "a"', "a > a"),
        ("a = []", "'a' stands for no model"),
        ("a = 1", "alias"),
        ('a = ""', "cannot be a model's name"),
        ('"" = "a"', "cannot be a model's name"),
        (r'a = "b\u0007"', "cannot be a model's name"),
        ('a = "gpt-*"', "at the left only"),
        ('gpt-4.1 = "llama3.2"', "the name that begins with 'gpt-4' in quotes"),
    ],
)
def test_what_is_wrong_with_an_alias_is_named(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        aliases_in_file(written(tmp_path, f"[alias]\n{text}\n"))
    assert words in caught.value.message
    assert "masa.toml" in caught.value.message
