import msgspec
import pytest

from masa_node.dialects.fields import (
    ABSENT,
    FIELDS,
    MAX_WIDE_BYTES,
    TEXT,
    in_utf8,
    is_empty,
    is_error,
    is_given,
    mend,
    message_in,
    read,
)


@pytest.mark.parametrize("raw", [b"", b"null", b"1", b"{", b'"\xff"', b"[" * 100_000, b'"a" "b"'], ids=repr)
def test_what_is_not_text_is_as_if_it_were_absent(raw: bytes) -> None:
    assert read(raw, TEXT) is None


def test_nesting_without_end_is_as_if_it_were_absent() -> None:
    assert read(b"[" * 100_000, msgspec.json.Decoder(list[msgspec.Raw])) is None
    assert read(b'{"a":' * 100_000, msgspec.json.Decoder(dict[str, msgspec.Raw])) is None


def test_absent_and_null_are_not_given() -> None:
    assert not is_given(ABSENT)
    assert not is_given(msgspec.Raw(b"null"))
    assert is_given(msgspec.Raw(b"false"))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (b'"boom"', "boom"),
        (b'{"message":"boom"}', "boom"),
        (b'{"code":1,"message":"boom"}', "boom"),
        (b'{"message":1}', None),
        (b"{}", None),
        (b"[]", None),
        (b"", None),
    ],
)
def test_an_error_is_a_text_or_an_object_with_a_message(error: bytes, message: str | None) -> None:
    assert message_in(msgspec.Raw(error)) == message


@pytest.mark.parametrize("raw", [b"", b"null", b'""', b"{}", b"[]", b"false", b"0", b"{ \n}", b"[ ]"])
def test_what_says_nothing_is_empty(raw: bytes) -> None:
    assert is_empty(msgspec.Raw(raw))
    assert not is_error(msgspec.Raw(raw))


@pytest.mark.parametrize("raw", [b'"a"', b"1", b"true", b'{"a":1}', b"[0]", b'" "'])
def test_what_says_anything_is_not(raw: bytes) -> None:
    assert not is_empty(msgspec.Raw(raw))


def test_an_error_of_which_all_fields_are_empty_is_none() -> None:
    assert not is_error(msgspec.Raw(b'{"message":"","type":"","param":"","code":null}'))
    assert is_error(msgspec.Raw(b'{"message":"","code":400}'))
    assert is_error(msgspec.Raw(b'"boom"'))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32-be"])
def test_json_in_another_encoding_becomes_utf_8_and_what_is_in_utf_8_stays(encoding: str) -> None:
    plain = '{"a":"h\u00e9 \U0001f600"}'
    assert in_utf8(plain.encode(encoding)) == plain.encode()
    for raw in (plain.encode(), b"\xef\xbb\xbf{}", b"", b"{", b"\xff", b"\0" * 5, b"\xff\xfe\0\xdc"):
        assert in_utf8(raw) == raw
    large = (" " * MAX_WIDE_BYTES + plain).encode(encoding)
    assert in_utf8(large) is large


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity"])
def test_numbers_that_json_does_not_have_are_read_as_null_and_words_stay(number: bytes) -> None:
    fields = read(b'\xef\xbb\xbf{"a":[%s, 1],"b":"%s \\"%s"}' % (number, number, number), FIELDS)
    assert fields is not None
    assert bytes(fields["a"]) == b"[null, 1]"
    assert read(fields["b"], TEXT) == f'{number.decode()} "{number.decode()}'


def test_what_is_broken_stays_broken() -> None:
    assert read(b'{"a":NaNs}', FIELDS) is None
    assert read(b"\xef\xbb\xbf", FIELDS) is None


@pytest.mark.parametrize(
    ("raw", "mended"),
    [
        (b'{"NaN":NaN,"a":"-Infinity"}', b'{"NaN":null,"a":"-Infinity"}'),
        (rb'["\"NaN",NaN,"\\",Infinity,"\\\"NaN",-Infinity]', rb'["\"NaN",null,"\\",null,"\\\"NaN",null]'),
        (b'["",NaN,"",-NaN,""]', b'["",null,"",null,""]'),
        (b'[NaN,"\0NaN"]', None),
    ],
)
def test_words_stay_as_they_are_whatever_stands_beside_them(raw: bytes, mended: bytes | None) -> None:
    assert mend(raw) == mended


def test_whole_emojis_beside_half_a_one_stay() -> None:
    assert read(rb'"\ud83d\ude00 \ud83d \\ud83d \ude00"', TEXT) == "\N{GRINNING FACE} \ufffd \\ud83d \ufffd"
