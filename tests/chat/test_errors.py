"""The tree itself: names and texts are what callers, logs and metrics hold on to."""

from collections.abc import Iterator

import pytest

from masa_node.chat import errors
from masa_node.chat.errors import ErrorAnswer, MasaError, Overloaded, WrongMethod


def classes(root: type[MasaError] = MasaError) -> Iterator[type[MasaError]]:
    yield root
    for child in root.__subclasses__():
        yield from classes(child)


ALL = list(classes())


@pytest.mark.parametrize("kind", ALL)
def test_every_error_says_in_its_docstring_what_it_means(kind: type[MasaError]) -> None:
    assert kind.__doc__
    assert kind.__doc__.rstrip().endswith(".")


def test_no_two_errors_have_the_same_code() -> None:
    codes = [kind.code for kind in ALL]
    assert sorted(codes) == sorted(set(codes))


@pytest.mark.parametrize("kind", ALL)
def test_a_code_is_one_lower_case_word(kind: type[MasaError]) -> None:
    assert kind.code.isidentifier()
    assert kind.code == kind.code.lower()


def test_the_message_is_the_text_of_the_exception() -> None:
    error = errors.Unreachable("no route")
    assert error.message == str(error) == "no route"


def test_an_error_has_no_slot_until_its_provider_names_it() -> None:
    error = errors.Unreachable("no route")
    error.location = "ollama (http://localhost:11434)"
    assert errors.Unreachable("other").location == ""


def test_errors_carry_what_their_answers_need() -> None:
    assert Overloaded("m", retry_after_s=3).retry_after_s == 3
    assert WrongMethod("m", allowed="POST").allowed == "POST"
    answer = ErrorAnswer("m", status=429, headers=(("retry-after", "1"),), body=b"{}", is_json=True)
    assert (answer.status, answer.headers, answer.body, answer.is_json) == (429, (("retry-after", "1"),), b"{}", True)
