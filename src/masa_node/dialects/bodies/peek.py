"""Reads what routing must know out of a request body, and puts another model's name in place of its own. Pure.

That is the model's name, whether it streams, and whether it says one of them twice.
"""

import re

import msgspec

from masa_node.chat.errors import BadJson, BadModel, CallerError
from masa_node.chat.request import Endpoint
from masa_node.dialects.condensing import MAX_PARTS, Steps, at_once, end_of_text, next_of, parts_of, spans_of
from masa_node.dialects.fields import ABSENT, BOM, FIELDS, TEXT, UNREADABLE, decode, read

# ---- repeated ----

# Of a field that is there twice Python, JavaScript and Go take the last, others the first or none; Go's decoder, which
# Ollama uses, takes `Model` for `model`. What an LLM server could read in another way than this node is refused: it
# might be for another model than the one that was looked up. The same value twice, and other fields twice, harm nobody.

MAX_FIELDS = 256  # at the top of a body; the longest known API has about forty
_DECIDING = ("model", "stream")
_MAY_DECIDE = frozenset({*_DECIDING, "name"})
# Where Ollama's server may take `name` for `model`.
WITH_NAME = frozenset(
    {Endpoint.OLLAMA_CHAT, Endpoint.OLLAMA_GENERATE, Endpoint.OLLAMA_EMBED, Endpoint.OLLAMA_EMBEDDINGS, Endpoint.NATIVE}
)
_MAY_GO_BY_NAME = WITH_NAME | {Endpoint.OLLAMA_SHOW}
# A letter of these names, written otherwise: no encoder escapes one, but `\u00e9` and the like are everywhere.
_ESCAPED = re.compile(rb"\\u00(?:[46][1-f]|[57][2-4])|\\u017f")
_LONG_S = "\N{LATIN SMALL LETTER LONG S}".encode()

Fields = list[tuple[str, bytes]]


def fields_as_written(body: bytes) -> Fields:
    """The fields of this JSON object, each as often as it is there. Raises `CallerError` beyond MAX_FIELDS."""
    parts = at_once(parts_of(body.removeprefix(BOM), MAX_FIELDS + 1)) or []
    if len(parts) > MAX_FIELDS:
        raise CallerError(f"The body has more than {MAX_FIELDS} fields. Send those that the LLM's documentation names.")
    fields: Fields = []
    for part in parts:
        end = at_once(end_of_text(part, 0))
        fields.append((read(part[:end], TEXT) or "", part[end:].lstrip().removeprefix(b":").lstrip()))
    return fields


def _check_repeated(body: bytes, endpoint: Endpoint) -> None:
    """Raises `BadModel` or `CallerError` where this body could be read in two ways. It has to be a JSON object."""
    fields = fields_as_written(body)
    for name in (*_DECIDING, "name") if endpoint is Endpoint.OLLAMA_SHOW else _DECIDING:
        _check_one(name, [(own, value) for own, value in fields if own.casefold() == name])  # Go folds by Unicode, too
    if endpoint in WITH_NAME:
        _check_name([value for own, value in fields if own == "model"], fields)


def _may_repeat(body: bytes, endpoint: Endpoint, read_once: "_Body") -> bool:
    """Quickly: is there more of these names in the body than was read, however it is written?"""
    lower = body.lower()
    if lower.count(b'"model"') != (read_once.model is not ABSENT):
        return True
    if lower.count(b'"stream"') != (read_once.stream is not ABSENT):
        return True
    if lower.count(b"\\u") and _ESCAPED.search(lower) is not None:
        return True
    if endpoint is Endpoint.OLLAMA_SHOW and lower.count(b'"name"') != (read_once.name is not ABSENT):
        return True
    return (endpoint in WITH_NAME and b'"name"' in lower) or (not body.isascii() and _LONG_S in body)


def _check_one(name: str, written: Fields) -> None:
    if len({_read(value) for _, value in written}) > 1:
        raise _error_of(name)(
            f"The body has the field `{name}` {len(written)} times, with different values, and LLM servers do not "
            "agree on which of them counts. Send it once."
        )
    if written and all(own != name for own, _ in written):
        raise _error_of(name)(f"The body has the field `{written[0][0]}`. Write it `{name}`, in lower case.")


def _check_name(models: list[bytes], fields: Fields) -> None:
    """Where Ollama's API takes `name` for the model, as it does in some of its requests."""
    for own, value in fields:
        if own.casefold() == "name" and _read(value) != _read(models[-1] if models else b""):
            raise BadModel(
                "The body has a field `name` beside `model`, with another value, and an Ollama server may take it for "
                "the model. Leave it out."
            )


# By which gateways ask for another model when the first one fails: OpenRouter's, LiteLLM's.
_OTHER_MODELS = frozenset({"models", "fallbacks", "context_window_fallbacks", "content_policy_fallbacks"})


def _check_others(body: bytes) -> None:
    """Raises `BadModel` where this body may name other models, for a caller that may not ask for every one."""
    for own, value in fields_as_written(body):
        if own.casefold() in _OTHER_MODELS and value != b"null":
            raise BadModel(
                f"The body has the field `{own}`, by which a server may ask another model than one that is allowed. "
                "Leave it out."
            )


def _error_of(name: str) -> type[CallerError]:
    return CallerError if name == "stream" else BadModel


def _read(value: bytes) -> str | bytes:
    text = read(value, TEXT)
    return value if text is None else f'"{text}'


# ---- peek ----

# One pass of msgspec over the bytes; of all but small bodies nothing else becomes an object (100 kB in about 0.1 ms).

SMALL_BYTES = 12 * 1024
MAX_MODEL_CHARS = 256  # the longest real ids (Hugging Face paths with a quantisation) are below 150


class Peeked(msgspec.Struct, frozen=True):
    """The model's name and whether a stream is asked for."""

    model: str
    wants_stream: bool


class _Body(msgspec.Struct):
    model: msgspec.Raw = ABSENT
    name: msgspec.Raw = ABSENT
    stream: msgspec.Raw = ABSENT


_Decides = tuple[msgspec.Raw, msgspec.Raw, msgspec.Raw]  # the JSON of these three: model, stream, name
_BODY = msgspec.json.Decoder(_Body)
_TRUE, _FALSE = msgspec.Raw(b"true"), msgspec.Raw(b"false")
_STREAMS_BY_DEFAULT = frozenset({Endpoint.OLLAMA_CHAT, Endpoint.OLLAMA_GENERATE})


def peek(body: bytes, endpoint: Endpoint, model_in_path: str | None = None, *, allows_all: bool = True) -> Peeked:
    """Read the body of a request through this endpoint; the model's name only if it is not in the path. `allows_all`:
    may its caller ask for any model? Else it may name no other one beside its own.

    Raises `BadJson` if it is not a JSON object, `BadModel` if it names no usable model, `CallerError` if it could be
    read in another way, too.
    """
    decides = _read_once(body, endpoint, allows_all=allows_all) if len(body) <= SMALL_BYTES else None
    written, flag, name = decides or _read_whole(body, endpoint, allows_all=allows_all)
    model = model_in_path if model_in_path is not None else read(written, TEXT)
    if endpoint is Endpoint.OLLAMA_SHOW:  # its clients send either, and the Ollama CLI an empty `model` beside `name`
        model = model or read(name, TEXT)
    return Peeked(check_model(model), streams(flag, endpoint))


def _read_once(body: bytes, endpoint: Endpoint, *, allows_all: bool) -> _Decides | None:
    """What decides, of a small body that can be read in one way only; None where that takes a longer look to tell."""
    try:
        fields = FIELDS.decode(body)
    except UNREADABLE:
        return None
    least_bytes = 1  # that such fields can be written in
    for name, value in fields.items():
        least_bytes += len(name) + len(value) + 4
        folded = name.casefold()
        if folded in _MAY_DECIDE and (folded != name or (name == "name" and endpoint in _MAY_GO_BY_NAME)):
            return None
        if not allows_all and folded in _OTHER_MODELS:
            return None
    # With another field, a space or an escape it would be longer: as it is, none of them is there twice.
    if len(body) != least_bytes and (
        body.count(b'"model"') != ("model" in fields)
        or body.count(b'"stream"') != ("stream" in fields)
        or b"\\u0" in body
    ):
        return None
    return fields.get("model", ABSENT), fields.get("stream", ABSENT), ABSENT


def _read_whole(body: bytes, endpoint: Endpoint, *, allows_all: bool) -> _Decides:
    """The same of any body. Raises `BadJson`, `BadModel`, `CallerError`."""
    if not body:
        raise BadJson('The request has no body. Send a JSON object such as {"model": "...", "messages": [...]}.')
    try:
        fields = decode(body, _BODY)
    except UNREADABLE as exc:
        raise BadJson(f"The body is not a JSON object: {exc}. Send one as the LLM's documentation describes.") from exc
    if _may_repeat(body, endpoint, fields):
        _check_repeated(body, endpoint)
    if not allows_all:
        _check_others(body)
    return fields.model, fields.stream, fields.name


def streams(flag: msgspec.Raw, endpoint: Endpoint) -> bool:
    """Does this JSON of the field `stream` ask for a stream at this endpoint?"""
    if endpoint in _STREAMS_BY_DEFAULT:
        return flag != _FALSE
    return flag == _TRUE or endpoint is Endpoint.GEMINI_STREAM


def check_model(model: str | None) -> str:
    """The model's name if it is usable: opaque text of bounded length without control characters. Raises `BadModel`."""
    if not model:
        raise BadModel('The body names no model. Add "model": "<id>"; GET /api/v1/llm/models lists the ids.')
    if len(model) > MAX_MODEL_CHARS:
        raise BadModel(f"The model's name has {len(model)} characters; at most {MAX_MODEL_CHARS} are allowed.")
    if not model.isprintable():
        raise BadModel("The model's name holds control or unprintable characters.")
    return model


def is_model(text: str) -> bool:
    """Is this a name that a request may hold?"""
    try:
        check_model(text)
    except BadModel:
        return False
    return True


# ---- renamed ----

# Another model's name in the place of the one that was asked for: its bytes are replaced, and no other byte is touched.

_NAMES = frozenset({"model"})
_NAMES_AT_OLLAMA = frozenset({"model", "name"})
_LONGEST_KEY_BYTES = 96  # `"stream_options"` with each letter written as an escape has 86
_LONGEST_NAME_BYTES = 12 * MAX_MODEL_CHARS + 2  # each of its characters as two escapes, and quotes
FIELDS_PER_STEP = 1_000
_NO_SPACE = re.compile(rb"[^ \t\n\r]")


def body_renamed(body: bytes, endpoint: Endpoint, asked: str, model: str) -> Steps[bytes]:
    """This body, which `peek` has read and which asks for `asked`, asking for `model` instead.

    Where the name is there more than once, each is replaced: a reader that takes another than this one must not find
    the old one. At Ollama's endpoints that is also `name`.
    """
    is_ollamas = endpoint in WITH_NAME or endpoint is Endpoint.OLLAMA_SHOW
    return _renamed(body, _NAMES_AT_OLLAMA if is_ollamas else _NAMES, asked, model)


def listing_renamed(entry: bytes, model: str) -> bytes:
    """An LLM server's own entry of a list, with this name."""
    return at_once(_renamed(entry, _NAMES_AT_OLLAMA, None, model))


def _renamed(data: bytes, names: frozenset[str], asked: str | None, model: str) -> Steps[bytes]:
    """`asked` None: whatever the name was."""
    written = msgspec.json.encode(model)
    content = data.removeprefix(BOM)
    uncopied = memoryview(content)
    pieces: list[bytes | memoryview] = [data[: len(data) - len(content)]]
    kept_to = 0
    spans = (yield from spans_of(content, 2 * MAX_PARTS)) or []  # a body that was read has no more
    for number, (begin, _) in enumerate(spans, 1):
        if not number % FIELDS_PER_STEP:
            yield
        start = yield from value_at(content, begin, names)
        if content[start : start + 1] != b'"':
            continue
        stop = yield from end_of_text(content, start)
        text = read(content[start:stop], TEXT) if stop - start <= _LONGEST_NAME_BYTES or asked is None else None
        if text is not None and asked in {None, text}:
            pieces += [uncopied[kept_to:start], written]
            kept_to = stop
    yield
    return b"".join([*pieces, uncopied[kept_to:]])


def value_at(data: bytes, begin: int, names: frozenset[str]) -> Steps[int]:
    """Where the value of this field begins, if it has one of these names, however it is written; else beyond the data.

    `names` are in lower case, and none is longer than `stream_options`.
    """
    key_at = yield from next_of(_NO_SPACE, data, begin)
    key_end = yield from end_of_text(data, key_at)
    if key_end - key_at > _LONGEST_KEY_BYTES or (read(data[key_at:key_end], TEXT) or "").casefold() not in names:
        return len(data)
    colon_at = yield from next_of(_NO_SPACE, data, key_end)
    return (yield from next_of(_NO_SPACE, data, colon_at + 1))
