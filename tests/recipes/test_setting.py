"""The recipe "a setting": one field of `Settings`."""

import json
from typing import Annotated, Literal

import pytest
from msgspec import Meta
from typer.testing import CliRunner

from masa_node.chat.errors import ConfigurationError
from masa_node.cli.main import app
from masa_node.node.settings import docs, environment
from masa_node.node.settings.environment import Settings, read_settings, unknown_settings
from tools import generate_docs


class WithToy(Settings, frozen=True, kw_only=True):
    """What a commit that adds two settings would change."""

    toy_size: Annotated[Literal["big", "small"], Meta(description="How big the toy is.")] = "small"
    toy_count: Annotated[int, Meta(description="How many there are.", ge=0, le=9)] = 3

    __repr__ = Settings.__repr__


@pytest.fixture(autouse=True)
def with_toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "Settings", WithToy)
    monkeypatch.setattr(docs, "Settings", WithToy)


def test_it_is_read_from_the_environment_and_words_in_any_case() -> None:
    values = read_settings({"TOY_SIZE": "BIG", "TOY_COUNT": "5"})
    assert isinstance(values, WithToy)
    assert (values.toy_size, values.toy_count) == ("big", 5)


@pytest.mark.parametrize(
    ("name", "value", "told"), [("TOY_SIZE", "huge", "big or small"), ("TOY_COUNT", "10", "at most 9")]
)
def test_what_does_not_fit_is_named_with_what_does(name: str, value: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name}.*{told}"):
        read_settings({name: value})


def test_a_misspelt_one_is_named_with_what_was_meant() -> None:
    (unknown,) = unknown_settings({"TOY_SIZ": "big", "MASA_DIR": "x"})
    assert (unknown.name, unknown.nearest) == ("TOY_SIZ", "TOY_SIZE")


def test_the_command_shows_it_and_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOY_SIZE", "big")
    shown = json.loads(CliRunner().invoke(app, ["settings", "--json"]).stdout)
    (toy,) = [row for row in shown if row["name"] == "TOY_SIZE"]
    assert toy == {"name": "TOY_SIZE", "value": "big", "default": "small", "about": "How big the toy is."}


def test_its_documentation_is_made() -> None:
    assert "| `TOY_SIZE` | big \\| small | `small` | How big the toy is. |" in generate_docs.settings()
