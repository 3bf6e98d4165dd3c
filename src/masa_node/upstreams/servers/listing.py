"""Lists of models in every shape that servers give them, read by one lenient reader, in steps. Pure.

Seen: `{"data": [...]}` (OpenAI), `{"models": [...]}` (Ollama, Gemini, Cohere), a bare array (Together, GitHub) and
plain names. Also `null` or no list at all for an empty one (Ollama and others written in Go), and entries without `id`.
"""

import msgspec

from masa_node.chat.errors import NotAnAnswer
from masa_node.dialects.condensing import Steps, condensed, fields_of, parts_of
from masa_node.dialects.fields import ABSENT, BOM, FIELDS, NULL, TEXT, error_inside, in_utf8, is_error, is_json, read

MAX_MODELS = 2_000  # five times the longest seen (OpenRouter); to put all into the catalogs takes some 10 ms
MAX_ENTRY_BYTES = 16 * 1024  # the longest seen (OpenRouter's) have 4 kB; of a larger one its long texts are cut
ENTRIES_A_TURN = 16  # of the largest: some milliseconds
_MAX_FIELDS = 64  # beside the list, or before it
_ENTRY_DEPTH = 4  # Cloudflare's `properties[].value` is the deepest that is looked for

_KEYS = ("data", "models", "result", "items")
_NAMES = ("id", "name", "model")


class ListedModel(msgspec.Struct, frozen=True):
    """One model of a list; `entry` is its JSON object as the server gave it, `{}` where it gave the name alone."""

    name: str
    entry: bytes


def read_models(body: bytes, key: str = "data", name: str = "id") -> Steps[list[ListedModel]]:
    """The models in this body, at most MAX_MODELS; entries without a name are left out.

    The list is looked for under `key` first, an entry's name under `name`. Raises `NotAnAnswer` where there is no list,
    quoting the error that stands in its place.
    """
    entries = yield from _entries(in_utf8(body).removeprefix(BOM), key)
    names = (name, *(other for other in _NAMES if other != name))
    models: list[ListedModel] = []
    has_json = not entries
    for number, entry in enumerate(entries, 1):
        small = yield from _small(entry)
        has_json = has_json or is_json(small)
        model = _listed(small, names)
        if model is not None:
            models.append(model)
        if number % ENTRIES_A_TURN == 0:
            yield
    if not has_json:
        raise _unreadable()
    return models


def _entries(body: bytes, key: str) -> Steps[list[bytes]]:
    fields = yield from fields_of(body, _MAX_FIELDS)
    if fields is None:
        bare = yield from _list_in(body)
        if bare is None:
            raise _unreadable()
        return bare
    yield from _check_for_error(fields)
    keys = (key, *(other for other in _KEYS if other != key))
    given = [value for each in keys if (value := fields.get(each.encode())) is not None]
    is_list = NULL in given or (not given and fields.get(b"object") == b'"list"')
    for value in given:
        listed = yield from _list_in(value)
        if listed:
            return listed
        is_list = is_list or listed is not None
    if not is_list:
        raise NotAnAnswer(f"its list of models has no `{key}`; is this an LLM server?")
    return []


def _check_for_error(fields: dict[bytes, bytes]) -> Steps[None]:
    error = yield from _small(fields.get(b"error", b""))
    if is_error(msgspec.Raw(error)):
        raise NotAnAnswer(f"its list of models is {error_inside(msgspec.Raw(error))}")
    if fields.get(b"success") == b"false":
        why = fields.get(b"errors", b"")[:200].decode("utf-8", "replace")
        raise NotAnAnswer(f"its list of models says `success: false`: {why}")


def _list_in(value: bytes) -> Steps[list[bytes] | None]:
    """The list that this is, or that is inside it (`{"data": {"models": [...]}}`)."""
    if value.lstrip().startswith(b"["):
        return (yield from parts_of(value, MAX_MODELS))
    inside = (yield from fields_of(value, _MAX_FIELDS)) or {}
    inner = next((inside[each.encode()] for each in _KEYS if inside.get(each.encode(), b"").startswith(b"[")), b"")
    return (yield from parts_of(inner, MAX_MODELS))


def _small(raw: bytes) -> Steps[bytes]:
    """What may be read in one go."""
    if len(raw) <= MAX_ENTRY_BYTES:
        return raw
    return (yield from condensed(raw, _ENTRY_DEPTH)) or b""


def _listed(raw: bytes, names: tuple[str, ...]) -> ListedModel | None:
    text = read(raw, TEXT)
    if text is not None:
        return ListedModel(text, b"{}") if text else None
    entry = read(raw, FIELDS) or {}
    given = (read(entry.get(name, ABSENT), TEXT) for name in names)
    found = next((text for text in given if text), None)
    return ListedModel(found, raw) if found else None


def _unreadable() -> NotAnAnswer:
    return NotAnAnswer("its list of models is not readable JSON; is this an LLM server?")
