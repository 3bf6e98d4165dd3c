"""Settings of few words, and settings that are lists."""

from typing import Annotated, Literal

from masa_node.node.settings.words import listed, what_fits, words_of

Few = Annotated[Literal["", "off", "prefer"], "a setting"]


def test_the_empty_word_stands_for_not_being_set() -> None:
    assert words_of(Literal["", "off", "prefer"]) == ("off", "prefer")
    assert words_of(str) == ()


def test_what_fits_names_the_words_and_says_nothing_of_other_kinds() -> None:
    assert what_fits(Few) == ". It may be off or prefer."
    assert what_fits(Annotated[bool, "a switch"]) == ". It may be 1 or 0."
    assert what_fits(Annotated[int, "a number"]) == ""


def test_a_list_is_cut_at_commas_and_has_no_empty_parts() -> None:
    assert listed(" a, b,, ,c ") == ("a", "b", "c")
    assert listed("") == ()
