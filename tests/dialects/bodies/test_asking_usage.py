"""A body that asks for a stream's token counts, with no other byte touched."""

import json

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from masa_node.dialects.bodies import asking_usage as asking_for
from masa_node.dialects.bodies import glance
from masa_node.dialects.bodies.asking_usage import asking_usage
from masa_node.dialects.condensing import LARGE_BYTES, Steps, at_once

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


LONG = b'{"role":"user","content":"\\"upstream_options\\": the stream_options"},' * (LARGE_BYTES // 60)
ASKS = b',"stream_options":{"include_usage":true}'


@pytest.mark.parametrize(
    ("before", "behind", "changed"),
    [
        (b'{"model":"m","messages":[', b"1]}", b"1]" + ASKS + b"}"),
        (b'{"messages":[', b'1],"model":"m","x":[{"stream_options":1}] } \n', None),
        (b'{"messages":[', b'1],"stream_options":null}', b'1],"stream_options":{"include_usage":true}}'),
        (
            b'{"messages":[',
            b'1],"stream_options":{"include_usage":false}}',
            b'1],"stream_options":{"include_usage":false}}',
        ),
    ],
    ids=repr,
)
def test_a_large_body_is_changed_without_a_look_at_each_part(
    monkeypatch: pytest.MonkeyPatch, before: bytes, behind: bytes, changed: bytes | None
) -> None:
    exact = asking_for._asking

    def looks_only_at_what_is_small(body: bytes) -> Steps[bytes]:
        assert len(body) < 200
        return exact(body)

    body = before + LONG + behind
    expected = at_once(exact(body))
    assert changed is None or expected == before + LONG + changed
    monkeypatch.setattr(asking_for, "_asking", looks_only_at_what_is_small)
    assert asking(body) == expected


NAMES = ("stream_options", "Stream_Options", "\u017ftream_option\u017f", "\ufb05ream_options", "\\ufb06ream_options")
OTHER_NAMES = (
    "stream_o\\u0070tions",
    "stream_opt\\u0069ons",
    "\\u0073tream_options",
    "stream\\u005Foptions",
    "x",
    "up",
)
VALUES = (
    "null",
    "{}",
    '{"stream_options":null}',
    '[{"stream_options":{}}]',
    '"stream_options"',
    '"\\"stream_options\\":"',
)
FIELDS = st.lists(
    st.tuples(st.sampled_from(NAMES + OTHER_NAMES), st.sampled_from(VALUES), st.sampled_from(["", " ", "\n\t"])),
    max_size=5,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fields=FIELDS, before=st.sampled_from(["", "\ufeff", " "]))
@example(fields=[("\ufb05ream_options", "{}", "")], before="")
def test_a_large_body_becomes_what_a_look_at_each_part_makes_of_it(
    monkeypatch: pytest.MonkeyPatch, fields: list[tuple[str, str, str]], before: str
) -> None:
    monkeypatch.setattr(glance, "SMALL_BYTES", 0)
    monkeypatch.setattr(glance, "WINDOW_BYTES", 24)
    text = ",".join(f'{space}"{name}"{space}:{space}{value}{space}' for name, value, space in fields)
    body = f"{before}{{{text}}}".encode()
    assert asking(body) == at_once(asking_for._asking(body))
