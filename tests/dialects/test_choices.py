import msgspec
import pytest

from masa_node.dialects import choices as choices_
from masa_node.dialects.choices import Choices


def noted(*lists: bytes) -> Choices:
    choices = Choices()
    for raw in lists:
        choices.note(msgspec.Raw(raw))
    return choices


@pytest.mark.parametrize("reason", [b'"stop"', b'{"type":"length"}', b"2", b"true", b'["stop"]', b"0", b"{}", b"[]"])
def test_any_reason_ends_a_choice(reason: bytes) -> None:
    choices = noted(b'[{"index":0,"delta":{"content":"a"}}]', b'[{"index":0,"finish_reason":%s}]' % reason)
    assert (choices.have_ended, choices.any_ended, choices.are_open) == (True, True, False)


@pytest.mark.parametrize("reason", [b"null", b'""', b"false", b'"null"'])
def test_what_is_no_reason_says_that_it_has_not_ended(reason: bytes) -> None:
    choices = noted(b'[{"index":0,"finish_reason":%s}]' % reason)
    assert (choices.are_open, choices.is_told) == (True, True)


def test_one_that_never_spoke_of_an_end_was_not_said_to_be_open() -> None:
    choices = noted(b'[{"index":0,"delta":{"content":"a"}}]')
    assert (choices.are_open, choices.is_told) == (True, False)


def test_all_of_several_have_to_end() -> None:
    choices = noted(b'[{"index":0},{"index":1}]', b'[{"index":1,"finish_reason":"stop"}]')
    assert (choices.have_ended, choices.any_ended, choices.are_open) == (False, True, True)
    choices.note(msgspec.Raw(b'[{"index":0,"finish_reason":"stop"}]'))
    assert choices.have_ended


def counted(*indexes: int, ends: int) -> Choices:
    pieces = [b'[{"index":%d,"delta":{"content":"a"},"finish_reason":null}]' % index for index in indexes]
    return noted(*pieces, b'[{"index":%d,"delta":{},"finish_reason":"stop"}]' % ends)


def test_pieces_of_one_answer_may_be_counted() -> None:
    """Foundry-Local 263; longer than there may be choices."""
    for length in (2, 3, choices_.MAX_CHOICES + 1):
        choices = counted(*range(length), ends=length)
        assert (choices.have_ended, choices.any_ended, choices.are_open) == (True, True, False)


@pytest.mark.parametrize(
    ("indexes", "ends"), [((0, 1, 2), 4), ((0, 1, 2, 0), 3), ((0, 1, 1), 2), ((1, 2, 3), 4), ((0,), 1), ((0, 1, 2), 2)]
)
def test_choices_that_come_again_or_out_of_turn_are_no_counted_pieces(indexes: tuple[int, ...], ends: int) -> None:
    assert counted(*indexes, ends=ends).are_open


def test_what_comes_behind_the_end_of_counted_pieces_is_open() -> None:
    choices = counted(0, 1, 2, ends=3)
    choices.seen(4)
    assert choices.are_open


def test_choices_of_one_list_are_no_counted_pieces() -> None:
    assert noted(b'[{"index":0},{"index":1},{"index":2}]', b'[{"index":3,"finish_reason":"stop"}]').are_open


def test_without_an_index_the_place_in_the_list_counts() -> None:
    choices = noted(b'[{"text":"a","finish_reason":"stop"},{"text":"b"}]')
    assert (choices.any_ended, choices.are_open) == (True, True)


def test_unread_frames_are_of_the_first_choice() -> None:
    choices = Choices()
    choices.note_plain(b'data: {"choices":[{"delta":{"content":"a"},"finish_reason":null}]}\n\n')
    assert (choices.are_open, choices.is_told) == (True, True)


@pytest.mark.parametrize("raw", [b"[]", b"null", b"{}", b" [ ]"])
def test_unread_frames_without_a_choice_are_of_none(raw: bytes) -> None:
    choices = noted(b'[{"index":1,"delta":{"content":"a"}}]')
    choices.note_plain(b'data: {"choices":%b,"usage":null}\n\n' % raw)
    choices.ended(1)
    assert choices.have_ended


@pytest.mark.parametrize("raw", [b"[1]", b'"x"', b"{}"])
def test_what_is_no_list_of_objects_is_not_for_us_to_judge(raw: bytes) -> None:
    assert Choices().note(msgspec.Raw(raw)) == (True, False)


def test_choices_without_end_are_not_all_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choices_, "MAX_CHOICES", 3)
    choices = Choices()
    for index in range(10):
        choices.ended(index)
    assert choices.have_ended
