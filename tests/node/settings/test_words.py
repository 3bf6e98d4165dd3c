"""Settings of few words, and settings that are lists."""

from pathlib import Path
from typing import Annotated, Literal

import pytest
from msgspec import Meta

from masa_node.chat.errors import ConfigurationError
from masa_node.node.settings.words import listed, read_text, what_fits, words_of

Few = Annotated[Literal["", "off", "prefer"], "a setting"]


def test_the_empty_word_stands_for_not_being_set() -> None:
    assert words_of(Literal["", "off", "prefer"]) == ("off", "prefer")
    assert words_of(str) == ()


def test_what_fits_names_the_words_and_says_nothing_of_texts() -> None:
    assert what_fits(Few) == "It may be off or prefer."
    assert what_fits(Annotated[bool, "a switch"]) == "It may be 1 or 0."
    assert what_fits(Annotated[str, "a text"]) == ""


def test_what_fits_a_number_is_said_in_words_and_within_its_bounds() -> None:
    assert what_fits(Annotated[int, Meta(ge=0, le=65535)]) == "It is a whole number, at least 0, at most 65535."
    assert what_fits(Annotated[float, Meta(gt=0), Meta(description="seconds")]) == "It is a number, more than 0."
    assert what_fits(Annotated[int, "a number"]) == "It is a whole number."


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_file_is_read_with_and_without_the_mark_of_windows_editors(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "file").write_text("Müller", encoding)
    assert read_text(tmp_path / "file") == "Müller"


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_a_file_in_another_encoding_is_named_with_what_to_do(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "file").write_text("Müller", encoding)
    with pytest.raises(ConfigurationError, match=r"file cannot be read: it is no UTF-8 text"):
        read_text(tmp_path / "file")


def test_a_list_is_cut_at_commas_and_has_no_empty_parts() -> None:
    assert listed(" a, b,, ,c ") == ("a", "b", "c")
    assert listed("") == ()
