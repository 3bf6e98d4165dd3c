import json
import sys
from types import FrameType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masa_node.dialects import condensing
from masa_node.dialects.condensing import at_once, condensed, end_of_container, end_of_text
from masa_node.dialects.fields import FIELDS, read

TEXTS = st.text(max_size=30) | st.sampled_from(['"', "\\", '\\"', "[{", "}]", '":{', "x" * 50, "\\" * 9, "ü🙂" * 9])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(TEXTS, inner, max_size=6),
    max_leaves=30,
)
OBJECTS = st.dictionaries(TEXTS, VALUES, max_size=6)


@pytest.fixture(autouse=True)
def small_windows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that few bytes have as many borders as megabytes have."""
    if request.node.get_closest_marker("untraced"):
        return
    monkeypatch.setattr(condensing, "FIRST_WINDOW_BYTES", 4)
    monkeypatch.setattr(condensing, "STEP_BYTES", 16)
    monkeypatch.setattr(condensing, "HOPS", 3)
    monkeypatch.setattr(condensing, "HOP_BYTES", 2)


def elided(value: object, depth: int) -> object:
    """What has to be left of a value."""
    if isinstance(value, dict):
        return {key: elided(inner, depth - 1) for key, inner in value.items()} if depth else {}
    if isinstance(value, list):
        return [elided(inner, depth - 1) for inner in value] if depth else []
    return value


@given(value=OBJECTS, depth=st.integers(1, 4), indent=st.none() | st.just(2), is_ascii=st.booleans())
def test_what_is_not_too_deep_stays_and_the_rest_is_left_empty(
    value: dict[str, object], depth: int, indent: int | None, *, is_ascii: bool
) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=is_ascii).encode()
    small = at_once(condensed(text, depth))
    assert small is not None
    assert json.loads(small) == elided(value, depth)


@given(value=OBJECTS, end=st.integers(0, 400))
def test_what_is_cut_stays_cut(value: dict[str, object], end: int) -> None:
    text = json.dumps(value).encode()
    if end < len(text):
        small = at_once(condensed(text[:end], 1))
        assert small is not None
        assert read(small, FIELDS) is None


@given(data=st.binary() | st.lists(st.sampled_from(['"', "\\", "[", "]", "{", "}", "x", ",", ":"])).map("".join))
def test_any_bytes_come_to_an_end(data: bytes | str) -> None:
    raw = data.encode() if isinstance(data, str) else data
    assert at_once(condensed(raw, 2)) is not None


def test_long_texts_and_runs_are_cut_and_still_texts_and_runs() -> None:
    words = b'say \\"hi\\" \\ud83d\\ude42 \xc3\xbc ' * 1_000
    numbers = b"0.25, " * 1_000
    raw = b'{"a":"%s","b":[%s1],"c":%s,"d":  %s  1,"e":true}' % (words, numbers, b"9" * 5_000, b" " * 5_000)
    small = at_once(condensed(raw, 4))
    assert small is not None
    assert len(small) < 3_000
    fields = json.loads(small)
    assert json.loads(b'"%s"' % words).startswith(fields["a"][:-2])  # half an emoji, and the sign of a cut
    assert fields.keys() == {"a", "b", "c", "d", "e"}
    assert fields["e"] is True


def test_names_and_their_order_stay_those_that_come_twice_too() -> None:
    raw = b'{"model":"a", "x":[{"model":"b"}],"mod\\u0065l":"c"}'
    assert at_once(condensed(raw, 1)) == b'{"model":"a", "x":[],"mod\\u0065l":"c"}'


def test_more_parts_than_are_looked_at_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(condensing, "MAX_PARTS", 100)
    assert at_once(condensed(b"[" + b"1,{}," * 150 + b"1]", 1)) is None
    assert at_once(condensed(b"[[" + b"1,{}," * 60 + b"1]]", 1)) == b"[[]]"


SIGNS = st.lists(st.sampled_from(['"', "\\", '\\"', "[", "]", "{", "}", "x" * 9, '"",', "[],"]), max_size=40).map(
    "".join
)


def plain_end_of_text(data: str, at: int) -> int:
    """The same, a sign at a time."""
    while at < len(data) and data[at] != '"':
        at += 2 if data[at] == "\\" else 1
    return min(at, len(data)) + 1


def plain_end_of_container(data: str) -> int:
    """The same, a sign at a time. An escape that stands outside of a text is read as in one: it is no JSON at all."""
    at = depth = 0
    while at < len(data):
        if data.startswith(("\\\\", '\\"'), at):
            at += 1
        elif data[at] == '"':
            at = plain_end_of_text(data, at + 1) - 1
        depth += (data[at : at + 1] in {"[", "{"}) - (data[at : at + 1] in {"]", "}"})
        at += 1
        if depth <= 0:
            return at
    return len(data) + 1


@given(rest=SIGNS)
def test_a_text_ends_at_the_first_quote_that_is_not_escaped(rest: str) -> None:
    data = f'"{rest}'
    end = at_once(end_of_text(data.encode(), 0))
    assert min(end, len(data) + 1) == min(plain_end_of_text(data, 1), len(data) + 1)


@pytest.mark.parametrize("backslashes", [1, 2, 3, 4])
@pytest.mark.parametrize("back_bytes", range(6))
def test_an_escape_that_is_parted_where_a_quote_is_looked_for_in_steps_stays_one(
    backslashes: int, back_bytes: int
) -> None:
    step_bytes = condensing._FIND_STEPS * condensing.STEP_BYTES
    data = '"' + "a" * (step_bytes - back_bytes) + "\\" * backslashes + '",\\"' + "b" * 9 + '"'
    assert at_once(end_of_text(data.encode(), 0)) == plain_end_of_text(data, 1)


@given(rest=SIGNS)
def test_a_container_ends_at_the_bracket_that_closes_it(rest: str) -> None:
    data = f"[{rest}"
    end = at_once(end_of_container(data.encode(), 0))
    assert min(end, len(data) + 1) == min(plain_end_of_container(data), len(data) + 1)


@pytest.mark.parametrize("indent", [4, 20, 400])
def test_however_far_it_is_indented_what_has_many_parts_stays_json(indent: int) -> None:
    entries = [{"object": "embedding", "index": number, "embedding": [0.5], "is": True} for number in range(400)]
    value = {"data": entries, "usage": {"prompt_tokens": 7, "total_tokens": 1_790_000_000}, "model": "m"}
    small = at_once(condensed(json.dumps(value, indent=indent).encode(), 4))
    assert small is not None
    assert json.loads(small) == elided(value, 4)


def test_a_number_that_is_long_is_one_where_there_are_many_parts_too() -> None:
    value = {"x": [{"a": 10**30, "b": -(10**30), "": [10**30, 10**30]} for _ in range(600)], "y": 10**30}
    small = at_once(condensed(json.dumps(value, indent=9).encode(), 2))
    assert small is not None
    assert json.loads(small) == {"x": [{}] * 600, "y": 0}
    small = at_once(condensed(json.dumps(value).encode(), 3))
    assert small is not None
    assert json.loads(small)["x"][-1] == {"a": 0, "b": 0, "": []}


@pytest.mark.untraced
@pytest.mark.parametrize("text_bytes", [100, 1_000, 4_000, 30_000, 400_000])
@pytest.mark.parametrize("line", [r"\"a\": [x, {y}],\n", r"say \"hi\" ", "x" * 150 + r"\"", r"\\\"", "x"])
def test_a_megabyte_takes_few_calls_however_long_its_texts_are_and_whatever_is_escaped(
    text_bytes: int, line: str
) -> None:
    text = line * (text_bytes // len(line))
    data = b'{"messages":[%s],"model":"m"}' % b",".join(
        [b'{"content":"%s"}' % text.encode()] * (1_000_000 // text_bytes)
    )
    calls = 0

    def count(frame: FrameType, event: str, arg: object) -> None:
        nonlocal calls
        del frame, arg
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        small = at_once(condensed(data, 1))
    finally:
        sys.setprofile(None)
    assert small == b'{"messages":[],"model":"m"}'
    assert calls < 15_000  # fifteen for a kilobyte
