"""Reads foreign JSON into typed values: of requests every unknown field is told, of answers odd types are taken."""

import re
from collections.abc import Callable
from functools import cache
from types import UnionType
from typing import Generic, TypeVar, cast, get_args, get_origin, get_type_hints

import msgspec

from masa_node.chat.errors import NotTranslatable
from masa_node.dialects.fields import ABSENT, UNREADABLE, decode, read
from masa_node.dialects.translation.losses import Losses

T = TypeVar("T", bound=msgspec.Struct)
EMPTY_OBJECT = msgspec.Raw(b"{}")
_NOTHING = frozenset({b"", b"null", b"[]", b"{}"})

# Bounds of one request. Real agents stay far below each (135 tools, 1 000 turns, a screenshot of 5 MB).
MAX_TURNS = 20_000
MAX_PARTS = 20_000
MAX_TOOLS = 2_048
MAX_DATA_CHARS = 8 * 1024 * 1024


encode = msgspec.json.Encoder().encode
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ANY = msgspec.json.Decoder()
_SIGN = re.compile(r'["{}\[\]]')
_WORDS = re.compile(r'(?:[^"\\]++|\\.)*+', re.DOTALL)  # inside a text, up to its end or a backslash behind all
_MAX_UNSEEN_CHARS = 4_096  # of a growing object: what nobody asks about costs nothing, and no question takes long
_SPACES = " \t\r\n"


class BodyReader(Generic[T]):
    """Reads request bodies of one format: the struct, which forbids unknown fields, names all that the format has.

    A body with other fields is read as well; their names are noted as left out. `respell` makes known names of those
    that the format has in two spellings.
    """

    def __init__(self, kind: type[T], respell: Callable[[str], str] | None = None) -> None:
        self._kind = kind
        self._respell = respell
        self._strict = msgspec.json.Decoder(kind)
        self._lenient = msgspec.json.Decoder(kind, strict=False)  # takes 4096.0 and "4096" for a number, as servers do
        self._inner = _structs_inside(kind)

    def read(self, body: bytes, losses: Losses) -> T:
        """The body. Raises `NotTranslatable` where a field has a type that no server would take."""
        try:
            return self._strict.decode(body)
        except UNREADABLE:
            return self._otherwise(body, losses)

    def _otherwise(self, body: bytes, losses: Losses) -> T:
        """A body with something that is not usual. To read it as it is comes first again, as leniently as SDKs do."""
        found = read(body, self._strict)
        if found is not None:
            return found
        known = self._without_unknown(body, losses) if self._respell is None else None
        if known is not None:
            return known
        try:
            tree: object = decode(body, _ANY)
            self._prune(tree, self._kind, losses, "")
            return self._lenient.decode(encode(tree))
        except UNREADABLE as exc:
            raise NotTranslatable(f"The body cannot be translated: {exc}. Nothing was sent.") from exc

    def _without_unknown(self, body: bytes, losses: Losses) -> T | None:
        """The body without its outermost fields that are not known; None if something else is wrong with it, too."""
        fields = read(body, _OBJECT) or {}
        unknown = [name for name in fields if name not in self._inner[self._kind]]
        for name in unknown:
            del fields[name]
        found = read(encode(fields), self._strict) if unknown else None
        if found is not None:
            losses.drop(*unknown)
        return found

    def _prune(self, tree: object, kind: type[msgspec.Struct], losses: Losses, path: str) -> None:
        """Take out of the tree what the struct does not know. Only as deep as structs are."""
        if isinstance(tree, list):
            for each in cast("list[object]", tree):
                self._prune(each, kind, losses, path)
        elif isinstance(tree, dict):
            fields = cast("dict[str, object]", tree)
            known = self._inner[kind]
            for name in [name for name in fields if name not in known]:
                value, other = fields.pop(name), name if self._respell is None else self._respell(name)
                if other in known:
                    fields[other] = value
                else:
                    losses.drop(path + name)
            for name, value in fields.items():
                inner = known[name]
                if inner is not None:
                    self._prune(value, inner, losses, "" if isinstance(value, list) else f"{name}.")


_Inner = dict[str, type[msgspec.Struct] | None]


def _structs_inside(kind: type[msgspec.Struct]) -> dict[type[msgspec.Struct], _Inner]:
    """Of this struct and of each inside it: the names on the wire, each with the struct that is its value, if any."""
    found: dict[type[msgspec.Struct], _Inner] = {}
    todo = [kind]
    while todo:
        each = todo.pop()
        if each not in found:
            hints = get_type_hints(each)
            found[each] = {field.encode_name: _struct_in(hints[field.name]) for field in msgspec.structs.fields(each)}
            todo += [inner for inner in found[each].values() if inner is not None]
    return found


def _struct_in(hint: object) -> type[msgspec.Struct] | None:
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return hint
    inner = (_struct_in(arg) for arg in get_args(hint))
    return next((struct for struct in inner if struct is not None), None)


class _Unfit(Exception):
    """A part of an answer has a shape that cannot be taken for the one it should have."""


def read_answer(data: bytes | msgspec.Raw, decoder: msgspec.json.Decoder[T]) -> T | None:
    """What a server's JSON says; None where it is no object, or a part of it cannot be taken for what it should be.

    As SDKs do, which check no types: a number where a text belongs is its digits, an empty value of any type is none.
    """
    found = read(data, decoder)
    if found is not None:
        return found
    tree = read(data, _ANY)
    if not isinstance(tree, dict):
        return None
    try:
        return read(encode(_fitted(cast("dict[str, object]", tree), decoder.type)), decoder)
    except _Unfit:
        return None


def _fitted(value: object, hint: object) -> object:
    """The value as far as it fits the type. Only as deep as types are. Raises `_Unfit`."""
    kinds = _kinds_of(hint)
    if msgspec.Raw in kinds or value is None:
        return value
    for kind in kinds:
        if get_origin(kind) is list and isinstance(value, list):
            return [_fitted(each, *get_args(kind)) for each in cast("list[object]", value) if each is not None]
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and isinstance(value, dict):
            return _fitted_fields(cast("dict[str, object]", value), kind)
    return _fitted_scalar(value, kinds)


def _fitted_scalar(value: object, kinds: frozenset[object]) -> object:
    if type(value) in kinds:
        return value
    if not value or kinds <= _COUNTS:
        return None
    if str in kinds and isinstance(value, int | float):
        return encode(value).decode()
    raise _Unfit


_COUNTS = frozenset({int, float, bool, type(None)})


@cache
def _kinds_of(hint: object) -> frozenset[object]:
    return frozenset(get_args(hint) if isinstance(hint, UnionType) else (hint,))


@cache
def _hints_of(kind: type[msgspec.Struct]) -> dict[str, object]:
    return get_type_hints(kind)


def _fitted_fields(fields: dict[str, object], kind: type[msgspec.Struct]) -> dict[str, object]:
    hints = _hints_of(kind)
    fitted = {name: _fitted(value, hints[name]) for name, value in fields.items() if name in hints}
    return {name: value for name, value in fitted.items() if value is not None}


def object_of(arguments: str) -> msgspec.Raw:
    """The arguments of a call as a JSON object: empty text, or null, is none; what is no object is kept under one name.

    A model that was cut, or erred, leaves such text; its caller has to see it, and the next turn to go on.
    """
    if arguments.strip() in ("", "null"):
        return EMPTY_OBJECT
    raw = arguments.encode("utf-8", "replace")
    try:
        _OBJECT.decode(raw)
    except UNREADABLE:
        return msgspec.Raw(encode({"invalid_json": arguments}))
    return msgspec.Raw(raw)


class GrowingObject:
    """The text of a JSON object that comes in pieces.

    To ask after each piece whether it is whole takes no longer for what came before: a server may send megabytes.
    """

    __slots__ = ("_cut", "_depth", "_in_text", "_pieces", "_seen", "_unseen_chars", "_verdict")

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._seen = 0  # of these
        self._unseen_chars = 0
        self._cut = ""  # a backslash at the end of a piece: what it stands before is in the next one
        self._depth = 0
        self._in_text = False
        self._verdict: bool | None = None  # once the outermost bracket was closed

    def add(self, piece: str) -> None:
        """More of it."""
        self._pieces.append(piece)
        self._unseen_chars += len(piece)
        if self._unseen_chars > _MAX_UNSEEN_CHARS:
            self.is_whole()

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(self._pieces)

    def is_whole(self) -> bool:
        """Is this the whole text of an object?"""
        new = self._pieces[self._seen :]
        self._seen, self._unseen_chars = len(self._pieces), 0
        if self._verdict is not None:
            self._verdict = self._verdict and not any(piece.strip(_SPACES) for piece in new)
        elif any(map(self._closes, new)):
            self._verdict = _is_object(self.text)
        return self._verdict or False

    def _closes(self, piece: str) -> bool:
        """Is the outermost bracket closed in it?"""
        text, at = self._cut + piece, 0
        self._cut = ""
        while at < len(text):
            if self._in_text:
                at = self._behind_words(text, at)
                continue
            sign = _SIGN.search(text, at)
            if sign is None:
                return False
            at = sign.end()
            self._in_text = sign[0] == '"'
            if not self._in_text:
                self._depth += 1 if sign[0] in "{[" else -1
                if self._depth <= 0:
                    return True
        return False

    def _behind_words(self, text: str, at: int) -> int:
        words = _WORDS.match(text, at)
        end = words.end() if words is not None else at
        if text.startswith('"', end):
            self._in_text = False
            return end + 1
        self._cut = text[end:]
        return len(text)


def _is_object(text: str) -> bool:
    try:
        _OBJECT.decode(text.encode("utf-8", "replace"))
    except UNREADABLE:
        return False
    return True


def text_of(raw: msgspec.Raw) -> str:
    """Raw JSON as text; "" if there is none."""
    return bytes(raw).decode("utf-8", "replace")


def check_count(count: int, limit: int, what: str) -> None:
    """Raises `NotTranslatable` for more than so many."""
    if count > limit:
        raise NotTranslatable(f"The body holds {count} {what}; at most {limit} can be translated. Nothing was sent.")


def given(raw: msgspec.Raw) -> bool:
    """Is the field there, and neither null nor an empty list or object?"""
    return raw is not ABSENT and bytes(raw) not in _NOTHING


def stop_sequences(stop: str | list[str] | None) -> tuple[str, ...]:
    """The sequences that stop the answer; an empty one is none."""
    listed = [stop] if isinstance(stop, str) else stop or ()
    return tuple(each for each in listed if each)
