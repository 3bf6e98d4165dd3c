"""A body that asks for a stream's token counts, with no other byte touched."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masa_node.dialects.bodies.asking_usage import asking_usage
from masa_node.dialects.condensing import at_once

ASKED = {"include_usage": True}


def asking(body: bytes) -> bytes:
    return at_once(asking_usage(body))


@pytest.mark.parametrize(
    ("before", "behind"),
    [
        ('{"model":"m","stream":true', "}"),
        ('{"model":"m","stream":true , "x": {"stream_options": {}}', " } \n"),
        ('{"a":"}\\"stream_options\\"","model":"m"', "\n}"),
        ('{"pad":"' + "x" * 300_000 + '","z":[' + "[1]," * 90_000 + "2]", "}"),
    ],
)
def test_the_field_is_added_at_the_end_and_no_other_byte_changes(before: str, behind: str) -> None:
    body = before + behind
    end = body.rindex("}")
    changed = asking(body.encode()).decode()
    assert changed == body[:end] + ',"stream_options":{"include_usage":true}' + body[end:]
    assert json.loads(changed) == json.loads(body) | {"stream_options": ASKED}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("null", ASKED),
        ("{}", ASKED),
        (" { } ", ASKED),
        ('{"include_obfuscation":false}', {"include_usage": True, "include_obfuscation": False}),
    ],
)
def test_options_that_do_not_say_are_added_to(options: str, expected: object) -> None:
    body = '{"model":"m", "stream_options" : ' + options + ', "stream":true}'
    changed = json.loads(asking(body.encode()))
    assert changed == json.loads(body) | {"stream_options": expected}
    assert list(changed) == ["model", "stream_options", "stream"]


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"m","stream_options":{"include_usage":true}}',
        b'{"model":"m","stream_options":{"include_usage":false}}',
        b'{"model":"m","stream_options":{"Include_Usage":false}}',
        b'{"model":"m","stream_options":{"include\\u005fusage":false}}',
        b'{"model":"m","stream_options":"odd"}',
        b'{"model":"m","stream_options":[]}',
        b'{"model":"m","stream\\u005foptions":{"include_usage":false}}',
        b'{"model":"m","stream_options":{"x":"' + b"y" * 5_000 + b'"}}',
        b"[]",
        b"",
    ],
)
def test_what_says_something_of_it_stays_as_it_is(body: bytes) -> None:
    assert asking(body) == body


@given(
    st.dictionaries(st.text(max_size=8), st.none() | st.text(max_size=20) | st.lists(st.integers(0, 9)), max_size=6),
    st.sampled_from([None, 1]),
)
def test_any_body_stays_what_it_was_but_for_the_field(fields: dict[str, object], indent: int | None) -> None:
    fields = {"model": "m"} | fields
    changed = json.loads(asking(json.dumps(fields, indent=indent).encode()))
    assert changed.pop("stream_options") == ASKED
    assert changed == fields
