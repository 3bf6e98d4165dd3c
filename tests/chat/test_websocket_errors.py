from masa_node.chat.statuses import is_final, status_of
from masa_node.chat.websocket_errors import NoWebSocket


def test_codex_is_told_by_the_status_that_it_has_to_go_on_without() -> None:
    assert status_of(NoWebSocket("m", "POST")) == 426
    assert is_final(NoWebSocket("m", "POST"))
