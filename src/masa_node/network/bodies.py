"""Is the body of a peer's ask what its header says? LLM servers read the body, and not all of them as we do. Pure.

Go's decoder, which Ollama uses, takes `Model` for `model`, and of two the later; others take the first. A body that
could be read in two ways could ask for a model that is not shared.
"""

import re
from itertools import islice

import msgspec

from masa_node.chat.ask import Door
from masa_node.chat.errors import CallerError, PeerRefused
from masa_node.dialects.fields import ABSENT, TEXT, UNREADABLE, mend, read
from masa_node.dialects.peek import peek

MAX_FIELDS = 256  # at the top of a body; the longest known API has about forty
MAX_NAMES = 100_000  # of fields at any depth: ten thousand messages have as many; reading them all takes 50 ms
MAX_NAME_CHARS = 256  # of a field; reading one of megabytes takes a second
_OLLAMA = frozenset({Door.OLLAMA_CHAT, Door.OLLAMA_GENERATE, Door.OLLAMA_EMBED, Door.OLLAMA_EMBEDDINGS, Door.NATIVE})
_MODEL_IS_IN_URL = frozenset({Door.CLOUDFLARE_RUN})
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_NAME = re.compile(rb'[ \t\r\n]*("[^"\\]*(?:\\.[^"\\]*)*")[ \t\r\n]*:[ \t\r\n]*', re.DOTALL)
_ANY_NAME = re.compile(rb'(?<!\\)(?:\\\\)*"[ \t\r\n]*:')  # its end, wherever it stands
_NEXT = re.compile(rb"[ \t\r\n]*([,}])")


class _Streams(msgspec.Struct):
    stream: msgspec.Raw = ABSENT


_STREAMS = msgspec.json.Decoder(_Streams)


def check_body(body: bytes, door: Door, model: str, *, wants_stream: bool) -> None:
    """Raises `PeerRefused` unless every LLM server reads in this body the model and the stream flag of the header."""
    _check_names(field_names(body), door)
    if door in _MODEL_IS_IN_URL:
        streams = read(body, _STREAMS)
        is_streamed = streams is not None and bytes(streams.stream) == b"true"
    else:
        try:
            peeked = peek(body, door)
        except CallerError as exc:
            raise PeerRefused(exc.message) from exc
        if peeked.model != model:
            raise PeerRefused("its body names another model than its header.")
        is_streamed = peeked.wants_stream
    if is_streamed is not wants_stream:
        raise PeerRefused("its body and its header differ in whether they ask for a stream.")


def _check_names(names: list[str], door: Door) -> None:
    folded = [name.casefold() for name in names]  # Go folds case by Unicode, too
    for name in ("model", "stream"):
        if folded.count(name) > names.count(name) or names.count(name) > 1:
            raise PeerRefused(f"its body has the field `{name}` more than once, or not in lower case.")
    if door in _OLLAMA and "name" in folded:
        raise PeerRefused("its body has a field `name`, which old Ollama servers take for the model.")


def field_names(body: bytes) -> list[str]:
    """The names of the fields of this JSON object, those in inner ones not counted.

    Raises `PeerRefused` if it is none, if it has more than MAX_FIELDS, or two of one name with different values.
    """
    if body.count(b":") > MAX_NAMES and any(islice(_ANY_NAME.finditer(body), MAX_NAMES, None)):
        raise PeerRefused(f"its body has more than {MAX_NAMES} fields, inner ones counted.")
    try:
        body, fields = _decoded(body)
    except UNREADABLE as exc:
        raise PeerRefused("its body is not a JSON object.") from exc
    if len(fields) > MAX_FIELDS:
        raise PeerRefused(f"its body has more than {MAX_FIELDS} fields.")
    if any(len(name) > MAX_NAME_CHARS for name in fields):
        raise PeerRefused(f"its body has a field whose name is longer than {MAX_NAME_CHARS} characters.")
    names: list[str] = []
    at = body.index(b"{") + 1
    while (match := _NAME.match(body, at)) is not None:
        name = read(match[1], TEXT)
        value = bytes(fields.get(name, ABSENT)) if name is not None else b""
        following = _NEXT.match(body, match.end() + len(value))
        if name is None or not body.startswith(value, match.end()) or following is None or len(names) == MAX_FIELDS:
            raise PeerRefused("its body has a field twice.")  # the decoder gives the last value, another one is here
        names.append(name)
        at = following.end()
    return names


def _decoded(body: bytes) -> tuple[bytes, dict[str, msgspec.Raw]]:
    """Its fields, and the bytes that they were read from: the body itself, or with halves of emojis mended."""
    try:
        return body, _FIELDS.decode(body)
    except msgspec.DecodeError:
        mended = mend(body)
        if mended is None:
            raise
        return mended, _FIELDS.decode(mended)
