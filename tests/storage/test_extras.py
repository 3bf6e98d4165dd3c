import shlex
import sys
from pathlib import Path

import pytest

from masa_node.storage.extras import how_to_add


def test_in_a_virtual_environment_its_own_pip_adds_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("masa_node.storage.extras.find_spec", lambda _: object())
    assert shlex.split(how_to_add("llm")) == [sys.executable, "-m", "pip", "install", "masa-node[llm]"]


def test_pipx_is_named_where_it_has_made_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "pipx_metadata.json").touch()
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert shlex.split(how_to_add("llm")) == ["pipx", "inject", "masa-node", "masa-node[llm]"]


def test_uv_is_named_where_there_is_no_pip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "pip", None)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "my tools"))
    command = ["uv", "pip", "install", "--python", f"{tmp_path}/my tools", "masa-node[prices]"]
    assert shlex.split(how_to_add("prices")) == command
