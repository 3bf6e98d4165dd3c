"""JSON Schema out of OpenAPI's, in which Google writes the arguments of functions and structured answers."""

from typing import cast

import msgspec

from masa_node.dialects.translation.tools import schemas_in, tree_of
from masa_node.dialects.translation.wire import check_count, encode

MAX_SCHEMAS = 5_000  # 20 us each; the largest seen have some hundreds
_WORDS = (b'"type"', b'"nullable"', b'"propertyOrdering"', b'"property_ordering"')
_ORDER = ("propertyOrdering", "property_ordering")
_UNSPECIFIED = "type_unspecified"
_TYPES = (_UNSPECIFIED, "string", "number", "integer", "boolean", "array", "object", "null")  # by their numbers
# Google's JSON has whole numbers of 64 bits as texts.
_COUNTS = ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties")
_MAX_DIGITS = 18
_SPELLINGS = {
    "any_of": "anyOf",
    "additional_properties": "additionalProperties",
    "min_items": "minItems",
    "max_items": "maxItems",
    "min_length": "minLength",
    "max_length": "maxLength",
    "min_properties": "minProperties",
    "max_properties": "maxProperties",
}


def json_schema_of(schema: msgspec.Raw) -> msgspec.Raw:
    """The same in the words of JSON Schema; the same bytes where there is nothing to change.

    Raises `NotTranslatable` beyond MAX_SCHEMAS.
    """
    if not any(word in bytes(schema) for word in _WORDS):
        return schema
    top = tree_of(schema)
    is_changed = False
    for count, tree in enumerate(schemas_in(top), 1):  # each before those that it holds
        check_count(count, MAX_SCHEMAS, "parts of a schema")
        is_changed |= _has_changed(tree)
    return msgspec.Raw(encode(top)) if is_changed else schema


def _has_changed(tree: dict[str, object]) -> bool:
    before = dict(tree)
    for old, new in _SPELLINGS.items():
        if old in tree:
            tree[new] = tree.pop(old)
    for name in _ORDER:
        tree.pop(name, None)
    _set_type(tree)
    if tree.get("format") == "enum":
        del tree["format"]
    for name in _COUNTS:
        count = tree.get(name)
        if isinstance(count, str) and count.isascii() and count.isdecimal() and len(count) <= _MAX_DIGITS:
            tree[name] = int(count)
    return tree != before


def _set_type(tree: dict[str, object]) -> None:
    kind = tree.get("type")
    if isinstance(kind, int) and 0 <= kind < len(_TYPES):
        kind = _TYPES[kind]
    kind = kind.lower() if isinstance(kind, str) else kind
    is_nullable = isinstance(tree.get("nullable"), bool) and tree.pop("nullable")
    if kind == _UNSPECIFIED:
        del tree["type"]
    elif isinstance(kind, str):
        tree["type"] = [kind, "null"] if is_nullable else kind
    if is_nullable:
        for name, null in (("anyOf", {"type": "null"}), ("enum", None)):
            values = tree.get(name)
            if isinstance(values, list) and null not in values:
                tree[name] = [*cast("list[object]", values), null]
