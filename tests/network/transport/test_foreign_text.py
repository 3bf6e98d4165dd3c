from hypothesis import given
from hypothesis import strategies as st

from masa_node.network.transport.foreign_text import MAX_MESSAGE_CHARS, sanitize


@given(st.text())
def test_whatever_a_stranger_says_is_one_printable_short_line(text: str) -> None:
    shown = sanitize(text)
    assert shown.isprintable()
    assert len(shown) <= MAX_MESSAGE_CHARS


def test_lines_become_one_and_what_steers_a_terminal_is_a_question_mark() -> None:
    assert sanitize("busy,\n  ask\tlater") == "busy, ask later"
    assert sanitize("\x1b[31mred") == "?[31mred"
