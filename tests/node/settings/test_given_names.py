from pathlib import Path

import pytest

from masa_node.chat.errors import ConfigurationError
from masa_node.node.settings.environment import read_settings
from masa_node.node.settings.given_names import given_names, read_dotenv


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("PORT=1\nHOST=::1\n")
    assert given_names({"PORT": "2"}, file) == {"PORT": "2", "HOST": "::1"}


def test_a_proxy_stands_under_its_name_in_capitals_whichever_case_it_was_given_in(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("https_proxy=file:1\n")
    assert given_names({}, file)["HTTPS_PROXY"] == "file:1"
    assert given_names({"HTTPS_PROXY": "environment:1"}, file)["HTTPS_PROXY"] == "environment:1"


def test_a_dollar_in_the_file_is_a_dollar_and_a_name_without_a_value_is_none(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("API_KEY=a${HOME}b\nHOST\n")
    assert read_dotenv(file) == {"API_KEY": "a${HOME}b"}


def test_no_file_is_no_names_and_one_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert read_dotenv(tmp_path / "none") == {}
    (tmp_path / ".env").write_bytes(b"PORT=\xff\n")
    with pytest.raises(ConfigurationError, match=r"\.env cannot be read"):
        read_dotenv(tmp_path / ".env")


@pytest.mark.parametrize("line", ["PRIVACY: local", "export PRIVACY local", "'PRIVACY': local", "PRIVACY='local"])
def test_a_setting_is_not_passed_over_because_its_line_is_none(tmp_path: Path, line: str) -> None:
    (tmp_path / ".env").write_text(f"# mine\n\nPORT=1\n{line}\n")
    with pytest.raises(ConfigurationError, match=r"\.env, line 4, about PRIVACY, cannot be read. Write PRIVACY=value"):
        read_settings({}, tmp_path / ".env")


def test_a_line_of_another_program_may_be_anything(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DATABASE: x\n=1\n!!\nPORT=1\n")
    assert read_settings({}, tmp_path / ".env").port == 1


def test_lines_of_windows_and_its_mark_are_read(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"\xef\xbb\xbfPORT=1\r\nHOST='::1'\r\n")
    assert read_dotenv(tmp_path / ".env") == {"PORT": "1", "HOST": "::1"}
