import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from masa_node.chat.errors import CallerError
from masa_node.chat.request import Endpoint
from masa_node.dialects.bodies import glance
from masa_node.dialects.bodies.peek import Peeked
from masa_node.dialects.passed.forms import MAX_FORM_PARTS, form_renamed, form_type, peek_form

TYPE = "multipart/form-data; boundary=xYz"
FILE = b'Content-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav'
SOUND = b"RIFF\x00\r\n\r\n--xY\r\n-\xff\xfe" + bytes(range(256))


def field(name: str, value: bytes) -> tuple[bytes, bytes]:
    return b'Content-Disposition: form-data; name="%s"' % name.encode(), value


def form(*parts: tuple[bytes, bytes], boundary: bytes = b"xYz", end: bytes = b"--\r\n") -> bytes:
    """As every client writes it."""
    lines = b"".join(b"--%s\r\n%s\r\n\r\n%s\r\n" % (boundary, head, value) for head, value in parts)
    return lines + b"--" + boundary + end


MODEL = field("model", b"whisper-1")


@pytest.mark.parametrize(
    "parts",
    [
        (MODEL,),
        (MODEL, (FILE, SOUND)),
        ((FILE, SOUND), MODEL),
        ((FILE, SOUND), MODEL, (FILE, b"")),
        (MODEL, MODEL),
        (field("models", b"other"), field("Model", b"other"), MODEL),
        ((b"content-disposition: FORM-DATA; NAME=model", b"whisper-1"),),
        ((b'Content-Disposition: form-data; name="model"\r\nContent-Type: text/plain', b"whisper-1"),),
        ((b'Content-Type: text/plain; charset="UTF-8"\r\nContent-Disposition: form-data; name="model"', b"whisper-1"),),
        (field("_charset_", b"UTF-8"), MODEL),
        (field("_charset_", b"iso-8859-1"), MODEL, field("prompt", b"\xe9")),
        ((MODEL[0] + b"\r\nContent-Type: a/b; charset=ISO-8859-1\r\nContent-Transfer-Encoding: 8bit", MODEL[1]),),
        ((FILE + b"; charset=utf-16", SOUND), MODEL),
        ((b'Content-Disposition: form-data; filename="a \\" name=b.wav"; name="file"', SOUND), MODEL),
        ((b"Content-Disposition: form-data; name=\"file\"; filename=x; filename*=UTF-8''%e2%82%ac", SOUND), MODEL),
    ],
)
def test_the_model_is_found_wherever_it_stands(parts: tuple[tuple[bytes, bytes], ...]) -> None:
    assert peek_form(form(*parts), TYPE) == Peeked("whisper-1", wants_stream=False)
    assert peek_form(form(*parts, end=b"--"), TYPE).model == "whisper-1"


@pytest.mark.parametrize(("said", "wanted"), [(b"true", True), (b"True", True), (b"1", True), (b"false", False)])
def test_a_form_says_whether_it_asks_for_a_stream(said: bytes, *, wanted: bool) -> None:
    assert peek_form(form(MODEL, field("stream", said)), TYPE).wants_stream is wanted


@pytest.mark.parametrize(
    "media_type",
    [
        'multipart/form-data; boundary="xYz"',
        "Multipart/Form-Data;charset=utf-8;Boundary=xYz",
        "multipart/form-data; boundary=xYz; charset=UTF-8",
        "multipart/form-data; boundary=xYz; charset=ISO-8859-1",
        "multipart/form-data; boundary=xYz;",
        'multipart/form-data; boundary="xYz" ; ',
    ],
)
def test_the_boundary_may_be_written_in_each_way(media_type: str) -> None:
    assert peek_form(form(MODEL), media_type).model == "whisper-1"
    assert form_type((("content-type", media_type),), Endpoint.OPENAI_TRANSCRIPTIONS) == media_type


@pytest.mark.parametrize("lines", [1, 2, 8])
def test_blank_lines_before_a_form_are_no_part_of_it(lines: int) -> None:
    body = b"\r\n" * lines + form(MODEL)
    assert peek_form(body, TYPE).model == "whisper-1"
    assert form_renamed(body, TYPE, "other") == body.replace(b"whisper-1", b"other")


@pytest.mark.parametrize("before", [b"\r\n" * 9, b"\n", b"\r", b" ", b"\r\n ", b"This is a form.\r\n"])
def test_anything_else_before_a_form_is_refused(before: bytes) -> None:
    with pytest.raises(CallerError, match="does not begin with the boundary"):
        peek_form(before + form(MODEL), TYPE)


@pytest.mark.parametrize(
    "media_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        'multipart/form-data; boundary=""',
        "multipart/form-data; boundary=xYz; boundary=abc",
        "multipart/form-data; boundary=xYz; BOUNDARY=abc",
        'multipart/form-data; boundary="x\\Yz"',
        "multipart/form-data; boundary=xYz boundary=abc",
        f"multipart/form-data; boundary={'x' * 71}",
        "multipart/form-data; boundary=xYz; boundary*=utf-8''abc",
        "multipart/form-data; boundary=xYz; charset=utf-7",  # in which `+AG0-odel` is `model`
        "multipart/form-data; charset=UTF-16; boundary=xYz",
        "multipart/form-data; boundary=xYz; charset*=utf-8''utf-7",
        "multipart/form-data; boundary=xYz; charset=utf-8; charset=utf-7",
    ],
)
def test_a_boundary_that_is_none_or_two_and_another_charset_are_refused(media_type: str) -> None:
    with pytest.raises(CallerError):
        peek_form(form(MODEL), media_type)


def test_letters_in_a_form_that_says_it_is_of_another_charset_are_refused() -> None:
    with pytest.raises(CallerError, match="another charset"):
        peek_form(form(field("model", "ä".encode())), "multipart/form-data; boundary=xYz; charset=ISO-8859-1")


ODD = {
    "another model behind it": form(MODEL, field("model", b"other")),
    "another model before it": form(field("model", b"other"), MODEL),
    "no model": form((FILE, SOUND)),
    "an empty model": form(field("model", b"")),
    "a model that is a file": form((b'Content-Disposition: form-data; name="model"; filename="m"', b"whisper-1")),
    "a model that is encoded": form((MODEL[0] + b"\r\nContent-Transfer-Encoding: base64", b"d2hpc3Blci0x")),
    "a model of another encoding": form(field("model", b"\xff\xfe")),
    "a model of another charset": form((MODEL[0] + b"\r\nContent-Type: text/plain; charset=utf-7", b"+AG0-1")),
    "letters of a charset of letters": form((MODEL[0] + b"\r\nContent-Type: a/b; charset=latin1", "ä".encode())),
    "such letters in a form of that charset": form(field("_charset_", b"iso-8859-1"), field("model", "ä".encode())),
    "one in quotes": form((MODEL[0] + b'\r\nContent-Type: text/plain;Charset = "UTF-16"', b"m1")),
    "one in two parts": form((MODEL[0] + b"\r\nContent-Type: text/plain; charset*0=utf-; charset*1=7", b"m")),
    "a stream of another charset": form(MODEL, (field("stream", b"")[0] + b"\r\nContent-Type: a/b;charset=x", b"1")),
    "another charset for all": form(field("_charset_", b"utf-7"), field("model", b"+AG0-1")),
    "two charsets for all": form(field("_charset_", b"utf-8"), field("_charset_", b"utf-7"), MODEL),
    "a long model": form(field("model", b"x" * 5_000)),
    "two names": form((b'Content-Disposition: form-data; name="model"; name="file"', b"whisper-1")),
    "an escaped name": form((b'Content-Disposition: form-data; name="mo\\del"', b"other"), MODEL),
    "a name in the extended form": form((b"Content-Disposition: form-data; name*=UTF-8''model", b"other"), MODEL),
    "two dispositions": form((MODEL[0] + b'\r\nContent-Disposition: form-data; name="file"', b"whisper-1")),
    "a folded head": form((b'Content-Disposition: form-data;\r\n name="model"', b"whisper-1")),
    "a head with a bare LF": form((b'X: y\nContent-Disposition: form-data; name="model"', b"other"), MODEL),
    "a space before the colon": form((b'Content-Disposition : form-data; name="model"', b"other"), MODEL),
    "an attachment": form((b'Content-Disposition: attachment; name="model"', b"other"), MODEL),
    "no disposition": form((b"Content-Type: text/plain", b"other"), MODEL),
    "no head": b"--xYz\r\n\r\nother\r\n" + form(MODEL),
    "a part of nothing": b"--xYz\r\n" + form(MODEL),
    "a preamble": b"hello\r\n" + form(MODEL),
    "an epilogue": form(MODEL) + form(field("model", b"other")),
    "a boundary behind a bare LF": form(field("file", b"a\n--xYz\r\n\r\n"), MODEL),
    "a longer boundary": form(field("file", b"a\r\n--xYzz\r\n\r\n"), MODEL),
    "a boundary with words behind it": form(field("file", b"a\r\n--xYz hello\r\n"), MODEL),
    "a boundary in a value": form((FILE, b"--xYz"), MODEL),
    "LF alone": form(MODEL).replace(b"\r\n", b"\n"),
    "a form that is cut": form(MODEL, (FILE, SOUND))[:-12],
    "a form without its last dashes": form(MODEL, end=b"\r\n"),
    "another boundary": form(MODEL, boundary=b"abc"),
    "too many parts": form(*[field("x", b"")] * MAX_FORM_PARTS, MODEL),
    "a head without an end": form((FILE + b"x" * 5_000, SOUND), MODEL),
    "nothing": b"",
}


@pytest.mark.parametrize("body", ODD.values(), ids=ODD)
def test_what_readers_could_take_for_another_model_is_refused(body: bytes) -> None:
    with pytest.raises(CallerError):
        peek_form(body, TYPE)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    for each in (body, b"--xYz\r\n" + body, form((FILE, body), MODEL)):
        try:
            assert peek_form(each, TYPE).model
        except CallerError as refusal:
            assert refusal.message  # noqa: PT017 - either is right


PIECES = st.sampled_from(
    [b"--xYz", b"\r\n", b"--", b"xYz", b"-", b"\r", b"", MODEL[0], b"\r\n\r\n", b"whisper-1", b"a"]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.lists(PIECES | st.binary(max_size=4), max_size=12).map(b"".join))
def test_a_fast_search_finds_the_same(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    def said(body: bytes) -> object:
        try:
            return peek_form(body, TYPE)
        except CallerError as refusal:
            return refusal.message

    for body in (data, form((FILE, data), MODEL), form(MODEL) + data, b"--xYz\r\n" + data + b"\r\n--xYz--"):
        fast = said(body)
        with monkeypatch.context() as patch:
            patch.setattr(glance, "fast_search", lambda: None)
            assert said(body) == fast


@given(value=st.binary(max_size=60).filter(lambda value: b"xYz" not in value), is_first=st.booleans())
def test_only_the_name_is_replaced(value: bytes, *, is_first: bool) -> None:
    parts = [MODEL, (FILE, value)] if is_first else [(FILE, value), MODEL]
    renamed = [field("model", "größer".encode()) if part is MODEL else part for part in parts]
    assert form_renamed(form(*parts), TYPE, "größer") == form(*renamed)


def test_only_where_a_form_may_be_is_one_read() -> None:
    headers = (("content-type", TYPE),)
    assert form_type(headers, Endpoint.OPENAI_IMAGE_EDITS) == TYPE
    assert form_type(headers, Endpoint.OPENAI_CHAT) == ""
    assert form_type((*headers, *headers), Endpoint.OPENAI_IMAGE_EDITS) == ""
    assert form_type((("content-type", "application/json"),), Endpoint.OPENAI_IMAGE_EDITS) == ""
