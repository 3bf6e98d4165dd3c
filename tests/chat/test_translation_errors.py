from masa_node.chat.errors import NotTranslatable
from masa_node.chat.statuses import status_of_kind
from masa_node.chat.translation_errors import ThreadNotKept


def test_it_is_an_error_of_the_caller_with_the_code_that_anthropics_sdks_know() -> None:
    assert ThreadNotKept.code == "thread_unsupported_request"
    assert status_of_kind(ThreadNotKept) == status_of_kind(NotTranslatable) == 400
