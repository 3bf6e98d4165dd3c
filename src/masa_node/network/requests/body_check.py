"""Is the body of a peer's request what its header says? LLM servers read the body, and not all of them as we do. Pure.

Go's decoder, which Ollama uses, takes `Model` for `model`, and of two the later; others take the first. A body that
could be read in two ways could ask for a model that is not shared.
"""

import re
from itertools import islice

import msgspec

from masa_node.chat.errors import CallerError, PeerRefused
from masa_node.chat.request import ENDPOINT_PATHS, Endpoint
from masa_node.dialects.bodies.peek import MAX_FIELDS, fields_as_written, peek
from masa_node.dialects.fields import UNREADABLE, decode
from masa_node.dialects.passed.forms import peek_form

MAX_NAMES = 100_000  # of fields at any depth: ten thousand messages have as many; reading them all takes 50 ms
_SHORT_BYTES = 4 * MAX_FIELDS  # each takes more: `"":1`, and a comma or a bracket
MAX_NAME_CHARS = 256  # of a field; reading one of megabytes takes a second
_MODEL_IS_IN_URL = frozenset(Endpoint) - {*ENDPOINT_PATHS}
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ANY_NAME = re.compile(rb'(?<!\\)(?:\\\\)*"[ \t\r\n]*:')  # its end, wherever it stands


def check_body(body: bytes, endpoint: Endpoint, model: str, *, wants_stream: bool, form: str = "") -> None:
    """Raises `PeerRefused` unless every LLM server reads in this body the model and the stream flag of the header.

    `form` is the media type of a body that is a form.
    """
    if not form:
        check_fields(body)
    in_path = model if endpoint in _MODEL_IS_IN_URL else None
    try:
        peeked = peek_form(body, form) if form else peek(body, endpoint, in_path, allows_all=False)
    except CallerError as exc:
        raise PeerRefused(exc.message) from exc
    if peeked.model != model:
        raise PeerRefused("its body names another model than its header.")
    if peeked.wants_stream is not wants_stream:
        raise PeerRefused("its body and its header differ in whether they ask for a stream.")


def check_fields(body: bytes) -> None:
    """Raises `PeerRefused` unless this is a JSON object of at most MAX_FIELDS fields, those in inner ones not counted,
    and MAX_NAMES in all.
    """
    most = body.count(b":") if len(body) > _SHORT_BYTES else 0
    if most > MAX_NAMES and any(islice(_ANY_NAME.finditer(body), MAX_NAMES, None)):
        raise PeerRefused(f"its body has more than {MAX_NAMES} fields, inner ones counted.")
    if most > MAX_FIELDS:
        try:
            fields_as_written(body)
        except CallerError as exc:
            raise PeerRefused(exc.message) from exc
    try:
        fields = decode(body, _FIELDS)
    except UNREADABLE as exc:
        raise PeerRefused("its body is not a JSON object.") from exc
    if max(map(len, fields), default=0) > MAX_NAME_CHARS:
        raise PeerRefused(f"its body has a field whose name is longer than {MAX_NAME_CHARS} characters.")
