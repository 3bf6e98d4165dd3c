import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masa_node.dialects.halves import MAX_MARKS, at_last, has_halves, joined, marked, without_halves

FACE = "\N{GRINNING FACE}"
signs = st.sampled_from(["a", "\\", '"', "ж", "水", FACE, "\ud83d", "\ude00", "\ufffd", "ud83d"])
texts = st.lists(signs, max_size=12).map("".join)


def in_whole(text: str) -> str:
    """As JavaScript writes a text out: pairs are characters, and what is no pair is U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def whole(pieces: list[bytes]) -> str:
    """What these JSON texts say together."""
    out, begun = "", ""
    for piece in pieces:
        words, begun = joined(begun + json.loads(marked(piece)))
        out += words
    return out + at_last(begun)


@given(st.lists(texts, max_size=5))
def test_pieces_that_are_cut_between_two_escapes_say_what_they_say_together(pieces: list[str]) -> None:
    assert whole([json.dumps(piece).encode() for piece in pieces]) == in_whole("".join(pieces))


@given(st.text(st.sampled_from("aж水" + FACE)), st.lists(st.integers(0, 40)))
def test_pieces_that_are_cut_between_two_bytes_say_what_they_say_together(text: str, cuts: list[int]) -> None:
    data = text.encode()
    ends = [0, *sorted(cuts), len(data)]
    assert whole([b'"%b"' % data[start:end] for start, end in pairwise(ends)]) == text


@given(st.binary(max_size=6).filter(lambda data: not set(data) & set(b'"\\') and min(data, default=32) >= 32))
def test_bytes_that_are_no_text_are_replaced_as_everywhere(data: bytes) -> None:
    assert whole([b'"%b"' % data]) == data.decode("utf-8", "replace")


@given(texts)
def test_only_halves_are_replaced(text: str) -> None:
    data = json.dumps(text).encode()
    assert json.loads(without_halves(data)) == in_whole(text)
    assert has_halves(data) == (
        len(in_whole(text)) != len(text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "ignore"))
    )


@pytest.mark.parametrize("data", [b'"a"', rb'"\ud83d\ude00"', '"ж"'.encode(), rb'"\\ud83d"', b'"\\u0416"'])
def test_what_is_whole_has_no_marks(data: bytes) -> None:
    assert not has_halves(data)
    assert marked(data) == data


@pytest.mark.parametrize("data", [rb'"\ufdd0 \ud83d"', '"\ufdd1 '.encode() + b'\xf0"'])
def test_what_could_be_taken_for_marks_is_left_as_it_is(data: bytes) -> None:
    assert marked(data) == data


def test_no_more_is_held_than_one_character_takes() -> None:
    for end in (rb"\ud83d", b"\xf0\x9f\x98", b"\xe6\xb0", b"\xd0"):
        words, begun = joined(json.loads(marked(b'"a' + end * 3 + b'"')))
        assert words.startswith("a\ufffd")
        assert joined(begun) == ("", begun)
        assert len(at_last(begun)) == 1


def test_of_more_than_anybody_writes_the_first_are_marked_and_the_rest_replaced() -> None:
    many = b"[%b]" % b",".join([b'"\xf0\x9f"'] * (MAX_MARKS + 10))
    assert marked(many).count(b"\xef\xb7\x91") == 2 * MAX_MARKS
    assert json.loads(marked(many))[-1] == "\ufffd"
    many = b'"%b"' % (rb"\ud83d" * (MAX_MARKS + 10))
    assert marked(many).count(b"\xef\xb7\x90") == MAX_MARKS
    assert without_halves(marked(many)).endswith(rb'\ufffd"')
