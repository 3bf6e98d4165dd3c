"""Lists of models in every shape that servers give them, read by one lenient reader. Pure.

Seen: `{"data": [...]}` (OpenAI), `{"models": [...]}` (Ollama, Gemini, Cohere), a bare array (Together, GitHub), plain
names, `null` or no list at all for an empty one (Ollama and others written in Go), entries without an `id`.
"""

import msgspec

from masa_node.chat.errors import NotAnAnswer
from masa_node.dialects.fields import ABSENT, NULL, TEXT, UNREADABLE, decode, error_inside, is_given, read

MAX_MODELS = 5_000

_KEYS = ("data", "models", "result", "items")
_NAMES = ("id", "name", "model")
_EMPTY_ERRORS = frozenset({b"{}", b"[]", b'""', b"false"})  # beside a good list: nothing went wrong
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])


class ListedModel(msgspec.Struct, frozen=True):
    """One model of a list; `entry` is its JSON object as the server gave it, `{}` where it gave the name alone."""

    name: str
    entry: bytes


class _Named(msgspec.Struct):
    id: msgspec.Raw = ABSENT
    name: msgspec.Raw = ABSENT
    model: msgspec.Raw = ABSENT


_NAMED = msgspec.json.Decoder(_Named)


def read_models(body: bytes, key: str = "data", name: str = "id") -> list[ListedModel]:
    """The models in this body, at most MAX_MODELS; entries without a name are left out.

    The list is looked for under `key` first, an entry's name under `name`. Raises `NotAnAnswer` where there is no list,
    quoting the error that stands in its place.
    """
    try:
        entries = _entries(body, key)
    except UNREADABLE as exc:
        raise NotAnAnswer("its list of models is not readable JSON; is this an LLM server?") from exc
    names = (name, *(other for other in _NAMES if other != name))
    found = (_listed(raw, names) for raw in entries[:MAX_MODELS])
    return [model for model in found if model is not None]


def _entries(body: bytes, key: str) -> list[msgspec.Raw]:
    bare = read(body, _ARRAY)
    if bare is not None:
        return bare
    fields = decode(body, _FIELDS)
    error = fields.get("error", ABSENT)
    if is_given(error) and bytes(error) not in _EMPTY_ERRORS:
        raise NotAnAnswer(f"its list of models is {error_inside(error)}")
    if bytes(fields.get("success", ABSENT)) == b"false":
        why = bytes(fields.get("errors", ABSENT)).decode("utf-8", "replace")[:200]
        raise NotAnAnswer(f"its list of models says `success: false`: {why}")
    keys = (key, *(other for other in _KEYS if other != key))
    given = [fields[each] for each in keys if each in fields]
    lists = [listed for value in given if (listed := _list_in(value)) is not None]
    is_bare = not given and bytes(fields.get("object", ABSENT)) == b'"list"'
    if lists or is_bare or NULL in map(bytes, given):
        nothing: list[msgspec.Raw] = []
        return next((listed for listed in lists if listed), nothing)
    raise NotAnAnswer(f"its list of models has no `{key}`; is this an LLM server?")


def _list_in(value: msgspec.Raw) -> list[msgspec.Raw] | None:
    """The list that this is, or that is inside it (`{"data": {"models": [...]}}`)."""
    listed = read(value, _ARRAY)
    if listed is not None:
        return listed
    inside = read(value, _FIELDS) or {}
    return next((inner for each in _KEYS if (inner := read(inside.get(each, ABSENT), _ARRAY)) is not None), None)


def _listed(raw: msgspec.Raw, names: tuple[str, ...]) -> ListedModel | None:
    text = read(raw, TEXT)
    if text is not None:
        return ListedModel(text, b"{}") if text else None
    entry = read(raw, _NAMED)
    if entry is None:
        return None
    given = (read(getattr(entry, name), TEXT) for name in names)
    found = next((text for text in given if text), None)
    return ListedModel(found, bytes(raw)) if found else None
