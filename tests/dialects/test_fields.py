import msgspec
import pytest

from masa_node.dialects.fields import ABSENT, TEXT, is_given, message_in, read


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
