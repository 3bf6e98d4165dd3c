"""Tools and structured answers as servers take them: names that they allow, and what their schemas have to hold."""

import hashlib
import re
from collections.abc import Iterable, Iterator
from typing import cast

import msgspec

from masa_node.dialects.fields import ABSENT, FIELDS, UNREADABLE, decode, read
from masa_node.dialects.translation.conversation import Tool
from masa_node.dialects.translation.events import AnswerReader, CallBegun, Event
from masa_node.dialects.translation.losses import Losses
from masa_node.dialects.translation.wire import encode, given

NO_FIELDS = msgspec.Raw(b'{"type":"object","properties":{}}')
FREE_FORM = msgspec.Raw(b'{"type":"object","properties":{"input":{"type":"string"}},"required":["input"]}')
MAX_NAME_CHARS = 64  # OpenAI's; Anthropic takes twice as many
_ALLOWED = re.compile(r"[a-zA-Z0-9_-]{0,64}").fullmatch
_NOT_ALLOWED = re.compile(r"[^a-zA-Z0-9_-]")
_DIGEST_CHARS = 8

# Where a schema holds others: by name, in a list, or one.
_BY_NAME = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_LISTED = ("anyOf", "allOf", "oneOf", "prefixItems")
_SINGLE = ("items", "not", "if", "then", "else", "contains")


class _Schema(msgspec.Struct):
    type: msgspec.Raw = ABSENT
    properties: msgspec.Raw = ABSENT


_SCHEMA = msgspec.json.Decoder(_Schema)
_ANY = msgspec.json.Decoder()
_INPUT = msgspec.json.Decoder(dict[str, str])
_USUAL_SCHEMA = (b'{"type":"object","properties":{', b'{"type": "object", "properties": {')
_NO_VALUE = frozenset({b"null", b'""', b"[]"})
# Anthropic refuses them in a schema to which it holds the model, and a least count of items that is not 0 or 1.
_BOUNDS = frozenset(
    {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "maxItems"}
)
_CLASS, _NO_CLASS = rb"\\p{", rb"\\P{"  # as JSON writes them
_CLASS_OF_UNICODE = re.compile(r"\\[pP]\{")
_Tree = dict[str, object]


def allowed_name(name: str) -> str:
    """The name of a tool as OpenAI and Anthropic take it: one that is too long, or has a dot, is respelt.

    The same name always becomes the same, and no other does.
    """
    if len(name) <= MAX_NAME_CHARS and name.isascii() and (name.isidentifier() or _ALLOWED(name)):
        return name
    digest = hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:_DIGEST_CHARS]
    return f"{_NOT_ALLOWED.sub('_', name)[: MAX_NAME_CHARS - _DIGEST_CHARS - 1]}_{digest}"


def respelt_names(tools: Iterable[Tool]) -> dict[str, str]:
    """What the caller calls the tools whose names were respelt."""
    return {allowed_name(tool.name): tool.name for tool in tools if not _ALLOWED(tool.name)}


class CallerNames:
    """Reads an answer with `reader`, and calls the tools that it calls what their caller calls them."""

    def __init__(self, reader: AnswerReader, names: dict[str, str]) -> None:
        self._reader = reader
        self._names = names

    def frame(self, frame: bytes) -> list[Event]:
        """See `AnswerReader`."""
        return self._renamed(self._reader.frame(frame))

    def whole(self, body: bytes) -> list[Event]:
        """See `AnswerReader`."""
        return self._renamed(self._reader.whole(body))

    def _renamed(self, events: list[Event]) -> list[Event]:
        return [
            msgspec.structs.replace(event, name=self._names.get(event.name, event.name))
            if isinstance(event, CallBegun)
            else event
            for event in events
        ]


def input_of(arguments: str) -> str:
    """The text for a tool that takes any: the one argument, whatever a model called it, or all that it wrote."""
    given = read(arguments.encode("utf-8", "replace"), _INPUT)
    if given is None:
        return arguments
    only = next(iter(given.values())) if len(given) == 1 else arguments
    return given.get("input", only)


def schema_of(schema: msgspec.Raw | None) -> msgspec.Raw:
    """The schema of a tool's arguments, of an object without fields where it has none; Anthropic demands its type."""
    if schema is None:
        return NO_FIELDS
    return schema if bytes(schema).startswith(_USUAL_SCHEMA) else _with_missing(schema, is_openai=False)


def openai_schema_of(schema: msgspec.Raw | None, losses: Losses) -> msgspec.Raw:
    """The same for OpenAI's servers, which demand the properties of an object, too."""
    if schema is None:
        return NO_FIELDS
    raw = bytes(schema)
    if raw.startswith(_USUAL_SCHEMA) and _CLASS not in raw and _NO_CLASS not in raw:
        return schema
    return readable_to_openai(_with_missing(schema, is_openai=True), losses)


def readable_to_openai(schema: msgspec.Raw, losses: Losses) -> msgspec.Raw:
    """The schema without patterns that OpenAI's servers cannot read, and refuse: those with classes of Unicode."""
    raw = bytes(schema)
    if _CLASS not in raw and _NO_CLASS not in raw:
        return schema
    top = tree_of(schema)
    for tree in schemas_in(top):
        if isinstance(tree.get("pattern"), str) and _CLASS_OF_UNICODE.search(str(tree["pattern"])):
            del tree["pattern"]
            losses.drop("pattern")
    return msgspec.Raw(encode(top))


def _with_missing(schema: msgspec.Raw, *, is_openai: bool) -> msgspec.Raw:
    """The same bytes, and before them what has to be there."""
    top, raw = read(schema, _SCHEMA), bytes(schema)
    if top is None or not raw.startswith(b"{"):
        return schema
    if any(bytes(each) in _NO_VALUE for each in (top.type, top.properties)):  # there, and nothing
        fields = {name: value for name, value in (read(schema, FIELDS) or {}).items() if bytes(value) not in _NO_VALUE}
        return _with_missing(msgspec.Raw(encode(fields)), is_openai=is_openai)
    missing = [] if given(top.type) else [b'"type":"object"']
    is_object = missing or bytes(top.type) == b'"object"'
    if is_openai and is_object and not bytes(top.properties):
        missing.append(b'"properties":{}')
    rest = raw[1:].lstrip()
    if not missing:
        return schema
    return msgspec.Raw(b"{" + b",".join(missing) + (b"" if rest == b"}" else b",") + rest)


def closed_schema(schema: msgspec.Raw, losses: Losses) -> msgspec.Raw:
    """The same schema with no more fields in its objects than it names, as Anthropic demands of answers.

    Bounds of values become words, as Anthropic's own SDKs do it. The same bytes where there is nothing to change.
    """
    top = tree_of(schema)
    is_changed = False
    for tree in _objects_in(top):
        if "additionalProperties" not in tree:
            tree["additionalProperties"] = False
            is_changed = True
    for tree in schemas_in(top):
        bounds = [name for name in tree if name in _BOUNDS or (name == "minItems" and tree[name] not in (0, 1))]
        if bounds:
            said = ", ".join([f"{name}: {tree.pop(name)}" for name in bounds])
            tree["description"] = f"{tree.get('description', '')}\n\n{{{said}}}".lstrip()
            losses.drop(*bounds)
            is_changed = True
    return msgspec.Raw(encode(top)) if is_changed else schema


def fits_strict(schema: msgspec.Raw | None) -> bool:
    """Does OpenAI take it for a strict one? It demands that an object has all fields that it may have, and no other."""
    top = None if schema is None else tree_of(schema)
    return all(
        tree.get("additionalProperties") is False and _names(tree.get("properties")) <= _names(tree.get("required"))
        for tree in _objects_in(top)
    )


def _names(value: object) -> set[str]:
    listed = cast("list[object]", value) if isinstance(value, list | dict) else ()
    return {name for name in listed if isinstance(name, str)}


def tree_of(schema: msgspec.Raw) -> object:
    """The schema as objects; None where it cannot be read."""
    try:
        return decode(bytes(schema), _ANY)
    except UNREADABLE:
        return None


def _objects_in(top: object) -> Iterator[_Tree]:
    """The schemas of objects, the outermost first."""
    for schema in schemas_in(top):
        kind = schema.get("type")
        if kind == "object" or "properties" in schema or (isinstance(kind, list) and "object" in kind):
            yield schema


def schemas_in(top: object) -> Iterator[_Tree]:
    """All of them, the outermost first."""
    todo = [top]
    while todo:
        tree = todo.pop()
        if not isinstance(tree, dict):
            continue
        schema = cast("_Tree", tree)
        yield schema
        for name in _BY_NAME:
            inner = schema.get(name)
            todo += list(cast("_Tree", inner).values()) if isinstance(inner, dict) else []
        for name in _LISTED:
            inner = schema.get(name)
            todo += cast("list[object]", inner) if isinstance(inner, list) else []
        todo += [schema[name] for name in _SINGLE if name in schema]
