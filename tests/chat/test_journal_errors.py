from masa_node.chat.journal_errors import EndedByOwner, UnknownRequest
from masa_node.chat.statuses import is_final, status_of


def test_whoever_asks_again_for_what_was_ended_is_told_not_to() -> None:
    assert status_of(EndedByOwner("m")) == 403
    assert is_final(EndedByOwner("m"))


def test_a_request_that_is_not_there_is_not_found() -> None:
    assert status_of(UnknownRequest("m")) == 404
