from masa_node.dialects.faults import MAX_QUOTED_CHARS, quoted


def test_what_came_is_quoted_in_one_short_printable_line() -> None:
    assert quoted(b"<html>\n  <h1>502</h1>") == "'<html> <h1>502</h1>'"
    assert quoted(b"\x1b[31m\xff\xe2\x80\xae") == repr("\x1b[31m\ufffd\u202e")
    assert quoted(b"\x1b").isprintable()
    assert len(quoted(b"x" * 10_000_000)) == MAX_QUOTED_CHARS + 2
    assert quoted(b" \n") == "an empty body"
