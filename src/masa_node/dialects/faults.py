"""What an error says, whoever words it: its text, and the HTTP status that it stands for. Pure."""

import re
from collections.abc import Iterator

import msgspec

from masa_node.dialects.fields import ABSENT, LIST, TEXT, is_empty, is_error, is_given, read

# ---- quoting ----

MAX_QUOTED_CHARS = 200


def quoted(data: bytes) -> str:
    """The beginning of what somebody sent: one line, printable, in quotes; "an empty body" if there is no text."""
    text = " ".join(data[: MAX_QUOTED_CHARS * 4].decode("utf-8", "replace").split())
    return repr(text[:MAX_QUOTED_CHARS]) if text else "an empty body"


# ---- faults ----

# Servers put errors into answers with status 200, each in a shape of its own: `{"error": {...}}`, `{"object": "error"}`
# (older vLLM), a list of errors (Gemini, Cloudflare), `{"code": 401, "msg": ...}`, `{"detail": ...}` (FastAPI),
# `{"error_code": 50002, "text": ...}` (FastChat).

_STATUSES = range(400, 600)
# Types and codes in words, without regard to case and signs: OpenAI's, Anthropic's, vLLM's, llama.cpp's, Google's.
_WORDS_OF_STATUS = {
    400: (
        "invalidrequesterror invalidargument invalidparametererror failedprecondition outofrange badrequest "
        "badrequesterror contextlengthexceeded exceedcontextsizeerror contentpolicyviolation contentfilter "
        "stringabovemaxlength unsupportedparameter unsupportedvalue"
    ),
    401: "authenticationerror invalidapikey unauthenticated unauthorized",
    402: "billingerror",
    403: "permissionerror permissiondenied",
    404: "notfounderror notfound resourcedoesnotexist modelnotfound",
    413: "requesttoolarge",
    422: "validationerror",
    429: "ratelimiterror ratelimitexceeded toomanyrequests requestlimitexceeded insufficientquota resourceexhausted",
    500: "apierror servererror internal internalerror internalservererror",
    503: "unavailable temporarilyunavailable unavailableerror serviceunavailable serviceunavailableerror",
    504: "timeouterror deadlineexceeded",
    529: "overloaded overloadederror",
}
_STATUS_OF_WORD = {word: status for status, words in _WORDS_OF_STATUS.items() for word in words.split()}
# What servers say of an endpoint that they do not have, some of them with status 200 (LM Studio) or 400. It is all of
# the text, or the beginning of one that names the request.
_NO_ENDPOINT = re.compile(
    r"\W*(?:(?:error|http|404|405|501|file|page|resource|path|route|endpoint|url|method)[ :,-]*){0,4}"
    r"not (?:found|allowed|implemented|supported)\W*\Z"
    r"|unexpected endpoint\b"
    r"|(?:invalid|unknown|unsupported|unrecognized) (?:request )?(?:url|endpoint|route|path)\b.{0,20}\b(?:GET|POST) ?/"
    r"|cannot (?:GET|POST) /"
    r"|no (?:such )?(?:route|endpoint|path) (?:found|matches|matched|for|with|POST|GET)\b"
    r"|(?:the )?(?:requested )?(?:endpoint|route|path|url) .{0,99}\bnot (?:found|implemented|supported|exist)\b",
    re.IGNORECASE,
)
_ABOUT_MODELS = ("model", "deployment")
_MAX_SHORT_CHARS = 256  # of such a text
_NO_SUCH_ENDPOINT = 404
_INVALID = "invalid"  # OpenAI's `invalid_prompt`, `invalid_image_format` and a dozen more
_BAD_REQUEST = 400
# From Cloudflare's error table, and from MiniMax's, which has its numbers beside a `status_msg`.
_STATUS_OF_NUMBER = {3006: 413, 3007: 408, 3036: 429, 3040: 429, 5004: 400, 5005: 405, 5007: 404, 5018: 403, 10000: 401}
_STATUS_OF_MINIMAX = {1001: 504, 1002: 429, 1004: 401, 1008: 402, 1026: 400, 1039: 429, 2013: 400, 2049: 401, 2056: 429}
_NUMBERS_A_STATUS = 100  # FastChat's 50002 is the second kind of a 500
_BARE_LINE = re.compile(rb"[\r\n]\{")
_MAX_LISTED = 16  # errors of one list that are looked at
_MAX_WORD_CHARS = 64


class _Error(msgspec.Struct, rename={"camel_status_code": "statusCode", "go_status_code": "StatusCode"}):
    """Every field under which somebody says what went wrong."""

    error: msgspec.Raw = ABSENT
    errors: msgspec.Raw = ABSENT
    response: msgspec.Raw = ABSENT  # of OpenAI's `response.failed`
    base_resp: msgspec.Raw = ABSENT  # of MiniMax, beside good answers too
    message: msgspec.Raw = ABSENT
    msg: msgspec.Raw = ABSENT
    error_message: msgspec.Raw = ABSENT
    error_description: msgspec.Raw = ABSENT
    detail: msgspec.Raw = ABSENT
    status_msg: msgspec.Raw = ABSENT
    title: msgspec.Raw = ABSENT
    status: msgspec.Raw = ABSENT
    status_code: msgspec.Raw = ABSENT
    camel_status_code: msgspec.Raw = ABSENT
    go_status_code: msgspec.Raw = ABSENT  # of Ollama, which passes on what a server of its makers said
    http_status: msgspec.Raw = ABSENT
    http_code: msgspec.Raw = ABSENT  # of MiniMax
    http_status_code: msgspec.Raw = ABSENT  # of text-generation-inference, in streams
    code: msgspec.Raw = ABSENT
    error_code: msgspec.Raw = ABSENT  # of FastChat, beside `text`; of Databricks, in words
    error_type: msgspec.Raw = ABSENT  # of text-generation-inference, beside `error`
    text: msgspec.Raw = ABSENT
    type: msgspec.Raw = ABSENT
    object: msgspec.Raw = ABSENT


_ERROR = msgspec.json.Decoder(_Error)


class _Object(msgspec.Struct):
    """Any one: its fields are not looked at."""


class _DetailAlone(msgspec.Struct, forbid_unknown_fields=True):
    detail: msgspec.Raw


_BODY = msgspec.json.Decoder(_Object | list[_Object])
_DETAIL_ALONE = msgspec.json.Decoder(_DetailAlone)
_NUMBER: msgspec.json.Decoder[int] = msgspec.json.Decoder(int)


def error_status(data: bytes) -> int | None:
    """The HTTP status (400 to 599) that this error stands for; None where it names none."""
    layers = list(_layers(data))
    for read_status in (_number_of, _word_of):
        for layer in layers:
            status = read_status(layer)
            if status is not None:
                return status
    return _NO_SUCH_ENDPOINT if says_no_endpoint(data) else None


def says_no_endpoint(data: bytes) -> bool:
    """Does this error, whatever its status, say that there is no such endpoint?"""
    text = (error_text(data) or "").strip()
    if not text or len(text) > _MAX_SHORT_CHARS or any(word in text.lower() for word in _ABOUT_MODELS):
        return False
    return _NO_ENDPOINT.match(text) is not None


def error_text(data: bytes) -> str | None:
    """What it says, in the words of whoever made it; None if there are none."""
    for layer in _layers(data):
        for field in (
            *(layer.message, layer.msg, layer.error_message, layer.error_description, layer.detail),
            layer.status_msg,
        ):
            text = _text(field)
            if text:
                return text
        for field in (layer.error, layer.title):
            text = read(field, TEXT)
            if text:
                return text
        if is_error(layer.error_code) and (text := read(layer.text, TEXT)):
            return text
    return None


def is_bare_error(data: bytes) -> bool:
    """Is this, which is no part of an answer, an error: under `error`, called one, or words with a status?"""
    layers = list(_layers(data))
    if not layers:
        return False
    outer = layers[-1]
    if any(map(is_error, (outer.error, outer.errors, outer.base_resp))):
        return True
    if is_error(outer.error_code) and read(outer.error_code, TEXT) is None:  # in words it is one beside a message
        return True
    if "error" in (read(outer.object, TEXT), read(outer.type, TEXT)):
        return True
    if not is_empty(outer.detail) and read(data, _DETAIL_ALONE) is not None:  # FastAPI's
        return True
    return error_status(data) is not None and error_text(data) is not None


def bare_error_in(frame: bytes) -> bytes:
    """The error that stands in this frame of an event stream as it is, in none of its fields; b"" if there is none.

    Servers that have begun to stream write so what would have been their whole answer. SDKs read over such lines.
    """
    if not frame.startswith(b"{"):
        begin = _BARE_LINE.search(frame)
        if begin is None:
            return b""
        frame = frame[begin.end() - 1 :]
    line, _, _ = frame.partition(b"\n")
    return next((text for text in (line, frame) if is_bare_error(text)), b"")


def no_answer(body: bytes, otherwise: str) -> str:
    """Why a body with a success status that is no answer is none, in words for its reader."""
    if is_bare_error(body):
        return f"a success status with an error inside: {error_text(body) or 'no message'}"
    return otherwise


def is_json_error(data: bytes) -> bool:
    """Can these bytes be an error's body: a JSON object, or a list of objects as Google's?"""
    return read(data, _BODY) is not None


def failed_response(data: bytes) -> bytes | None:
    """The response of an event that says it failed: SDKs read the error of a whole answer under `error`, as it has it.

    None where the error is not in there.
    """
    event = read(data, _ERROR)
    if event is None or is_given(event.error) or not is_given(event.response):
        return None
    response = read(event.response, _ERROR)
    return bytes(event.response) if response is not None and is_error(response.error) else None


def _layers(data: bytes | msgspec.Raw) -> Iterator[_Error]:
    """The objects that tell of the error, the innermost first."""
    error = read(data, _ERROR)
    if error is None:
        for entry in (read(data, LIST) or [])[:_MAX_LISTED]:
            yield from _layers_of_entry(entry)
        return
    for field in (error.error, error.errors, error.response):
        if is_given(field):
            yield from _layers_of_entry(field)
    if is_error(error.base_resp):
        yield from _layers_of_entry(error.base_resp)
    yield error


def _layers_of_entry(field: msgspec.Raw) -> Iterator[_Error]:
    """One level down, and one only: nobody nests errors deeper than a list in an object in a list."""
    for entry in (read(field, LIST) or [field])[:_MAX_LISTED]:
        error = read(entry, _ERROR)
        if error is not None:
            inner = read(error.error, _ERROR)
            if inner is not None:
                yield inner
            yield error
        elif (text := read(entry, TEXT)) is not None:
            yield _Error(message=msgspec.Raw(msgspec.json.encode(text)))


def _text(field: msgspec.Raw) -> str | None:
    """A text, or that of the first of a list of objects (FastAPI's `detail`), or of an object."""
    text = read(field, TEXT)
    if text is not None:
        return text
    for entry in (read(field, LIST) or [field])[:_MAX_LISTED]:
        inner = read(entry, _ERROR)
        if inner is not None:
            return read(inner.message, TEXT) or read(inner.msg, TEXT)
    return None


def _number_of(layer: _Error) -> int | None:
    table = _STATUS_OF_MINIMAX if is_given(layer.status_msg) else _STATUS_OF_NUMBER
    for field in (
        *(layer.status, layer.status_code, layer.camel_status_code, layer.go_status_code),
        *(layer.http_status, layer.http_code, layer.http_status_code, layer.code),
    ):
        number = read(field, _NUMBER)
        if number is None:
            text = read(field, TEXT) or ""
            number = int(text) if len(text) <= 5 and text.isascii() and text.isdigit() else None  # noqa: PLR2004
        if number is not None and number in _STATUSES:
            return number
        if number in table:
            return table[number]
    number = (read(layer.error_code, _NUMBER) or 0) // _NUMBERS_A_STATUS
    return number if number in _STATUSES else None


def _word_of(layer: _Error) -> int | None:
    for field in (layer.code, layer.error_code, layer.type, layer.error_type, layer.status, layer.error):
        word = (read(field, TEXT) or "")[:_MAX_WORD_CHARS]
        plain = "".join(char for char in word.lower() if char.isalnum())
        status = _STATUS_OF_WORD.get(plain)
        if status is not None:
            return status
        if plain.startswith(_INVALID):
            return _BAD_REQUEST
    return None
