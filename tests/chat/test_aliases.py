import pytest

from masa_node.chat.aliases import MAX_CHAIN, NO_ALIASES, read_aliases
from masa_node.chat.errors import ConfigurationError


def test_a_name_stands_for_its_models_in_their_order() -> None:
    aliases = read_aliases({"gpt-4o": ["claude", "qwen3"]})
    assert aliases.targets_of("gpt-4o") == aliases.targets_of("gpt-4o:latest") == ("claude", "qwen3")
    assert aliases.targets_of("gpt-4") == aliases.targets_of("gpt-4o-mini") == ()
    assert NO_ALIASES.targets_of("gpt-4o") == ()


@pytest.mark.parametrize(
    ("pattern", "fits", "does_not"),
    [
        ("gpt-4*", ("gpt-4", "gpt-4o", "gpt-4.1-mini"), ("gpt-5", "my-gpt-4", "GPT-4")),
        ("*-mini", ("gpt-mini", "-mini", "o-mini:latest"), ("mini", "gpt-minis")),
        ("a*b*c", ("abc", "a-b-c", "abbcc"), ("ac", "acb", "ab")),
        ("ab*ba", ("abba", "ab-ba"), ("aba", "ab")),
        ("*", ("anything", "ö/ü"), ()),
        ("llama.*", ("llama.3",), ("llama3",)),
        ("llama3:*", ("llama3:8b", "llama3:latest"), ("llama3",)),
    ],
)
def test_a_star_stands_for_any_characters_and_nothing_else_is_special(
    pattern: str, fits: tuple[str, ...], does_not: tuple[str, ...]
) -> None:
    aliases = read_aliases({pattern: ["m"]})
    assert [name for name in (*fits, *does_not) if aliases.targets_of(name)] == list(fits)


def test_a_name_comes_before_patterns_and_the_longer_pattern_before_the_shorter() -> None:
    aliases = read_aliases({"*": ["any"], "gpt-*": ["short"], "gpt-4*": ["long"], "gpt-4o": ["exact"]})
    found = [aliases.targets_of(name) for name in ("gpt-4o", "gpt-4", "gpt-5", "x")]
    assert found == [("exact",), ("long",), ("short",), ("any",)]
    assert aliases.names == ("gpt-4o",)


def test_an_alias_of_an_alias_is_followed_each_model_once() -> None:
    aliases = read_aliases({"fast": ["small", "big"], "small": ["tiny", "smollm2"], "x-*": ["fast", "tiny"]})
    assert aliases.targets_of("fast") == aliases.targets_of("x-1") == ("tiny", "smollm2", "big")


def test_patterns_are_for_what_callers_ask_and_are_not_followed() -> None:
    aliases = read_aliases({"gpt-4*": ["gpt-4o"], "*": ["llama3.2"]})
    assert aliases.targets_of("gpt-4-turbo") == ("gpt-4o",)
    assert aliases.targets_of("x") == ("llama3.2",)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"a": ["a"]}, "a > a"),
        ({"a": ["a:latest"]}, "a > a"),
        ({"a": ["b"], "b": ["c"], "c": ["b"]}, "b > c > b"),
        ({"a": ["m", "b"], "b": ["n", "a"]}, "a > b > a"),
        ({"x*": ["b"], "b": ["c"], "c": ["b"]}, "b > c > b"),
    ],
)
def test_a_loop_is_refused_by_its_names(table: dict[str, list[str]], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        read_aliases(table)


def test_a_chain_that_nobody_could_follow_is_refused() -> None:
    chain = {f"a{number}": [f"a{number + 1}"] for number in range(2_000)}
    with pytest.raises(ConfigurationError, match=f"more than {MAX_CHAIN} aliases"):
        read_aliases(chain)


def test_one_name_twice_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="twice"):
        read_aliases({"a": ["m"], "a:latest": ["n"]})
