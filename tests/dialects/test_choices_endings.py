import pytest

from masa_node.dialects import choices as endings_
from masa_node.dialects.choices import Choices, Endings, EndingsByModel


def open_choices(*, is_told: bool = True) -> Choices:
    choices = Choices()
    choices.seen(0, is_told=is_told)
    return choices


def ended_choices() -> Choices:
    choices = Choices()
    choices.ended(0)
    return choices


def test_a_stream_whose_choices_have_ended_is_whole() -> None:
    assert Endings().begin()(ended_choices())


def test_a_server_that_never_speaks_of_an_end_is_taken_at_its_terminal_frame() -> None:
    endings = Endings()
    assert endings.begin()(open_choices(is_told=False))
    assert endings.begin()(open_choices(is_told=False))


def test_the_first_stream_that_says_it_has_not_ended_was_cut_and_the_next_is_how_the_server_is() -> None:
    endings = Endings()
    assert [endings.begin()(open_choices()) for _ in range(3)] == [False, True, True]


def test_a_server_that_gave_a_reason_once_cuts_what_has_none() -> None:
    endings = Endings()
    endings.begin()(ended_choices())
    assert not endings.begin()(open_choices())
    assert not endings.begin()(open_choices())
    assert not endings.begin()(open_choices(is_told=False))


def test_a_server_that_only_tells_of_a_limit_gives_no_reasons_otherwise() -> None:
    """vllm-mlx 628: `length` at a limit, and null at every other end."""
    endings, at_limit = Endings(), Choices()
    at_limit.ended(0, at_limit=True)
    assert endings.begin()(at_limit)
    assert endings.judge_whole(at_limit)
    assert [endings.begin()(open_choices()) for _ in range(3)] == [False, True, True]
    assert endings.begin()(at_limit)
    assert endings.begin()(open_choices())


def test_a_reason_outweighs_what_was_shown_before() -> None:
    endings = Endings(has_shown=True)
    assert endings.begin()(open_choices())
    endings.begin()(ended_choices())
    assert not endings.begin()(open_choices())


def test_a_stream_that_another_ran_into_shows_nothing() -> None:
    """So does llama_cpp.server cut: each new request ends the one before."""
    endings = Endings()
    for _ in range(5):
        first = endings.begin()
        endings.begin()
        assert not first(open_choices())


def test_a_stream_after_which_another_was_sent_shows_nothing_though_that_has_not_begun() -> None:
    endings = Endings()
    for number in range(1, 6):
        endings.asked = number
        mine = endings.begin(number)
        endings.asked += 1
        assert not mine(open_choices())


def test_one_of_several_that_has_not_ended_is_cut_whatever_was_shown() -> None:
    choices = open_choices()
    choices.ended(1)
    assert not Endings(has_shown=True).begin()(choices)


def test_each_model_has_its_own_and_only_so_many_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endings_, "MAX_MODELS", 2)
    by_model = EndingsByModel()
    first = by_model.of("a")
    assert by_model.of("a") is first
    assert by_model.of("b") is not first
    by_model.of("c")
    assert by_model.of("a") is not first
